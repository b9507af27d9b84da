"""From Parquet blocks to totals: views, rows, the pass and the partial together say what the interpreter says."""

from __future__ import annotations

from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from assets.physical import arrow_type, parquet_bytes
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.algebra import scan_of
from privacy.sql.block_sql import block_sql
from privacy.sql.block_views import views_of
from privacy.sql.bounds import Bounds
from privacy.sql.instruction import pass_specification, row_stage
from privacy.sql.interpreter import cells_of
from privacy.sql.row_columns import KeyKind
from tests.unit.clinic_catalogue import accepted
from tests.unit.query_blocks import MEMORY, SEED, cells, partial_of, rows, worlds_in
from tests.unit.sql_planned import planned
from tests.unit.sql_trees import Trees, accepted_grouping, some_bounds
from tests.unit.test_query_kernel import aggregate, compiled
from tests.unit.test_sql_block_sql import instruction_of, shape_of

TEXTS = (
    "SELECT COUNT(*), SUM(cost), AVG(score) FROM visits",
    "SELECT ward, outcome, COUNT(*), COUNT(DISTINCT patient) FROM visits WHERE seen < '2020-02-20' GROUP BY ward, outcome",
    "SELECT note, urgent, SUM(age) FROM visits WHERE note <> 'asp' OR arrived IS NULL GROUP BY note, urgent",
    "SELECT town, SUM(doses) FROM people JOIN visits ON person = patient JOIN drugs USING (visit) GROUP BY town",
    "SELECT w.beds, COUNT(DISTINCT score), MEDIAN(cost) FROM visits JOIN wards w ON ward = w.name GROUP BY w.beds",
    "SELECT n, COUNT(*) FROM (SELECT person, COUNT(visit) AS n FROM people LEFT JOIN visits ON person = patient GROUP BY person) GROUP BY n",
    "SELECT n, COUNT(DISTINCT unit) FROM (SELECT person AS unit, 1 AS n FROM people UNION ALL SELECT patient, 2 FROM visits) GROUP BY n",
    "SELECT ward, STDDEV_SAMP(score), SUM(cost) FILTER (WHERE urgent) FROM visits GROUP BY ROLLUP (ward)",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return aggregate.load(compiled(tmp_path_factory.mktemp("pass"), "-O1"))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return worlds_in(tmp_path_factory.mktemp("blocks"))


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


def view_rows(folder, schema, table, private=True):
    """What the view of a table holds, by unit and then in no order, units by their texts; `table` is an Arrow table as it is stored."""
    (view,) = views_of(scan_of(0, "an/asset", schema, private=private))
    other = TableSchema("other", "who", (Column("who", ColumnType.STRING),), 9, 9)
    paths = {"an/asset": folder / "block.parquet", "other": folder / "other.parquet"}
    paths["an/asset"].write_bytes(parquet_bytes(table))
    paths["other"].write_bytes(parquet_bytes(pa.table({"who": ["a"]})))

    class Told:
        block_sql = "SELECT * FROM t0"
        views = (view, *views_of(scan_of(1, "other", other, private=True)))

    files = {asset: str(path) for asset, path in paths.items()}
    public = {} if private else {"an/asset": [files.pop("an/asset")]}
    units, batches = rows.RowStage(row_stage(Told), public, [files], MEMORY).block(files)
    assert units.null_count == 0
    found = pa.Table.from_batches(list(batches)).to_pylist()
    if not private:
        return found
    return sorted(({**row, "u": units[row["u"]].as_py()} for row in found), key=lambda row: row["u"])


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
    expected = [{"u": u, "c1": text, "e1": at} for u, text, at in zip(who, texts.to_pylist(), places, strict=True)]
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
    found = view_rows(tmp_path, schema, table, private=False)
    assert sorted((row["c0"], row["c1"]) for row in found) == [(-3, 2), (12, 1)]


def test_a_column_stored_in_another_form_is_refused(tmp_path):
    columns = (Column("who", ColumnType.STRING), Column("x", ColumnType.DECIMAL, scale=2))
    schema = TableSchema("t", "who", columns, 99, 9)
    for wrong in (pa.array([1.5]), pa.array([Decimal("1.500")], pa.decimal128(18, 3)), pa.array([True])):
        with pytest.raises(ValueError, match="does not hold a number"):
            view_rows(tmp_path, schema, pa.table({"who": ["a"], "x": wrong}))


def test_a_row_without_a_unit_is_nobodys(tmp_path):
    columns = (Column("who", ColumnType.STRING), Column("x", ColumnType.INT))
    schema = TableSchema("t", "who", columns, 99, 9)
    table = pa.table({"who": ["b", None, "a", "b"], "x": pa.array([1, 2, 3, 4], pa.int64())})
    assert sorted((row["u"], row["c1"]) for row in view_rows(tmp_path, schema, table)) == [("a", 3), ("b", 1), ("b", 4)]


def test_names_of_stored_columns_are_only_names(tmp_path):
    columns = (Column('a"; DROP', ColumnType.STRING), Column("u", ColumnType.INT), Column("unit", ColumnType.INT))
    schema = TableSchema("t", 'a"; DROP', columns, 99, 9)
    table = pa.table({'a"; DROP': ["x", "w"], "u": pa.array([5, 6]), "unit": pa.array([7, 8])})
    assert view_rows(tmp_path, schema, table) == [{"u": "w", "c1": 6, "c2": 8}, {"u": "x", "c1": 5, "c2": 7}]


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
