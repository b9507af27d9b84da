"""Plans of encrypted jobs: noise for what a unit can change at all its providers, a price that is kept, the split, and every refusal."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from core.errors import Invalid
from privacy.accountant import Accountant, loss_of
from privacy.encrypted.headroom import fits
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedPlan, EncryptedRequest
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.request import read_compute
from privacy.encrypted.terms import Bounded
from privacy.tails import NoiseKind
from tests.unit.encrypted_world import terms

EVERYTHING = {"count": True, "sum": ["stay"], "mean": ["cost"], "variance": ["cost"]}
BY_GROUP = {"count": True, "sum": ["cost", "stay"]}


def three(**changed):
    return tuple(terms(f"hospital-{letter}", **({"profile": "crt115"} | changed)) for letter in "abc")


def request(compute=EVERYTHING, given=None, overlap=3, accountant=Accountant.BASIC, epsilon=Fraction(1), delta=None):
    return EncryptedRequest(read_compute(compute), given or three(), overlap, accountant, epsilon, delta)


def plan(*args, **named):
    return plan_encrypted(request(*args, **named))


def refused(*args, **named):
    with pytest.raises(Invalid) as found:
        plan(*args, **named)
    return found.value


@pytest.mark.parametrize("compute", [EVERYTHING, BY_GROUP, {"sum": ["stay"]}, {"least_squares": True}])
@pytest.mark.parametrize("overlap", [1, 3])
@pytest.mark.parametrize("accountant", Accountant)
def test_noise_is_for_all_that_a_unit_can_change_and_costs_no_more_than_is_asked(accountant, overlap, compute):
    given = three(units=40_000)
    found = plan(compute, given, overlap, accountant, Fraction(8))
    assert tuple(vector.name for vector in found.vectors) == read_compute(compute).vectors(given[0])
    kind = NoiseKind.LAPLACE if accountant is Accountant.BASIC else NoiseKind.GAUSSIAN
    for vector in found.vectors:
        change, noise = given[0].vector(vector.name).change, vector.noise
        assert noise.kind is kind
        assert vector.length == given[0].vector(vector.name).length
        assert (noise.l1, noise.l2_squared, noise.linf) == (
            overlap * change.l1, overlap**2 * change.l2_squared, overlap * change.linf
        )  # fmt: skip
        assert noise.l0 == min(vector.length, overlap * change.l0)
        assert fits(profile_named(found.profile), given, vector.name, noise)
    asked = loss_of(accountant, Fraction(8), found.delta)
    charged, whole = (
        (found.price.epsilon, asked.epsilon) if accountant is Accountant.BASIC else (found.price.rho, asked.rho)
    )
    assert charged == whole
    assert Fraction(99, 100) * charged < sum(noise.price for noise in found.mechanisms) <= charged
    assert found.price.delta == 0, "no threshold can fail here"


def test_the_currency_is_the_accountants():
    basic, zcdp = plan().price, plan(accountant=Accountant.ZCDP).price
    assert (basic.epsilon, basic.rho) == (1, 0)
    assert zcdp.epsilon == 0
    assert 0 < zcdp.rho < Fraction(1, 2)


@pytest.mark.parametrize("accountant", Accountant)
def test_the_split_makes_all_relative_errors_equal_so_that_the_worst_is_least(accountant):
    """Relative to what an entry is expected to hold: half the largest contribution of each of its units."""
    given = three()
    found = plan(BY_GROUP, given, accountant=accountant)
    expected = {"units": 1, "sum:cost": 100_000 / 2, "sum:stay": 20 / 2}
    errors = [vector.noise.standard_error / expected[vector.name] for vector in found.vectors]
    assert max(errors) < 1.03 * min(errors)


@pytest.mark.parametrize(("accountant", "ratio"), [(Accountant.BASIC, 2), (Accountant.ZCDP, 4)])
def test_a_sum_has_twice_the_share_of_a_count_and_in_zcdp_four_times(accountant, ratio):
    units, cost, stay = plan(BY_GROUP, accountant=accountant).mechanisms
    assert abs(cost.price / units.price / ratio - 1) < 0.02
    assert abs(stay.price / cost.price - 1) < 0.02


def test_more_overlap_is_as_much_more_noise_at_the_same_price():
    one, three_times = plan(overlap=1), plan(overlap=3)
    assert one.price == three_times.price
    for alone, joined in zip(one.mechanisms, three_times.mechanisms, strict=True):
        assert 2.97 < joined.scale / alone.scale < 3.03


def test_the_plan_is_a_function_of_declarations_and_providers_may_differ_in_size():
    given = (terms("hospital-a", units=10), terms("hospital-b", units=2000))
    found = plan({"count": True}, given, overlap=2)
    assert (found.units, found.providers, found.terms) == (2010, 2, given[0])
    assert plan({"count": True}, given, overlap=2) == found


@pytest.mark.parametrize(("units", "delta"), [(1, 5), (3, 5), (4, 6), (34, 7), (3334, 9)])
def test_delta_is_below_one_in_the_units_by_four_digits_unless_it_is_asked(units, delta):
    given = tuple(terms(f"hospital-{number}", units=units) for number in range(3))
    assert plan({"count": True}, given, accountant=Accountant.ZCDP).delta == Fraction(1, 10**delta)


def test_ten_units_are_one_digit_not_two():
    given = tuple(terms(f"hospital-{units}", units=units) for units in (2, 3, 5))
    assert plan({"count": True}, given, accountant=Accountant.ZCDP).delta == Fraction(1, 10**5)


def test_a_delta_that_is_asked_is_kept_and_none_is_needed_in_basic_accounting():
    assert plan(accountant=Accountant.ZCDP, delta=Fraction(1, 10**7)).delta == Fraction(1, 10**7)
    assert plan(delta=Fraction(1, 10**7)).delta == 0
    tighter, looser = (plan(accountant=Accountant.ZCDP, delta=Fraction(1, 10**digits)).price.rho for digits in (12, 6))
    assert tighter < looser
    none = refused(accountant=Accountant.ZCDP, delta=Fraction(0))
    assert (none.code, none.way_out) == ("delta.required", "leave delta out")


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        ({"provider": "hospital-a"}, "encrypted.provider_twice"), ({"profile": "sum58"}, "encrypted.profiles"), ({"max_groups": 1}, "encrypted.shapes"),
        ({"population": "others"}, "encrypted.shapes"), ({"groups": ("south", "north", "west")}, "encrypted.shapes"),
        ({"totals": (Bounded("cost", 2, 0, 99_999), Bounded("stay", 0, -5, 20))}, "encrypted.shapes"), ({"least_squares": None}, "encrypted.shapes"),
    ],
)  # fmt: skip
def test_only_uploads_of_one_shape_and_different_providers_are_added(odd, code):
    first, second, third = three()
    given = (first, second, replace(third, **odd))
    assert refused(given=given).code == code


@pytest.mark.parametrize(
    ("compute", "epsilon", "words"),
    [
        ({"sum": ["cost"]}, Fraction(1, 10**9), "the total of cost"), ({"count": True}, Fraction(1, 10**20), "the number of units"),
        ({"variance": ["cost"]}, Fraction(1, 10**13), "cost"), ({"least_squares": True}, Fraction(1, 10**12), "the moments of the regression"),
    ],
)  # fmt: skip
def test_an_epsilon_for_which_there_is_no_noise_is_refused_with_the_vector(compute, epsilon, words):
    wide = (Bounded("cost", 2, 0, 2**53 - 1), Bounded("stay", 0, -5, 20))
    found = refused(compute, three(totals=wide), epsilon=epsilon)
    assert found.code == "epsilon.too_small"
    assert words in found.text
    assert found.where == {"field": "epsilon"}


def test_what_does_not_fit_into_a_profile_is_refused_and_fits_with_less_noise():
    small = {"profile": "sum34", "squares": (), "least_squares": None}
    found = refused({"sum": ["cost"]}, three(**small), epsilon=Fraction(1, 1000))
    assert found.code == "encrypted.bound"
    assert "the total of cost" in found.text
    assert "sum34" in found.text
    assert plan({"sum": ["cost"]}, three(**small), epsilon=Fraction(1)).profile == "sum34"


def test_statistics_that_were_not_encrypted_are_refused():
    assert refused({"sum": ["age"]}).code == "compute.column"


@pytest.mark.parametrize("compute", [EVERYTHING, {"least_squares": True}])
@pytest.mark.parametrize("accountant", Accountant)
def test_a_plan_comes_back_from_json_and_nothing_else_does(accountant, compute):
    found = plan(compute, three(units=40_000), accountant=accountant, epsilon=Fraction(4))
    stored = json.loads(json.dumps(found.to_json()))
    assert EncryptedPlan.from_json(stored) == found
    for name in stored:
        with pytest.raises(ValueError, match="not the plan"):
            EncryptedPlan.from_json({key: value for key, value in stored.items() if key != name})
    with pytest.raises(ValueError, match="not the plan"):
        EncryptedPlan.from_json(stored | {"note": ""})


def test_vectors_are_found_by_name():
    found = plan()
    assert found.vector("units") is found.vectors[0]
    with pytest.raises(KeyError):
        found.vector("gram")
