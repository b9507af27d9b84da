"""The measurements that put noise on a release and name its price: one OpenDP object gives both.

Proofs: docs/proofs/laplace.md, docs/proofs/gaussian.md; thresholds.py has the third. OpenDP is used for noise, thresholds and
privacy maps on integers that were bounded before; nothing weaker than its `contrib` feature is switched on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, Self

import opendp.domains
import opendp.measurements
import opendp.metrics
import opendp.mod

from core.errors import Invalid
from core.units import exact, text_of
from privacy.scales import (
    FIRST_INDEX,
    LARGEST_SCALE,
    LAST_INDEX,
    SMALLEST_SCALE,
    index_near,
    scale_at,
    smallest,
)
from privacy.tails import NoiseKind, half_width_of, standard_error_of

__all__ = [
    "LARGEST_VALUE",
    "Noise",
    "NoiseKind",
    "check_groups",
    "check_scale",
    "clamped",
    "exactly",
    "fitted_scale",
    "root_up",
]

opendp.mod.enable_features("contrib")

# A total beyond this is clamped before noise: no sum of bounded integers that planning admits reaches it.
LARGEST_VALUE = 2**62

_LARGEST_GROUPS = 2**31


@dataclass(frozen=True)
class Noise:
    """Integer noise on a vector of totals, for a bound on what one unit can change in it.

    One unit changes at most `l0` entries, each by at most `linf`, together by at most `l1` in absolute sum and
    `l2_squared` in sum of squares. Laplace noise is priced from l1 in ε, Gaussian noise from l2 in ρ.
    """

    kind: NoiseKind
    scale: Fraction
    l0: int
    l1: int
    l2_squared: int
    linf: int

    def __post_init__(self) -> None:
        check_scale(self.scale)
        _check_bounds(self.l0, self.l1, self.l2_squared, self.linf)

    @classmethod
    def fit(cls, kind: NoiseKind, *, l0: int, l1: int, l2_squared: int, linf: int, share: Fraction) -> Self:
        """The least noise whose price is at most `share` (ε for Laplace, ρ for Gaussian).

        Raises Invalid (`plan.sensitivity_too_large`) where no usable noise is that cheap.
        """
        _check_bounds(l0, l1, l2_squared, linf)
        return cls(kind, fitted_scale(kind, l1, l2_squared, share), l0, l1, l2_squared, linf)

    @cached_property
    def price(self) -> Fraction:
        """What drawing costs: the exact value of the float that OpenDP's privacy map returns (it rounds up)."""
        return _price(self.kind, self.scale, self.l1, self.l2_squared)

    @property
    def standard_error(self) -> float:
        """The standard deviation of the noise of one entry."""
        return standard_error_of(self.kind, self.scale)

    def half_width(self, probability: float = 0.95) -> int:
        """An integer w such that the noise of one entry stays within ±w with at least this probability."""
        return half_width_of(self.kind, self.scale, probability)

    def draw(self, values: Sequence[int]) -> list[int]:
        """The values with fresh noise, each value first clamped to ±2^62. The length is returned as it came: it must be public.

        Clamping cannot raise what one unit changes. Raises TypeError for anything but integers.
        """
        return list(_vector_measurement(self.kind, self.scale)([clamped(value) for value in values]))

    def to_json(self) -> dict[str, str]:
        """A JSON object of texts (the integers may be larger than JSON numbers are exact)."""
        return {
            "kind": self.kind.value,
            "scale": text_of(self.scale),
            "l0": str(self.l0),
            "l1": str(self.l1),
            "l2_squared": str(self.l2_squared),
            "linf": str(self.linf),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; raises ValueError for anything else."""
        if set(stored) != {"kind", "scale", "l0", "l1", "l2_squared", "linf"}:
            raise ValueError("not a noise record")
        numbers = {name: int(stored[name]) for name in ("l0", "l1", "l2_squared", "linf")}
        return cls(kind=NoiseKind(stored["kind"]), scale=exact(stored["scale"]), **numbers)


def check_scale(scale: Fraction) -> None:
    """Raises ValueError for what is no scale of the grid's range."""
    # OpenDP itself accepts 0 and returns the exact values.
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE or Fraction(float(scale)) != scale:
        raise ValueError("a noise scale is a binary float from 1 to 2^56")


def check_groups(l0: int) -> None:
    """Raises ValueError for what is no number of groups that a unit can be in."""
    if type(l0) is not int or not 1 <= l0 <= _LARGEST_GROUPS:
        raise ValueError("a unit is in at least one group, and at most 2^31")


def _check_bounds(l0: int, l1: int, l2_squared: int, linf: int) -> None:
    check_groups(l0)
    if any(type(bound) is not int for bound in (l1, l2_squared, linf)):
        raise ValueError("sensitivities are integers")
    if not (1 <= linf <= l1 <= l0 * linf and linf**2 <= l2_squared <= l0 * linf**2):
        raise ValueError("these sensitivities contradict each other")
    if l1 > LARGEST_VALUE:
        raise _too_large()


def _too_large() -> Invalid:
    return Invalid(
        "plan.sensitivity_too_large",
        "one unit may change this result by more than noise within 64-bit integers can hide at this price",
        way_out="lower max_groups_per_unit, max_rows_per_group or the bounds of the column, or raise epsilon",
    )


def clamped(value: int) -> int:
    """A total within ±2^62. Raises TypeError for anything but an integer."""
    if type(value) is not int:
        raise TypeError("noise is drawn on integers only")
    return max(-LARGEST_VALUE, min(LARGEST_VALUE, value))


def root_up(square: int) -> float:
    """A float that is at least the square root, checked in exact arithmetic."""
    root = math.sqrt(square)
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return root


def exactly(bound: float) -> Fraction:
    """The exact value of a bound of OpenDP's. Raises ValueError where it is not finite."""
    if not math.isfinite(bound):
        raise ValueError("OpenDP gives no finite bound for this loss")
    return Fraction(bound)


def fitted_scale(kind: NoiseKind, l1: int, l2_squared: int, share: Fraction) -> Fraction:
    """The least scale of the grid at which noise costs at most `share`. Raises Invalid where there is none."""
    if share <= 0:
        raise ValueError("a share of the privacy loss is above 0")
    aim = l1 / float(share) if kind is NoiseKind.LAPLACE else math.sqrt(l2_squared / (2 * float(share)))
    found = smallest(
        lambda index: _price(kind, scale_at(index), l1, l2_squared) <= share,
        guess=index_near(aim),
        low=FIRST_INDEX,
        high=LAST_INDEX,
    )
    if found is None:
        raise _too_large()
    return scale_at(found)


def _price(kind: NoiseKind, scale: Fraction, l1: int, l2_squared: int) -> Fraction:
    distance = l1 if kind is NoiseKind.LAPLACE else root_up(l2_squared)
    return exactly(_vector_measurement(kind, scale).map(distance))


@lru_cache(maxsize=1024)
def _vector_measurement(kind: NoiseKind, scale: Fraction) -> Any:
    integers = opendp.domains.vector_domain(opendp.domains.atom_domain(T="i64"))
    if kind is NoiseKind.LAPLACE:
        return opendp.measurements.make_laplace(integers, opendp.metrics.l1_distance(T="i64"), scale=float(scale))
    return opendp.measurements.make_gaussian(integers, opendp.metrics.l2_distance(T="f64"), scale=float(scale))
