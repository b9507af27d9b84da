"""A condition on listed texts, said of their places, has the same value on every row; and a column carries its place as far as rows go."""

from __future__ import annotations

import random

import pytest

from privacy.sql.algebra import UNIT, Expand, Filter, Lookup, Project, Stacked, Summary, facts_over
from privacy.sql.codes import by_code, code_facts, code_type, coded, listed_texts
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Call, ColumnRef, Literal, columns_in
from privacy.sql.facts import Unfit
from privacy.sql.functions import facts_of
from tests.unit.sql_functions_world import random_expression, rows_for
from tests.unit.sql_trees import about_a_list, scans

SCANS = scans()
PEOPLE, VISITS, WARDS = SCANS["clinic/people"], SCANS["clinic/visits"], SCANS["open/wards"]
WARD, OUTCOME = (next(at for at, f in enumerate(VISITS.columns) if f.name == name) for name in ("ward", "outcome"))
LISTED = frozenset({WARD, OUTCOME})
SOME = (facts_over(VISITS)[WARD], facts_over(VISITS)[OUTCOME], facts_over(VISITS)[OUTCOME], facts_over(PEOPLE)[2])


def placed_rows(rows, carried):
    """Each row, then the places of its texts."""
    for row in rows:
        places = (
            listed_texts(SOME[at]).index(text) if at in carried and text is not None else None
            for at, text in enumerate(row)
        )
        yield row, (*row, *places)


def condition(pick):
    """Conditions on lists, some of them inside of others."""
    listed = [0, 1, 2]
    parts = [
        about_a_list(pick, listed, SOME) if pick.random() < 0.7 else random_expression(pick, 2, SOME) for _ in range(2)
    ]
    for whole in (Call("and", tuple(parts)), Call("case", (parts[0], parts[1], parts[1]))):
        try:
            facts_of(whole, SOME)
        except Unfit:
            continue
        return whole
    return parts[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_value_is_the_same_on_every_row(seed):
    pick = random.Random(seed)
    carried = frozenset({0, 1, 2})
    extended = (*SOME, *(code_facts(each) if at in carried else each for at, each in enumerate(SOME)))
    rows = list(placed_rows(rows_for(SOME, seed), carried))
    rewritten = 0
    for _ in range(60):
        expression = condition(pick)
        other = by_code(expression, SOME, carried)
        rewritten += other != expression
        mine, its = evaluator(expression, SOME), evaluator(other, extended)
        assert all(mine(row) is its(whole) or mine(row) == its(whole) for row, whole in rows), expression
    assert rewritten > 20


def test_nothing_is_said_of_places_that_are_not_carried():
    expression = Call(
        "and", (Call("eq", (ColumnRef(0), Literal("north"))), Call("eq", (ColumnRef(1), Literal("good"))))
    )
    assert columns_in(by_code(expression, SOME, frozenset({1}))) == {0, 1 + len(SOME)}
    assert by_code(expression, SOME, frozenset()) == expression


def test_texts_are_not_ordered_by_place():
    less = Call("lt", (ColumnRef(0), Literal("north")))
    assert by_code(less, SOME, frozenset({0})) == less


def test_a_text_that_is_not_in_the_list_has_no_place():
    other = by_code(Call("ne", (ColumnRef(1), Literal("ugly"))), SOME, frozenset({1}))
    assert other == Call("ne", (ColumnRef(1 + len(SOME)), Literal(-1)))


def carried_by(relation):
    return coded(relation)[id(relation)]


def test_columns_carry_their_place_as_far_as_rows_go():
    assert carried_by(VISITS) == LISTED
    assert carried_by(Filter(VISITS, Literal(value=True))) == LISTED
    kept = Project(VISITS, (ColumnRef(1), ColumnRef(OUTCOME), Call("lower", (ColumnRef(WARD),))), ("a", "b", "c"))
    assert carried_by(kept) == {2}
    joined = Expand(PEOPLE, VISITS, (), True, True)
    shift = len(PEOPLE.columns) - 1
    assert carried_by(joined) == {shift + at for at in LISTED}
    looked_up = Lookup(joined, WARDS, ((ColumnRef(shift + WARD), ColumnRef(0)),), True, False)
    assert carried_by(looked_up) == carried_by(joined)
    assert carried_by(Summary(VISITS, (ColumnRef(WARD),), (), ("w",))) == frozenset()


def test_a_stack_carries_the_places_of_one_list_alone():
    def chosen(at):
        return Project(VISITS, (ColumnRef(at),), ("x",))

    assert carried_by(Stacked((chosen(WARD), chosen(WARD)))) == {1}
    assert carried_by(Stacked((chosen(WARD), chosen(OUTCOME)))) == frozenset()


def test_the_unit_carries_none():
    assert UNIT not in carried_by(VISITS)


def test_places_have_the_type_that_holds_them():
    assert code_type(["x"] * 2**15) == "SMALLINT"
    assert code_type(["x"] * (2**15 + 1)) == "INTEGER"
