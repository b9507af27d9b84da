"""A plan of a program: its price is what was asked, its mechanisms cost no more, and it is a function of public numbers only."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.canonical import canonical
from core.errors import Invalid
from privacy.accountant import Accountant, Capacity, Loss, rho_for
from privacy.programs.block_count import largest_useful, permitted, permitted_below
from privacy.programs.forecast import rank_reach, worst_rank_reach
from privacy.programs.outputs import Aggregate
from privacy.programs.plan import ProgramPlan, plan_program
from privacy.programs.plan_model import STEPS
from tests.unit.program_world import AUC, output, plan, request

epsilons = st.fractions(min_value=Fraction(1, 100), max_value=20, max_denominator=1000)
accountants = st.sampled_from(Accountant)
outputs = st.lists(st.tuples(st.none() | st.integers(1, 6), st.sampled_from(Aggregate)), min_size=1, max_size=5).map(
    lambda drawn: tuple(output(f"o{at}", length, aggregate) for at, (length, aggregate) in enumerate(drawn))
)


def spent(planned: ProgramPlan) -> Fraction:
    return sum((mechanism.price for mechanism in planned.mechanisms), Fraction(0))


# --- price


@given(outputs, epsilons, accountants)
@settings(max_examples=40, deadline=None)
def test_the_price_is_what_was_asked_and_the_mechanisms_cost_hardly_less_and_never_more(declared, epsilon, accountant):
    planned = plan(*declared, epsilon=epsilon, accountant=accountant)
    basic = accountant is Accountant.BASIC
    assert planned.price == (Loss(epsilon=epsilon) if basic else Loss(rho=rho_for(epsilon, planned.delta / 2)))
    asked = planned.price.epsilon if basic else planned.price.rho
    assert asked * Fraction(99, 100) < spent(planned) <= asked


@given(outputs, epsilons, accountants)
@settings(max_examples=20, deadline=None)
def test_every_number_has_the_same_share(declared, epsilon, accountant):
    planned = plan(*declared, epsilon=epsilon, accountant=accountant)
    means = sum(each.width for each in declared if each.aggregate is Aggregate.MEAN)
    assert len(planned.mechanisms) == (means > 0) + planned.width - means
    for mechanism in planned.mechanisms:
        numbers = means if mechanism is planned.noise else 1
        share = (planned.price.epsilon + planned.price.rho) * numbers / planned.width
        assert share * Fraction(99, 100) < mechanism.price <= share


def test_noise_is_on_the_norm_over_all_numbers_of_all_means():
    """Design R12: one block changes all of them at once."""
    planned = plan(output("a", 3), output("b"), AUC)
    assert planned.noise is not None
    assert (planned.noise.l0, planned.noise.linf) == (4, STEPS)
    assert (planned.noise.l1, planned.noise.l2_squared) == (4 * STEPS, 4 * STEPS**2)


def test_what_a_zcdp_population_has_left_can_be_spent_on_a_program():
    """The ε that a refusal suggests is priced as a query of that ε would be."""
    capacity = Capacity.of(Accountant.ZCDP, Fraction(1), Fraction(1, 10**6))
    delta = Fraction(1, 10**8)
    epsilon = capacity.largest_epsilon(Loss(), delta)
    assert capacity.admits(Loss(), plan(epsilon=epsilon, delta=delta, accountant=Accountant.ZCDP).price)


def test_delta_is_for_zcdp_only():
    assert plan(delta=Fraction(1, 10)).delta == 0
    assert plan(accountant=Accountant.ZCDP).delta == Fraction(1, 10**9)
    assert plan(accountant=Accountant.ZCDP, delta=Fraction(1, 10**6)).delta == Fraction(1, 10**6)
    with pytest.raises(Invalid, match=r"delta\.required"):
        plan(accountant=Accountant.ZCDP, delta=Fraction(0))
    with pytest.raises(Invalid, match=r"epsilon\.too_small"):
        plan(accountant=Accountant.ZCDP, epsilon=Fraction(1, 10**6))


@pytest.mark.parametrize("declared", [(output("a", 1024),), (output("m", 1000, Aggregate.MEDIAN),)])
def test_an_epsilon_too_small_to_be_shared_is_refused_with_its_place(declared):
    with pytest.raises(Invalid, match=r"epsilon\.too_small") as refused:
        plan(*declared, epsilon=Fraction(1, 10**16))
    assert refused.value.where == {"field": "epsilon"}
    assert "groups" not in (refused.value.way_out or "")


# --- the plan as a record


@given(outputs, epsilons, accountants)
@settings(max_examples=20, deadline=None)
def test_a_plan_survives_its_json_and_is_the_same_each_time(declared, epsilon, accountant):
    planned = plan(*declared, epsilon=epsilon, accountant=accountant)
    assert ProgramPlan.from_json(json.loads(json.dumps(planned.to_json()))) == planned
    assert canonical(plan(*declared, epsilon=epsilon, accountant=accountant).to_json()) == canonical(planned.to_json())
    assert planned.max_partial_bytes == 8 * sum(each.width for each in declared)


def test_a_record_with_mechanisms_for_other_outputs_is_an_error():
    stored = plan(output("a", 3), AUC).to_json()
    fewer = plan(output("a", 2), AUC).to_json()
    for change in (
        {"noise": fewer["noise"]},
        {"noise": stored["noise"] | {"scale": "1073741824"}},
        {"noise": stored["noise"] | {"kind": "gaussian"}},
        {"median": stored["median"] | {"kind": "exponential"}},
        {"median": stored["median"] | {"scale": "0.5"}},
        {"price": stored["price"] | {"epsilon": "1.9"}},
        {"noise": None},
        {"median": None},
        {"median": stored["median"] | {"candidates": "2"}},
        {"schema": "banyan.program_plan/2"},
        {"more": 1},
        {"blocks": "8"},
        {"blocks": 0},
        {"blocks": True},
        {"epsilon": "1"},
        {"delta": "0.5"},
        {"outputs": [stored["outputs"][0] | {"lower": "9"}, stored["outputs"][1]]},
        {"outputs": [stored["outputs"][0] | {"lower": "x"}, stored["outputs"][1]]},
        {"outputs": [stored["outputs"][0] | {"length": "3"}, stored["outputs"][1]]},
        {"forecast": [entry | {"more": 1} for entry in stored["forecast"]]},
    ):
        with pytest.raises((ValueError, Invalid), match=r"."):
            ProgramPlan.from_json(stored | change)


# --- number of blocks

stored_counts = st.integers(3, 9).map(lambda power: 2**power)


def is_permitted(count: int, stored: int) -> bool:
    return count % stored == 0 or (stored % count == 0 and count & (count - 1) == 0)


@given(st.integers(1, 99_000), stored_counts)
def test_an_asked_number_is_rounded_up_to_the_next_permitted_one(asked, stored):
    found = permitted(asked, stored)
    assert found >= asked
    assert is_permitted(found, stored)
    assert not any(is_permitted(count, stored) for count in range(asked, found))
    below = permitted_below(asked, stored)
    assert below <= asked
    assert is_permitted(below, stored)
    assert not any(is_permitted(count, stored) for count in range(below + 1, asked + 1))


def test_the_number_of_blocks_asked_for_is_kept():
    assert plan(blocks=300).blocks == 304
    assert plan(blocks=3).blocks == 4
    assert plan(blocks=1).blocks == 1
    assert plan(blocks=99_997, units=10**7).blocks == 100_000


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"blocks": 0}, "blocks.invalid"),
        ({"blocks": True}, "blocks.invalid"),
        ({"blocks": 100_001}, "blocks.invalid"),
        ({"blocks": 30_001}, "blocks.too_many"),
        ({"blocks": 99_999, "units": 10**6, "stored_blocks": 64}, "blocks.too_many"),
        ({"blocks": 8, "accuracy": (("slope", Decimal(1)),)}, "accuracy.blocks"),
    ],
)
def test_numbers_of_blocks_that_cannot_be_are_refused(given, code):
    with pytest.raises(Invalid) as refused:
        plan(**given)
    assert refused.value.code == code
    assert refused.value.where["field"] in {"blocks", "accuracy"}


def test_more_answers_than_the_gate_can_hold_are_refused_and_the_way_out_works():
    many = {"units": 10**6}
    with pytest.raises(Invalid, match=r"blocks\.too_many") as refused:
        plan(output("a", 1024), blocks=50_000, **many)
    assert refused.value.way_out is not None
    most = int(refused.value.way_out.removeprefix("blocks: ").removesuffix(", or blocks: auto"))
    assert plan(output("a", 1024), blocks=most, **many).blocks > 9_000


def test_automatic_blocks_are_no_more_than_the_gate_can_hold():
    wide, many = output("a", 1000), {"units": 10**7, "epsilon": Fraction(1, 10)}
    assert plan(wide, **many).blocks == 10_000
    with pytest.raises(Invalid, match=r"accuracy\.unreachable") as refused:
        plan(wide, accuracy=(("a", Decimal("0.05")),), **many)
    coarser = (
        (refused.value.way_out or "").partition(", or epsilon: ")[0].removeprefix("accuracy: {a: ").removesuffix("}")
    )
    assert plan(wide, accuracy=(("a", Decimal(coarser)),), **many).blocks <= 10_000


def test_a_refusal_says_which_limit_a_number_of_blocks_is_beyond():
    for asked, said in (
        ({"blocks": 30_001}, "30,000 declared"),
        ({"blocks": 99_999, "units": 10**6, "stored_blocks": 64}, "100,032"),
    ):
        with pytest.raises(Invalid, match=said):
            plan(**asked)


@given(outputs, epsilons, stored_counts, st.integers(1, 10**6))
@settings(max_examples=30, deadline=None)
def test_automatic_blocks_leave_ten_units_to_each_and_are_never_few_where_units_allow(declared, epsilon, stored, units):
    blocks = plan(*declared, epsilon=epsilon, stored_blocks=stored, units=units).blocks
    assert is_permitted(blocks, stored)
    assert blocks == 1 or units / blocks >= 10
    assert blocks >= min(8, largest_useful(stored, units, sum(each.width for each in declared)))


def test_automatic_blocks_are_the_fewest_whose_noise_is_within_a_twentieth_of_the_range():
    planned = plan(output(), epsilon=Fraction(1))
    assert Decimal(planned.forecast[0].noise_95 or "") <= Decimal("0.3")
    fewer = plan(output(), epsilon=Fraction(1), blocks=permitted_below(planned.blocks - 1, 8))
    assert Decimal(fewer.forecast[0].noise_95 or "") > Decimal("0.3")


def test_automatic_blocks_of_a_median_are_the_fewest_within_a_tenth_of_the_ranks():
    planned = plan(AUC, epsilon=Fraction(1))
    assert planned.median is not None
    assert rank_reach(planned.blocks, planned.median) <= 0.1
    assert rank_reach(permitted_below(planned.blocks - 1, 8), planned.median) > 0.1
    assert planned.forecast[0].noise_ranks == "between the 40th and the 60th percentile of the block answers"


def test_an_accuracy_asked_for_decides_the_number_of_blocks():
    asked = plan(output(), accuracy=(("slope", Decimal("0.01")),))
    assert Decimal(asked.forecast[0].noise_95 or "") <= Decimal("0.01")
    assert asked.blocks > plan(output()).blocks
    loose = plan(output(), accuracy=(("slope", Decimal(3)),))
    assert loose.blocks == 8


@pytest.mark.parametrize("accountant", Accountant)
def test_an_accuracy_out_of_reach_is_refused_and_both_ways_out_work(accountant):
    declared = (output("coef", 4), output("auc", lower="0.5", upper="1", default="0.5"))
    given = {"accountant": accountant, "units": 4000, "epsilon": Fraction(1)}
    with pytest.raises(Invalid, match=r"accuracy\.unreachable") as refused:
        plan(*declared, accuracy=(("coef", Decimal("0.05")), ("auc", Decimal("0.1"))), **given)
    assert refused.value.where == {"field": "accuracy.coef"}
    coarser, _, epsilon = (refused.value.way_out or "").partition(", or epsilon: ")
    accuracy = Decimal(coarser.removeprefix("accuracy: {coef: ").removesuffix("}"))
    assert plan(*declared, accuracy=(("coef", accuracy),), **given).blocks <= 400
    enough = given | {"epsilon": Fraction(epsilon)}
    assert plan(*declared, accuracy=(("coef", Decimal("0.05")),), **enough).blocks <= 400


def test_no_epsilon_is_named_where_none_would_do():
    with pytest.raises(Invalid, match=r"accuracy\.unreachable") as refused:
        plan(output(), accuracy=(("slope", Decimal("1e-6")),))
    assert "epsilon" not in (refused.value.way_out or "")


@pytest.mark.parametrize(
    "accuracy", [("auc", "1"), ("nothing", "1"), ("slope", "0"), ("slope", "-1"), ("slope", "NaN")]
)
def test_an_accuracy_that_means_nothing_is_refused(accuracy):
    with pytest.raises(Invalid, match=r"accuracy\.invalid"):
        plan(output(), AUC, accuracy=((accuracy[0], Decimal(accuracy[1])),))


# --- forecast and trade


@given(epsilons, epsilons, accountants, st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_noise_falls_with_epsilon_and_with_blocks(one, other, accountant, few, many):
    def noise(epsilon: Fraction, blocks: int) -> tuple[Decimal, float, float]:
        planned = plan(output("a", 2), AUC, epsilon=epsilon, accountant=accountant, blocks=blocks)
        assert planned.median is not None
        told = Decimal(planned.forecast[0].noise_95 or "")
        return told, rank_reach(planned.blocks, planned.median), worst_rank_reach(planned.blocks, planned.median)

    low, high = sorted((one, other))
    few, many = sorted((few, many))
    assert all(more >= less for more, less in zip(noise(low, 64), noise(high, 64), strict=True))
    assert all(more >= less for more, less in zip(noise(low, few), noise(low, many), strict=True))


def test_a_forecast_is_never_wider_than_the_range():
    told = plan(output(), AUC, epsilon=Fraction(1, 10), blocks=1).forecast
    assert told[0].noise_95 == "6.0"
    assert told[1].noise_ranks == "between the 0th and the 100th percentile of the block answers"


def test_the_trade_off_is_told_in_numbers():
    told = " ".join(plan(output("coef", 4), AUC, blocks=208).trade)
    assert plan(output(), blocks=1).trade[0] == "The program runs once, on all data."
    assert "once on each of the 208 blocks; their answers" in told
    assert "fewer units (about 30,000 / blocks)" in told
    assert "± 0.44 with 104" in told
    assert "± 0.11 with 416" in told
    assert "shared by 5 numbers" in told
    assert "5 % of each declared" not in told
    assert "each declared range: a larger epsilon" in " ".join(plan(output(), blocks=8).trade)
    assert "next to nothing" not in told
    assert "next to nothing" in " ".join(plan(output(), blocks=30_000).trade)


def test_a_plan_for_one_unit_can_be_made():
    assert plan_program(request(output(), AUC, units=1)).blocks == 1
