"""Least squares from noisy moments: ordinary least squares where noise is small, honest intervals where it is not, and no plan where it drowns all."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from core.errors import Invalid
from privacy.accountant import Accountant
from privacy.encrypted import least_squares
from privacy.encrypted.coefficient_interval import ends_of
from privacy.encrypted.least_squares import check_noise, table_rows
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedRequest
from privacy.encrypted.release import release_encrypted
from privacy.encrypted.request import read_compute
from privacy.encrypted.terms import GRAM, GRAM_BITS, Bounded, LeastSquares
from privacy.mechanisms import Noise
from privacy.tails import NoiseKind
from tests.unit.encrypted_world import terms

# An age of 18 to 98, a weight of 40.0 to 140.0, a cost of 0.00 to 2,000.00.
COLUMNS = LeastSquares((Bounded("age", 0, 18, 98), Bounded("weight", 1, 400, 1400)), Bounded("cost", 2, 0, 200_000))
UNITS = 20_000


def declared(columns=COLUMNS, units=UNITS):
    return terms(profile="crt115", least_squares=columns, units=units)


def planned(epsilon, accountant=Accountant.BASIC, columns=COLUMNS, units=UNITS):
    asked = read_compute({"least_squares": True})
    return plan_encrypted(EncryptedRequest(asked, (declared(columns, units),), 1, accountant, Fraction(epsilon), None))


def people(spread=1.0, seed=1, units=UNITS):
    """Rows of age, weight and cost in the columns' own units; `spread` of the declared ranges is used."""
    generator = np.random.default_rng(seed)
    age = 58 + spread * generator.uniform(-40, 40, units)
    weight = 90 + spread * (generator.uniform(-25, 25, units) + 0.6 * (age - 58))
    cost = 700 + 8 * (age - 58) - 3 * (weight - 90) + generator.normal(0, 100, units)
    return np.column_stack([age, weight.clip(40, 140), cost.clip(0, 2000)])


def entries_of(rows, columns=COLUMNS):
    bounded = (*columns.features, columns.target)
    low, high = (
        np.array([end(each) / 10**each.scale for each in bounded]) for end in (lambda b: b.lower, lambda b: b.upper)
    )
    vectors = np.column_stack([np.ones(len(rows)), 2 * (rows - low) / (high - low) - 1]) / math.sqrt(columns.size)
    upper = np.triu_indices(columns.size)
    return [int(np.rint(vectors[:, i] * vectors[:, j] * 2**GRAM_BITS).sum()) for i, j in zip(*upper, strict=True)]


def ordinary(rows):
    return np.linalg.lstsq(np.column_stack([np.ones(len(rows)), rows[:, :-1]]), rows[:, -1], rcond=None)[0]


def noised(plan, entries):
    for _ in range(2):
        entries = [
            value + drawn for value, drawn in zip(entries, plan.vectors[0].noise.draw([0] * len(entries)), strict=True)
        ]
    return entries


def values(rows):
    return np.array([row["coefficient"]["value"] for row in rows])


@pytest.mark.parametrize("accountant", Accountant)
def test_with_little_noise_coefficients_are_those_of_ordinary_least_squares_in_declared_units(accountant):
    plan, rows = planned(5000, accountant), people()
    table = release_encrypted(plan, {GRAM: noised(plan, entries_of(rows))})
    assert [row["term"] for row in table.rows] == ["intercept", "age", "weight"]
    assert [column["name"] for column in table.columns] == ["term", "coefficient"]
    assert values(table.rows) == pytest.approx(ordinary(rows), rel=0.01)
    for row, exact in zip(table.rows, ordinary(rows), strict=True):
        cell = row["coefficient"]
        assert cell["low"] <= exact <= cell["high"]
        assert 3.3 < (cell["high"] - cell["low"]) / cell["standard_error"] < 5


def test_a_table_says_that_there_is_a_ridge_and_whose_values_are_regressed():
    plan = planned(5)
    notes = release_encrypted(plan, {GRAM: noised(plan, entries_of(people()))}).notes
    assert any("ridge" in note and "units' mean values" in note for note in notes)
    assert not any("no interval" in note for note in notes)


@pytest.mark.parametrize("units", [1, 1000, UNITS])
def test_the_ridge_is_the_noises_own_size_whatever_the_data(units, monkeypatch):
    """Moments of one feature, none of which hangs with the target, and one that does: b / (g + ridge) gives the ridge away."""
    monkeypatch.setattr(least_squares, "BOOTSTRAPS", 2)
    columns = LeastSquares((Bounded("x", 0, -1, 1),), Bounded("y", 0, -1, 1))
    noise = planned(5, columns=columns).vectors[0].noise
    grid = units * 2**GRAM_BITS // 3
    slope = values(table_rows(declared(columns), [grid, 0, 0, grid, grid // 2, grid], noise))[1]
    found = (grid // 2 / slope - grid) / 2**GRAM_BITS
    assert found == pytest.approx(math.sqrt(2) * noise.standard_error / 2**GRAM_BITS * math.sqrt(3), rel=1e-6)


def test_moments_that_noise_made_impossible_are_those_of_the_nearest_possible_ones():
    """A feature of negative mean square has none, and no coefficient that runs away."""
    columns = LeastSquares((Bounded("x", 0, -1, 1),), Bounded("y", 0, -1, 1))
    noise = planned(5, columns=columns).vectors[0].noise
    one = UNITS * 2**GRAM_BITS // 3
    rows = table_rows(declared(columns), [one, 0, 0, -one, 0, one], noise)
    assert values(rows)[1] == pytest.approx(0, abs=1e-9)
    assert rows[1]["coefficient"]["low"] is not None, (
        "intervals are of the moments as they are: only of these is the law known"
    )
    assert abs(values(table_rows(declared(columns), [one, 0, 0, 0, one, one], noise))[1]) < 1e3


# When a regression is planned


def test_the_rule_two_noises_below_the_least_eigenvalue_of_even_features():
    """2·√d·deviation of both noises in an entry, against n_pub/(3d)."""
    size = COLUMNS.size
    least = UNITS / (3 * size)
    widest = least * 2**GRAM_BITS / (2 * math.sqrt(size) * math.sqrt(2))
    change = declared().vector(GRAM).change
    bounds = {"l0": change.l0, "l1": change.l1, "l2_squared": change.l2_squared, "linf": change.linf}
    below, above = (Fraction(math.floor(widest * factor)) for factor in (0.999, 1.001))
    check_noise(declared(), UNITS, Noise(NoiseKind.GAUSSIAN, below, **bounds))
    with pytest.raises(Invalid) as found:
        check_noise(declared(), UNITS, Noise(NoiseKind.GAUSSIAN, above, **bounds))
    assert found.value.code == "encrypted.least_squares_noise"
    with pytest.raises(Invalid, match="larger than what the declared number"):
        check_noise(declared(), UNITS // 2, Noise(NoiseKind.GAUSSIAN, below, **bounds))


@pytest.mark.parametrize("accountant", Accountant)
def test_a_plan_is_refused_where_noise_is_expected_to_drown_the_design(accountant):
    many = replace(COLUMNS, features=tuple(Bounded(f"x{at}", 0, 0, 9) for at in range(16)))
    assert planned("0.5", accountant, units=3000).forecast
    for refused in (
        lambda: planned("0.005", accountant),
        lambda: planned("0.5", accountant, units=200),
        lambda: planned("0.5", accountant, many, units=3000),
    ):
        with pytest.raises(Invalid) as found:
            refused()
        assert found.value.code == "encrypted.least_squares_noise"
        assert found.value.where == {"field": "epsilon"}


# Intervals


def least_misfit(moments, cross, direction, value):
    """By brute force: the least |moments·β - cross|² / (1 + κ|β|²) among β with direction·β = value; two coefficients."""
    kappa = 2 - 1 / len(cross)
    along = direction / (direction @ direction) * value
    across = np.array([-direction[1], direction[0]])
    # Of the other coefficient every size, as an angle.
    others = np.tan(np.linspace(-math.pi / 2 + 1e-6, math.pi / 2 - 1e-6, 20_001))
    betas = along[:, None] + across[:, None] * others
    misfit = moments @ betas - cross[:, None]
    return ((misfit**2).sum(axis=0) / (1 + kappa * (betas**2).sum(axis=0))).min()


@pytest.mark.parametrize("seed", range(12))
def test_the_ends_are_where_the_least_misfit_reaches_the_width(seed):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(2, 2))
    moments = root @ root.T + 0.5 * np.eye(2)
    cross, direction = generator.normal(size=2), generator.normal(size=2)
    ends = ends_of(moments, cross, direction, 0.2)
    assert ends is not None
    assert ends[0] < direction @ np.linalg.solve(moments, cross) < ends[1]
    for end in ends:
        assert least_misfit(moments, cross, direction, end) == pytest.approx(0.2**2, rel=1e-3)
    middle, reach = (ends[0] + ends[1]) / 2, ends[1] - ends[0]
    assert least_misfit(moments, cross, direction, middle) < 0.2**2
    for outside in (ends[0] - 0.1 * reach, ends[1] + 0.1 * reach, ends[1] + 50 * reach):
        assert least_misfit(moments, cross, direction, outside) > 0.2**2


def test_one_coefficient_is_a_ratio_with_fiellers_interval():
    """(g·β - b)² ≤ w²(1 + β²), for g = 3, b = 6, w = 1: β is a root of 8β² - 36β + 35."""
    assert ends_of(np.array([[3.0]]), np.array([6.0]), np.array([1.0]), 1.0) == pytest.approx(
        ((36 - math.sqrt(176)) / 16, (36 + math.sqrt(176)) / 16)
    )


@pytest.mark.parametrize(
    ("moments", "width"), [([[0.5, 0.0], [0.0, 9.0]], 1.0), ([[9.0, 9.0], [9.0, 9.0]], 0.1), ([[0.0, 0.0], [0.0, 0.0]], 0.1)]
)  # fmt: skip
def test_there_are_no_ends_where_noise_could_have_made_the_moments_singular(moments, width):
    assert ends_of(np.array(moments), np.array([1.0, 2.0]), np.array([1.0, 0.0]), width) is None


def test_less_noise_makes_a_narrower_interval_that_ends_in_the_solution():
    moments, cross, direction = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, -2.0]), np.array([1.0, 3.0])
    found = [ends_of(moments, cross, direction, width) for width in (0.5, 0.1, 1e-6)]
    widths = [high - low for low, high in found]
    assert widths == sorted(widths, reverse=True)
    assert found[-1] == pytest.approx([direction @ np.linalg.solve(moments, cross)] * 2, abs=1e-4)


def test_an_interval_that_noise_leaves_open_is_none_and_a_note_says_what_to_do():
    plan = planned("0.5")
    table = release_encrypted(plan, {GRAM: noised(plan, entries_of(people(spread=0.02)))})
    for row in table.rows:
        cell = row["coefficient"]
        assert (cell["low"], cell["high"]) == (None, None)
        assert math.isfinite(cell["value"])
        assert math.isfinite(cell["standard_error"])
    assert any("no interval" in note for note in table.notes)
    json.dumps(table.to_json(), allow_nan=False)


def test_terms_without_a_regression_have_no_coefficients():
    with pytest.raises(ValueError, match="no regression"):
        table_rows(terms(least_squares=None), [], planned(5).vectors[0].noise)
