"""From Parquet blocks to totals: views, rows, the pass and the partial together say what the interpreter says; a sheaf lives and dies alone."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from assets.physical import arrow_schema, arrow_type, parquet_bytes
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.algebra import scan_of
from privacy.sql.block_sql import block_sql
from privacy.sql.block_views import views_of
from privacy.sql.bounds import Bounds
from privacy.sql.instruction import pass_specification, row_stage
from privacy.sql.interpreter import cells_of
from privacy.sql.row_columns import KeyKind
from privacy.sql.totals import combine
from tests.unit.clinic_catalogue import accepted
from tests.unit.sql_planned import planned
from tests.unit.sql_trees import TABLES, UNITS, Trees, accepted_grouping, some_bounds, tables_of
from tests.unit.test_query_kernel import aggregate, compiled
from tests.unit.test_sql_block_sql import instruction_of, shape_of

QUERY = Path(__file__).resolve().parents[2] / "runtime_images" / "query"
SEED = bytes(range(16))
MEMORY = 256 << 20
SCHEMAS = {table.asset: table.schema for table in TABLES}
SEEDS = [seed for seed in range(60) if len(tables_of(seed)["clinic/visits"]) > 9][:3]
TEXTS = (
    "SELECT COUNT(*), SUM(cost), AVG(score) FROM visits",
    "SELECT ward, outcome, COUNT(*), COUNT(DISTINCT patient) FROM visits WHERE seen < '2020-02-20' GROUP BY ward, outcome",
    "SELECT note, urgent, SUM(age) FROM visits WHERE note <> 'asp' OR arrived IS NULL GROUP BY note, urgent",
    "SELECT town, SUM(doses) FROM people JOIN visits ON person = patient JOIN drugs USING (visit) GROUP BY town",
    "SELECT w.beds, COUNT(DISTINCT score), MEDIAN(cost) FROM visits JOIN wards w ON ward = w.name GROUP BY w.beds",
    "SELECT n, COUNT(*) FROM (SELECT person, COUNT(visit) AS n FROM people LEFT JOIN visits ON person = patient GROUP BY person) GROUP BY n",
    "SELECT ward, STDDEV_SAMP(score), SUM(cost) FILTER (WHERE urgent) FROM visits GROUP BY ROLLUP (ward)",
)

_spec = importlib.util.spec_from_file_location("query_rows", QUERY / "rows.py")
rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows)


@pytest.fixture(scope="module")
def library_path(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("pass"), "-O1")


@pytest.fixture(scope="module")
def library(library_path):
    return aggregate.load(library_path)


def written(path, table, schema):
    """A block's file, with the unit as text whatever its type."""
    fields = arrow_schema(schema)
    at = fields.get_field_index(schema.unit)
    fields = fields.set(at, pa.field(schema.unit, pa.utf8(), nullable=False))
    made = [{**row, schema.unit: str(row[schema.unit])} for row in table]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(parquet_bytes(pa.Table.from_pylist(made, fields)))
    return str(path)


def stored(folder, tables, blocks=3, shuffle=None):
    """The tables as files: public ones whole, in two parts; of private ones each block's units, in their order or in none."""
    public, private = {}, [{} for _ in range(blocks)]
    for asset, table in tables.items():
        schema = SCHEMAS[asset]
        if asset not in UNITS:
            parts = enumerate((table[:1], table[1:]))
            public[asset] = [written(folder / f"{asset}-{at}.parquet", part, schema) for at, part in parts]
            continue
        ordered = sorted(table, key=lambda row: row[schema.unit])
        if shuffle is not None:
            shuffle.shuffle(ordered)
        for at, files in enumerate(private):
            mine = [row for row in ordered if sum(row[schema.unit].encode()) % blocks == at]
            files[asset] = written(folder / f"{asset}-{at}.parquet", mine, schema)
    return public, private


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    found = []
    for seed in SEEDS:
        tables, shuffle = tables_of(seed), random.Random(seed)
        folder = tmp_path_factory.mktemp("blocks")
        found.append((tables, stored(folder / "sorted", tables), stored(folder / "shuffled", tables, 2, shuffle)))
    return found


def partial_of(library, stage, told, files):
    public, private = files
    reading = rows.RowStage(stage, public, private, MEMORY)
    with aggregate.Pass(library, told) as running:
        for of in private:
            texts, batches = reading.block(of)
            running.block(len(texts), texts, batches)
        return running.partial()


def cells(partials, shape):
    """What partials say of each set."""
    return tuple(
        dict(zip(part.keys, map(tuple, part.values.tolist()), strict=True)) for part in combine(partials, shape).sets
    )


def bounds_of(plan):
    ranges = tuple(
        range(key.low, key.low + key.count) if key.column.kind is KeyKind.INTEGER and key.count else None
        for key in plan.keys
    )
    return Bounds(tuple(each.max_groups for each in plan.sets), plan.max_rows, plan.measures, SEED, ranges)


@pytest.mark.parametrize("sql", TEXTS)
def test_a_sheaf_of_blocks_gives_the_interpreters_cells(sql, worlds, library):
    grouping, seen = accepted(sql).grouping, 0
    for groups, cap in ((9, 50), (1, 2)):
        plan = planned(sql, groups=groups, cap=cap)
        for tables, *files in worlds:
            expected = cells_of(grouping, tables, bounds_of(plan))
            seen += sum(map(len, expected))
            for each in files:
                found = partial_of(library, row_stage(plan), pass_specification(plan, SEED), each)
                assert cells([found], plan.shape) == expected
    assert seen


def stage_of(grouping):
    """As `row_stage` says it of a plan."""

    class Told:
        block_sql = block_sql(grouping)
        views = views_of(grouping.source)

    return row_stage(Told)


@pytest.mark.parametrize("start", range(0, 90, 30))
def test_random_groupings_over_blocks_give_the_interpreters_cells(start, worlds, library):
    for number in range(start, start + 30):
        trees = Trees(number)
        grouping = accepted_grouping(trees)
        bounds = some_bounds(trees.pick, grouping)
        tables, *files = worlds[number % len(worlds)]
        found = partial_of(library, stage_of(grouping), instruction_of(grouping, bounds), files[number % 2])
        assert cells([found], shape_of(grouping, bounds)) == cells_of(grouping, tables, bounds), number


def test_sheaves_add_up_to_what_one_gives(worlds, library):
    plan = planned(TEXTS[1])
    stage, told = row_stage(plan), pass_specification(plan, SEED)
    for _, (public, private), _ in worlds:
        parts = [partial_of(library, stage, told, (public, [of])) for of in private]
        whole = partial_of(library, stage, told, (public, private))
        assert cells(parts, plan.shape) == cells([whole], plan.shape)


# --- The forms of stored columns. -------------------------------------------------------------------------------------


def view_rows(tmp_path, schema, table, private=True):
    """What the view of a table holds, its rows in order; `table` is an Arrow table as it is stored."""
    (view,) = views_of(scan_of(0, "an/asset", schema, private=private))
    path = tmp_path / "block.parquet"
    path.write_bytes(parquet_bytes(table))

    class Told:
        block_sql = "SELECT * FROM t0" + (" ORDER BY u" if private else "")
        views = (view,)

    if private:
        _, batches = rows.RowStage(row_stage(Told), {}, [{"an/asset": str(path)}], MEMORY).block(
            {"an/asset": str(path)}
        )
        return pa.Table.from_batches(list(batches)).to_pylist()
    other = tmp_path / "other.parquet"
    other.write_bytes(parquet_bytes(pa.table({"who": ["a"]})))
    Told.views = (
        view,
        *views_of(
            scan_of(1, "other", TableSchema("o", "who", (Column("who", ColumnType.STRING),), 1, 1), private=True)
        ),
    )
    stage = rows.RowStage(row_stage(Told), {"an/asset": [str(path)]}, [{"other": str(other)}], MEMORY)
    _, batches = stage.block({"other": str(other)})
    return pa.Table.from_batches(list(batches)).to_pylist()


@pytest.mark.parametrize("scale", range(1, 13))
def test_every_number_that_a_block_can_hold_stands_on_its_grid(tmp_path, scale):
    ends = [s * n for n in (0, 1, 10**scale - 1, 10**scale, 2**53 - 1, 10**17, 10**18 - 1) for s in (1, -1)]
    column = Column("x", ColumnType.DECIMAL, nullable=True, scale=scale)
    schema = TableSchema("t", "who", (Column("who", ColumnType.STRING), column), 99, 9)
    values = [Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale)) for n in ends]
    table = pa.table(
        {"who": [f"{at:03}" for at in range(len(ends) + 1)], "x": pa.array([*values, None], arrow_type(column))}
    )
    assert [row["c1"] for row in view_rows(tmp_path, schema, table)] == [*ends, None]


LONG = tuple(f"it's, {at}" for at in range(40_000))


@pytest.mark.parametrize("values", [LONG[:3], LONG[: rows.SEARCHED], LONG[: rows.SEARCHED + 1], LONG[:9_999]])
def test_a_listed_text_has_its_place_however_it_is_stored(tmp_path, values):
    columns = (Column("who", ColumnType.STRING), Column("x", ColumnType.CATEGORY, nullable=True, values=values))
    schema = TableSchema("t", "who", columns, 99, 9)
    places = [0, 1, None, len(values) - 1]
    who = ["a", "b", "c", "d"]
    texts = pa.array([None if at is None else values[at] for at in places], pa.string())
    expected = [
        {"u": u, "c1": text, "e1": at} for u, (text, at) in enumerate(zip(texts.to_pylist(), places, strict=True))
    ]
    for form in (texts, pa.array(places, pa.int16()), pa.array(places, pa.int32())):
        assert view_rows(tmp_path, schema, pa.table({"who": who, "x": form})) == expected


def test_numbers_may_be_stored_on_their_grid(tmp_path):
    columns = (Column("who", ColumnType.STRING), Column("x", ColumnType.DECIMAL, nullable=True, scale=2))
    schema = TableSchema("t", "who", columns, 99, 9)
    table = pa.table({"who": ["a", "b"], "x": pa.array([-150, None], pa.int64())})
    assert [row["c1"] for row in view_rows(tmp_path, schema, table)] == [-150, None]


def test_the_unit_of_a_public_table_has_its_declared_type(tmp_path):
    columns = (Column("part", ColumnType.STRING), Column("size", ColumnType.INT))
    schema = TableSchema("t", "part", columns, 99, 9, unit_type=ColumnType.INT)
    table = pa.table({"part": ["12", "-3"], "size": pa.array([1, 2], pa.int64())})
    assert view_rows(tmp_path, schema, table, private=False) == [{"c0": 12, "c1": 1}, {"c0": -3, "c1": 2}]


def test_a_column_stored_in_another_form_is_refused(tmp_path):
    columns = (Column("who", ColumnType.STRING), Column("x", ColumnType.DECIMAL, scale=2))
    schema = TableSchema("t", "who", columns, 99, 9)
    for wrong in (pa.array([1.5]), pa.array([Decimal("1.500")], pa.decimal128(18, 3)), pa.array([True])):
        with pytest.raises(ValueError, match="does not hold a number"):
            view_rows(tmp_path, schema, pa.table({"who": ["a"], "x": wrong}))


def test_names_of_stored_columns_are_only_names(tmp_path):
    columns = (Column('a"; DROP', ColumnType.STRING), Column("u", ColumnType.INT), Column("unit", ColumnType.INT))
    schema = TableSchema("t", 'a"; DROP', columns, 99, 9)
    table = pa.table({'a"; DROP': ["x", "w"], "u": pa.array([5, 6]), "unit": pa.array([7, 8])})
    assert view_rows(tmp_path, schema, table) == [{"u": 0, "c1": 6, "c2": 8}, {"u": 1, "c1": 5, "c2": 7}]


# --- What the connection can reach. -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nonsense",
        "SELECT content FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY units TO '/tmp/escaped.csv'",
        "ATTACH '/tmp/escaped.db'",
        "INSTALL httpfs",
        "SET threads = 8",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
        "SET disabled_optimizers = ''",
        "SELECT * FROM secret",
    ],
)
def test_sql_reaches_nothing_beyond_its_sheaf(sql, worlds):
    secret = pa.table({"u": [1]})
    assert secret.num_rows
    plan = planned(TEXTS[0])
    _, (public, private), _ = worlds[0]
    reading = rows.RowStage({**row_stage(plan), "sql": sql}, public, private[:1], MEMORY)
    with pytest.raises(duckdb.Error):
        list(reading.block(private[0])[1])


def test_another_blocks_file_cannot_be_read(worlds):
    _, (public, private), _ = worlds[0]
    for path, allowed in ((private[0]["clinic/visits"], True), (private[1]["clinic/visits"], False)):
        stage = {**row_stage(planned(TEXTS[0])), "sql": f"SELECT * FROM read_parquet('{path}')"}
        reading = rows.RowStage(stage, public, private[:1], MEMORY)
        if allowed:
            list(reading.block(private[0])[1])
        else:
            with pytest.raises(duckdb.Error):
                list(reading.block(private[0])[1])


def test_the_database_keeps_to_what_was_planned(worlds):
    _, (public, private), _ = worlds[0]
    settings = ("TimeZone", "disabled_optimizers", "threads", "enable_external_access", "lock_configuration")
    wanted = ", ".join(f"current_setting('{name}') AS {name}" for name in settings)
    stage = {**row_stage(planned(TEXTS[0])), "sql": f"SELECT {wanted}"}
    ((found,),) = [
        batch.to_pylist() for batch in rows.RowStage(stage, public, private[:1], MEMORY).block(private[0])[1]
    ]
    assert list(found.values()) == ["UTC", "join_order", 1, False, True]


# --- A process a sheaf. -----------------------------------------------------------------------------------------------

DRIVER = f"""
import json, os, sys
sys.path.insert(0, {str(QUERY)!r})
from pathlib import Path
import aggregate, sheaf
instruction = json.load(open(sys.argv[1]))
library = aggregate.load(Path(sys.argv[2]))
try:
    found = [sheaf.run(each, instruction, library, 0) for each in instruction["sheaves"]]
except sheaf.Gone:
    sys.exit(3)
json.dump([None if each is None else each.hex() for each in found], sys.stdout)
"""
SLOW = "SELECT CAST(0 AS INTEGER) AS u, sum(a.range * b.range) AS v0 FROM range(1000000000) a, range(1000) b"
HUNGRY = "SELECT CAST(0 AS INTEGER) AS u, count(*) AS v0 FROM (SELECT range, count(*) FROM range(20000000) GROUP BY 1)"


def started(tmp_path, library_path, instruction):
    path = tmp_path / "instruction.json"
    path.write_text(json.dumps(instruction))
    command = [sys.executable, "-I", "-c", DRIVER, str(path), str(library_path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ran(tmp_path, library_path, instruction):
    with started(tmp_path, library_path, instruction) as process:
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait() == 0, err
    return [None if each is None else bytes.fromhex(each) for each in json.loads(out)], err


def told(plan, public, sheaves, **changes):
    return {
        "stage": row_stage(plan),
        "pass": pass_specification(plan, SEED),
        "public": public,
        "sheaves": [{"blocks": blocks} for blocks in sheaves],
        "memory_bytes": MEMORY,
        "cpu_seconds": 20,
        "max_partial_bytes": plan.shape.max_bytes,
    } | changes


PLAN = planned(TEXTS[4])


def test_a_sheaf_that_fails_is_empty_and_the_others_are_whole(tmp_path, worlds, library, library_path):
    _, (public, private), _ = worlds[0]
    (tmp_path / "rubbish.parquet").write_bytes(b"PAR1 not really")
    rubbish = {**private[1], "clinic/visits": str(tmp_path / "rubbish.parquet")}
    sheaves = [private[:2], [private[0], rubbish], [], private[2:]]
    found, err = ran(tmp_path, library_path, told(PLAN, public, sheaves))
    expected = [
        partial_of(library, row_stage(PLAN), pass_specification(PLAN, SEED), (public, each))
        for each in (sheaves[0], sheaves[3])
    ]
    assert found[0] == expected[0]
    assert found[1] is None
    assert cells([found[2]], PLAN.shape) == ({},)
    assert found[3] == expected[1]
    assert b"rubbish" in err  # for the operator's sealed log


def test_a_sheaf_that_computes_too_long_is_ended(tmp_path, worlds, library_path):
    _, (public, private), _ = worlds[0]
    changes = {"stage": {**row_stage(PLAN), "sql": SLOW}, "cpu_seconds": 2}
    began = time.monotonic()
    assert ran(tmp_path, library_path, told(PLAN, public, [private], **changes))[0] == [None]
    assert time.monotonic() - began < 60


def test_a_sheaf_that_takes_too_much_memory_fails(tmp_path, worlds, library_path):
    _, (public, private), _ = worlds[0]
    changes = {"stage": {**row_stage(PLAN), "sql": HUNGRY}, "memory_bytes": 64 << 20}
    assert ran(tmp_path, library_path, told(PLAN, public, [private], **changes))[0] == [None]


def test_a_partial_longer_than_the_plan_allows_is_not_sent(tmp_path, worlds, library, library_path):
    _, (public, private), _ = worlds[0]
    whole = partial_of(library, row_stage(PLAN), pass_specification(PLAN, SEED), (public, private))
    for allowed, expected in ((len(whole), whole), (len(whole) - 1, None)):
        found, _ = ran(tmp_path, library_path, told(PLAN, public, [private], max_partial_bytes=allowed))
        assert found == [expected]


def test_a_sheaf_ends_with_whoever_asked(tmp_path, worlds, library_path):
    _, (public, private), _ = worlds[0]
    changes = {"stage": {**row_stage(PLAN), "sql": SLOW}}
    with started(tmp_path, library_path, told(PLAN, public, [private], **changes)) as process:
        child = forked_of(process.pid)
        process.stdin.close()
        assert process.wait(timeout=30) == 3
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def forked_of(parent: int) -> int:
    """The process that a process has forked, once it has."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("it has not forked")
