"""What block SQL says of a checked tree is what the interpreter says, on every kind of node; and nothing that was typed stands in it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest

from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.aggregates import Aggregate, Inner, inner_facts
from privacy.sql.algebra import UNIT, Filter, Lookup, Project, Scan, Stacked, Summary, constant_of, facts_over, scan_of
from privacy.sql.asked import Asked, Grouping, Key
from privacy.sql.block_sql import block_sql, relation_sql, views_read
from privacy.sql.block_views import views_of
from privacy.sql.bounds import Adds
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.facts import Facts, Unfit
from privacy.sql.functions import sql_type
from privacy.sql.held import Kind
from privacy.sql.interpreter import cells_of
from privacy.sql.interpreter_rows import rows_of
from privacy.sql.partial_bytes import SetShape, Shape
from privacy.sql.relation_graph import relations_in
from privacy.sql.row_columns import KeyKind, key_columns, value_columns, value_places
from privacy.sql.totals import combine
from tests.unit.clinic_catalogue import accepted
from tests.unit.sql_trees import Trees, Views, accepted_grouping, scans, some_bounds, tables_of
from tests.unit.test_query_kernel import aggregate, compiled
from tests.unit.test_sql_meaning import TEXTS

SEEDS = (2, *[seed for seed in range(9, 60) if len(tables_of(seed)["clinic/visits"]) > 9][:2])


@pytest.fixture(scope="module")
def views():
    return {seed: (tables_of(seed), Views(tables_of(seed))) for seed in SEEDS}


def counted(rows):
    """Rows as a multiset, TRUE apart from 1."""
    return Counter(tuple(map(repr, row)) for row in rows)


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_rows_of_random_trees_are_the_interpreters(start, views):
    for number in range(start, start + 20):
        relation = Trees(number).relation()
        sql = relation_sql(relation)
        for tables, database in views.values():
            expected = rows_of(relation, tables)
            assert len(expected) <= relation.rows
            assert counted(database.rows(sql, relation)) == counted(expected), (number, sql)
        types = [sql_type(f) if f.kind is not Kind.NOTHING else '"NULL"' for f in facts_over(relation)]
        found = [row[1] for row in database.use(*views_of(relation)).execute(f"DESCRIBE {sql}").fetchall()]
        assert found[int(relation.private) :] == types[int(relation.private) :], sql


# --- The rows that the pass takes, and what it makes of them. ---------------------------------------------------------


def instruction_of(grouping, bounds):
    """The pass's instruction for these bounds."""
    keys = [
        {"kind": key.kind.value}
        | ({"max_bytes": key.max_bytes} if key.kind is KeyKind.TEXT else {"width": key.width})
        | ({"values": list(key.values)} if key.kind is KeyKind.CODE else {})
        | ({"low": allowed.start, "count": len(allowed)} if allowed is not None else {})
        for key, allowed in zip(key_columns(grouping), bounds.ranges, strict=True)
    ]
    names = {"low": "low", "high": "high", "centre": "centre", "step": "step", "k": "k"}
    measures = [
        {"kind": m.adds.value, "value": m.value} | {name: getattr(m, of) for name, of in names.items()}
        for m in bounds.measures
    ]
    sets = [
        {"keys": list(chosen), "max_groups": most, "most_groups": 10**4, "most_values": 10**4}
        for chosen, most in zip(grouping.sets, bounds.max_groups, strict=True)
    ]
    return {
        "seed": bounds.seed.hex(),
        "max_rows": bounds.max_rows,
        "values": len(value_columns(grouping)),
        "keys": keys,
        "measures": measures,
        "sets": sets,
    }


def shape_of(grouping, bounds):
    measures = tuple((m.adds.value, 0 if m.adds is Adds.DISTINCT else m.columns) for m in bounds.measures)
    forms = {KeyKind.TRUTH: "boolean", KeyKind.INTEGER: "integer"}
    keys = [(forms.get(key.kind, "text"), 5 + key.max_bytes) for key in key_columns(grouping)]
    return Shape(measures, tuple(SetShape(tuple(keys[at] for at in chosen), 10**4, 10**4) for chosen in grouping.sets))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return aggregate.load(compiled(tmp_path_factory.mktemp("pass"), "-O1"))


def batches_of(database, sql):
    return database.sql(sql).to_arrow_reader(64)


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_the_pass_over_block_sql_gives_the_interpreters_cells(start, views, library):
    for number in range(start, start + 20):
        trees = Trees(number)
        grouping = accepted_grouping(trees)
        bounds = some_bounds(trees.pick, grouping)
        for tables, database in views.values():
            with aggregate.Pass(library, instruction_of(grouping, bounds)) as running:
                units = pa.array(database.units, pa.string())
                running.block(len(units), units, batches_of(database.use(*views_read(grouping)), block_sql(grouping)))
                totals = combine([running.partial()], shape_of(grouping, bounds))
            found = tuple(dict(zip(part.keys, map(tuple, part.values.tolist()), strict=True)) for part in totals.sets)
            assert found == cells_of(grouping, tables, bounds), (number, block_sql(grouping))


def test_rows_are_sorted_by_unit_exactly_where_they_do_not_come_so():
    orders = set()
    for number in range(150):
        grouping = accepted_grouping(Trees(number))
        plain = all(isinstance(part, Scan | Filter | Project) for part in relations_in(grouping.source))
        orders.add(plain)
        assert block_sql(grouping).endswith(" ORDER BY u") != plain
    assert orders == {True, False}


@pytest.mark.parametrize("sql", TEXTS)
def test_rows_of_checked_texts_are_the_interpreters(sql, views):
    relation = accepted(sql).grouping.source
    for tables, database in views.values():
        assert counted(database.rows(relation_sql(relation), relation)) == counted(rows_of(relation, tables))


MISTAKES = {
    "no unit in a join": ("a.u = b.u", "TRUE"),
    "rows not kept": ("LEFT JOIN", "JOIN"),
    "rows kept": (" AS a JOIN", " AS a LEFT JOIN"),
    "equal rows once": ("UNION ALL", "UNION"),
    "NULL as a value": ("count(c", "count(*) + 0 * count(c"),
    "each value as often as it comes": ("count(DISTINCT ", "count("),
    "the greatest for the least": ("min(", "max("),
    "a place too far": ("e2 = CAST(", "e2 = 1 + CAST("),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(name, views):
    old, new = MISTAKES[name]
    for number in range(2000):
        relation = Trees(number).relation()
        sql = relation_sql(relation)
        if old not in sql:
            continue
        for tables, database in views.values():
            try:
                found = database.rows(sql.replace(old, new), relation)
            except duckdb.Error:
                continue
            if counted(found) != counted(rows_of(relation, tables)):
                return
    pytest.fail("no random tree told the mistake")


# --- What is written. ------------------------------------------------------------------------------------------------


def sql_of_text(text):
    return block_sql(accepted(text).grouping)


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("SELECT COUNT(*) FROM visits", "SELECT u FROM t0"),
        (
            "SELECT ward, SUM(score) FROM visits WHERE outcome = 'good' GROUP BY ward",
            "WITH r0 AS (SELECT u, c5, e2 FROM t0 WHERE (e3 = CAST(0 AS BIGINT))) SELECT u, e2 AS k0, CAST(c5 AS BIGINT) AS v0 FROM r0",
        ),
        (
            "SELECT outcome, COUNT(*) FROM visits WHERE outcome IN ('bad', 'ugly') AND ward IS NOT NULL GROUP BY outcome",
            "WITH r0 AS (SELECT u, e3 FROM t0 WHERE ((e3 IN (CAST(1 AS BIGINT), CAST(-1 AS BIGINT))) AND (NOT (e2 IS NULL)))) SELECT u, e3 AS k0 FROM r0",
        ),
        (
            "SELECT urgent, COUNT(*) FILTER (WHERE age > 3) FROM visits GROUP BY urgent",
            "SELECT u, CAST(c7 AS SMALLINT) AS k0, CASE WHEN (c4 > CAST(3 AS BIGINT)) THEN CAST(0 AS BIGINT) END AS v0 FROM t0",
        ),
        (
            "SELECT beds, COUNT(*) FROM visits LEFT JOIN wards ON ward = name GROUP BY beds",
            "WITH r0 AS (SELECT a.u, b.c1 AS c12 FROM t0 AS a LEFT JOIN t1 AS b ON (a.c2 = b.c0)) SELECT u, CAST(c12 AS BIGINT) AS k0 FROM r0 ORDER BY u",
        ),
        (
            "SELECT n, COUNT(*) FROM (SELECT patient, COUNT(*) AS n, SUM(score) AS s FROM visits GROUP BY patient) x GROUP BY n",
            "WITH r0 AS (SELECT u, count(*) AS c1 FROM t0 GROUP BY 1), r1 AS (SELECT u, c1 AS c1 FROM r0) SELECT u, CAST(c1 AS BIGINT) AS k0 FROM r1 ORDER BY u",
        ),
        (
            "SELECT COUNT(*) FROM (SELECT visit, age FROM visits UNION ALL SELECT visit, doses FROM drugs) x",
            "WITH r0 AS (SELECT u FROM t0), r1 AS (SELECT u FROM r0), r2 AS (SELECT u FROM t1), r3 AS (SELECT u FROM r2), r4 AS (SELECT u FROM r1 UNION ALL SELECT u FROM r3) SELECT u FROM r4 ORDER BY u",
        ),
    ],
)
def test_plain_queries_are_written_plainly(text, sql):
    assert sql_of_text(text) == sql


def test_values_that_differ_in_argument_or_filter_have_columns_of_their_own():
    text = (
        "SELECT SUM(score), AVG(score), COUNT(score), COUNT(*), COUNT(DISTINCT patient), SUM(score) FILTER (WHERE age > 3),"
        " COUNT(*) FILTER (WHERE age > 3), COUNT(note) FROM visits"
    )
    grouping = accepted(text).grouping
    assert value_places(grouping) == (0, 0, 0, None, None, 1, 2, 3)
    assert block_sql(grouping).count(" AS v") == 4


def hostile_names(pick, count):
    """Names that would do something if they were written."""
    pieces = (
        '"',
        "'",
        ";",
        "--",
        "/*",
        "*/",
        " ",
        "DROP TABLE t0",
        "u",
        "c1",
        "r0",
        "t0",
        "é",
        "\\",
        "$$",
        "SELECT",
        "%",
        "(",
        ")",
        "`",
        ",",
    )
    found = []
    while len(found) < count:
        name = f"{''.join(pick.choice(pieces) for _ in range(pick.randint(1, 6)))}{len(found)}"
        found.append(name)
    return found


def test_no_name_of_the_text_is_written():
    pick = random.Random(1)

    def written(names):
        quoted = ['"' + name.replace('"', '""') + '"' for name in names]
        a, b, c, d, e = quoted
        text = (
            f"WITH {a} AS (SELECT patient, ward AS {b}, SUM(score) AS {c} FROM visits GROUP BY patient, ward)"
            f" SELECT {e}.{b} AS {d}, SUM({c}) AS {a}, COUNT(*) AS {b} FROM {a} AS {e}"
            f" LEFT JOIN wards ON {b} = name GROUP BY {e}.{b}"
        )
        return sql_of_text(text)

    plain = written("vwxyz")
    for _ in range(200):
        assert written(hostile_names(pick, 5)) == plain


def test_no_declared_name_is_written():
    pick = random.Random(2)
    plain = None
    for _ in range(20):
        unit, *names = hostile_names(pick, 4)
        columns = (Column(unit, ColumnType.STRING), *(Column(name, ColumnType.INT) for name in names))
        scan = scan_of(0, "a/b", TableSchema(names[0], unit, columns, 10, 10), private=True)
        source = Project(Filter(scan, Call("gt", (ColumnRef(1), ColumnRef(2)))), (ColumnRef(3),), (names[0],))
        grouping = Grouping(source, (Key(names[1], ColumnRef(1)),), ((0,),), (Asked(Aggregate.ROWS, None),))
        plain = plain or block_sql(grouping)
        assert block_sql(grouping) == plain
        (view,) = views_of(source)
        assert [column.stored for column in view.columns] == names


def test_a_literal_is_a_value_whatever_it_says(views):
    hostile = "'; DROP TABLE t0; --"
    values = constant_of(((1, hostile), (2, "\\'"), (3, "🦆")), ("n", "s"))
    (_, database), *_ = views.values()
    assert sorted(database.rows(relation_sql(values), values)) == [(1, hostile), (2, "\\'"), (3, "🦆")]
    kept = Filter(values, Call("eq", (ColumnRef(1), Literal(hostile))))
    assert database.rows(relation_sql(kept), kept) == [(1, hostile)]


def test_the_unit_is_never_a_value():
    visits = scans()["clinic/visits"]
    for relation in (
        Project(visits, (ColumnRef(UNIT),), ("x",)),
        Filter(visits, Call("is_null", (ColumnRef(UNIT),))),
        Summary(visits, (ColumnRef(UNIT),), (), ("x",)),
    ):
        with pytest.raises(ValueError, match="the unit"):
            relation_sql(relation)


def test_a_column_that_is_always_null_reaches_the_pass_as_a_number(views):
    nothing = Project(scans()["clinic/visits"], (Literal(None),), ("x",))
    asked = (Asked(Aggregate.NONNULL, ColumnRef(1)), Asked(Aggregate.VALUES, ColumnRef(1)))
    grouping = Grouping(nothing, (Key("x", ColumnRef(1)),), ((0,),), asked)
    _, (_, database), *_ = views.values()
    found = database.use(*views_read(grouping)).sql(block_sql(grouping)).to_arrow_table()
    assert found.schema.types == [pa.int32(), pa.int64(), pa.int64()]
    assert found.num_rows == found.column("k0").null_count == found.column("v0").null_count > 0


def test_views_have_the_columns_that_are_read():
    text = "SELECT ward, SUM(score) FROM visits JOIN people ON patient = person WHERE outcome = 'good' GROUP BY ward"
    views = {view.asset: view for view in views_read(accepted(text).grouping)}
    visits, people = views["clinic/visits"], views["clinic/people"]
    assert [(column.name, column.stored, column.type) for column in visits.columns] == [("c5", "score", "BIGINT")]
    assert [(code.name, code.stored, code.values) for code in visits.codes] == [
        ("e2", "ward", ("north", "south", "it's")),
        ("e3", "outcome", ("good", "bad")),
    ]
    assert (people.unit, people.columns, people.codes) == ("person", (), ())


def test_of_a_public_table_something_is_read(views):
    """A SELECT has a column, also where rows alone are joined."""
    one = replace(constant_of(((1, 2),), ("a", "b")), unique=frozenset({frozenset({0})}))
    wards = Project(scans()["open/wards"], (ColumnRef(1), ColumnRef(2)), ("beds", "town"))
    both = Project(Lookup(wards, one, ((Literal(1), ColumnRef(0)),), False, False), (ColumnRef(3),), ("b",))
    (_, database), *_ = views.values()
    assert database.rows(relation_sql(both), both) == [(2,), (2,)]


def test_a_relation_that_is_read_twice_is_written_once():
    visits = scans()["clinic/visits"]
    relation = Project(visits, (ColumnRef(1),), ("visit",))
    for _ in range(12):
        relation = Stacked((relation, relation))
    assert relation_sql(relation).count(" AS (") == 13


# --- The ends of what is accepted. -----------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [2**99, 2**98 + 1])
def test_exact_aggregates_of_the_widest_numbers_are_exact(top, views):
    rows = ((1, top), (1, top - 1), (1, -top), (2, -top), (2, 1 - top), (3, 1), (3, 2), (3, 2))
    values = constant_of(rows, ("n", "x"))
    inner = (Inner.SUM, Inner.AVG, Inner.MIN, Inner.MAX, Inner.VALUES)
    summary = Summary(values, (ColumnRef(0),), tuple((each, ColumnRef(1)) for each in inner), ("n", *inner))
    (_, database), *_ = views.values()
    assert counted(database.rows(relation_sql(summary), summary)) == counted(rows_of(summary, {}))


def test_an_average_whose_sum_could_wrap_is_refused():
    wide = Facts(Kind.NUMBER, 0, -(2**90), 2**90)
    assert inner_facts(Inner.AVG, wide, 1000, private=True).scale == 6
    with pytest.raises(Unfit):
        inner_facts(Inner.AVG, wide, 10**6, private=True)


def test_a_wide_value_is_cut_to_what_a_column_holds_and_a_wide_key_refused():
    schema = TableSchema("t", "unit", (Column("unit", ColumnType.STRING), Column("x", ColumnType.INT)), 10, 10)
    scan = scan_of(0, "a/t", schema, private=True)
    wide = Call("times", (ColumnRef(1), ColumnRef(1)))
    asked = Grouping(scan, (), ((),), (Asked(Aggregate.SUM, Call("minus", (wide, ColumnRef(1)))),))
    with duckdb.connect() as database:
        for x in (2**53 - 1, 3, -1, 1 - 2**53):
            database.execute(f"CREATE OR REPLACE VIEW t0 AS SELECT 0::INTEGER AS u, {x}::BIGINT AS c1")
            assert database.execute(block_sql(asked)).fetchall() == [(0, min(x * x - x, 2**63 - 1))]
    with pytest.raises(Unfit, match="63 bits"):
        block_sql(Grouping(scan, (Key("x", wide),), ((0,),), (Asked(Aggregate.ROWS, None),)))
    with pytest.raises(Unfit, match="DISTINCT"):
        block_sql(Grouping(scan, (), ((),), (Asked(Aggregate.VALUES, wide),)))


def test_distinct_texts_are_counted_of_a_list_alone():
    with pytest.raises(Unfit, match="DISTINCT"):
        sql_of_text("SELECT COUNT(DISTINCT note) FROM visits")
    assert sql_of_text("SELECT COUNT(DISTINCT ward) FROM visits").endswith("SELECT u, CAST(e2 AS BIGINT) AS v0 FROM t0")
