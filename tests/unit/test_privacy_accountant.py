"""Accounting is exact, rounds against the spender, and does not care for order."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.canonical import canonical
from core.errors import Invalid
from privacy.accountant import Accountant, Capacity, Loss, epsilon_for, loss_of, rho_for
from privacy.zcdp import GRID, _log_up

BASIC, ZCDP = Accountant.BASIC, Accountant.ZCDP
PRECISE = Context(prec=120)
# Room for the last digit of the checking arithmetic itself; the margin that is checked is 50 powers of ten wider.
NEARLY_ONE = PRECISE.subtract(Decimal(1), Decimal("1e-100"))

epsilons = st.fractions(min_value=Fraction(1, 10**3), max_value=100, max_denominator=10**7)
deltas = st.integers(3, 30).map(lambda power: Fraction(1, 10**power)) | st.fractions(
    min_value=Fraction(1, 10**12), max_value=Fraction(1, 1001), max_denominator=10**13
)
rhos = st.fractions(min_value=0, max_value=50, max_denominator=10**13)
losses = st.builds(Loss, epsilon=rhos, delta=st.fractions(0, Fraction(1, 1000)))


def decimal_of(value: Fraction) -> Decimal:
    return PRECISE.divide(Decimal(value.numerator), Decimal(value.denominator))


def true_epsilon(rho: Fraction, delta: Fraction) -> Decimal:
    """ρ + 2·sqrt(ρ·ln(1/δ)) to about 118 digits."""
    product = PRECISE.multiply(decimal_of(rho), PRECISE.ln(decimal_of(1 / delta)))
    return PRECISE.add(decimal_of(rho), PRECISE.multiply(Decimal(2), PRECISE.sqrt(product)))


@given(st.fractions(min_value=Fraction(1001, 1000), max_value=10**40))
def test_the_logarithm_is_rounded_up_and_not_far(value):
    found = decimal_of(_log_up(value))
    assert PRECISE.exp(found) >= PRECISE.multiply(decimal_of(value), NEARLY_ONE)
    assert PRECISE.exp(PRECISE.subtract(found, Decimal("1e-45"))) <= decimal_of(value)


@given(epsilons, deltas)
def test_rho_for_is_the_largest_of_its_grid_that_implies_epsilon(epsilon, delta):
    rho = rho_for(epsilon, delta)
    assert rho == Fraction(int(rho * GRID), GRID)
    assert true_epsilon(rho, delta) <= decimal_of(epsilon)
    assert true_epsilon(rho + Fraction(1, GRID), delta) > decimal_of(epsilon)


@given(rhos, deltas)
def test_epsilon_for_rounds_up_by_a_hair(rho, delta):
    found = decimal_of(epsilon_for(rho, delta))
    assert true_epsilon(rho, delta) <= found <= true_epsilon(rho, delta) + Decimal("3e-12")


@given(epsilons, epsilons, deltas)
def test_more_epsilon_never_buys_less_rho(first, second, delta):
    low, high = sorted((first, second))
    assert rho_for(low, delta) <= rho_for(high, delta)


@given(epsilons, deltas, deltas)
def test_more_delta_never_buys_less_rho(epsilon, first, second):
    low, high = sorted((first, second))
    assert rho_for(epsilon, low) <= rho_for(epsilon, high)


@given(st.lists(losses, max_size=6), st.randoms(use_true_random=False))
def test_spending_does_not_depend_on_order(spends, shuffler):
    """Peer fault T08."""
    shuffled = list(spends)
    shuffler.shuffle(shuffled)
    assert sum(spends, start=Loss()) == sum(shuffled, start=Loss())


@given(losses, losses, losses)
def test_adding_is_associative_and_never_shrinks(first, second, third):
    assert (first + second) + third == first + (second + third)
    assert first.within(first + second)


@given(st.sampled_from(Accountant), epsilons, epsilons, deltas)
def test_a_larger_epsilon_is_charged_at_least_as_much(accountant, first, second, delta):
    low, high = sorted((first, second))
    assert loss_of(accountant, low, delta).within(loss_of(accountant, high, delta))


@given(st.sampled_from(Accountant), epsilons, deltas, st.lists(st.tuples(epsilons, deltas), max_size=5))
def test_what_is_admitted_one_by_one_never_exceeds_the_declared_guarantee(accountant, epsilon, delta, asked):
    capacity, spent = Capacity.of(accountant, epsilon, delta), Loss()
    for job in asked:
        charge = loss_of(accountant, *job)
        if capacity.admits(spent, charge):
            spent = spent + charge
    assert spent.within(capacity.limit)
    if accountant is ZCDP and spent.rho > 0:
        assert true_epsilon(spent.rho, delta / 2) <= decimal_of(epsilon)
        assert spent.delta + delta / 2 <= delta


def test_three_tenths_go_three_times_into_one_and_a_tenth_ten_times():
    """Binary floats say that 0.1 + 0.2 is more than 0.3; a budget must not."""
    capacity = Capacity.of(BASIC, Fraction(1), Fraction(0))
    spent = Loss()
    for _ in range(3):
        assert capacity.admits(spent, loss_of(BASIC, Fraction(3, 10), Fraction(0)))
        spent = spent + loss_of(BASIC, Fraction(3, 10), Fraction(0))
    assert not capacity.admits(spent, loss_of(BASIC, Fraction(3, 10), Fraction(0)))
    assert capacity.admits(Loss(epsilon=Fraction(9, 10)), Loss(epsilon=Fraction(1, 10)))
    assert not capacity.admits(Loss(epsilon=Fraction(9, 10)), Loss(epsilon=Fraction(1, 10) + Fraction(1, 10**30)))


def test_delta_is_a_limit_of_its_own():
    capacity = Capacity.of(BASIC, Fraction(10), Fraction(1, 10**8))
    assert not capacity.admits(Loss(), Loss(epsilon=Fraction(1), delta=Fraction(2, 10**8)))
    assert not capacity.admits(Loss(), Loss(epsilon=Fraction(1, 10), delta=Fraction(1, 10**8) + Fraction(1, 10**20)))


def test_zcdp_pays_for_many_small_jobs_and_costs_for_few():
    """Proof obligation I9, recomputed: neither accountant is always the better one, so none may be picked job by job."""
    delta = Fraction(1, 10**9)
    capacity = Capacity.of(ZCDP, Fraction(10), delta)

    def together(jobs: int, epsilon: Fraction) -> Fraction:
        one = loss_of(ZCDP, epsilon, delta)
        return capacity.converted(Loss(rho=one.rho * jobs))[0]

    assert Fraction(45, 100) < together(3, Fraction(3, 10)) < Fraction(9, 10)
    assert together(100, Fraction(5, 100)) < Fraction(1)
    assert together(1, Fraction(3, 10)) <= Fraction(3, 10)


def test_a_stand_alone_job_that_asks_for_all_of_a_zcdp_budget_gets_it():
    capacity = Capacity.of(ZCDP, Fraction(2), Fraction(1, 10**9))
    everything = loss_of(ZCDP, Fraction(2), Fraction(1, 10**9))
    assert everything == capacity.limit
    assert capacity.admits(Loss(), everything)
    assert capacity.left(everything) == Loss()
    epsilon, delta = capacity.converted(everything)
    assert epsilon <= Fraction(2) + Fraction(3, GRID)
    assert delta == Fraction(1, 10**9)


@given(st.sampled_from(Accountant), epsilons, epsilons)
def test_the_largest_epsilon_that_fits_does_fit_and_a_bit_more_does_not(accountant, limit, first):
    delta = Fraction(1, 10**7)
    capacity = Capacity.of(accountant, limit, 3 * delta)
    spent = loss_of(accountant, first, delta)
    if not capacity.admits(Loss(), spent):
        spent = Loss()
    found = capacity.largest_epsilon(spent, delta)
    assert found == 0 or capacity.admits(spent, loss_of(accountant, found, delta))
    assert not capacity.admits(spent, loss_of(accountant, found + Fraction(1, 10**6), delta))


def test_a_zcdp_job_too_small_to_be_counted_is_refused_and_not_free():
    delta = Fraction(1, 10**9)
    with pytest.raises(Invalid) as refusal:
        loss_of(ZCDP, Fraction(1, 10**6), delta)
    assert refusal.value.code == "epsilon.too_small"
    with pytest.raises(Invalid):
        Capacity.of(ZCDP, Fraction(1, 10**6), delta)
    spent = Loss(rho=Capacity.of(ZCDP, Fraction(1), delta).limit.rho - Fraction(1, GRID))
    assert Capacity.of(ZCDP, Fraction(1), delta).largest_epsilon(spent, delta / 10) < Fraction(1, 10**4)


def test_nothing_fits_where_delta_is_used_up():
    capacity = Capacity.of(BASIC, Fraction(10), Fraction(1, 10**8))
    assert capacity.largest_epsilon(Loss(delta=Fraction(1, 10**8)), Fraction(1, 10**8)) == 0
    assert Capacity.of(ZCDP, Fraction(1), Fraction(1, 10**8)).largest_epsilon(Loss(), Fraction(0)) == 0


def test_left_never_goes_below_nothing():
    capacity = Capacity.of(BASIC, Fraction(1), Fraction(0))
    assert capacity.left(Loss(epsilon=Fraction(5))) == Loss()
    assert capacity.left(Loss(epsilon=Fraction(1, 4))) == Loss(epsilon=Fraction(3, 4))


def test_a_loss_in_the_other_currency_is_an_error_and_not_free():
    basic, zcdp = Capacity.of(BASIC, Fraction(1), Fraction(0)), Capacity.of(ZCDP, Fraction(1), Fraction(1, 10**9))
    with pytest.raises(ValueError, match="currency"):
        basic.admits(Loss(), Loss(rho=Fraction(1, 100)))
    with pytest.raises(ValueError, match="currency"):
        zcdp.admits(Loss(), Loss(epsilon=Fraction(1, 100)))
    with pytest.raises(ValueError, match="currency"):
        zcdp.converted(Loss(epsilon=Fraction(1, 100)))
    with pytest.raises(ValueError, match="currency"):
        Capacity(BASIC, Loss(rho=Fraction(1)))


@pytest.mark.parametrize("delta", [Fraction(-1), Fraction(0), Fraction(2)])
def test_zcdp_without_a_usable_delta_is_refused(delta):
    with pytest.raises(Invalid) as refusal:
        Capacity.of(ZCDP, Fraction(1), delta)
    assert refusal.value.code == "delta.required"


@pytest.mark.parametrize("part", [Fraction(-1), 0.5, -1, float("nan"), float("inf")])
def test_a_loss_is_never_negative_nor_a_float(part):
    with pytest.raises(ValueError, match="exact"):
        Loss(epsilon=part)
    with pytest.raises(ValueError, match="exact"):
        Loss(delta=part)
    with pytest.raises(ValueError, match="exact"):
        Loss(rho=part)


@given(losses)
def test_a_loss_survives_its_json(loss):
    assert Loss.from_json(loss.to_json()) == loss
    canonical(loss.to_json())


@pytest.mark.parametrize(
    "stored", [{}, {"epsilon": "1", "delta": "0"}, {"epsilon": "1", "delta": "0", "rho": "0", "x": "1"}]
)
def test_an_unknown_form_of_loss_is_refused(stored):
    with pytest.raises(ValueError, match="not a privacy loss"):
        Loss.from_json(stored)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e309", "5e-324", "abc", ""])
def test_a_stored_loss_that_is_no_ordinary_number_is_refused(text):
    with pytest.raises(ValueError, match="number"):
        Loss.from_json({"epsilon": text, "delta": "0", "rho": "0"})
