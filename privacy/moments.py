"""Variance from one noisy vector: number, sum and squares of centred values, weighed so that each has the same reach.

Proof: docs/proofs/variance.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from privacy.reach import Reach


@dataclass(frozen=True)
class Moments:
    """The parts of a variance over values that are at most `most` (at least 1) away from the centre that is taken from them.

    The vector of a group is (n · most², S · most, Q): n values, the sum S and the sum of squares Q of the centred values.
    """

    most: int

    @property
    def weights(self) -> tuple[int, int, int]:
        """What n, S and Q are multiplied by before noise."""
        return self.most**2, self.most, 1

    def reach(self, cap: int) -> Reach:
        """What one unit with at most `cap` counted values changes: at most cap · most² in each part."""
        each = cap * self.most**2
        return Reach(3, each, 3 * each, 3 * each**2)


def variance(count: Fraction, total: Fraction, squares: Fraction, widest: int, *, sample: bool) -> Fraction:
    """The variance that noisy parts tell of values that lie at most `widest` apart; from 0 to the most there can be.

    Q/n - (S/n)², with at least one value (two for that of a sample, which is larger by n/(n - 1)).
    """
    values = max(count, Fraction(2 if sample else 1))
    found = squares / values - (total / values) ** 2
    most = Fraction(widest**2, 4)
    if sample:
        found *= values / (values - 1)
        most *= 2
    return min(max(found, Fraction(0)), most)
