"""When a job's release appears: a time fixed by the plan from public numbers only (design R9, R10).

The planned worst case is doubled for safety and rounded up to a power of two, so that neither the work done nor the exact size shows.
"""

from __future__ import annotations

from dataclasses import dataclass

SAFETY = 2.0
GATE_SECONDS = 0.3
GATE_SECONDS_PER_CELL = 40e-6
SHORTEST = 0.5


@dataclass(frozen=True)
class Node:
    """What the machine is planned to do: lanes with a core each, memory of a lane in bytes, planned worst cases."""

    lanes: int
    lane_memory_bytes: int
    start_seconds: float
    rows_per_second: int
    cancel_seconds: float


def lanes_for(block_count: int, node: Node) -> int:
    """How many lanes, hence tasks and containers, share the blocks."""
    return min(block_count, node.lanes)


def gate_seconds_for(cells: int) -> float:
    """How long before the release the gate begins, in seconds; `cells` is the planned number of groups."""
    return GATE_SECONDS + cells * GATE_SECONDS_PER_CELL


def seconds_for(rows: int, block_count: int, cells: int, node: Node) -> float:
    """From start to release, in seconds: `rows` is n_pub, `cells` the planned number of groups."""
    work = rows / (node.rows_per_second * lanes_for(block_count, node))
    worst = node.start_seconds + work + gate_seconds_for(cells)
    bucket = SHORTEST
    while bucket < worst * SAFETY:
        bucket *= 2
    return bucket
