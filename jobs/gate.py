"""The gate: hostile partial bytes go in, a noised table comes out; the only way from a container to a researcher.

A missing, late, malformed or out-of-bound partial counts as the empty partial, and noise is drawn all the same (design R9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.sql.combine import combine, read_partial
from privacy.sql.plan_model import QueryPlan
from privacy.sql.release import release
from privacy.table import ReleasedTable


@dataclass(frozen=True)
class Gated:
    """What passed, and the indexes of the blocks that counted as empty: the latter for the operator only."""

    table: ReleasedTable
    defaulted: tuple[int, ...]


def gate(plan: QueryPlan, block_count: int, partials: Mapping[int, bytes]) -> Gated:
    """Check, combine and release. Draws noise: call once for a job, and persist the table before anybody sees it."""
    accepted: list[Mapping[bytes, tuple[int, ...]]] = []
    defaulted: list[int] = []
    for index in range(block_count):
        try:
            accepted.append(read_partial(partials[index], plan))
        except (KeyError, ValueError):
            defaulted.append(index)
    return Gated(release(combine(accepted, plan), plan), tuple(defaulted))
