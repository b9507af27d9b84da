"""What a pair of unit and group costs in the bounded pass, and a cell in the gate: the figures that jobs/schedule.py plans with.

Run by `just bench-costs`. One core's processor seconds; the planned figures should be about twice these.
"""

from __future__ import annotations

import importlib.util
import json
import time
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from jobs.schedule import Node, schedule_for
from privacy.accountant import Accountant
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.combine import Totals
from privacy.sql.plan import QueryRequest, plan_query
from privacy.sql.plan_model import QueryPlan
from privacy.sql.release import release

RUNNER = Path(__file__).resolve().parent.parent / "runtime_images" / "query" / "runner.py"
NODE = Node(lanes=1, lane_memory_bytes=1 << 30, start_seconds=1.0, slowness=1.0, cancel_seconds=3)
UNITS, CELLS = 50_000, 2_000


def planned(averages: int) -> tuple[QueryPlan, TableSchema]:
    """A plan of that many averages over CELLS public cells, for UNITS units of one row each."""
    numbers = tuple(Column(f"x{i}", ColumnType.INT, nullable=True, lower=0, upper=9) for i in range(averages))
    unit = Column("unit", ColumnType.STRING, max_length=8)
    key = Column("k", ColumnType.INT, public=True, lower=1, upper=CELLS)
    schema = TableSchema("t", "unit", (unit, key, *numbers), UNITS, UNITS)
    listed = ", ".join(f"AVG(x{i}) AS a{i}" for i in range(averages))
    request = QueryRequest(f"SELECT k, {listed} FROM t GROUP BY k", Fraction(1), None, 1, 1, Accountant.BASIC)
    return plan_query(request, schema), schema


def runner() -> ModuleType:
    """The container's own program, as a module."""
    described = importlib.util.spec_from_file_location("runner", RUNNER)
    if described is None or described.loader is None:
        raise SystemExit("the runner is not there")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def pass_seconds(plan: QueryPlan, averages: int) -> float:
    """Processor seconds of the bounded pass over UNITS pairs."""
    columns: dict[str, Any] = {
        "unit": [f"u{i:07d}" for i in range(UNITS)],
        "k0": [i % CELLS + 1 for i in range(UNITS)],
        "n": [1] * UNITS,
    }
    for index in range(averages):
        columns |= {f"nn{index}": [1] * UNITS, f"s{index}": [i % 10 for i in range(UNITS)]}
    batches = pa.table(columns).to_batches(max_chunksize=8192)
    instruction = json.loads(plan.instruction([(0, "x")], b"s" * 32, 60, 60)[4:])
    module = runner()
    begun = time.process_time()
    module.bounded(iter(batches), instruction)
    return time.process_time() - begun


def gate_seconds(plan: QueryPlan) -> float:
    """Processor seconds of noise and intervals over CELLS cells."""
    begun = time.process_time()
    release(Totals({}), plan)
    return time.process_time() - begun


def main() -> None:
    """Measure three shapes and print them beside what is planned for them."""
    print(f"{'averages':>8} {'pass us/pair':>13} {'gate us/cell':>13} {'gate planned':>13}")
    for averages in (1, 8, 30):
        plan, schema = planned(averages)
        pair = 1e6 * pass_seconds(plan, averages) / UNITS
        cell = 1e6 * gate_seconds(plan) / CELLS
        schedule = schedule_for(plan, schema, 1, NODE)
        print(f"{averages:>8} {pair:>13.1f} {cell:>13.1f} {1e6 * schedule.gate_seconds / CELLS:>13.1f}")


if __name__ == "__main__":
    main()
