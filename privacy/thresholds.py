"""The key threshold: which groups may be named at all, and what naming them costs. Proof: docs/proofs/threshold.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any, Self

import opendp.domains
import opendp.measurements
import opendp.metrics

from core.errors import Invalid
from core.units import exact, text_of
from privacy.mechanisms import Noise, check_groups, check_scale, clamped, exactly, fitted_scale, root_up
from privacy.scales import smallest
from privacy.tails import NoiseKind

_LARGEST_THRESHOLD = 2**61


@dataclass(frozen=True)
class KeyThreshold:
    """Shows a group key only if its noisy number of distinct units exceeds `threshold`.

    One unit is counted in at most `l0` keys, once in each.
    """

    kind: NoiseKind
    l0: int
    scale: Fraction
    threshold: int

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_groups(self.l0)
        if type(self.threshold) is not int or not 2 <= self.threshold <= _LARGEST_THRESHOLD:
            raise ValueError("a threshold is an integer from 2 to 2^61")

    @classmethod
    def fit(cls, kind: NoiseKind, l0: int, share: Fraction, delta: Fraction) -> Self:
        """The least noise and then the lowest threshold that cost at most `share` (ε or ρ) and `delta`.

        Raises Invalid: `delta.too_small` where OpenDP cannot state so small a δ, `plan.sensitivity_too_large` as for noise.
        """
        check_groups(l0)
        scale = fitted_scale(kind, l0, l0, share)
        found = smallest(
            lambda threshold: _threshold_price(kind, scale, threshold, l0)[1] <= delta,
            guess=_likely_threshold(kind, scale, l0, delta),
            low=2,
            high=_LARGEST_THRESHOLD,
        )
        if found is None:
            raise Invalid(
                "delta.too_small",
                f"a threshold over {l0} groups per unit cannot be shown to fail as rarely as the δ asked",
                way_out="ask for a larger delta, or lower max_groups_per_unit",
            )
        return cls(kind, l0, scale, found)

    @cached_property
    def price(self) -> Fraction:
        """What selecting costs beside δ: ε for Laplace, ρ for Gaussian; the exact value of OpenDP's map."""
        return _threshold_price(self.kind, self.scale, self.threshold, self.l0)[0]

    @cached_property
    def delta(self) -> Fraction:
        """The probability that a key held by one unit alone is shown; the exact value of OpenDP's map."""
        return _threshold_price(self.kind, self.scale, self.threshold, self.l0)[1]

    @property
    def noise(self) -> Noise:
        """The noise of one unit count, for error bars."""
        return Noise(self.kind, self.scale, self.l0, self.l0, self.l0, 1)

    def select(self, units_by_key: Mapping[bytes, int]) -> dict[bytes, int]:
        """The noisy unit counts of the keys that pass, in order of the keys' bytes.

        A key without a unit is no key. Raises TypeError for anything but bytes and integers.
        """
        # Keys travel as hexadecimal: OpenDP cuts a text at its first NUL, which would merge two keys.
        counts = {_hex(key): clamped(units) for key, units in units_by_key.items()}
        present = {key: units for key, units in counts.items() if units > 0}
        shown = _threshold_measurement(self.kind, self.scale, self.threshold)(present)
        # Strictly above: OpenDP 0.16 lets the threshold itself pass but leaves it out of δ (opendp issue 2922).
        return {bytes.fromhex(key): units for key, units in sorted(shown.items()) if units > self.threshold}

    def to_json(self) -> dict[str, str]:
        """A JSON object of texts."""
        return {
            "kind": self.kind.value,
            "l0": str(self.l0),
            "scale": text_of(self.scale),
            "threshold": str(self.threshold),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; raises ValueError for anything else."""
        if set(stored) != {"kind", "l0", "scale", "threshold"}:
            raise ValueError("not a threshold record")
        numbers = {name: int(stored[name]) for name in ("l0", "threshold")}
        return cls(kind=NoiseKind(stored["kind"]), scale=exact(stored["scale"]), **numbers)


def _hex(key: bytes) -> str:
    if not isinstance(key, bytes):
        raise TypeError("group keys are bytes")
    return key.hex()


def _likely_threshold(kind: NoiseKind, scale: Fraction, l0: int, delta: Fraction) -> int:
    width, failure = float(scale), max(min(float(delta) / l0, 0.4), 1e-16)
    if kind is NoiseKind.LAPLACE:
        return math.ceil(1 + width * math.log(1 / (2 * failure)))
    return math.ceil(1 - width * NormalDist().inv_cdf(failure))


def _threshold_price(kind: NoiseKind, scale: Fraction, threshold: int, l0: int) -> tuple[Fraction, Fraction]:
    distance = (l0, l0, 1) if kind is NoiseKind.LAPLACE else (l0, root_up(l0), 1.0)
    loss, delta = _threshold_measurement(kind, scale, threshold).map(distance)
    return exactly(loss), exactly(delta)


@lru_cache(maxsize=1024)
def _threshold_measurement(kind: NoiseKind, scale: Fraction, threshold: int) -> Any:
    counts = opendp.domains.map_domain(opendp.domains.atom_domain(T="String"), opendp.domains.atom_domain(T="i64"))
    if kind is NoiseKind.LAPLACE:
        distance = opendp.metrics.l01inf_distance(opendp.metrics.absolute_distance(T="i64"))
        return opendp.measurements.make_laplace_threshold(counts, distance, float(scale), threshold)
    distance = opendp.metrics.l02inf_distance(opendp.metrics.absolute_distance(T="f64"))
    return opendp.measurements.make_gaussian_threshold(counts, distance, float(scale), threshold)
