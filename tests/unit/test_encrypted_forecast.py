"""What a plan says of noise is what releases then have: neither less nor much more, and beside it what a plaintext job would have."""

import math
from fractions import Fraction

import numpy as np
import pytest

from privacy.accountant import Accountant
from privacy.encrypted import least_squares
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedRequest
from privacy.encrypted.release import release_encrypted
from privacy.encrypted.request import read_compute
from privacy.encrypted.terms import GRAM_BITS, Bounded, LeastSquares, square_most
from privacy.intervals import simulated_noise
from tests.unit.encrypted_world import terms

CELLS = 400
GROUPS = tuple(f"g{number}" for number in range(CELLS))
UNITS_IN_A_GROUP = 500
BOTH = {"count": True, "sum": ["cost"], "mean": ["cost"], "variance": ["cost"]}


def planned(compute=BOTH, accountant=Accountant.BASIC, overlap=2, epsilon=Fraction(1), **changed):
    given = {"profile": "crt115", "groups": GROUPS, "units": UNITS_IN_A_GROUP * CELLS // 2} | changed
    providers = (terms("hospital-a", **given), terms("hospital-b", **given))
    return plan_encrypted(EncryptedRequest(read_compute(compute), providers, overlap, accountant, epsilon, None))


def told(plan):
    return {entry.name: float(entry.noise_95.replace(",", "")) for entry in plan.forecast}


def plaintext(plan):
    return {entry.name: float(entry.plaintext_95.replace(",", "")) for entry in plan.forecast}


def released(plan):
    """One release with both noises, of groups whose mean and variance are in the middle of what they may be."""
    total, generator = plan.terms.total("cost"), np.random.default_rng(11)
    true = {"units": UNITS_IN_A_GROUP, "sum:cost": UNITS_IN_A_GROUP * total.most // 2}
    true["square:cost"] = UNITS_IN_A_GROUP * square_most(total) // 3
    numbers = {}
    for vector in plan.vectors:
        drawn = sum(simulated_noise(vector.noise, CELLS, generator) for _ in range(2))
        numbers[vector.name] = [true[vector.name] + int(each) for each in drawn]
    unit = 1 / 10**total.scale
    exact = {
        "units": UNITS_IN_A_GROUP, "sum_cost": true["sum:cost"] * unit, "mean_cost": total.most / 2 * unit,
        "variance_cost": square_most(total) / 3 * unit**2,
    }  # fmt: skip
    rows = release_encrypted(plan, numbers).rows
    return {name: np.array([abs(row[name]["value"] - value) for row in rows]) for name, value in exact.items()}


@pytest.mark.parametrize("accountant", Accountant)
def test_the_noise_told_holds_in_95_of_100_cells_and_is_no_exaggeration(accountant):
    plan = planned(accountant=accountant, epsilon=Fraction(4))
    found, forecast = released(plan), told(plan)
    assert list(forecast) == ["units", "sum_cost", "mean_cost", "variance_cost"]
    for name, errors in found.items():
        assert np.mean(errors <= forecast[name]) >= 0.95 - 3.5 * math.sqrt(0.05 * 0.95 / CELLS), name
        assert forecast[name] <= 1.5 * np.quantile(errors, 0.95), name


@pytest.mark.parametrize(("accountant", "more"), [(Accountant.BASIC, 1.37), (Accountant.ZCDP, math.sqrt(2))])
@pytest.mark.parametrize("compute", [BOTH, {"least_squares": True}])
def test_two_noises_are_about_the_root_of_two_of_the_one_of_a_plaintext_job(compute, accountant, more):
    """Two Laplace noises together have thinner tails than one: 1.37 times its half width, and √2 times its deviation."""
    plan = planned(compute, accountant, overlap=1, units=40_000)
    for name, two in told(plan).items():
        expected = math.sqrt(2) if "least_squares" in compute else more
        assert two / plaintext(plan)[name] == pytest.approx(expected, rel=0.05), name


@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize("compute", [BOTH, {"least_squares": True}])
def test_a_plaintext_job_knows_a_unit_at_two_providers_for_one(compute, accountant):
    apart, joined = planned(compute, accountant, 1, units=40_000), planned(compute, accountant, 2, units=40_000)
    for name, noise in told(joined).items():
        assert noise / told(apart)[name] == pytest.approx(2, rel=0.06), name
        assert plaintext(joined)[name] == pytest.approx(plaintext(apart)[name], rel=0.06), name


def test_numbers_are_in_the_columns_own_unit():
    """100,000 cents at most, for one of two groups of a unit; all of ε is for them."""
    plan = planned({"sum": ["cost"]}, overlap=1)
    assert plan.vectors[0].noise.l1 == 200_000
    assert told(plan)["sum_cost"] == pytest.approx(1000 * 2 * 4.113, rel=0.02)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ["unknown: a pid in more than 2 groups counts in 2 of them", "unknown: totals of a pid outside 0.00 … 1,000.00, or in more than 2 groups"]),
        ({"max_groups": CELLS}, ["none", "unknown: totals of a pid outside 0.00 … 1,000.00"]),
        ({"totals": (Bounded("cost", 0, -1_000_000, 5),)}, ["unknown: a pid in more than 2 groups counts in 2 of them", "unknown: totals of a pid outside -1,000,000 … 5, or in more than 2 groups"]),
    ],
)  # fmt: skip
def test_what_bounds_may_cut_off_is_said_in_words(changed, words):
    plan = planned(**changed)
    assert [entry.clipping for entry in plan.forecast] == [words[0], words[1], words[1], words[1]]
    assert [entry.kind for entry in plan.forecast] == ["count", "sum", "mean", "variance"]


def test_a_count_alone_says_nothing_of_columns():
    assert [entry.name for entry in planned({"count": True}).forecast] == ["units"]


@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize("features", [1, 3])
def test_a_coefficients_error_is_told_within_a_factor_of_one_and_a_half_for_even_features(
    accountant, features, monkeypatch
):
    monkeypatch.setattr(least_squares, "BOOTSTRAPS", 2)  # standard errors are not looked at here
    names = tuple(f"x{number}" for number in range(features))
    columns = LeastSquares(tuple(Bounded(name, 0, 0, 100) for name in names), Bounded("y", 0, 0, 1000))
    plan = planned({"least_squares": True}, accountant, 1, Fraction(2), least_squares=columns, units=10_000)
    generator = np.random.default_rng(4)
    data = generator.uniform(0, 100, (20_000, features))
    target = np.clip(500 + (data - 50).sum(axis=1) * 6 / features + generator.normal(0, 60, 20_000), 0, 1000)
    scaled = np.column_stack([np.ones(20_000), data / 50 - 1, target / 500 - 1]) / math.sqrt(features + 2)
    upper = np.triu_indices(features + 2)
    entries = (scaled.T @ scaled)[upper] * 2**GRAM_BITS
    true = np.linalg.lstsq(np.column_stack([np.ones(20_000), data]), target, rcond=None)[0]
    noise, errors = plan.vectors[0].noise, []
    for _ in range(400):
        noisy = entries + sum(simulated_noise(noise, len(entries), generator) for _ in range(2))
        rows = least_squares.table_rows(plan.terms, [int(each) for each in noisy], noise)
        errors.append([abs(row["coefficient"]["value"] - exact) for row, exact in zip(rows, true, strict=True)])
    assert [entry.name for entry in plan.forecast] == ["intercept", *names]
    assert {entry.kind for entry in plan.forecast} == {"coefficient"}
    assert {entry.clipping for entry in plan.forecast} == {"unknown: values beyond their declared bounds"}
    for (name, forecast), found in zip(told(plan).items(), np.quantile(errors, 0.95, axis=0), strict=True):
        assert forecast / 1.5 < found < forecast * 1.5, name
