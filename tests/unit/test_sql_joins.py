"""How tables may be joined: unit by unit, over declared keys, from one table on; the spines of TPC-H; everything else with its reason."""

from __future__ import annotations

import pytest

from privacy.sql.algebra import Expand, Filter, Lookup, Project, Scan, Summary
from privacy.sql.conjuncts import conjuncts
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.locality import THE_UNIT, Determining, determining_of, implies_unit, moved, names_units
from privacy.sql.relation_graph import relations_in
from tests.unit.clinic_catalogue import DRUGS, VISITS, accepted, refusal
from tests.unit.tpch_catalogue import TPCH
from tests.unit.tpch_queries import QUERIES


def chain_of(relation):
    """The spine, then what is joined to it: (how, asset or kind)."""
    while isinstance(relation, Filter | Project):
        relation = relation.source
    if not isinstance(relation, Lookup | Expand):
        return [relation.asset if isinstance(relation, Scan) else type(relation).__name__]
    other = relation.other
    while isinstance(other, Filter | Project):
        other = other.source
    how = type(relation).__name__ + (" kept" if relation.keeps else "") + (" by unit" if relation.local else "")
    name = other.asset.partition("/")[2] if isinstance(other, Scan) else type(other).__name__
    return [*chain_of(relation.source), f"{how}: {name}"]


SPINES = {
    1: ["finance/lineitem"],
    5: [
        "finance/lineitem",
        "Lookup by unit: orders",
        "Lookup by unit: customer",
        "Lookup: supplier",
        "Lookup: nation",
        "Lookup: region",
    ],
    7: [
        "finance/lineitem",
        "Lookup: supplier",
        "Lookup by unit: orders",
        "Lookup by unit: customer",
        "Lookup: nation",
        "Lookup: nation",
    ],
    8: [
        "finance/lineitem",
        "Lookup: part",
        "Lookup: supplier",
        "Lookup by unit: orders",
        "Lookup by unit: customer",
        "Lookup: nation",
        "Lookup: nation",
        "Lookup: region",
    ],
    9: [
        "finance/lineitem",
        "Lookup: part",
        "Lookup: supplier",
        "Lookup: partsupp",
        "Lookup by unit: orders",
        "Lookup: nation",
    ],
    12: ["finance/lineitem", "Lookup by unit: orders"],
    14: ["finance/lineitem", "Lookup: part"],
    19: ["finance/lineitem", "Lookup: part"],
}


@pytest.mark.parametrize("number", SPINES)
def test_the_spine_of_tpch(number):
    assert chain_of(accepted(QUERIES[number], TPCH).grouping.source) == SPINES[number]


def test_customers_and_their_orders_are_the_one_expansion_of_tpch():
    found = [each for each in relations_in(accepted(QUERIES[13], TPCH).grouping.source) if isinstance(each, Summary)]
    assert chain_of(found[0].source) == ["finance/customer", "Expand kept by unit: orders"]
    assert isinstance(found[0].source.other, Filter)  # what ON says of orders alone


def test_an_equality_that_no_join_needs_stays_a_condition():
    found = accepted(QUERIES[5], TPCH).grouping.source
    names = [field.name for field in found.columns]
    equal = Call("eq", (ColumnRef(names.index("c_nationkey")), ColumnRef(names.index("s_nationkey"))))
    assert equal in conjuncts(found.condition)


def test_the_key_of_a_join_is_taken_out_of_every_branch():
    found = accepted(QUERIES[19], TPCH).grouping.source
    first, second = found.source.on[0]
    assert found.source.source.columns[first.index].name == "l_partkey"
    assert found.source.other.columns[second.index].name == "p_partkey"
    functions = [part.function for part in conjuncts(found.condition)]
    assert functions.count("or") == 1


ORDERS = [
    "visits v JOIN drugs d ON v.visit = d.visit JOIN wards w ON v.ward = w.name",
    "visits v, drugs d, wards w WHERE v.visit = d.visit AND v.ward = w.name",
    "wards w, drugs d, visits v WHERE w.name = v.ward AND d.visit = v.visit",
]


@pytest.mark.parametrize("text", ORDERS)
def test_the_order_of_the_text_does_not_matter(text):
    assert chain_of(accepted(f"SELECT COUNT(*) FROM {text}").grouping.source) == [
        "clinic/drugs",
        "Lookup by unit: visits",
        "Lookup: wards",
    ]


def test_unit_equal_unit_is_said_by_the_join_and_nowhere_else():
    found = accepted(
        "SELECT COUNT(*) FROM visits JOIN people ON patient = person WHERE person = patient"
    ).grouping.source
    assert isinstance(found, Lookup)
    assert (found.local, found.on) == (True, ())


def test_the_private_side_is_the_first_one():
    found = accepted(
        "SELECT COUNT(*) FROM wards JOIN visits ON name = ward LEFT JOIN prices ON drug = note AND year = 2020"
    )
    assert chain_of(found.grouping.source) == ["clinic/visits", "Lookup: wards", "Lookup kept: prices"]


REFUSED = [
    ("SELECT COUNT(*) FROM wards w LEFT JOIN ^visits v ON v.ward = w.name", "sql.not_local", "public table would be kept", "begin FROM with v"),
    ("SELECT COUNT(*) FROM visits v RIGHT JOIN ^wards w ON v.ward = w.name", "sql.join", "RIGHT", "LEFT JOIN"),
    ("SELECT COUNT(*) FROM visits v FULL JOIN ^wards w ON v.ward = w.name", "sql.join", "FULL", "LEFT JOIN"),
    ("SELECT COUNT(*) FROM visits v CROSS JOIN ^wards w", "sql.join", "CROSS", "JOIN … ON"),
    ("SELECT COUNT(*) FROM visits NATURAL JOIN ^wards", "sql.join", "NATURAL", "USING"),
    ("SELECT COUNT(*) FROM visits v ASOF JOIN ^wards w ON v.age >= w.beds", "sql.join", "ASOF", "equalities"),
    ("SELECT COUNT(*) FROM visits v POSITIONAL JOIN ^wards w", "sql.join", "POSITIONAL", "equalities"),
    ("SELECT COUNT(*) FROM visits v SEMI JOIN ^wards w ON v.ward = w.name", "sql.join", "SEMI", "EXISTS"),
    ("SELECT COUNT(*) FROM visits v ANTI JOIN ^wards w ON v.ward = w.name", "sql.join", "ANTI", "NOT EXISTS"),
    ("SELECT COUNT(*) FROM visits v, ^wards w WHERE beds > 3", "sql.join", "every row", "equality with a key of w"),
    ("SELECT COUNT(*) FROM visits v JOIN ^wards w ON age > beds", "sql.join", "every row", "equality with a key of w"),
    ("SELECT COUNT(*) FROM visits v LEFT JOIN ^wards w ON TRUE", "sql.join", "ON of a LEFT JOIN", "ON a.key = w.key"),
    ("SELECT COUNT(*) FROM visits v LEFT JOIN ^people p ON v.patient = p.person AND p.weight > v.age", "sql.join", "ON of a LEFT JOIN", "WHERE"),
    ("SELECT COUNT(*) FROM visits v LEFT JOIN ^people p ON v.patient = p.person OR p.weight > 3", "sql.join", "ON of a LEFT JOIN", "WHERE"),
    ("SELECT COUNT(*) FROM drugs d JOIN ^prices p ON d.drug = p.drug", "sql.join", "drug is not declared as its key", "keys: [[drug]]"),
    ("SELECT COUNT(*) FROM drugs d LEFT JOIN ^prices p ON d.drug = p.drug", "sql.join", "drug is not declared as its key", "keys: [[drug]]"),
    ("SELECT COUNT(*) FROM visits v, ^people p WHERE p.weight > 80", "sql.not_local", "without its unit", "p.person"),
    ("SELECT COUNT(*) FROM visits v JOIN ^drugs d ON v.age = d.doses", "sql.not_local", "without its unit", "d.holder"),
    ("SELECT COUNT(*) FROM visits v LEFT JOIN ^drugs d ON v.age = d.line", "sql.not_local", "without its unit", "d.holder"),
    ("SELECT COUNT(*) FROM visits JOIN ^drugs ON patient = holder", "sql.join", "many rows of drugs", "declared key"),
    ("SELECT COUNT(*) FROM people JOIN visits ON patient = person JOIN ^drugs ON person = holder", "sql.join", "many rows of drugs", "declared key"),
    ("SELECT COUNT(*) FROM people LEFT JOIN visits ON patient = person LEFT JOIN ^drugs ON person = holder", "sql.join", "many rows of drugs", "declared key"),
    ("SELECT COUNT(*) FROM people p LEFT JOIN visits v ON v.patient = p.person LEFT JOIN drugs d ON d.holder = ^v.patient", "sql.join", "can be missing", "first table"),
    ("SELECT COUNT(*) FROM visits v LEFT JOIN people p ON v.patient = p.person WHERE ^p.person IS NULL", "sql.join", "can be missing", "another column"),
    ("SELECT COUNT(DISTINCT ^p.person) FROM visits v LEFT JOIN people p ON v.patient = p.person", "sql.join", "can be missing", "first table"),
    ("SELECT COUNT(*) FROM visits JOIN wards ON ^patient = name", "sql.unit_column", "names the unit", "COUNT(DISTINCT"),
    ("SELECT COUNT(*) FROM visits JOIN people USING (^patient)", "sql.unknown_column", "people has no column patient", "the columns are person"),
    ("SELECT COUNT(*) FROM visits v0" + "".join(f" JOIN wards w{at} ON w{at}.name = v0.ward" for at in range(15)) + " JOIN ^wards w15 ON w15.name = v0.ward", "sql.join", "more than 16", "fewer"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "code", "reason", "way_out"), REFUSED)
def test_it_is_refused_where_it_stands(sql, code, reason, way_out):
    found = refusal(sql)
    assert found.code == code
    assert reason in found.text
    assert way_out in found.way_out


def test_a_chain_of_expansions_is_linear_and_two_side_by_side_are_not():
    found = accepted(
        "SELECT COUNT(*) FROM people LEFT JOIN visits v ON patient = person LEFT JOIN drugs d ON d.visit = v.visit"
    )
    assert chain_of(found.grouping.source) == [
        "clinic/people",
        "Expand kept by unit: visits",
        "Expand kept by unit: drugs",
    ]
    assert found.grouping.source.rows == 2 * (1000 + 5000 + 9000)


A, B, C = (Call("eq", (ColumnRef(at), Literal(at))) for at in range(3))


def test_conditions_are_split_and_factored():
    def both(*parts):
        return Call("and", parts)

    def either(*parts):
        return Call("or", parts)

    assert conjuncts(both(A, both(B, A), C)) == [A, B, C]
    assert conjuncts(either(both(A, B), both(C, A))) == [A, either(B, C)]
    assert conjuncts(either(both(A, B), A)) == [A]
    assert conjuncts(either(A, B)) == [either(A, B)]
    assert conjuncts(either(both(A, either(both(B, C), B)), both(B, A))) == [A, B]


def test_what_determines_the_unit():
    visits, drugs = determining_of("clinic/visits", VISITS), determining_of("clinic/drugs", DRUGS)
    assert visits == (THE_UNIT, Determining("clinic/visits", ("visit",), (1,)))
    assert drugs == (
        THE_UNIT,
        Determining("clinic/drugs", ("line", "visit"), (2, 1)),
        Determining("clinic/visits", ("visit",), (1,)),
    )
    assert implies_unit([(1, 1)], visits, drugs)
    assert implies_unit([(0, 0)], visits, drugs)
    assert implies_unit([(2, 2), (1, 1)], drugs, drugs)
    assert not implies_unit([(2, 2)], drugs, drugs)
    assert not implies_unit([(1, 2)], visits, drugs)
    assert not implies_unit([(1, 0), (0, 1)], visits, drugs)
    assert not implies_unit([], visits, drugs)
    assert names_units({1, 5}, visits)
    assert not names_units({2, 5}, drugs)
    assert moved(drugs, {1: 4, 0: 0}) == (THE_UNIT, Determining("clinic/visits", ("visit",), (4,)))
