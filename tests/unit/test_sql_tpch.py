"""The queries of TPC-H that are accepted, on rows of their shape: block SQL gives the interpreter's rows, and they make the text's answer."""

from __future__ import annotations

import operator
from decimal import Decimal

import duckdb
import pytest

from privacy.schema import ColumnType
from privacy.sql.aggregates import Aggregate
from privacy.sql.block_sql import block_sql, relation_sql, views_read
from privacy.sql.checked import checked
from privacy.sql.functions.rounding import half_away
from privacy.sql.held import shown
from privacy.sql.interpreter_rows import rows_of
from privacy.sql.postprocess import post_processing
from privacy.sql.row_columns import KeyKind, key_columns, value_places
from tests.unit.sql_trees import Views
from tests.unit.tpch_catalogue import TPCH
from tests.unit.tpch_queries import QUERIES
from tests.unit.tpch_tables import tpch_tables

ACCEPTED = (1, 4, 5, 6, 7, 8, 9, 12, 13, 14, 19, 21)
SEEDS = (0, 1, 2)
TYPES = {ColumnType.INT: "BIGINT", ColumnType.DATE: "DATE", ColumnType.DECIMAL: "DECIMAL(15, 2)"}


@pytest.fixture(scope="module")
def worlds():
    """For each seed the tables, a database with the views of block SQL, and one with the tables under their names."""
    found = []
    for seed in SEEDS:
        tables = tpch_tables(seed)
        stored = duckdb.connect()
        for table in TPCH.tables:
            public_unit = None if table.private else table.schema.unit
            columns = [
                (c.name, "BIGINT" if c.name == public_unit else TYPES.get(c.type, "VARCHAR"))
                for c in table.schema.columns
            ]
            stored.execute(f"CREATE TABLE {table.schema.name} ({', '.join(map(' '.join, columns))})")
            rows = [[row[name] for name, _ in columns] for row in tables[table.asset]]
            stored.executemany(f"INSERT INTO {table.schema.name} VALUES ({', '.join('?' * len(columns))})", rows)
        found.append((tables, Views(tables, TPCH.tables), stored))
    return found


def exact_cells(grouping, views):
    """The noisy table without noise, from the rows that the pass would take."""
    rows = views.use(*views_read(grouping)).execute(block_sql(grouping)).fetchall()
    forms, width, groups = key_columns(grouping), len(grouping.keys), {}
    for row in rows:
        key = tuple(
            form.values[value] if form.kind is KeyKind.CODE and value is not None else value
            for form, value in zip(forms, row[1 : 1 + width], strict=True)
        )
        groups.setdefault(key, []).append(row[1 + width :])
    described = list(zip(grouping.values, grouping.argument_facts, value_places(grouping), strict=True))
    return [(*key, *(exact(*each, members) for each in described)) for key, members in groups.items()]


def exact(asked, facts, place, rows):
    if place is None:
        return len(rows)
    some = [row[place] for row in rows if row[place] is not None]
    if asked.aggregate is Aggregate.NONNULL:
        return len(some)
    if asked.aggregate is Aggregate.SUM:
        return sum(some)
    assert asked.aggregate is Aggregate.AVG
    return half_away(sum(some) * 10 ** max(0, 6 - facts.scale), len(some))


@pytest.mark.parametrize("number", ACCEPTED)
def test_rows_are_the_interpreters(number, worlds):
    relation = checked(QUERIES[number], TPCH).answer.grouping.source
    found = 0
    for tables, views, _ in worlds:
        expected = rows_of(relation, tables)
        found += len(expected)
        assert sorted(views.rows(relation_sql(relation), relation), key=repr) == sorted(expected, key=repr)
    assert found


@pytest.mark.parametrize("number", ACCEPTED)
def test_the_answer_is_the_texts(number, worlds):
    answer = checked(QUERIES[number], TPCH).answer
    post = post_processing(answer)
    for _, views, stored in worlds:
        found = post.shown(exact_cells(answer.grouping, views))
        mine = [[shown(v, f.kind, f.scale) for v, f in zip(row, post.output_facts, strict=True)] for row in found.rows]
        # DuckDB does not read the precision that the specification gives to an interval.
        theirs = stored.execute(QUERIES[number].replace("day (3)", "day")).fetchall()
        assert len(mine) == len(theirs)
        for row, other in zip(mine, theirs, strict=True):
            assert all(map(close, row, other)), (row, other)


def close(mine, theirs):
    """Equal; averages and ratios, which DuckDB computes in binary, within the digits that we show."""
    if isinstance(theirs, float):
        return abs(mine - Decimal(theirs)) <= Decimal("0.000001")
    return operator.eq(mine, theirs)
