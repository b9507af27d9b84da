"""How far one privacy unit moves the numbers of one group, and of all groups that it may be in: what noise is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from privacy.mechanisms import Noise, NoiseKind


@dataclass(frozen=True)
class Reach:
    """What one unit changes in the vector of one group: at most `entries` numbers, each by at most `linf`.

    `l1` bounds the sum of the changes without their signs, `l2_squared` that of their squares. All are whole numbers.
    """

    entries: int
    linf: int
    l1: int
    l2_squared: int

    def noise(self, kind: NoiseKind, groups: int, share: Fraction) -> Noise:
        """The least noise on the vectors of all groups, of which a unit is in at most so many, whose price is at most `share`.

        Raises Invalid (`plan.sensitivity_too_large`) where no usable noise is that cheap.
        """
        return Noise.fit(
            kind,
            l0=groups * self.entries,
            l1=groups * self.l1,
            l2_squared=groups * self.l2_squared,
            linf=self.linf,
            share=share,
        )


def plain(linf: int) -> Reach:
    """Of a single number that a unit changes by at most `linf`; at least 1, so that there is noise where nothing can change (T06)."""
    most = max(1, linf)
    return Reach(1, most, most, most**2)
