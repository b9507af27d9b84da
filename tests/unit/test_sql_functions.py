from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from privacy.sql.evaluate import evaluator, value_of
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.facts import Facts, Unfit, literal_facts
from privacy.sql.functions import FUNCTIONS, facts_of, sql_of
from privacy.sql.functions.arithmetic import ARITHMETIC
from privacy.sql.functions.choice import CHOICE
from privacy.sql.functions.comparison import COMPARISON
from privacy.sql.functions.cut_numbers import CUT_NUMBERS
from privacy.sql.held import Kind
from tests.unit.sql_functions_world import (
    DATES,
    NUMBERS,
    POOL,
    TEXTS,
    TRUTHS,
    accepted,
    calls_over,
    check_agreement,
    number_of,
    rows_for,
)

X, Y, Z = ColumnRef(0), ColumnRef(1), ColumnRef(2)
SMALL = [number_of(-7, 12, nullable=True), number_of(-950, 30, 4), number_of(0, 5, 1)]
CASES = {
    "plus": [((NUMBERS, NUMBERS), ())],
    "minus": [((NUMBERS, NUMBERS), ())],
    "times": [((NUMBERS, NUMBERS), ())],
    "divide": [((NUMBERS, NUMBERS), ()), ((NUMBERS,), (7,)), ((NUMBERS,), (Decimal("-0.03"),))],
    "whole_quotient": [((NUMBERS, NUMBERS), ()), ((NUMBERS,), (-3,))],
    "remainder": [((NUMBERS, NUMBERS), ()), ((NUMBERS,), (Decimal("0.7"),))],
    "negate": [((NUMBERS,), ())],
    "abs": [((NUMBERS,), ())],
    "sign": [((NUMBERS,), ())],
    "round": [((NUMBERS,), ()), *[((NUMBERS,), (digits,)) for digits in (0, 1, 2, 5, 12, -1, -3, -12)]],
    "trunc": [((NUMBERS,), ()), ((NUMBERS,), (1,)), ((NUMBERS,), (-2,))],
    "floor": [((NUMBERS,), ())],
    "ceil": [((NUMBERS,), ())],
    "bin": [((NUMBERS,), (10,)), ((NUMBERS,), (Decimal("0.25"),)), ((NUMBERS,), (2**60,)), ((NUMBERS,), (1,))],
    **{name: [((POOL, POOL), ())] for name in ("eq", "ne", "lt", "le", "gt", "ge", "is_distinct", "null_if")},
    "is_null": [((POOL,), ()), ((), (None,)), ((), (1,))],
    "and": [((TRUTHS, TRUTHS), ()), ((TRUTHS, TRUTHS, TRUTHS), ()), ((TRUTHS,), (True,))],
    "or": [((TRUTHS, TRUTHS), ()), ((TRUTHS, TRUTHS, TRUTHS), ()), ((TRUTHS,), (False,))],
    "not": [((TRUTHS,), ())],
    "one_of": [
        ((NUMBERS,), (0, -1, Decimal("0.5"), 12)),
        ((SMALL, SMALL, SMALL), ()),
        ((TEXTS,), ("a", "it's", "\U0010ffff")),
        ((DATES[:2],), (date(1970, 1, 1),)),
        ((DATES[2:], DATES[:2]), ()),
        ((TRUTHS, TRUTHS), ()),
    ],
    "case": [
        ((TRUTHS, NUMBERS, NUMBERS), ()),
        ((TRUTHS, TEXTS, TEXTS), ()),
        ((TRUTHS, DATES, DATES), ()),
        ((TRUTHS, TRUTHS, TRUTHS), ()),
        ((TRUTHS, SMALL, TRUTHS, SMALL), (Decimal("0.123"),)),
        ((TRUTHS, POOL), (None,)),
    ],
    "coalesce": [
        ((POOL, POOL), ()),
        ((NUMBERS,), (0,)),
        ((NUMBERS,), (Decimal("-0.005"),)),
        ((SMALL, SMALL, SMALL), (None,)),
        ((POOL,), ()),
    ],
    "greatest": [((POOL, POOL), ()), ((SMALL, SMALL, SMALL), ()), ((NUMBERS,), (0,)), ((TEXTS,), ("b",))],
    "least": [((POOL, POOL), ()), ((SMALL, SMALL, SMALL), ()), ((NUMBERS,), (Decimal("99.5"),)), ((TEXTS,), ("é",))],
}
HERE = [function.name for function in (*ARITHMETIC, *CUT_NUMBERS, *COMPARISON, *CHOICE)]


def test_every_function_has_its_cases():
    assert sorted(CASES) == sorted(HERE)
    assert set(HERE) <= set(FUNCTIONS)


@pytest.mark.parametrize("name", HERE)
def test_the_value_is_within_its_facts_and_equal_to_duckdbs_on_every_row(name):
    found = 0
    for pools, literals in CASES[name]:
        before = found
        for call, columns in calls_over(name, pools, literals):
            check_agreement(call, columns, rows_for(columns, seed=found))
            found += 1
        assert found > before, literals


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("divide", (7, 2), Decimal("3.500000")),
        ("divide", (-2, 3), Decimal("-0.666667")),
        ("divide", (Decimal("0.0000005"), 1), Decimal("0.0000005")),
        ("whole_quotient", (-7, 2), -3),
        ("remainder", (-7, 2), -1),
        ("remainder", (Decimal("7.5"), 2), Decimal("1.5")),
        ("minus", (Decimal("0.06"), Decimal("0.01")), Decimal("0.05")),
        ("round", (Decimal("2.5"),), 3),
        ("round", (Decimal("-2.5"),), -3),
        ("round", (Decimal("1.25"), 1), Decimal("1.3")),
        ("round", (150, -2), 200),
        ("trunc", (Decimal("-2.9"),), -2),
        ("floor", (Decimal("-2.1"),), -3),
        ("ceil", (Decimal("-2.9"),), -2),
        ("bin", (-1, 10), -10),
        ("bin", (Decimal("0.30"), Decimal("0.25")), Decimal("0.25")),
        ("and", (None, False), False),
        ("and", (None, True), None),
        ("or", (None, True), True),
        ("or", (None, False), None),
        ("not", (None,), None),
        ("one_of", (1, 2, None), None),
        ("one_of", (2, 2, None), True),
        ("is_distinct", (None, None), False),
        ("is_distinct", (None, 1), True),
        ("greatest", (None, 0), 0),
        ("least", (None, None), None),
        ("null_if", (0, 0), None),
        ("null_if", (1, None), 1),
        ("coalesce", (None, Decimal("0.5"), 2), Decimal("0.5")),
        ("lt", ("Z", "a"), True),
        ("lt", ("\uffff", "\U00010000"), True),
        ("case", (None, 1, True, 2, 3), 2),
        ("eq", (datetime(2020, 1, 1, tzinfo=UTC), date(2020, 1, 1)), True),
    ],
)
def test_the_meaning_is_sqls(name, args, value):
    """NULL arguments stand in columns: written as NULL, most functions refuse them."""
    kinds = {facts.kind: facts for facts in (literal_facts(arg) for arg in args) if facts.kind is not Kind.NOTHING}
    default = Kind.TRUTH if name in ("and", "or", "not", "case") else Kind.NUMBER
    columns = []
    for arg in args:
        facts = literal_facts(arg)
        if arg is None:
            known = kinds.get(default) or (Facts(default) if default is Kind.TRUTH else number_of(0, 0))
            facts = Facts(known.kind, known.scale, known.low, known.high, values=None, nullable=True)
        columns.append(facts)
    call = Call(name, tuple(Literal(arg) if arg is not None else ColumnRef(at) for at, arg in enumerate(args)))
    found = value_of(call, args, columns)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("plus", (X, Literal("a"))),
        ("plus", (X, Literal(None))),
        ("eq", (X, Literal("1"))),
        ("eq", (X, Literal(None))),
        ("lt", (Literal(True), Literal(False))),
        ("and", (X, Literal(True))),
        ("not", (X,)),
        ("round", (X, X)),
        ("round", (X, Literal(Decimal("0.5")))),
        ("round", (X, Literal(13))),
        ("bin", (X, Literal(0))),
        ("bin", (X, X)),
        ("divide", (X, Literal(0))),
        ("remainder", (X, Literal(0))),
        ("whole_quotient", (X, Literal(0))),
        ("case", (X, Literal(1), Literal(2))),
        ("case", (Literal(True), Literal(1), Literal("a"))),
        ("case", (Literal(True), Literal(1), Literal(True), Literal(2))),
        ("case", (Literal(True), Literal(None), Literal(None))),
        ("coalesce", (Literal(None),)),
        ("greatest", (X, Literal(None))),
        ("greatest", (Literal(True), Literal(False))),
        ("abs", (X, X)),
        ("abs", ()),
    ],
)
def test_what_has_no_meaning_is_refused_with_a_way_out(name, args):
    with pytest.raises(Unfit) as found:
        facts_of(Call(name, args), (number_of(-5, 5),))
    assert found.value.reason
    assert found.value.way_out


def test_products_grow_until_they_are_refused():
    """R8: no accepted product can leave 126 bits, on any row that was declared possible."""
    price = number_of(0, 10**7, 2)
    product = X
    with pytest.raises(Unfit, match=r"126 bits|decimal digits"):
        for _ in range(10):
            product = Call("times", (product, X))
            facts_of(product, (price,))
    columns = (number_of(0, 2**30),)
    fourth = Call("times", (Call("times", (Call("times", (X, X)), X)), X))
    assert facts_of(fourth, columns).ends == (0, 2**120)
    assert accepted("times", (fourth, X), columns) is None


def test_bounding_a_wide_number_makes_it_a_narrow_one():
    columns = (number_of(-(2**100), 2**100),)
    bounded = Call("least", (Call("greatest", (X, Literal(-5))), Literal(1000)))
    facts = check_agreement(bounded, columns, rows_for(columns, 1))
    assert facts.ends == (-5, 1000)
    assert sql_of(bounded, ("c0",), columns).startswith("CAST(")


def test_a_text_of_sql_that_would_grow_too_long_is_refused():
    expression = X
    for _ in range(40):
        expression = Call("null_if", (expression, Literal(1)))
    columns = (number_of(-5, 5),)
    facts_of(expression, columns)  # 81 parts are few, but each is written twice
    with pytest.raises(Unfit, match="too long"):
        sql_of(expression, ("c0",), columns)


def test_literals_in_the_arms_of_a_case_are_a_public_domain_and_the_condition_is_private_all_the_same():
    private = number_of(0, 9)
    call = Call("case", (Call("gt", (X, Literal(5))), Literal("high"), Literal("low")))
    facts = facts_of(call, (private,))
    assert (facts.values, facts.is_public, facts.reads_private, facts.nullable) == (("high", "low"), True, True, False)
    column = Call("case", (Call("gt", (X, Literal(5))), X, Literal(0)))
    assert not facts_of(column, (private,)).is_public


def test_what_is_computed_from_a_private_column_is_private():
    for name in HERE:
        for pools, literals in CASES[name]:
            for call, columns in list(calls_over(name, pools, literals))[:3]:
                if columns:
                    assert facts_of(call, columns).reads_private, name


def test_a_row_of_another_kind_is_not_evaluated():
    with pytest.raises(ValueError):
        value_of(Call("abs", (X,)), ("a",), (number_of(-5, 5),))


@pytest.mark.parametrize("name", ["divide", "whole_quotient", "remainder"])
def test_a_division_by_0_is_null(name):
    columns = (number_of(-5, 5), number_of(-5, 5, 1))
    assert value_of(Call(name, (X, Y)), (3, Decimal("0.0")), columns) is None
    assert facts_of(Call(name, (X, Y)), columns).nullable
    assert not facts_of(Call(name, (X, Y)), (columns[0], number_of(1, 5))).nullable


def test_an_expression_is_evaluated_on_held_rows():
    value = evaluator(Call("plus", (X, Y)), (number_of(0, 100, 2), number_of(0, 5)))
    assert [value((150, 2)), value((0, 0))] == [350, 0]
