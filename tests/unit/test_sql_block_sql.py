"""What block SQL says of a checked tree is what the interpreter says, on every kind of node; and nothing that was typed stands in it."""

from __future__ import annotations

from collections import Counter

import pytest

from privacy.sql.algebra import facts_over
from privacy.sql.block_sql import relation_sql
from privacy.sql.functions import sql_type
from privacy.sql.held import Kind
from privacy.sql.interpreter_rows import rows_of
from tests.unit.clinic_catalogue import some_tables
from tests.unit.sql_trees import Trees, Views

SEEDS = range(4)


@pytest.fixture(scope="module")
def views():
    return {seed: (some_tables(seed), Views(some_tables(seed))) for seed in SEEDS}


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
            assert counted(database.rows(sql, private=relation.private)) == counted(expected), (number, sql)
        types = [sql_type(f) if f.kind is not Kind.NOTHING else '"NULL"' for f in facts_over(relation)]
        found = [row[1] for row in database.database.execute(f"DESCRIBE {sql}").fetchall()]
        assert found[int(relation.private) :] == types[int(relation.private) :], sql
