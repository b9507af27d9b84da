"""The sentence that goes with a release says no more than the record proves."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.canonical import canonical
from privacy.accountant import Accountant
from privacy.guarantee import RESIDUAL_OF_PROGRAMS, Guarantee, _short
from privacy.mechanisms import NoiseKind
from privacy.tails import ChoiceKind, MechanismKind

BASIC = Guarantee(
    epsilon=Fraction(1, 2),
    delta=Fraction(1, 10**8),
    rho=None,
    unit="aircraft",
    rows="flights",
    population="aircraft",
    accountant=Accountant.BASIC,
    mechanisms=(NoiseKind.LAPLACE,),
)
ZCDP = Guarantee(
    epsilon=Fraction(1, 3),
    delta=Fraction(2, 3 * 10**9),
    rho=Fraction(1, 1000),
    unit="patient",
    population="patients",
    accountant=Accountant.ZCDP,
    mechanisms=(NoiseKind.GAUSSIAN,),
)
PROGRAM = Guarantee(
    epsilon=Fraction(2),
    delta=Fraction(0),
    rho=None,
    unit="tailnum",
    rows="flights",
    population="aircraft",
    accountant=Accountant.BASIC,
    mechanisms=(MechanismKind.LAPLACE,),
    blocks=1400,
)


def test_the_sentence_has_the_form_people_were_promised():
    assert BASIC.sentence() == (
        "(ε 0.5, δ 1e-8)-DP for each aircraft with all its flights, add/remove one; Laplace, basic composition"
    )
    assert (
        ZCDP.sentence()
        == "(ε 0.3334, δ 6.667e-10)-DP for each patient with all its rows, add/remove one; Gaussian, zCDP"
    )


def test_a_program_names_its_blocks_and_its_choices():
    promise = "(ε 2)-DP for each tailnum with all its flights, add/remove one; sample and aggregate over 1,400 blocks; "
    assert PROGRAM.sentence() == promise + "Laplace, basic composition"
    mixed = replace(PROGRAM, mechanisms=(MechanismKind.LAPLACE, MechanismKind.PERMUTE_AND_FLIP))
    assert mixed.sentence() == promise + "Laplace, permute-and-flip, basic composition"
    zcdp = replace(ZCDP, mechanisms=(MechanismKind.EXPONENTIAL,), blocks=8)
    assert zcdp.sentence().endswith("over 8 blocks; exponential mechanism, zCDP")


def test_every_mechanism_has_its_words():
    assert {*NoiseKind, *ChoiceKind} == set(MechanismKind)
    for kind in MechanismKind:
        assert replace(PROGRAM, mechanisms=(kind,)).sentence()


def test_a_program_states_what_is_left_open_and_a_query_record_is_as_it_was():
    assert PROGRAM.to_json()["residual"] == list(RESIDUAL_OF_PROGRAMS)
    assert set(PROGRAM.to_json()) - set(BASIC.to_json()) == {"blocks", "residual"}
    with pytest.raises(ValueError, match="leaves open"):
        Guarantee.from_json(PROGRAM.to_json() | {"residual": []})
    with pytest.raises(ValueError, match="guarantee"):
        Guarantee.from_json(BASIC.to_json() | {"blocks": 8})
    with pytest.raises(ValueError, match="block"):
        replace(PROGRAM, blocks=0)


def test_a_pure_guarantee_speaks_of_no_delta():
    pure = Guarantee(Fraction(3, 10), Fraction(0), None, "aircraft", "aircraft", Accountant.BASIC, (NoiseKind.LAPLACE,))
    assert pure.sentence().startswith("(ε 0.3)-DP for each aircraft")


@given(st.fractions(min_value=Fraction(1, 10**20), max_value=100, max_denominator=10**21))
def test_numbers_in_the_sentence_are_rounded_up_by_less_than_a_thousandth(value):
    assert value <= Fraction(_short(value)) <= value * Fraction(1001, 1000)


@pytest.mark.parametrize("guarantee", [BASIC, ZCDP, PROGRAM])
def test_a_guarantee_survives_its_json(guarantee):
    assert Guarantee.from_json(guarantee.to_json()) == guarantee
    canonical(guarantee.to_json())


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": "0"},
        {"epsilon": "-1"},
        {"delta": "1"},
        {"rho": "0.1"},
        {"neighbours": "replace one"},
        {"accountant": "renyi"},
        {"mechanisms": ["uniform"]},
        {"more": 1},
    ],
)
def test_what_is_not_proved_cannot_be_stated(change):
    with pytest.raises(ValueError, match=r"."):
        Guarantee.from_json(BASIC.to_json() | change)
    with pytest.raises(ValueError, match="rho"):
        Guarantee.from_json(ZCDP.to_json() | {"rho": None})
