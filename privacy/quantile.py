"""The private median: OpenDP chooses one of fixed candidates, and its privacy map names the price.

Proof: docs/proofs/programs.md.
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
import opendp.measures
import opendp.metrics
import opendp.mod

from core.errors import Invalid
from core.units import exact, text_of
from privacy.scales import FIRST_INDEX, LAST_INDEX, index_near, scale_at, smallest
from privacy.tails import ChoiceKind

__all__ = ["ChoiceKind", "Median"]

opendp.mod.enable_features("contrib")

# A changed block output is one answer taken away and another put in; OpenDP prices both (design R12).
REPLACE_ONE = 2
MAX_CANDIDATES = 2**16
# Scales are those of the noise grid divided by 64: up to ε = 128 a median costs all but 0.05 % of its share.
_FINER = 64


@dataclass(frozen=True)
class Median:
    """A choice among the integers 0 … `candidates`-1, of one near the middle of the answers given.

    A candidate with `a` answers below it and `b` above is |a - b| / 2 answers from the middle; one that is t further away than the
    best is taken with a probability smaller by about e^(-t/scale).
    """

    kind: ChoiceKind
    scale: Fraction
    candidates: int

    def __post_init__(self) -> None:
        if not scale_at(FIRST_INDEX) / _FINER <= self.scale <= scale_at(LAST_INDEX) / _FINER:
            raise ValueError("the scale of a median lies between 2^-6 and 2^50")
        if Fraction(float(self.scale)) != self.scale:
            raise ValueError("the scale of a median is a binary float")
        if type(self.candidates) is not int or not 2 <= self.candidates <= MAX_CANDIDATES:
            raise ValueError(f"a median has 2 to {MAX_CANDIDATES} candidates")

    @classmethod
    def fit(cls, kind: ChoiceKind, candidates: int, share: Fraction) -> Self:
        """The sharpest choice whose price is at most `share` (ε for permute-and-flip, ρ for the exponential mechanism).

        Raises Invalid (`epsilon.too_small`) where none is that cheap.
        """
        if share <= 0:
            raise ValueError("a share of the privacy loss is above 0")
        aim = 2 / float(share) if kind is ChoiceKind.PERMUTE_AND_FLIP else 1 / math.sqrt(2 * float(share))
        # The map does not depend on the candidates, and two are made faster; what is found is priced with its own.
        found = smallest(
            lambda index: cls(kind, scale_at(index) / _FINER, 2).price <= share,
            guess=index_near(aim * _FINER),
            low=FIRST_INDEX,
            high=LAST_INDEX,
        )
        if found is None:
            raise Invalid("epsilon.too_small", "epsilon is too small to release a median", way_out="raise epsilon")
        fitted = cls(kind, scale_at(found) / _FINER, candidates)
        if fitted.price > share:
            raise ValueError("OpenDP prices more candidates higher")
        return fitted

    @cached_property
    def price(self) -> Fraction:
        """What a draw costs where one answer may change: the exact value of the float that OpenDP's map returns for d_in 2."""
        loss = _measurement(self.kind, self.scale, self.candidates).map(REPLACE_ONE)
        if not math.isfinite(loss):
            raise ValueError("OpenDP gives no finite bound for this loss")
        return Fraction(loss)

    def draw(self, values: Sequence[int]) -> int:
        """One candidate, drawn afresh; each value is first clamped to the candidates. Raises TypeError for anything but integers."""
        if any(type(value) is not int for value in values):
            raise TypeError("a median is drawn from integers only")
        last = self.candidates - 1
        inside = [max(0, min(last, value)) for value in values]
        return int(_measurement(self.kind, self.scale, self.candidates)(inside))

    def to_json(self) -> dict[str, str]:
        """A JSON object of texts."""
        return {"kind": self.kind.value, "scale": text_of(self.scale), "candidates": str(self.candidates)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; raises ValueError for anything else."""
        if set(stored) != {"kind", "scale", "candidates"}:
            raise ValueError("not the record of a median")
        return cls(ChoiceKind(stored["kind"]), exact(stored["scale"]), int(stored["candidates"]))


@lru_cache(maxsize=64)
def _measurement(kind: ChoiceKind, scale: Fraction, candidates: int) -> Any:
    return opendp.measurements.make_private_quantile(
        opendp.domains.vector_domain(opendp.domains.atom_domain(T="i64")),
        opendp.metrics.symmetric_distance(),
        opendp.measures.max_divergence()
        if kind is ChoiceKind.PERMUTE_AND_FLIP
        else opendp.measures.zero_concentrated_divergence(),
        list(range(candidates)),
        0.5,
        float(scale),
    )
