"""From the key holder's integers to a table: units of the column, every group in its place, what noise made impossible, both noises' intervals."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accountant import Accountant
from privacy.encrypted.mock import mock_numbers
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedRequest
from privacy.encrypted.release import release_encrypted
from privacy.encrypted.request import read_compute
from privacy.encrypted.terms import square_most
from privacy.intervals import plain_interval
from tests.unit.encrypted_world import terms

ALL = {"count": True, "sum": ["cost", "stay"], "mean": ["cost", "stay"], "variance": ["cost"]}
CELL = {"value", "standard_error", "low", "high"}


def planned(compute=ALL, accountant=Accountant.BASIC, epsilon=Fraction(1), **changed):
    given = {"profile": "crt115", "units": 1000} | changed
    providers = (terms("hospital-a", **given), terms("hospital-b", **given))
    return plan_encrypted(EncryptedRequest(read_compute(compute), providers, 2, accountant, epsilon, None))


def numbers(units=(900, 1000, 0), cost=(45_000_000, 10_000_000, 0), stay=(9000, -1000, 0), square=None):
    """Totals without noise: costs in cents, squares around 50,000 cents."""
    return {
        "units": list(units), "sum:cost": list(cost), "sum:stay": list(stay), "square:cost": list(square or (900 * 10**8, 1000 * 16 * 10**8 + 10**11, 0)),
    }  # fmt: skip


def test_values_are_in_the_columns_own_unit_and_groups_in_their_declared_order():
    table = release_encrypted(planned(), numbers())
    assert [column["name"] for column in table.columns] == [
        "region", "units", "sum_cost", "sum_stay", "mean_cost", "mean_stay", "variance_cost",
    ]  # fmt: skip
    assert [column["type"] for column in table.columns] == ["string", "int", *["decimal"] * 5]
    assert [column["role"] for column in table.columns] == ["key", *["value"] * 6]
    assert [row["region"] for row in table.rows] == ["north", "south", "west"], "an empty group has its row too"
    shown = [{name: row[name]["value"] for name in row if name != "region"} for row in table.rows]
    assert shown[0] == {
        "units": 900, "sum_cost": 450_000, "sum_stay": 9000, "mean_cost": 500, "mean_stay": 10, "variance_cost": 10_000,
    }  # fmt: skip
    # A mean of 100.00, 400 from the centre: 160,000 + 10,000 are around the centre, and 160,000 of these are no variance.
    assert shown[1] == {
        "units": 1000, "sum_cost": 100_000, "sum_stay": -1000, "mean_cost": 100, "mean_stay": -1, "variance_cost": 10_000,
    }  # fmt: skip
    assert shown[2] == {"units": 0, "sum_cost": 0, "sum_stay": 0, "mean_cost": 0, "mean_stay": 0, "variance_cost": 0}


def test_without_groups_there_is_one_row():
    plan = planned({"count": True}, group_by=None, groups=("all",), max_groups=1)
    table = release_encrypted(plan, {"units": [7]})
    assert [(row["group"], row["units"]["value"]) for row in table.rows] == [("all", 7)]


@pytest.mark.parametrize("accountant", Accountant)
def test_intervals_of_counts_and_sums_are_of_two_noises_in_the_columns_unit(accountant):
    plan = planned({"count": True, "sum": ["cost"]}, accountant)
    found = {"units": [90_000] * 3, "sum:cost": [4_500_000] * 3}
    row = release_encrypted(plan, found).rows[0]
    for name, vector, unit in (("units", "units", 1), ("sum_cost", "sum:cost", 0.01)):
        noise, cell = plan.vector(vector).noise, row[name]
        alone = plain_interval(found[vector][0], noise)
        assert cell["standard_error"] == pytest.approx(math.sqrt(2) * noise.standard_error * unit)
        two, one = cell["high"] - cell["low"], (alone.high - alone.low) * unit
        assert 1.3 < two / one < 1.45
        assert cell["low"] + cell["high"] == pytest.approx(2 * cell["value"])


def test_a_count_that_noise_made_negative_is_none_and_its_interval_does_not_reach_below():
    table = release_encrypted(planned({"count": True}), {"units": [-10_000, -1, 5]})
    cells = [row["units"] for row in table.rows]
    assert [(cell["value"], cell["low"]) for cell in cells] == [(0, 0), (0, 0), (5, 0)]
    # As wide above as the noise is: a bare 0 would look exact.
    assert cells[0]["high"] > 0
    assert cells[1]["high"] > 0
    assert any("negative" in note for note in table.notes)


def test_a_sum_may_be_negative_and_a_note_on_counts_is_where_counts_are():
    table = release_encrypted(planned({"sum": ["cost"]}), {"sum:cost": [-500, 0, 10**15]})
    assert [row["sum_cost"]["value"] for row in table.rows] == [-5, 0, 10**13]
    assert not any("negative" in note or "mean" in note for note in table.notes)
    assert "Two noises" in table.notes[0]


def test_means_and_variances_stay_within_what_bounded_totals_can_have():
    table = release_encrypted(
        planned({"mean": ["cost", "stay"], "variance": ["cost"]}),
        numbers(units=(1, -50, 2), cost=(10**12, -(10**12), 5), stay=(-(10**9), 10**9, 0), square=(-(10**15), 10**18, 10**18)),
    )  # fmt: skip
    assert [row["mean_cost"]["value"] for row in table.rows] == [1000, 0, 0.025]
    assert [row["mean_stay"]["value"] for row in table.rows] == [-5, 20, 0]
    assert [row["variance_cost"]["value"] for row in table.rows] == [0, 250_000, 250_000]
    for row in table.rows:
        assert 0 <= row["mean_cost"]["low"] <= row["mean_cost"]["high"] <= 1000
        assert -5 <= row["mean_stay"]["low"] <= row["mean_stay"]["high"] <= 20
        assert 0 <= row["variance_cost"]["low"] <= row["variance_cost"]["high"] <= 250_000


def test_a_group_that_noise_drowns_has_an_interval_of_all_that_may_be():
    row = release_encrypted(planned({"mean": ["cost"]}), {"units": [0, 0, 0], "sum:cost": [0, 0, 0]}).rows[0]
    assert (row["mean_cost"]["low"], row["mean_cost"]["high"]) == (0, 1000)


WILD = st.integers(-(2**80), 2**80)


@settings(max_examples=60, deadline=None)
@given(st.lists(WILD, min_size=12, max_size=12), st.sampled_from(list(Accountant)))
def test_whatever_the_integers_are_the_table_is_one_of_finite_numbers_around_its_values(wild, accountant):
    found = {"units": wild[:3], "sum:cost": wild[3:6], "sum:stay": wild[6:9], "square:cost": wild[9:]}
    table = release_encrypted(planned(accountant=accountant), found)
    json.dumps(table.to_json(), allow_nan=False)
    for row in table.rows:
        for name, cell in row.items():
            if name != "region":
                assert set(cell) == CELL
                assert cell["low"] <= cell["value"] <= cell["high"]
                assert cell["standard_error"] >= 0


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"units": [1, 2, 3]}, numbers() | {"gram": [1]}, {name: values for name, values in numbers().items() if name != "units"},
        numbers() | {"units": [1, 2]}, numbers() | {"units": [1, 2, 3, 4]},
    ],
)  # fmt: skip
def test_other_numbers_than_those_of_the_plan_make_no_table(wrong):
    with pytest.raises(ValueError, match="not the numbers of this plan"):
        release_encrypted(planned(), wrong)


def test_a_well_filled_group_has_an_interval_about_its_mean_and_variance():
    plan = planned({"mean": ["cost"], "variance": ["cost"]}, epsilon=Fraction(8))
    row = release_encrypted(
        plan, {"units": [10**6] * 3, "sum:cost": [3 * 10**10] * 3, "square:cost": [12 * 10**14] * 3}
    ).rows[0]
    assert row["mean_cost"]["value"] == 300
    assert row["mean_cost"]["high"] - row["mean_cost"]["low"] < 0.1
    # 120,000 around the centre, 40,000 of which are the mean's distance from it
    assert row["variance_cost"]["value"] == 80_000
    assert row["variance_cost"]["high"] - row["variance_cost"]["low"] < 100


@pytest.mark.parametrize("compute", [ALL, {"least_squares": True}])
@pytest.mark.parametrize("accountant", Accountant)
def test_a_mock_release_has_the_form_of_a_real_one(accountant, compute):
    plan = planned(compute, accountant, units=50_000)
    found = mock_numbers(plan, 1)
    assert {name: len(values) for name, values in found.items()} == {each.name: each.length for each in plan.vectors}
    assert all(type(value) is int for values in found.values() for value in values)
    json.dumps(release_encrypted(plan, found).to_json(), allow_nan=False)


def test_mock_totals_are_of_the_declared_size_hang_on_the_seed_alone_and_have_both_noises():
    plan = planned({"count": True, "mean": ["cost"], "variance": ["cost"]}, units=50_000)
    one, again, other = (mock_numbers(plan, seed) for seed in (1, 1, 2))
    reach = {name: 2 * plan.vector(name).noise.half_width(0.999999) for name in one}
    close = {name: np.abs(np.subtract(one[name], again[name])).max() < 2 * reach[name] for name in one}
    assert all(close.values())
    assert one != again, "noise is drawn anew"
    assert np.abs(np.subtract(one["units"], other["units"])).max() > 2 * reach["units"], "another seed, other groups"
    assert abs(sum(one["units"]) - 100_000) < 3 * reach["units"]
    total = plan.terms.total("cost")
    assert sum(one["sum:cost"]) / sum(one["units"]) == pytest.approx(total.upper / 3, rel=0.02)
    assert sum(one["square:cost"]) / sum(one["units"]) == pytest.approx(square_most(total) / 3, rel=0.05)


def test_a_mock_has_two_noises_not_one():
    plan = planned({"count": True}, groups=tuple(f"g{number}" for number in range(2000)), units=10**6)
    one, again = (np.array(mock_numbers(plan, 5)["units"]) for _ in range(2))
    noise = plan.vectors[0].noise.standard_error
    # Four draws are in the difference of two mocks.
    assert np.std(one - again) == pytest.approx(2 * noise, rel=0.12)
