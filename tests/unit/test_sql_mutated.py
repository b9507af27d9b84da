"""Accepted and refused texts, mutilated at random: each is refused with a place and a way out, or means what the database says of it."""

from __future__ import annotations

import random
import re
from collections import Counter

import duckdb

from core.errors import Invalid
from privacy.sql.aggregates import Aggregate
from privacy.sql.canonical import canonical_text
from privacy.sql.checked import checked
from privacy.sql.expressions import ColumnRef
from tests.unit import test_sql_checked, test_sql_joins, test_sql_names, test_sql_sources, test_sql_subqueries
from tests.unit.clinic_catalogue import CLINIC, UNITS, in_duckdb, some_tables
from tests.unit.relation_rows import cells_of, comparable, of_one, rows_of, units_in
from tests.unit.test_sql_meaning import TEXTS

CASES = 800
SEED = 20
TABLES = some_tables(1)
WORD = re.compile(r"'(?:[^']|'')*'|[A-Za-z_]\w*|\d+(?:\.\d+)?|<>|<=|>=|\|\||[^\s\w]")
REFUSED = [
    row[0].replace("^", "")
    for module in (test_sql_sources, test_sql_joins, test_sql_names, test_sql_checked)
    for row in module.REFUSED
] + [f"SELECT COUNT(*) FROM visits v WHERE {row[0].replace('^', '')}" for row in test_sql_subqueries.REFUSED]
BASES = [WORD.findall(sql) for sql in TEXTS * 3 + REFUSED]
CONDITIONS = [
    WORD.findall(words)
    for words in (
        "age > 3",
        "urgent",
        "note = 'asp'",
        "score IS NULL",
        "visit IN (SELECT visit FROM drugs)",
        "EXISTS (SELECT * FROM drugs d WHERE d.visit = visit)",
        "score > (SELECT AVG(beds) FROM wards)",
        "seen < '2020-02-10'",
    )
]


def kind(word: str) -> str:
    """Words of one kind may stand for each other."""
    upper = word.upper()
    if word[0] == "'" or word[0].isdigit():
        return "text" if word[0] == "'" else "number"
    if upper in {"MIN", "MAX", "SUM", "COUNT", "AVG", "MEDIAN"}:
        return "aggregate"
    if upper in {"AND", "OR"}:
        return "logic"
    if word in {"visits", "people", "drugs", "wards", "prices"}:
        return "table"
    if word.isidentifier() and word.islower():
        return "name"
    return "sign" if word in {"=", "<", ">", "<=", ">=", "<>"} else word


KINDS: dict[str, list[str]] = {}
for _words in BASES:
    for _word in _words:
        KINDS.setdefault(kind(_word), []).append(_word)


def mutilated(pick: random.Random) -> str:
    words = list(pick.choice(BASES))
    for _ in range(pick.choice((1, 1, 2, 3))):
        at, how = pick.randrange(len(words)), pick.randrange(10)
        if how == 0 and len(words) > 1:
            del words[at]
        elif how == 1:
            other = pick.choice(BASES)
            start = pick.randrange(len(other))
            words[at : at + pick.randint(0, 4)] = other[start : start + pick.randint(1, 8)]
        elif how in {2, 3}:
            places = [place for place, word in enumerate(words) if word in {"WHERE", "AND", "ON"}]
            if places:
                place = pick.choice(places) + 1
                words[place:place] = [*pick.choice(CONDITIONS), pick.choice(("AND", "OR"))]
        else:
            words[at] = pick.choice(KINDS[kind(words[at])])
    return " ".join(words)


def is_comparable(answer) -> bool:
    """Whether the answer is exactly its groups: nothing is left out of them and nothing computed from them."""
    exact = {Aggregate.ROWS, Aggregate.NONNULL, Aggregate.UNITS, Aggregate.VALUES, Aggregate.SUM}
    plain = all(isinstance(output.expression, ColumnRef) for output in answer.outputs)
    whole = answer.having is None and answer.limit is None and not answer.offset and not answer.windows
    return plain and whole and all(asked.aggregate in exact for asked in answer.grouping.values)


def test_mutilated_texts_are_refused_or_mean_what_they_say():
    pick, found = random.Random(SEED), Counter()
    with duckdb.connect() as database:
        in_duckdb(database, TABLES)
        for _ in range(CASES):
            found[outcome(mutilated(pick), database)] += 1
    assert found["same"] > CASES / 8
    assert found["refused"] > CASES / 8


def outcome(sql: str, database) -> str:
    try:
        answer = checked(sql, CLINIC).answer
    except Invalid as refused:
        return placed(refused, sql)
    check_local(answer.grouping.source, sql)
    text = canonical_text(answer)
    if "GROUP BY 1)" not in text:
        assert canonical_text(checked(text, CLINIC).answer) == text, sql
    if not is_comparable(answer):
        return "accepted"
    try:
        theirs = database.execute(sql).fetchall()
    except duckdb.Error:
        return "accepted"  # the parser forgives signs that the database does not
    mine = [
        tuple(row[output.expression.index] for output in answer.outputs) for row in cells_of(answer.grouping, TABLES)
    ]
    assert comparable(mine) == comparable(theirs), sql
    return "same"


def placed(refused: Invalid, sql: str) -> str:
    assert refused.where["line"] == 1, sql
    assert 1 <= refused.where["column"] <= len(sql) + 1, sql
    assert refused.way_out or refused.code == "sql.syntax", sql
    return "refused"


def check_local(source, sql: str) -> None:
    parts = Counter()
    for unit in units_in(TABLES, UNITS):
        parts += Counter(rows_of(source, of_one(TABLES, UNITS, unit)))
    assert parts == Counter(rows_of(source, TABLES)), sql
