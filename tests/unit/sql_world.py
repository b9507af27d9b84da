"""A small table with every type, its rows as blocks on disk, the real runner, and a gate without noise: what the SQL tests share."""

from __future__ import annotations

import importlib.util
import json
import random
import struct
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from privacy.accountant import Accountant
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.plan import QueryPlan, QueryRequest, plan_query
from privacy.sql.tree import Aggregate

RUNNER = Path(__file__).resolve().parents[2] / "runtime_images" / "query" / "runner.py"
_spec = importlib.util.spec_from_file_location("banyan_query_runner", RUNNER)
runner = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(runner)

SCHEMA = TableSchema(
    name="visits",
    unit="person",
    columns=(
        Column("person", ColumnType.STRING, max_length=20),
        Column("ward", ColumnType.CATEGORY, public=True, values=("north", "south", "it's")),
        Column("outcome", ColumnType.CATEGORY, nullable=True, public=True, values=("good", "bad")),
        Column("surname", ColumnType.STRING, nullable=True, max_length=12),
        Column("age", ColumnType.INT, lower=0, upper=110, public=True),
        Column("score", ColumnType.INT, nullable=True, lower=-7, upper=12),
        Column("cost", ColumnType.DECIMAL, nullable=True, scale=2, lower=Decimal("-2.50"), upper=Decimal("99.99")),
        Column("weight", ColumnType.DECIMAL, scale=2),
        Column("urgent", ColumnType.BOOL, nullable=True, public=True),
        Column("seen", ColumnType.DATE, nullable=True, public=True, lower=date(2020, 2, 27), upper=date(2020, 3, 2)),
        Column("born", ColumnType.DATE, nullable=True),
        Column("arrived", ColumnType.TIMESTAMP, nullable=True),
    ),
    rows=1000,
    units=200,
)

ARROW = {
    ColumnType.INT: pa.int64(),
    ColumnType.STRING: pa.utf8(),
    ColumnType.CATEGORY: pa.utf8(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: pa.timestamp("us", "UTC"),
}


def plan_of(sql, *, groups=3, rows=5, epsilon="1", delta=None, accountant=Accountant.BASIC, schema=SCHEMA) -> QueryPlan:
    return plan_query(QueryRequest(sql, Fraction(epsilon), delta, groups, rows, accountant), schema)


def some_rows(count: int, seed: int, units: int = 12) -> list[dict]:
    """Rows that meet the declaration, with NULL wherever it may stand."""
    pick = random.Random(seed)

    def maybe(value):
        return None if pick.random() < 0.2 else value

    return [
        {
            "person": f"p{pick.randrange(units)}",
            "ward": pick.choice(SCHEMA.column("ward").values),
            "outcome": maybe(pick.choice(("good", "bad"))),
            "surname": maybe(pick.choice(("Li", "Wáng", "O'Neil", "李", "Zyx", ""))),
            "age": pick.choice((0, 1, 30, 31, 110)),
            "score": maybe(pick.randint(-7, 12)),
            "cost": maybe(Decimal(pick.randint(-250, 9999)) / 100),
            "weight": Decimal(pick.randint(-(10**6), 10**6)) / 100,
            "urgent": maybe(pick.random() < 0.5),
            "seen": maybe(date(2020, 2, 27) + timedelta(days=pick.randrange(5))),
            "born": maybe(date(1900, 1, 1) + timedelta(days=pick.randrange(50_000))),
            "arrived": maybe(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=pick.randrange(10**14))),
        }
        for _ in range(count)
    ]


def arrow_of(rows: list[dict], schema: TableSchema = SCHEMA) -> pa.Table:
    fields = [
        pa.field(c.name, pa.decimal128(18, c.scale) if c.type is ColumnType.DECIMAL else ARROW[c.type])
        for c in schema.columns
    ]
    return pa.Table.from_pylist(rows, pa.schema(fields))


def write_block(path: Path, rows: list[dict], schema: TableSchema = SCHEMA) -> Path:
    pq.write_table(arrow_of(sorted(rows, key=lambda row: row[schema.unit]), schema), path)
    return path


def instruction_of(plan: QueryPlan, seed: bytes = bytes(32), blocks=()) -> dict:
    return json.loads(plan.instruction(blocks, seed, 10, 120)[4:])


def partial_of(plan: QueryPlan, path: Path, seed: bytes = bytes(32)) -> bytes:
    """What the runner's own code makes of one block, in this process."""
    instruction = instruction_of(plan, seed)
    return runner.bounded(runner.rows_of(str(path), instruction["sql"], 256 << 20), instruction)


def run_runner(message: bytes, timeout: float = 60) -> tuple[int, list[tuple[int, int, bytes]], bytes]:
    """The runner as a process: exit code, frames, stderr. stdin stays open until it has ended, as in the sandbox."""
    process = subprocess.Popen(
        [sys.executable, str(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        process.stdin.write(message)
        process.stdin.flush()
        out = process.stdout.read()
        err = process.stderr.read()
        code = process.wait(timeout)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    return code, frames_of(out), err


def frames_of(out: bytes) -> list[tuple[int, int, bytes]]:
    frames = []
    while out:
        index, status, size = struct.unpack(">IBI", out[:9])
        frames.append((index, status, out[9 : 9 + size]))
        out = out[9 + size :]
    return frames


class ExactGate:
    """No noise and no threshold: for tests of exactness only."""

    def draw(self, noise, values):
        return list(values)

    def select(self, threshold, units):
        return dict(units)


def exact_answer(connection, sql: str, plan: QueryPlan) -> dict[tuple, list]:
    """What plain DuckDB says on the original rows. An AVG is its exact sum by its exact count, rounded as is declared."""
    asked = sql.removeprefix("SELECT ").partition(" FROM ")[0].split(", ")
    averages = {i for i, output in enumerate(plan.outputs) if output.aggregate is Aggregate.AVG}
    select = [
        f"[sum({t[4:-1]}), count({t[4:-1]})]::DECIMAL(38, 2)[]" if i in averages else t for i, t in enumerate(asked)
    ]
    found = connection.sql(f"SELECT {', '.join(select)} FROM {sql.partition(' FROM ')[2]}").fetchall()
    keys = [i for i, output in enumerate(plan.outputs) if output.aggregate is None]
    return {
        tuple(_shown(row[i]) for i in keys): [_exact(row[i], plan.outputs[i]) for i in range(len(row)) if i not in keys]
        for row in found
    }


def _exact(value, output) -> int | float:
    if output.aggregate is not Aggregate.AVG:
        return float(value) if isinstance(value, Decimal) and value % 1 else int(value or 0)
    total, count = value
    # No value in a group: DuckDB says NULL, we release the middle of the bounds.
    mean = Fraction(total) / Fraction(count) if count else Fraction(output.lower + output.upper >> 1, 10**output.scale)
    return float(round(mean, output.scale + 6))


def _shown(value):
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if hasattr(value, "hour") else value.isoformat()


def assert_exact(table, expected: dict[tuple, list], plan: QueryPlan) -> None:
    """The released table says what is expected, and nothing in cells that no row is in."""
    keys = [c["name"] for c in table.columns if c["role"] == "key"]
    values = [(c["name"], o) for c, o in zip(table.columns, plan.outputs, strict=True) if c["role"] == "value"]
    found = {tuple(row[key] for key in keys): [row[name]["value"] for name, _ in values] for row in table.rows}
    assert set(expected) <= set(found)
    assert plan.cells is not None or set(found) == set(expected)
    for key, cells in found.items():
        if key in expected:
            assert cells == expected[key]
        else:
            assert not any(cell for cell, (_, o) in zip(cells, values, strict=True) if o.aggregate is not Aggregate.AVG)
