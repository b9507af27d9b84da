"""When a job's release appears: a time fixed by the plan from public numbers only (design R9, R10).

The planned worst case is rounded up to a power of two of seconds, so that neither the work done nor the exact size shows. The costs
were measured with the real runner and gate (benchmarks/costs.py) and carry a margin of about two; `slowness` says how many times slower
a node is than the machine they were measured on.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import Invalid
from privacy.schema import EXCESS, TableSchema
from privacy.sql.plan_model import QueryPlan
from privacy.sql.tree import Aggregate

SHORTEST = 0.5
LONGEST = 1024.0
START_SAFETY = 2.0
# Seconds of one core for a block, whatever is in it: a process, a connection, and a statement to parse and plan.
BLOCK, BLOCK_PER_CHARACTER = 0.06, 1e-5
# Microseconds of one core. A scanned row: DuckDB reads, filters and pre-aggregates it.
ROW, ROW_PER_COLUMN, ROW_PER_CHARACTER = 0.6, 0.2, 0.002
# A pair of unit and group: the bounded pass, in Python.
PAIR, PAIR_PER_MEASURE, PAIR_PER_KEY = 3.0, 1.2, 0.5
# A cell of the answer, in the gate: noise for each measure, simulated intervals for each average.
CELL, CELL_PER_MEASURE, CELL_PER_AVERAGE = 20.0, 15.0, 70.0
# A key that is seen but need not be shown: it passes the threshold's noise.
SEEN_KEY = 60.0
GATE_SECONDS = 0.4
# The noised result is stored this long before it is shown: at a planned time too, whenever the gate was done.
SEAL_SECONDS = 0.2


# What a lane needs, once its time is over, to kill and remove a container and to hand back what it has.
RETURN_SECONDS = 0.5


@dataclass(frozen=True)
class Node:
    """What the machine is planned to do: lanes with a core each, memory of a lane in bytes, worst start in seconds."""

    lanes: int
    lane_memory_bytes: int
    start_seconds: float
    slowness: float
    cancel_seconds: float


@dataclass(frozen=True)
class Schedule:
    """Seconds from start to release; how long before the release the gate begins; what one block may take of a core."""

    seconds: float
    gate_seconds: float
    block_seconds: float


def bucket(seconds: float) -> float:
    """The next power of two of seconds: neither the work done nor the exact size shows (design R9)."""
    found = SHORTEST
    while found < seconds:
        found *= 2
    return found


def lanes_for(block_count: int, node: Node) -> int:
    """How many lanes, hence tasks and containers, share the blocks."""
    return min(block_count, node.lanes)


def schedule_for(query: QueryPlan, schema: TableSchema, block_count: int, node: Node) -> Schedule:
    """The schedule of a query. Raises Invalid (`plan.too_long`) where its worst case is beyond what may be planned."""
    blocks_per_lane = -(-block_count // lanes_for(block_count, node))
    block = BLOCK + BLOCK_PER_CHARACTER * len(query.block_sql) + _row_seconds(query, schema) / block_count
    work = block * node.slowness * blocks_per_lane
    gate = GATE_SECONDS + SEAL_SECONDS + _gate_seconds(query, schema) * node.slowness
    start = node.start_seconds * START_SAFETY
    seconds = bucket(start + work + gate)
    if seconds > LONGEST:
        raise Invalid(
            "plan.too_long",
            f"the planned worst case of this query is longer than {LONGEST:.0f} s",
            where={"field": "query"},
            way_out="fewer aggregates, or group by fewer or coarser columns",
        )
    return Schedule(seconds, gate, (seconds - start - gate) / blocks_per_lane)


def _row_seconds(query: QueryPlan, schema: TableSchema) -> float:
    """One core's worst case over all blocks of a version that holds EXCESS times what it declares."""
    rows = EXCESS * schema.rows
    pairs = min(rows, EXCESS * schema.units * query.cells) if query.cells is not None else rows
    per_row = ROW + ROW_PER_COLUMN * (query.columns + len(query.keys)) + ROW_PER_CHARACTER * len(query.block_sql)
    per_pair = PAIR + PAIR_PER_MEASURE * len(query.measures) + PAIR_PER_KEY * len(query.keys)
    return (rows * per_row + pairs * per_pair) / 1e6


def _gate_seconds(query: QueryPlan, schema: TableSchema) -> float:
    averages = sum(output.aggregate is Aggregate.AVG for output in query.outputs)
    per_cell = CELL + CELL_PER_MEASURE * len(query.measures) + CELL_PER_AVERAGE * averages
    if query.cells is not None:
        return query.cells * per_cell / 1e6
    return (query.max_groups_in_partial * SEEN_KEY + _shown_keys(query, schema) * per_cell) / 1e6


def _shown_keys(query: QueryPlan, schema: TableSchema) -> float:
    """How many private keys can pass: noise aside, each needs half the threshold in units, and there are only so many units."""
    if query.threshold is None:
        return query.max_groups_in_partial
    contributions = EXCESS * schema.units * query.max_groups
    return min(query.max_groups_in_partial, 50 + 2 * contributions / max(1, query.threshold.threshold))
