from __future__ import annotations

import time
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.schema import Column, ColumnType, Reference, TableSchema
from privacy.sql import ends
from privacy.sql.aggregates import Aggregate, Inner, inner_facts
from privacy.sql.algebra import (
    Constant,
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
from privacy.sql.expressions import Call, ColumnRef, Literal, columns_in, depth, parts_of, size
from privacy.sql.facts import (
    DAYS,
    GRID,
    MAX_SCALE,
    MOMENTS,
    Facts,
    Unfit,
    column_facts,
    literal_facts,
    number,
    text,
    united,
)
from privacy.sql.functions import facts_of, sql_of, sql_type
from privacy.sql.held import Kind, digits_of, held, shown

EDGES = [sign * (2**bits + step) for bits in (0, 1, 31, 53, 63, 126) for step in (-1, 0, 1) for sign in (-1, 1)]
WHOLES = st.one_of(st.sampled_from(EDGES), st.integers(-20, 20), st.integers(-(2**127), 2**127))


@st.composite
def interval_and_member(draw):
    low, member, high = sorted(draw(st.tuples(WHOLES, WHOLES, WHOLES)))
    return (low, high), draw(st.sampled_from((low, member, high)))


PAIRS = {
    "added": (ends.added, lambda x, y: x + y),
    "subtracted": (ends.subtracted, lambda x, y: x - y),
    "multiplied": (ends.multiplied, lambda x, y: x * y),
    "greatest": (ends.greatest, max),
    "least": (ends.least, min),
}
SINGLES = {
    "negated": (ends.negated, lambda x: -x),
    "absolute": (ends.absolute, abs),
    "rescaled": (lambda a: ends.rescaled(a, 3), lambda x: x * 1000),
}


def within(value, interval):
    return interval[0] <= value <= interval[1]


@pytest.mark.parametrize("name", PAIRS)
@given(interval_and_member(), interval_and_member())
def test_the_ends_of_an_operation_on_two_numbers_hold_its_value(name, first, second):
    of_ends, of_values = PAIRS[name]
    assert within(of_values(first[1], second[1]), of_ends(first[0], second[0]))


@pytest.mark.parametrize("name", SINGLES)
@given(interval_and_member())
def test_the_ends_of_an_operation_on_one_number_hold_its_value(name, operand):
    of_ends, of_value = SINGLES[name]
    assert within(of_value(operand[1]), of_ends(operand[0]))


@given(interval_and_member(), interval_and_member())
def test_the_ends_of_a_quotient_hold_it_rounded_either_way(first, second):
    found = ends.divided(first[0], second[0])
    if second[1] == 0:
        assert (found is None) == (second[0] == (0, 0))
        return
    assert within(first[1] // second[1], found)
    assert within(-(-first[1] // second[1]), found)


@given(interval_and_member(), interval_and_member())
def test_the_hull_holds_both(first, second):
    hull = ends.hull(first[0], second[0])
    assert within(first[1], hull)
    assert within(second[1], hull)
    assert set(hull) <= {*first[0], *second[0]}


@pytest.mark.parametrize("bits", [63, 126])
def test_what_fits_so_many_bits_also_fits_them_with_the_other_sign(bits):
    most = 2**bits - 1
    assert ends.fits((-most, most), bits)
    assert not ends.fits((-most - 1, 0), bits)
    assert not ends.fits((0, most + 1), bits)


def test_a_number_beyond_126_bits_or_12_digits_is_refused_and_told_what_would_pass():
    assert number((1 - 2**126, 2**126 - 1), 12, nullable=False).fits(126)
    for interval, scale in (((0, 2**126), 0), ((-(2**126), 0), 0), ((0, 1), MAX_SCALE + 1)):
        with pytest.raises(Unfit) as found:
            number(interval, scale, nullable=False)
        assert found.value.code == "sql.too_wide"
        assert found.value.way_out
    with pytest.raises(Unfit, match="1025 bytes"):
        text(1025, nullable=False)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**25), max_value=10**25))
def test_a_number_is_held_and_shown_exactly(value):
    whole = held(value, Kind.NUMBER, 9)
    assert Fraction(whole, 10**9) == Fraction(value)
    assert shown(whole, Kind.NUMBER, 9) == value
    assert shown(whole, Kind.NUMBER, 9).as_tuple().exponent == -9


@pytest.mark.parametrize(
    ("value", "kind", "whole"),
    [
        (date(1, 1, 1), Kind.DAY, DAYS[0]),
        (date(9999, 12, 31), Kind.DAY, DAYS[1]),
        (datetime(1, 1, 1, tzinfo=UTC), Kind.MOMENT, MOMENTS[0]),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), Kind.MOMENT, MOMENTS[1]),
        (True, Kind.TRUTH, True),
        ("it's", Kind.TEXT, "it's"),
        (None, Kind.DAY, None),
        (2**120, Kind.NUMBER, 2**120),
    ],
)
def test_every_kind_is_held_and_shown(value, kind, whole):
    assert held(value, kind) == whole
    assert shown(whole, kind) == value
    assert type(shown(whole, kind)) is type(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, Kind.NUMBER),
        (1, Kind.TRUTH),
        ("1", Kind.NUMBER),
        (1, Kind.TEXT),
        (datetime(2020, 1, 1, tzinfo=UTC), Kind.DAY),
        (date(2020, 1, 1), Kind.MOMENT),
        (Decimal("0.5"), Kind.NUMBER),
        (Decimal("NaN"), Kind.NUMBER),
        (datetime(2020, 1, 1), Kind.MOMENT),
        (Decimal("1e2000"), Kind.NUMBER),
    ],
)
def test_a_value_of_another_kind_is_not_held(value, kind):
    with pytest.raises(ValueError):
        held(value, kind)


def test_zeros_at_the_end_of_a_decimal_need_no_digits():
    assert [digits_of(Decimal(text)) for text in ("100.00", "0.050", "1e3", "0", "-0.00", "1.01")] == [0, 2, 0, 0, 0, 2]
    assert literal_facts(Decimal("100.00")).scale == 0
    assert literal_facts(Decimal("100.00")).ends == (100, 100)


@pytest.mark.parametrize(
    "value", ["\ud800", "a\0b", "x" * 1025, 2**126, Decimal("1e-13"), Decimal("Infinity"), Decimal("1e999999")]
)
def test_a_literal_that_cannot_be_held_is_refused(value):
    with pytest.raises(Unfit):
        literal_facts(value)


@pytest.mark.parametrize(
    "value", [None, True, 7, Decimal("0.25"), "é", date(2020, 2, 29), datetime(2020, 1, 1, tzinfo=UTC)]
)
def test_a_literal_is_known_exactly_and_is_nobodys(value):
    facts = literal_facts(value)
    assert facts.has(value)
    assert (facts.nullable, facts.is_public, facts.reads_private) == (value is None, True, False)
    assert not facts.has("another")


def test_facts_of_a_column_are_its_declaration_and_what_ingest_keeps():
    def facts(type_, **declared):
        return column_facts(Column("c", type_, **declared))

    assert facts(ColumnType.INT).ends == (-GRID, GRID)
    assert facts(ColumnType.DECIMAL, scale=2, lower=Decimal("-0.5"), upper=Decimal(3)).ends == (-50, 300)
    assert facts(ColumnType.DECIMAL, scale=2).ends == (-GRID, GRID)
    assert facts(ColumnType.DATE, lower=date(1970, 1, 2)).ends == (1, DAYS[1])
    assert facts(ColumnType.TIMESTAMP).ends == MOMENTS
    assert facts(ColumnType.STRING).max_bytes == facts(ColumnType.STRING, max_length=256).max_bytes == 1024
    category = facts(ColumnType.CATEGORY, values=("é", "b"), public=True)
    assert (category.max_bytes, category.values, category.is_public) == (2, ("é", "b"), True)
    assert facts(ColumnType.BOOL).values == (False, True)
    assert facts(ColumnType.INT).reads_private
    assert not column_facts(Column("c", ColumnType.INT), private=False).reads_private


def test_facts_without_ends_or_with_ends_the_wrong_way_round_cannot_be():
    for wrong in ({}, {"low": 1}, {"low": 1, "high": 0}, {"low": 0, "high": 1, "scale": 13}):
        with pytest.raises(ValueError):
            Facts(Kind.NUMBER, **wrong)
    with pytest.raises(ValueError):
        Facts(Kind.DAY, 2, 0, 1)
    with pytest.raises(ValueError):
        _ = Facts(Kind.TEXT).ends


def test_facts_of_one_of_several_hold_for_each_on_the_finest_grid():
    parts = (literal_facts(3), literal_facts(Decimal("0.25")), literal_facts(None))
    both = united(parts)
    assert (both.scale, both.ends, both.nullable) == (2, (25, 300), True)
    assert [str(value) for value in both.values] == ["3.00", "0.25"]
    assert united((literal_facts("b"), literal_facts("a"), literal_facts("b"))).values == ("b", "a")
    private = column_facts(Column("c", ColumnType.INT, public=True, lower=0, upper=9))
    assert (united((private, parts[0])).reads_private, united((private, parts[0])).values) == (True, None)
    for odd in (
        (literal_facts(1), literal_facts("1")),
        (literal_facts(None),),
        (literal_facts(True), literal_facts(1)),
    ):
        with pytest.raises(Unfit):
            united(odd)


def test_parts_of_one_expression_are_each_visited_once():
    x = ColumnRef(3)
    shared = Call("plus", (x, Literal(1)))
    expression = Call("times", (shared, shared))
    assert (size(expression), depth(expression), depth(x)) == (7, 2, 0)
    assert parts_of(expression) == (x, Literal(1), shared, expression)
    assert columns_in(expression) == {3}


def test_what_doubles_is_counted_before_it_is_written_out():
    """proof_obligations I1: 24 doublings are 16 million parts; nothing may walk them."""
    began = time.perf_counter()
    expression = ColumnRef(0)
    for _ in range(24):
        expression = Call("plus", (expression, expression))
    with pytest.raises(Unfit, match="10000 parts"):
        facts_of(expression, (number((0, 1), 0, nullable=False),))
    assert size(expression) == 2**25 - 1
    assert len(parts_of(expression)) == 25
    assert hash(expression) == hash(expression)
    assert time.perf_counter() - began < 0.02  # a walk would take seconds; 1 ms where the machine is idle


def test_literals_of_different_types_are_different():
    assert Literal(True) != Literal(1) != Literal(Decimal(1))
    assert Literal(1) == Literal(1)
    assert len({Literal(True), Literal(1), Literal(Decimal(1)), Literal(1)}) == 3


def test_an_unknown_function_is_refused():
    with pytest.raises(Unfit) as found:
        facts_of(Call("random", ()), ())
    assert found.value.code == "sql.not_allowed"


def test_literals_are_emitted_with_a_type_and_without_a_way_out_of_the_quotes():
    def emitted(value):
        return sql_of(Literal(value), (), ())

    assert emitted(5) == "CAST(5 AS BIGINT)"
    assert emitted(-(2**63)) == f"CAST({-(2**63)} AS HUGEINT)"
    assert emitted(Decimal("-0.25")) == "CAST(-25 AS BIGINT)"
    assert emitted(date(1970, 1, 3)) == "CAST(2 AS INTEGER)"
    assert emitted(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == "CAST(1000000 AS BIGINT)"
    assert emitted("it's \\'") == "'it''s \\'''"
    assert [emitted(True), emitted(None)] == ["TRUE", "NULL"]
    with pytest.raises(Unfit, match="no type"):
        sql_type(literal_facts(None))


CUSTOMER = TableSchema(
    "customer",
    "c_custkey",
    (Column("c_nation", ColumnType.INT, lower=0, upper=24), Column("c_custkey", ColumnType.STRING, max_length=9)),
    150,
    150,
    rows_per_unit=1,
)
ORDERS = TableSchema(
    "orders",
    "o_custkey",
    (
        Column("o_custkey", ColumnType.STRING, max_length=9),
        Column("o_orderkey", ColumnType.INT),
        Column("o_price", ColumnType.DECIMAL, nullable=True, scale=2, lower=Decimal(0), upper=Decimal(100)),
    ),
    1500,
    150,
    keys=(("o_orderkey",),),
)
NATION = TableSchema(
    "nation",
    "n_key",
    (Column("n_key", ColumnType.STRING), Column("n_name", ColumnType.STRING, max_length=25)),
    25,
    25,
    rows_per_unit=1,
    unit_type=ColumnType.INT,
)


def scans():
    return (
        scan_of(0, "finance/customer", CUSTOMER, private=True),
        scan_of(1, "finance/orders", ORDERS, private=True),
        scan_of(2, "finance/nation", NATION, private=False),
    )


def names_of(relation):
    return [field.name for field in relation.columns]


def sets(*columns):
    return frozenset(frozenset(each) for each in columns)


def test_a_private_asset_has_its_unit_first_and_a_public_one_its_declared_types():
    customer, orders, nation = scans()
    assert names_of(customer) == ["c_custkey", "c_nation"]
    assert (customer.unique, orders.unique, nation.unique) == (sets([0]), sets([1]), sets([0]))
    assert (customer.rows, orders.private, nation.private) == (300, True, False)
    assert facts_over(nation)[0].kind is Kind.NUMBER
    assert facts_over(customer)[0].kind is Kind.TEXT
    assert not facts_over(customer)[0].nullable


def test_orders_are_counted_by_customer_as_q13_does():
    customer, orders, nation = scans()
    joined = Expand(customer, Filter(orders, Literal(True)), (), keeps=True, local=True)
    assert names_of(joined) == ["c_custkey", "c_nation", "o_orderkey", "o_price"]
    assert [field.facts.nullable for field in joined.columns] == [False, False, True, True]
    assert (joined.rows, joined.unique, joined.ordered) == (3300, sets([0, 2]), False)
    counted = Summary(joined, (), ((Inner.NONNULL, ColumnRef(2)),), ("c_count",))
    assert (counted.unique, counted.columns[1].facts.ends) == (sets([0]), (0, 3300))
    asked = Grouping(counted, (Key("c_count", ColumnRef(1)),), ((0,),), (Asked(Aggregate.ROWS, None),))
    assert asked.key_facts[0].kind is Kind.NUMBER
    assert asked.argument_facts == (None,)
    looked_up = Lookup(customer, nation, ((ColumnRef(1), ColumnRef(0)),), keeps=False, local=False)
    assert (names_of(looked_up)[2:], looked_up.unique, looked_up.rows) == (["n_key", "n_name"], sets([0]), 300)


def test_an_expansion_without_kept_rows_is_as_unique_as_what_it_expands_to():
    customer, orders, _ = scans()
    assert Expand(customer, orders, (), keeps=False, local=True).unique == sets([2])


def test_projections_keep_the_unit_and_the_sets_of_which_every_column_is_kept():
    _, orders, _ = scans()
    kept = Project(orders, (ColumnRef(2), ColumnRef(1)), ("price", "key"))
    assert names_of(kept) == ["o_custkey", "price", "key"]
    assert kept.unique == sets([2])
    assert kept.ordered
    assert Project(orders, (ColumnRef(2),), ("price",)).unique == frozenset()


def test_private_relations_meet_unit_by_unit_or_not_at_all():
    customer, orders, nation = scans()
    on = ((ColumnRef(1), ColumnRef(0)),)
    wrong = [
        lambda: Lookup(orders, customer, on, keeps=False, local=False),  # without unit = unit
        lambda: Lookup(customer, nation, on, keeps=False, local=True),  # no unit to compare with
        lambda: Lookup(nation, customer, on, keeps=True, local=False),  # a public row would be kept
        lambda: Lookup(customer, orders, (), keeps=False, local=True),  # not unique by unit
        lambda: Lookup(
            customer, nation, ((ColumnRef(1), ColumnRef(1)),), keeps=False, local=False
        ),  # not unique by name
        lambda: Lookup(customer, nation, (), keeps=False, local=False),  # every row with every row
        lambda: Expand(orders, customer, (), keeps=False, local=True),  # the first side is not unique
        lambda: Stacked((customer, nation)),
        lambda: Grouping(nation, (), ((),), ()),
        lambda: Grouping(customer, (), ((0,),), ()),
        lambda: Grouping(customer, (), (), ()),
        lambda: Summary(nation, (), (), ()),
    ]
    for build in wrong:
        with pytest.raises(ValueError):
            build()


def test_stacked_relations_have_facts_that_hold_for_each_and_nothing_unique():
    customer, _, _ = scans()
    narrow = Project(customer, (ColumnRef(1),), ("n",))
    other = Project(customer, (Literal(99),), ("n",))
    both = Stacked((narrow, other))
    assert (both.columns[1].facts.ends, both.rows, both.unique, both.ordered) == ((0, 99), 600, frozenset(), False)
    assert both.columns[1].facts.reads_private


def test_relations_that_double_are_measured_without_walking_them():
    """proof_obligations I1: WITH a AS (…), b AS (SELECT * FROM a UNION ALL SELECT * FROM a), …"""
    relation, _, _ = scans()
    began = time.perf_counter()
    for _ in range(24):
        relation = Stacked((relation, relation))
    assert (relation.rows, len(relation.columns), relation.private) == (300 * 2**24, 2, True)
    assert time.perf_counter() - began < 0.1


def test_values_are_a_relation_that_nobody_is_in():
    table = constant_of(((1, "a"), (Decimal("2.5"), None)), ("x", "s"))
    assert isinstance(table, Constant)
    assert (table.rows, table.private) == (2, False)
    assert [facts.nullable for facts in facts_over(table)] == [False, True]
    assert facts_over(table)[0].values == (1, Decimal("2.5"))
    with pytest.raises(Unfit):
        constant_of(((1,), ("a",)), ("x",))


@given(st.lists(st.integers(-50, 300), min_size=1, max_size=8), st.integers(8, 20))
def test_facts_of_an_exact_aggregate_hold_its_value(values, rows):
    argument = number((-50, 300), 2, nullable=True)
    exact = {Inner.SUM: sum(values), Inner.MIN: min(values), Inner.MAX: max(values), Inner.VALUES: len(set(values))}
    for inner, value in exact.items():
        assert within(value, inner_facts(inner, argument, rows, private=True).ends)
    average = inner_facts(Inner.AVG, argument, rows, private=True)
    assert within(sum(values) * 10 ** (average.scale - 2) // len(values), average.ends)
    assert average.nullable
    assert not inner_facts(Inner.ROWS, None, rows, private=True).nullable


def test_exact_aggregates_that_cannot_be_held_are_refused():
    wide = number((0, 2**120), 0, nullable=False)
    with pytest.raises(Unfit, match="126 bits"):
        inner_facts(Inner.SUM, wide, 2**10, private=True)
    for inner, argument in (
        (Inner.SUM, literal_facts("a")),
        (Inner.AVG, literal_facts(date(2020, 1, 1))),
        (Inner.MAX, literal_facts(True)),
        (Inner.SUM, None),
        (Inner.MIN, literal_facts(None)),
    ):
        with pytest.raises(Unfit):
            inner_facts(inner, argument, 1, private=True)


@pytest.mark.parametrize(
    "declared",
    [
        {"keys": ((),)},
        {"keys": (("nothing",),)},
        {"keys": (("o_price",),)},
        {"keys": (("o_orderkey", "o_orderkey"),)},
        {"rows_per_unit": 0},
        {"references": (Reference(("o_orderkey",), "finance/other", ()),)},
        {"references": (Reference(("nothing",), "finance/other", ("k",)),)},
    ],
)
def test_a_declared_key_is_made_of_columns_that_are_never_null(declared):
    with pytest.raises(ValueError):
        TableSchema("orders", "o_custkey", ORDERS.columns, 1500, 150, **declared)


def test_a_table_declared_without_keys_is_as_it_was():
    plain = TableSchema("orders", "o_custkey", ORDERS.columns, 1500, 150)
    assert (plain.keys, plain.rows_per_unit, plain.unit_type, plain.references) == ((), None, None, ())
    assert scan_of(0, "finance/orders", plain, private=True).unique == frozenset()
