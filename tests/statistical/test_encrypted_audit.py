"""One noise alone, on totals that a unit changes as much as it can, proves no more loss than the charge; mutants are found."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from privacy.accountant import Accountant
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedPlan, EncryptedRequest
from privacy.encrypted.release import release_encrypted
from privacy.encrypted.request import read_compute
from privacy.encrypted.terms import GRAM, GRAM_BITS, SQUARE, SUM, UNITS, Bounded, LeastSquares, Terms, square_most
from privacy.mechanisms import Noise
from tests.statistical.loss_audit import keeps_its_claim, vector_loss

MILLION = 1_000_000
TIMES = [60_000, pytest.param(MILLION, marks=pytest.mark.slow)]
EPSILON = {Accountant.BASIC: Fraction(1), Accountant.ZCDP: Fraction(6)}
GROUPS, MOST = ("a", "b", "c"), 2


def terms(provider: str, units: int = 1000) -> Terms:
    return Terms(
        provider, "pid", "patients", "crt115", "group", GROUPS, MOST, (Bounded("cost", 0, -100, 900),), ("cost",),
        LeastSquares((Bounded("age", 0, 0, 100),), Bounded("cost", 0, -100, 900)), units,
    )  # fmt: skip


def planned(
    accountant: Accountant, compute: dict[str, object], overlap: int = 2, epsilon: Fraction | None = None
) -> EncryptedPlan:
    providers = tuple(terms(f"p{number}") for number in range(2))
    return plan_encrypted(
        EncryptedRequest(read_compute(compute), providers, overlap, accountant, epsilon or EPSILON[accountant], None)
    )


def change_of(plan: EncryptedPlan, name: str, providers: int) -> list[int]:
    """The most that one unit can change: at so many providers, in as many groups as it may, each time by the largest amount."""
    if name == GRAM:
        size = 3
        return [providers * round(2**GRAM_BITS / size)] * 6
    largest = {UNITS: 1, SUM + "cost": 900, SQUARE + "cost": square_most(plan.terms.total("cost"))}[name]
    return [providers * largest] * MOST + [0] * (len(GROUPS) - MOST)


def loss(noise: Noise, change: list[int], times: int) -> float:
    return vector_loss(noise, [0] * len(change), change, times)


CASES = [({"count": True}, UNITS), ({"sum": ["cost"]}, SUM + "cost"), ({"least_squares": True}, GRAM)]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize(("compute", "name"), CASES)
def test_whoever_can_take_one_noise_away_still_learns_no_more_than_was_charged(accountant, compute, name, times):
    plan = planned(accountant, compute)
    noise, change = plan.vector(name).noise, change_of(plan, name, 2)
    assert keeps_its_claim(lambda: loss(noise, change, times), float(noise.price))


@pytest.mark.parametrize("accountant", Accountant)
def test_all_vectors_of_a_job_together_cost_what_is_charged(accountant):
    plan = planned(accountant, {"count": True, "mean": ["cost"], "variance": ["cost"]})
    paid = plan.price.epsilon if accountant is Accountant.BASIC else plan.price.rho
    assert 0.99 * paid < sum(vector.noise.price for vector in plan.vectors) <= paid


@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize(
    "mutant",
    [
        lambda plan, noise: (replace(noise, scale=noise.scale / 2), change_of(plan, SUM + "cost", 2)),  # half the noise
        lambda plan, _: (planned(plan.accountant, {"sum": ["cost"]}, 1).vectors[0].noise, change_of(plan, SUM + "cost", 2)),  # overlap forgotten
        lambda plan, noise: (noise, [3 * each for each in change_of(plan, SUM + "cost", 2)]),  # a clip a row, three rows
        lambda plan, noise: (noise, [*change_of(plan, SUM + "cost", 2)[:2], 1800]),  # one group too many
    ],
)  # fmt: skip
def test_a_mutant_is_found(accountant, mutant):
    plan = planned(accountant, {"sum": ["cost"]})
    honest = plan.vectors[0].noise
    noise, change = mutant(plan, honest)
    assert loss(noise, change, 60_000) > float(honest.price)


@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize("units", [3, 700])
def test_intervals_hold_the_truth_in_at_least_93_of_100_releases(accountant, units):
    plan = planned(
        accountant, {"count": True, "sum": ["cost"], "mean": ["cost"], "variance": ["cost"]}, epsilon=Fraction(4)
    )
    generator = np.random.default_rng(3)
    totals = generator.integers(-100, 900, (3, units))
    centre = plan.terms.total("cost").centre
    exact = {
        UNITS: [units] * 3, SUM + "cost": totals.sum(axis=1).tolist(), SQUARE + "cost": ((totals - centre) ** 2).sum(axis=1).tolist(),
    }  # fmt: skip
    truth = {
        "units": [units] * 3, "sum_cost": totals.sum(axis=1), "mean_cost": totals.mean(axis=1), "variance_cost": totals.var(axis=1),
    }  # fmt: skip
    held = dict.fromkeys(truth, 0)
    turns = 60
    for _ in range(turns):
        noised = {}
        for vector in plan.vectors:
            first, second = (vector.noise.draw([0] * vector.length) for _ in range(2))
            noised[vector.name] = [a + b + c for a, b, c in zip(exact[vector.name], first, second, strict=True)]
        table = release_encrypted(plan, noised)
        for row, at in zip(table.rows, range(3), strict=True):
            for name, true in truth.items():
                held[name] += row[name]["low"] - 1e-6 <= true[at] <= row[name]["high"] + 1e-6
    for name, count in held.items():
        share = count / (3 * turns)
        assert share > 0.95 - 3.5 * math.sqrt(0.05 * 0.95 / (3 * turns)), (name, share)


def test_coefficients_come_back_within_their_intervals():
    generator = np.random.default_rng(5)
    age, cost = generator.uniform(0, 100, 2000), np.zeros(2000)
    cost = np.clip(100 + 5 * age + generator.normal(0, 50, 2000), -100, 900)
    v = np.stack([np.ones(2000), (age - 50) / 50, (cost - 400) / 500]) / math.sqrt(3)
    entries = [int(np.rint(v[at] * v[to] * 2**GRAM_BITS).sum()) for at in range(3) for to in range(at, 3)]
    plan = planned(Accountant.BASIC, {"least_squares": True}, 1, Fraction(2))
    slope, intercept = np.polyfit(age, cost, 1)
    held = [0, 0]
    for _ in range(40):
        first, second = (plan.vectors[0].noise.draw([0] * 6) for _ in range(2))
        table = release_encrypted(plan, {GRAM: [a + b + c for a, b, c in zip(entries, first, second, strict=True)]})
        for at, true in enumerate((intercept, slope)):
            cell = table.rows[at]["coefficient"]
            held[at] += cell["low"] <= true <= cell["high"]
    assert min(held) >= 34
