"""Ends of columns under WHERE: every value of a row lies within them, only comparisons that must hold narrow, nothing emitted changes."""

from __future__ import annotations

import random
import time
from decimal import Decimal

import pytest

from privacy.sql.algebra import Filter, facts_over
from privacy.sql.block_sql import block_sql
from privacy.sql.checked import checked
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.facts import Unfit
from privacy.sql.flattening import flattened
from privacy.sql.functions import facts_of
from privacy.sql.held import Kind, held, shown
from privacy.sql.interpreter_rows import rows_of
from privacy.sql.narrowing import flat_facts, known_of, narrowed, narrowed_arguments
from tests.unit.clinic_catalogue import CLINIC, accepted, some_tables
from tests.unit.sql_trees import TABLES, Trees, accepted_grouping, scans, tables_of
from tests.unit.tpch_catalogue import TPCH
from tests.unit.tpch_queries import QUERIES


def ends(condition, column="score", table="visits"):
    """The declared and the narrowed ends of a column, as people write them, and whether it can be NULL."""
    grouping = accepted(f"SELECT SUM({column}) FROM {table} WHERE {condition}").grouping
    (facts,) = narrowed_arguments(grouping)
    low, high = (shown(each, facts.kind, facts.scale) for each in facts.ends)
    return low, high, facts.nullable


CONDITIONS = {
    "score < 5": (-7, 4, False),
    "score <= 5": (-7, 5, False),
    "5 > score": (-7, 4, False),
    "score > 5": (6, 12, False),
    "score >= 5": (5, 12, False),
    "5 <= score": (5, 12, False),
    "score = 5": (5, 5, False),
    "score BETWEEN -2 AND 3": (-2, 3, False),
    "score IN (3, 9, 1)": (1, 9, False),
    "score < 2.5": (-7, 2, False),
    "score > -2.5": (-2, 12, False),
    "score >= 2.000001": (3, 12, False),
    "score < -2.5": (-7, -3, False),
    "score <= age AND age < 3": (-7, 2, False),
    "age < 3 AND score <= age": (-7, 2, False),
    "score IS NOT NULL": (-7, 12, False),
    "score + 0 IS NOT NULL": (-7, 12, True),
    "score < 1000": (-7, 12, False),
    "score < 5 OR age > 3": (-7, 12, True),
    "(score < 5 AND age = 3) OR (score < 5 AND age = 4)": (-7, 4, False),
    "NOT (score < 5 AND age > 3)": (-7, 12, True),
    "score <> 5": (-7, 12, True),
    "COALESCE(score < 5, TRUE)": (-7, 12, True),
    "score > 3 AND score < 2": (4, 12, False),
    "score > 1000": (-7, 12, False),
    "score NOT IN (12, 11)": (-7, 12, True),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_ends_under_a_condition(condition):
    assert ends(condition) == CONDITIONS[condition]


def test_ends_on_the_grid_of_a_decimal():
    assert ends("cost < 10", "cost") == (Decimal("-2.50"), Decimal("9.99"), False)
    assert ends("cost > 9.999", "cost") == (Decimal("10.00"), Decimal("99.99"), False)


def test_an_expression_over_a_narrowed_column_is_narrowed():
    assert ends("score BETWEEN 2 AND 3", "score * score - 1")[:2] == (3, 8)
    assert ends("w < 5", "w + 1", "(SELECT score AS w FROM visits) AS v")[:2] == (-6, 5)


def test_a_condition_over_a_selection_reaches_what_it_is_made_of():
    assert ends("w < 5", "x", "(SELECT score AS w, score * 2 AS x FROM visits) AS v")[:2] == (-14, 8)


def test_a_union_has_the_ends_of_both():
    stacked = "(SELECT score AS s FROM visits WHERE score < 0 UNION ALL SELECT score FROM visits WHERE score = 4) AS v"
    assert ends("TRUE", "s", stacked)[:2] == (-7, 4)


def test_sums_inside_are_of_narrowed_values():
    per_unit = "(SELECT patient, MAX(score) AS s FROM visits WHERE score < 3 GROUP BY patient) AS v"
    assert ends("s > 0", "s", per_unit)[:2] == (1, 2)


def test_a_side_that_can_be_missing_stays_nullable():
    joined = "people LEFT JOIN (SELECT * FROM visits WHERE score = 3) AS v ON people.person = v.patient"
    assert ends("TRUE", "score", joined) == (3, 3, True)
    assert ends("score >= 3", "score", joined) == (3, 3, False)


def test_tpch_6_as_asked():
    """l_discount in [0.05, 0.07], l_quantity < 24: price × discount is at most 120000.00 × 0.07."""
    (facts,) = narrowed_arguments(checked(QUERIES[6], TPCH).answer.grouping)
    assert (facts.low, facts.high, facts.scale) == (0, 12_000_000 * 7, 4)


def test_what_is_emitted_has_the_declared_facts():
    """A filter above may be computed after the sum: a number that overflows before it must not be let through."""
    grouping = accepted("SELECT SUM(score * 1000) FROM visits WHERE score = 1").grouping
    before = block_sql(grouping), grouping.argument_facts
    narrowed_arguments(grouping)
    assert (block_sql(grouping), grouping.argument_facts) == before
    assert grouping.argument_facts[0].high == 12_000


def check_values(relation, tables, columns):
    """How many columns are narrower than declared; each value of each row must be as known."""
    flat = flattened(relation)
    known, over = flat_facts(flat), facts_over(relation)
    rows, narrower = rows_of(relation, tables), 0
    for column in columns:
        declared = over[column]
        facts = known_of(flat.columns[column], known, declared)
        values = [row[column] for row in rows]
        if declared.kind is not Kind.NOTHING:
            assert all(facts.has(shown(value, facts.kind, facts.scale)) for value in values)
        narrower += bool(rows) and facts != declared
    return narrower


def test_values_of_random_trees_lie_within():
    narrower = 0
    for seed in range(400):
        relation = Trees(seed).relation()
        first = int(relation.private)
        narrower += check_values(relation, tables_of(seed), range(first, len(relation.columns)))
    assert narrower > 10


def test_arguments_of_random_groupings_lie_within():
    for seed in range(200):
        grouping = accepted_grouping(Trees(seed))
        rows, over = rows_of(grouping.source, tables_of(seed)), facts_over(grouping.source)
        for asked, facts in zip(grouping.values, narrowed_arguments(grouping), strict=True):
            if facts is not None and facts.kind is not Kind.NOTHING:
                value = evaluator(asked.argument, over)
                assert all(facts.has(shown(value(row), facts.kind, facts.scale)) for row in rows)


def random_comparison(pick, columns):
    """A comparison of whole columns with each other, or with a literal near the ends."""
    at = pick.choice([place for place, facts in enumerate(columns) if facts.kind is Kind.NUMBER])
    sign = pick.choice(("eq", "lt", "le", "gt", "ge", "ne", "one_of"))
    literals = [Literal(pick.choice((Decimal("-2.5"), -7, 0, 3, Decimal("4.25"), 12, 110))) for _ in range(2)]
    other = pick.choice([each for each, facts in enumerate(columns) if facts.kind is Kind.NUMBER])
    args = [ColumnRef(at), pick.choice((ColumnRef(other), literals[0]))]
    if sign == "one_of":
        return Call(sign, (ColumnRef(at), *literals))
    pick.shuffle(args)
    found = Call(sign, tuple(args))
    return pick.choice((found, found, Call("not", (found,)), Call("or", (found, Call("is_null", (ColumnRef(at),))))))


def test_values_under_random_comparisons_lie_within():
    visits = next(scan for scan in scans(TABLES).values() if scan.asset.endswith("visits"))
    columns, narrower = facts_over(visits), 0
    for seed in range(600):
        pick = random.Random(seed)
        relation = visits
        for _ in range(pick.randint(1, 3)):
            relation = Filter(relation, random_comparison(pick, columns))
        narrower += check_values(relation, some_tables(seed % 7), range(1, len(columns)))
    assert narrower > 100


def test_every_whole_number_that_a_condition_lets_through_is_within():
    """By enumeration: all scores, all conditions with a literal on a finer grid."""
    score = next(f.facts for f in scans(CLINIC.tables)["clinic/visits"].columns if f.name == "score")
    for sign in ("eq", "lt", "le", "gt", "ge"):
        for tenths in range(-85, 135):
            condition = Call(sign, (ColumnRef(0), Literal(Decimal(tenths) / 10)))
            test = evaluator(condition, (score,))
            kept = [value for value in range(-7, 13) if test((value,))]
            (facts,) = narrowed((score,), (condition,))
            assert facts.ends == ((kept[0], kept[-1]) if kept else score.ends)


def test_listed_values_are_those_that_pass():
    outcome = next(f.facts for f in scans(CLINIC.tables)["clinic/visits"].columns if f.name == "outcome")
    (facts,) = narrowed((outcome,), (Call("ne", (ColumnRef(0), Literal("bad"))),))
    assert facts.values == ("good",)
    (facts,) = narrowed((outcome,), (Call("eq", (ColumnRef(0), Literal("none of them"))),))
    assert facts.values == outcome.values


def test_facts_that_do_not_agree_are_as_declared():
    score = next(f.facts for f in scans(CLINIC.tables)["clinic/visits"].columns if f.name == "score")
    finer = facts_of(Call("times", (ColumnRef(0), Literal(Decimal("0.5")))), (score,))
    assert known_of(ColumnRef(0), (score,), finer) == finer
    with pytest.raises(Unfit):
        facts_of(Call("plus", (ColumnRef(0), Literal("x"))), (score,))
    assert known_of(Call("plus", (ColumnRef(0), Literal("x"))), (score,), score) == score
    assert held(3, score.kind, score.scale) == 3


def test_time_grows_with_the_conditions():
    spent = []
    for width in (100, 400):
        conditions = " AND ".join(f"score < {at + 20} AND age >= {at - 500}" for at in range(width))
        grouping = accepted(f"SELECT SUM(score) FROM visits WHERE {conditions}").grouping
        started = time.process_time()
        narrowed_arguments(grouping)
        spent.append(time.process_time() - started)
    assert spent[1] < 8 * spent[0] + 0.1
