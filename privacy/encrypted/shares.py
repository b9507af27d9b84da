"""Providers' own noise for one job, so that no two parties together see anything with less (docs/proofs/encrypted.md).

A provider that leaves nothing at the service encrypts for each job anew: its totals, a share of noise, and masks that cancel in the sum of
all. The shares of all providers but one are already as much noise as the job pays for. The sum of discrete Gaussian variables is not
quite one: what is missing is paid for in the scale (Kairouz, Liu, Steinke 2021, "The distributed discrete Gaussian mechanism for
federated learning with secure aggregation", proposition 13).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

# From this scale on, e^(-π²·scale²) < 2^-56: π²·4 = 39.47… > 56·ln 2 = 38.81….
LEAST_SCALE = Fraction(2)
_RATE = Fraction(1, 2**56)
LARGEST_SCALE = Fraction(2**56)
MOST_PARTNERS = 1_000
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,79}")
_NUMBER = re.compile(r"[0-9]{1,20}(/[1-9][0-9]{0,19})?")
# 32 bytes in their one base64 form: the last two of its bits say nothing, so they are 0.
_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


class TooDear(ValueError):
    """No share is small enough for so small a price."""


@dataclass(frozen=True)
class Share:
    """What a contribution holds beside a provider's totals: for which job, whose masks cancel, and the scale of its noise by vector.

    `partners` are the signing keys of all providers of the job, in order; one's own is among them.
    """

    job: str
    partners: tuple[str, ...]
    scales: tuple[tuple[str, Fraction], ...]

    def __post_init__(self) -> None:
        keys = self.partners
        if not isinstance(self.job, str) or not _JOB.fullmatch(self.job):
            raise ValueError("a share is for one job")
        if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
            raise ValueError("partners are signing keys in base64")
        if not 2 <= len(keys) <= MOST_PARTNERS or list(keys) != sorted(set(keys)):
            raise ValueError(f"there are 2 to {MOST_PARTNERS:,} partners, each once and in order")
        names = [name for name, _ in self.scales]
        if not names or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
            raise ValueError("each vector has one scale")
        if not all(LEAST_SCALE <= scale <= LARGEST_SCALE and _is_float(scale) for _, scale in self.scales):
            raise ValueError("a scale is a binary float from 2 to 2^56")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; scales as texts."""
        scales = [{"vector": name, "scale": str(scale)} for name, scale in self.scales]
        return {"job": self.job, "partners": list(self.partners), "scales": scales}

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        if not isinstance(stored, Mapping) or set(stored) != {"job", "partners", "scales"}:
            raise ValueError("a share has a job, partners and scales")
        scales = tuple(_scale(each) for each in _list(stored["scales"]))
        found = cls(stored["job"], tuple(_list(stored["partners"])), scales)
        if found.to_json() != stored:
            raise ValueError("a scale is not in its one form")
        return found


def share_scale(l2_squared: int, price: Fraction, length: int, providers: int) -> Fraction:
    """The scale of one share of `providers`: all of them but one together are noise for a loss of `price` in ρ.

    One unit changes a vector of `length` entries by at most √l2_squared. By the proposition, h shares of scale s lose at most
    l2²/(2·h·s²) + τ·length/4, with τ = 10·Σ e^(-2π²·s²·k/(k+1)) over k = 1 … h-1, and each term at most e^(-π²·s²). Raises TooDear.
    """
    honest = providers - 1
    if honest < 1:
        raise ValueError("with one provider there is nobody to share noise with")
    rest = price - 10 * (honest - 1) * _RATE * Fraction(length, 4)
    if rest <= 0:
        raise TooDear("so small a price buys no shares of noise")
    square = Fraction(l2_squared) / (2 * honest * rest)
    if square > LARGEST_SCALE**2:
        raise TooDear("so small a price buys no shares of noise")
    return LEAST_SCALE if square <= LEAST_SCALE**2 else _root_up(square)


def _root_up(square: Fraction) -> Fraction:
    """A binary float that is at least the square root, checked in exact arithmetic."""
    root = math.sqrt(square)
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return Fraction(root)


def partners_of(keys: Sequence[str]) -> tuple[str, ...]:
    """Signing keys as a share names them."""
    return tuple(sorted(keys))


def _list(stored: object) -> list[Any]:
    if isinstance(stored, list):
        return stored
    raise ValueError("a list is expected")


def _scale(stored: object) -> tuple[str, Fraction]:
    if not isinstance(stored, Mapping) or set(stored) != {"vector", "scale"}:
        raise ValueError("a scale is of one vector")
    name, text = stored["vector"], stored["scale"]
    if not isinstance(name, str) or not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError("a scale is of one vector")
    return name, Fraction(text)


def _is_float(scale: Fraction) -> bool:
    return Fraction(float(scale)) == scale
