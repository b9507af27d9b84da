"""What is added up for each group, and how much of it one unit may contribute: what the compiled pass and the interpreter are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Adds(StrEnum):
    """What a measure adds up over the units of a group; docs/proofs/bounding.md says what of each unit."""

    UNITS = "units"
    ROWS = "rows"
    NONNULL = "nonnull"
    SUM = "sum"
    SQUARES = "squares"
    BINS = "bins"
    DISTINCT = "distinct"


@dataclass(frozen=True)
class Measured:
    """One measure of every group.

    Attributes:
        adds: what it adds up.
        value: which value column it is of (`row_columns.value_columns`); None for rows, and for units at large.
        low, high: SUM, SQUARES, BINS: the inclusive ends that a value is clamped to, on its grid.
        centre: SUM, SQUARES: what is taken away from a clamped value.
        step: BINS: how many whole numbers a bin has; the last may have fewer.
        k: DISTINCT: the most values that count of a unit in a group.
    """

    adds: Adds
    value: int | None = None
    low: int = 0
    high: int = 0
    centre: int = 0
    step: int = 0
    k: int = 0

    @property
    def columns(self) -> int:
        """How many numbers it is: one for every bin."""
        return (self.high - self.low) // self.step + 1 if self.adds is Adds.BINS else 1


@dataclass(frozen=True)
class Bounds:
    """What one unit may contribute.

    Attributes:
        max_groups: for each grouping set the most groups of a unit that count (L0).
        max_rows: the most rows of a unit that count in a group (cap).
        measures: what is added up.
        seed: 16 secret bytes, by which groups and values are chosen.
        ranges: for each key, the held whole numbers (places, for a text of a list) outside which a row does not count; None for all.
    """

    max_groups: tuple[int, ...]
    max_rows: int
    measures: tuple[Measured, ...]
    seed: bytes = field(repr=False)
    ranges: tuple[range | None, ...] = ()
