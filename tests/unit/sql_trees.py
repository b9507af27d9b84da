"""Random checked trees over the clinic's tables and one of wide values, and a DuckDB that holds what their block SQL reads."""

from __future__ import annotations

import random
from dataclasses import replace

import duckdb
import pyarrow as pa

from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.aggregates import Aggregate, Inner
from privacy.sql.algebra import (
    UNIT,
    Expand,
    Filter,
    Lookup,
    Project,
    Stacked,
    Summary,
    constant_of,
    facts_over,
    scan_of,
)
from privacy.sql.asked import Asked, Grouping, Key
from privacy.sql.block_sql import block_sql
from privacy.sql.block_views import views_of
from privacy.sql.bounds import Adds, Bounds, Measured
from privacy.sql.codes import listed_texts
from privacy.sql.conjuncts import placed
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.facts import Unfit, column_facts
from privacy.sql.functions import FUNCTIONS, facts_of
from privacy.sql.held import Kind, held, shown
from privacy.sql.names_in_scope import Table
from privacy.sql.row_columns import KeyKind, key_columns, value_places
from tests.unit.clinic_catalogue import CLINIC, some_tables
from tests.unit.clinic_catalogue import UNITS as CLINIC_UNITS
from tests.unit.relation_rows import units_in
from tests.unit.sql_functions_world import ARROW, random_expression, some

ARROW = ARROW | {"SMALLINT": pa.int16()}
MAX_WIDTH = 14


WIDE = TableSchema(
    "wide",
    "owner",
    (
        Column("owner", ColumnType.STRING),
        Column("number", ColumnType.INT),
        Column("visit", ColumnType.INT, nullable=True),
        Column("cost", ColumnType.DECIMAL, nullable=True, scale=6),
        Column("seen", ColumnType.DATE, nullable=True),
        Column("arrived", ColumnType.TIMESTAMP),
        Column("note", ColumnType.STRING, nullable=True),
    ),
    rows=5000,
    units=1000,
    keys=(("number",),),
)
TABLES = (*CLINIC.tables, Table("clinic/wide", WIDE, private=True))
UNITS = {**CLINIC_UNITS, "clinic/wide": "owner"}
PEOPLE = 4


def scans(tables=TABLES):
    """Every table, by asset."""
    return {
        table.asset: scan_of(at, table.asset, table.schema, private=table.private) for at, table in enumerate(tables)
    }


def tables_of(seed):
    """The clinic's tables, and one without declared ends, filled with values at the ends of what ingest lets in."""
    pick = random.Random(seed)
    columns = {column.name: column_facts(column) for column in WIDE.columns if column.name != "owner"}
    wide = [
        {"owner": f"p{pick.randrange(PEOPLE)}"}
        | {name: shown(some(facts, pick), facts.kind, facts.scale) for name, facts in columns.items()}
        for _ in range(8)
    ]
    return {**some_tables(seed, PEOPLE), "clinic/wide": list({row["number"]: row for row in wide}.values())}


class Views:
    """A database with the views of block SQL: the held form of these tables, units as ordinals."""

    def __init__(self, tables, declared=TABLES) -> None:
        self._unit = {table.asset: table.schema.unit for table in declared if table.private}
        self.units = units_in(tables, self._unit)
        self.database = duckdb.connect(config={"threads": 1})
        self.database.execute("SET TimeZone = 'UTC'; SET disabled_optimizers = 'join_order'")
        for scan in scans(declared).values():
            for view in views_of(scan):
                self._make(view, tables[view.asset])

    def _make(self, view, rows) -> None:
        arrays, names, types = [], [], []
        if view.private:
            rows = sorted(rows, key=lambda row: row[self._unit[view.asset]])
            ordinals = [self.units.index(row[self._unit[view.asset]]) for row in rows]
            arrays, names, types = [pa.array(ordinals, pa.int32())], ["u"], ["INTEGER"]
        for column in view.columns:
            values = [held(row[column.stored], column.facts.kind, column.facts.scale) for row in rows]
            arrays.append(pa.array(values, ARROW[column.type]))
            names.append(column.name)
            types.append(column.type)
        for code in view.codes:
            values = [None if row[code.stored] is None else code.values.index(row[code.stored]) for row in rows]
            arrays.append(pa.array(values, ARROW[code.type]))
            names.append(code.name)
            types.append(code.type)
        self.database.register("stored", pa.table(arrays, names))
        columns = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in zip(names, types, strict=True))
        self.database.execute(f'CREATE TABLE "{view.asset}" AS SELECT {columns} FROM stored')
        self.database.unregister("stored")

    def use(self, *views) -> duckdb.DuckDBPyConnection:
        """The database with these views and their columns alone."""
        for view in views:
            columns = ["u"] if view.private else []
            columns += [column.name for column in (*view.columns, *view.codes)]
            made = f'SELECT {", ".join(columns)} FROM "{view.asset}"'
            self.database.execute(f"CREATE OR REPLACE TEMP VIEW {view.name} AS {made}")
        return self.database

    def rows(self, sql, relation):
        """What DuckDB says, the unit as its text."""
        found = self.use(*views_of(relation)).execute(sql).fetchall()
        return [(self.units[row[0]], *row[1:]) if relation.private else row for row in found]


def shift(relation) -> int:
    """Where the columns begin that expressions may read."""
    return int(relation.private)


def expression_over(pick, relation, depth=2):
    """A random expression over a relation, the unit apart."""
    first = shift(relation)
    facts = facts_over(relation)[first:]
    listed = [at for at, of in enumerate(facts) if listed_texts(of)]
    of_a_list = listed and pick.random() < 0.3
    found = about_a_list(pick, listed, facts) if of_a_list else random_expression(pick, depth, facts)
    return placed(found, {at: at + first for at in range(len(facts))})


def about_a_list(pick, listed, facts):
    """A column of a list, or a condition on it."""
    at = pick.choice(listed)
    words = [*facts[at].values, "elsewhere", ""]
    same = [other for other in listed if facts[other].values == facts[at].values]
    return pick.choice(
        (
            ColumnRef(at),
            Call(pick.choice(("eq", "ne", "is_distinct")), (ColumnRef(at), Literal(pick.choice(words)))),
            Call(pick.choice(("eq", "ne", "lt")), (Literal(pick.choice(words)), ColumnRef(at))),
            Call("eq", (ColumnRef(at), ColumnRef(pick.choice(same)))),
            Call("one_of", (ColumnRef(at), *map(Literal, pick.sample(words, 2)))),
            Call("one_of", (Literal(pick.choice(words)), ColumnRef(at))),
            Call("is_null", (ColumnRef(at),)),
            Call("coalesce", (ColumnRef(at), Literal("none"))),
        )
    )


def condition_over(pick, relation):
    """A random condition."""
    for _ in range(40):
        found = expression_over(pick, relation)
        if facts_of(found, facts_over(relation)).kind is Kind.TRUTH:
            return found
    return Call("is_null", (ColumnRef(pick.randrange(shift(relation), len(relation.columns))),))


def constant(pick):
    """VALUES whose first column is a key."""
    found = constant_of(((0, "ibu", None), (1, "asp", 2), (30, "it's", 3)), ("n", "word", "size"))
    return replace(found, unique=frozenset({frozenset({0}), frozenset({1})}))


class Trees:
    """Grows relations of one pool, so that some are read more than once."""

    def __init__(self, seed) -> None:
        self.pick = random.Random(seed)
        self.pool = [*scans().values(), constant(self.pick)]
        for _ in range(self.pick.randint(1, 9)):
            self.grow()

    def relation(self, *, private=None):
        """One that was made last, or one of the pool."""
        some = [each for each in self.pool if private in (None, each.private)]
        return some[-1] if self.pick.random() < 0.5 else self.pick.choice(some)

    def grow(self) -> None:
        """One more relation; what the algebra refuses is drawn again."""
        makers = (self.filter, self.project, self.join, self.join, self.join, self.stack, self.summary, self.summary)
        while True:
            try:
                made = self.pick.choice(makers)()
                if made is not None and shift(made) < len(made.columns) <= MAX_WIDTH and made.rows < 10**9:
                    self.pool.append(made)
                    return
            except (Unfit, ValueError):
                continue

    def filter(self):
        source = self.relation()
        return Filter(source, condition_over(self.pick, source))

    def project(self):
        source, pick = self.relation(), self.pick
        kept = [ColumnRef(at) for at in range(shift(source), len(source.columns))]
        kept = pick.sample(kept, pick.randint(1, len(kept)))
        made = [expression_over(pick, source) for _ in range(pick.randint(0, 2))]
        if pick.random() < 0.05:
            made.append(Literal(None))
        names = [source.columns[each.index].name for each in kept] + ["made"] * len(made)
        return Project(source, (*kept, *made), tuple(names))

    def join(self):
        pick = self.pick
        source, kind = self.relation(), pick.choice((Lookup, Lookup, Expand))
        other = pick.choice(self.pool)
        unique = (other if kind is Lookup else source).unique
        if not unique or (other.private and not source.private):
            return None
        columns = sorted(pick.choice(sorted(unique, key=sorted)))
        if kind is Expand and source.private and not other.private and UNIT in columns:
            return None  # the unit is compared with units alone
        at_other = kind is Lookup
        on = [self.pair(at, source, other, at_other) for at in columns if not (other.private and at == UNIT)]
        return kind(source, other, tuple(on), pick.random() < 0.5, other.private)

    def pair(self, at, source, other, at_other):
        """Something of the one side that equals column `at` of the other."""
        mine, theirs = (other, source) if at_other else (source, other)
        pick = self.pick
        alike = [
            place
            for place in range(shift(theirs), len(theirs.columns))
            if theirs.columns[place].facts.kind is mine.columns[at].facts.kind
        ]
        called = [place for place in alike if theirs.columns[place].name == mine.columns[at].name]
        if called and pick.random() < 0.8:
            found = ColumnRef(pick.choice(called))
        elif alike and pick.random() < 0.8:
            found = ColumnRef(pick.choice(alike))
        else:
            found = expression_over(pick, theirs, 1)
        pair = (found, ColumnRef(at)) if at_other else (ColumnRef(at), found)
        facts = facts_of(pair[0], facts_over(source)), facts_of(pair[1], facts_over(other))
        FUNCTIONS["eq"].facts(facts)
        return pair

    def stack(self):
        first = self.relation()
        some = [each for each in self.pool if each.private == first.private]
        form = [(f.facts.kind, f.facts.scale) for f in first.columns]
        same = [each for each in some if [(f.facts.kind, f.facts.scale) for f in each.columns] == form]
        return Stacked((first, *(self.pick.choice(same) for _ in range(self.pick.randint(1, 2)))))

    def summary(self):
        pick, source = self.pick, self.relation()
        by = [expression_over(pick, source, pick.choice((0, 0, 1))) for _ in range(pick.randint(0, 2))]
        values = []
        for _ in range(pick.randint(0, 3)):
            inner = pick.choice(tuple(Inner))
            values.append((inner, None if inner is Inner.ROWS else expression_over(pick, source, pick.choice((0, 1)))))
        names = [source.columns[e.index].name if isinstance(e, ColumnRef) else "by" for e in by]
        return Summary(source, tuple(by), tuple(values), (*names, *["value"] * len(values)))

    def grouping(self):
        """A grouping of a private relation."""
        pick = self.pick
        source = self.relation(private=True)
        keys = tuple(Key(f"key{at}", self.key(source)) for at in range(pick.randint(0, 3)))
        places = range(len(keys))
        sets = {tuple(at for at in places if pick.random() < 0.7) for _ in range(pick.randint(1, 3))}
        asked = [self.asked(source) for _ in range(pick.randint(1, 4))]
        return Grouping(source, keys, tuple(sorted(sets)), tuple(asked))

    def key(self, source):
        places = list(range(shift(source), len(source.columns)))
        listed = [at for at in places if listed_texts(source.columns[at].facts)]
        if self.pick.random() < 0.3:
            return expression_over(self.pick, source, 1)
        return ColumnRef(self.pick.choice(listed if listed and self.pick.random() < 0.5 else places))

    def asked(self, source):
        pick = self.pick
        condition = condition_over(pick, source) if pick.random() < 0.4 else None
        aggregate = pick.choice((Aggregate.ROWS, Aggregate.UNITS, Aggregate.NONNULL, Aggregate.SUM, Aggregate.VALUES))
        if aggregate in (Aggregate.ROWS, Aggregate.UNITS):
            return Asked(aggregate, None, condition)
        while True:
            argument = expression_over(pick, source, 1)
            kind = facts_of(argument, facts_over(source)).kind
            if aggregate is not Aggregate.SUM or kind is Kind.NUMBER:
                return Asked(aggregate, argument, condition)
            aggregate = Aggregate.NONNULL if pick.random() < 0.1 else aggregate


def accepted_grouping(trees):
    """A grouping whose keys and values have a form for the pass."""
    while True:
        try:
            grouping = trees.grouping()
            block_sql(grouping)
        except Unfit:
            continue
        return grouping


def some_bounds(pick, grouping):
    """Bounds that bind often, with a measure of every kind that the values allow."""
    measures = [Measured(Adds.UNITS), Measured(Adds.ROWS)]
    for asked, place in zip(grouping.values, value_places(grouping), strict=True):
        if place is None:
            continue
        low = pick.choice((-50, 0, 1))
        high = low + pick.choice((0, 7, 10**6))
        measures.append(Measured(pick.choice((Adds.UNITS, Adds.NONNULL)), place))
        if asked.aggregate is Aggregate.SUM:
            measures.append(Measured(pick.choice((Adds.SUM, Adds.SQUARES)), place, low, high, pick.choice((0, 3))))
            measures.append(Measured(Adds.BINS, place, low, high, step=(high - low) // 5 + 1))
        if asked.aggregate is Aggregate.VALUES:
            measures.append(Measured(Adds.DISTINCT, place, k=pick.choice((1, 2, 9))))
    ranges = tuple(
        range(low := pick.choice((-3, 0)), low + pick.choice((4, 40)))
        if key.kind is KeyKind.INTEGER and pick.random() < 0.3
        else None
        for key in key_columns(grouping)
    )
    most = tuple(pick.choice((1, 2, 50)) for _ in grouping.sets)
    return Bounds(most, pick.choice((1, 2, 50)), tuple(measures), pick.randbytes(16), ranges)
