"""What all partials of a query add up to: a sum over blocks, in any order with equal results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy.sql.partials import LARGEST, Cells, parse

if TYPE_CHECKING:
    from privacy.sql.plan_model import QueryPlan


@dataclass(frozen=True)
class Totals:
    """The bounded totals of all blocks by canonical key bytes: not noised, never to leave the gate."""

    cells: Mapping[bytes, tuple[int, ...]] = field(repr=False)


def read_partial(data: bytes, plan: QueryPlan) -> Cells:
    """The cells of one block. Raises ValueError for any byte that an honest runner could not have written."""
    return parse(data, plan.shape)


def combine(partials: Iterable[Mapping[bytes, tuple[int, ...]]], plan: QueryPlan) -> Totals:
    """The sum over blocks; each total is clamped to ±(2^62 - 1), which is 1-Lipschitz and never bites an honest one (R3)."""
    width = len(plan.measures)
    sums: dict[bytes, list[int]] = {}
    for partial in partials:
        for key, values in partial.items():
            total = sums.setdefault(key, [0] * width)
            for index, value in enumerate(values):
                total[index] += value
    return Totals({key: tuple(max(-LARGEST, min(LARGEST, value)) for value in sums[key]) for key in sorted(sums)})
