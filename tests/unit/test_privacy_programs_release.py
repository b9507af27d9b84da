"""From block bytes to a table: total over hostile bytes, exact around the noise."""

from __future__ import annotations

import math
import struct
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.canonical import canonical
from privacy.accountant import Accountant
from privacy.programs.answers import Answers, answers_of
from privacy.programs.plan_model import MEDIAN_CANDIDATES, MEDIAN_SPREAD, STEPS
from privacy.programs.release import candidates_of, release_program
from tests.unit.program_world import AUC, MEDIAN, Exact, output, plan, same, vector

COEF = output("coef", 2, default="1.5")
PLAN = plan(COEF, AUC, blocks=8)
DEFAULT = (STEPS * 3 // 4, STEPS * 3 // 4, 0)


def rows_of(partials, planned=PLAN):
    return [list(row) for row in answers_of(planned, partials).values.tolist()]


# --- answers


@given(st.dictionaries(st.integers(-2, 12), st.binary(max_size=40) | st.binary(min_size=24, max_size=24) | st.none()))
@settings(max_examples=200)
def test_any_bytes_count_as_something_within_the_range(partials):
    found = answers_of(PLAN, partials)
    assert found.values.shape == (8, 3)
    assert found.values.dtype == np.int64
    assert found.values.min() >= 0
    assert found.values.max() <= STEPS
    for block in range(8):
        given_bytes = partials.get(block)
        broken = (
            given_bytes is None or len(given_bytes) != 24 or not np.isfinite(np.frombuffer(given_bytes, ">f8")).all()
        )
        assert (block in found.defaulted) == broken
        assert not broken or tuple(found.values[block]) == DEFAULT


@given(st.lists(st.floats(), min_size=3, max_size=3), st.integers(0, 7))
def test_a_block_changes_its_own_row_only(numbers, block):
    base = same(8, 0.5, -0.5, 0.75)
    before, after = rows_of(base), rows_of({**base, block: vector(*numbers)})
    assert [row for at, row in enumerate(before) if at != block] == [row for at, row in enumerate(after) if at != block]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        b"",
        bytes(23),
        bytes(25),
        bytes(32),
        vector(0.0, math.nan, 0.5),
        vector(0.0, math.inf, 0.5),
        vector(0.0, 0.0, -math.inf),
        "not bytes",
        bytearray(24),
    ],
)
def test_a_broken_answer_counts_as_the_default_in_all_its_numbers(broken):
    found = answers_of(PLAN, {0: vector(0.0, 0.0, 0.5), 3: broken})
    assert tuple(found.values[3]) == DEFAULT
    assert found.defaulted == (1, 2, 3, 4, 5, 6, 7)
    assert found.values[0].tolist() == [STEPS // 2, STEPS // 2, 0]


def test_numbers_beyond_the_range_count_as_its_ends():
    huge = struct.unpack(">d", b"\x7f\xef" + b"\xff" * 6)[0]
    assert rows_of({0: vector(-3.1, huge, 2.0)})[0] == [0, STEPS, STEPS]
    assert rows_of({0: vector(3.1, -huge, -0.0)})[0] == [STEPS, 0, 0]
    assert rows_of({0: vector(5e-324, -3.0, 1.0)})[0] == [STEPS // 2, 0, STEPS]


@given(st.floats(-3, 3))
def test_rounding_to_the_grid_is_negligible(number):
    (first, _, _) = rows_of({0: vector(number, 0, 0.5)})[0]
    assert abs(-3 + 6 * first / STEPS - number) < 2e-9


# --- median candidates


@given(st.lists(st.integers(0, STEPS), min_size=1, max_size=50))
def test_candidates_are_those_of_the_median(values):
    found = candidates_of(np.array(values, dtype=np.int64))
    assert all(0 <= candidate < MEDIAN_CANDIDATES for candidate in found)
    assert [candidate // MEDIAN_SPREAD for candidate in found] == [
        (value * 1000 + STEPS // 2) // STEPS for value in values
    ]


def test_equal_answers_are_spread_by_the_number_of_the_block():
    found = candidates_of(np.full(2 * MEDIAN_SPREAD, STEPS, dtype=np.int64))
    assert sorted(found) == sorted(2 * list(range(MEDIAN_CANDIDATES - MEDIAN_SPREAD, MEDIAN_CANDIDATES)))


# --- release


def test_without_noise_the_table_holds_means_and_medians():
    partials = {block: vector(1.0, block, 0.6 + 0.05 * block) for block in range(8)}
    table = release_program(answers_of(PLAN, partials), PLAN, Exact()).to_json()
    assert [column["name"] for column in table["columns"]] == ["output", "element", "value"]
    assert [(row["output"], row["element"]) for row in table["rows"]] == [("coef", 0), ("coef", 1), ("auc", None)]
    values = [row["value"]["value"] for row in table["rows"]]
    # The second number is clamped to 3 in five blocks: (0+1+2+5*3)/8.
    assert values == [1.0, 2.25, 0.8]
    assert table["rows"][2]["value"] == {"value": 0.8, "standard_error": None, "low": None, "high": None}
    canonical(table)


def test_scalars_alone_have_no_element():
    planned = plan(output(), blocks=8)
    table = release_program(answers_of(planned, {}), planned, Exact())
    assert [dict(column) for column in table.columns] == [
        {"name": "output", "role": "key", "type": "string"},
        {"name": "value", "role": "value", "type": "decimal"},
    ]
    assert [set(row) for row in table.rows] == [{"output", "value"}]


@given(
    st.integers(-(10**13), 10**13),
    st.sampled_from(Accountant),
    st.sampled_from([Fraction(1, 10), Fraction(2), Fraction(50)]),
)
@settings(max_examples=60, deadline=None)
def test_a_mean_and_its_interval_lie_within_the_range_whatever_the_noise(noise, accountant, epsilon):
    planned = plan(output(lower="-0.3", upper="0.1"), blocks=64, accountant=accountant, epsilon=epsilon)

    class Far(Exact):
        def draw(self, _: object, values: list[int]) -> list[int]:
            return [value + noise for value in values]

    cell = release_program(answers_of(planned, same(64, 0.05)), planned, Far()).rows[0]["value"]
    assert -0.3 <= cell["low"] <= cell["value"] <= cell["high"] <= 0.1
    assert planned.noise is not None
    inside = planned.noise.half_width() >= abs(noise)
    assert not inside or cell["low"] - 1e-6 <= 0.05 <= cell["high"] + 1e-6


@pytest.mark.parametrize("accountant", Accountant)
def test_a_real_release_has_noise_of_the_size_that_was_forecast(accountant):
    planned = plan(output("a", 1000), blocks=64, accountant=accountant, epsilon=Fraction(100))
    table = release_program(answers_of(planned, same(64, *[0.0] * 1000)), planned)
    values = np.array([row["value"]["value"] for row in table.rows])
    within = np.abs(values) <= float(planned.forecast[0].noise_95 or "")
    assert 0.91 <= within.mean() <= 0.99
    held = [row["value"]["low"] <= 0 <= row["value"]["high"] for row in table.rows]
    assert 0.91 <= np.mean(held) <= 0.99


def test_two_releases_differ():
    answers = answers_of(PLAN, same(8, 1.0, 1.0, 0.8))
    assert release_program(answers, PLAN) != release_program(answers, PLAN)


def test_the_notes_say_what_intervals_leave_out():
    notes = " ".join(release_program(answers_of(PLAN, {}), PLAN, Exact()).notes)
    for said in ("noise of the release only", "how the blocks differ", "median", "default"):
        assert said in notes
    planned = plan(output(), blocks=8)
    assert "median" not in " ".join(release_program(answers_of(planned, {}), planned, Exact()).notes)


def test_answers_to_another_plan_are_an_error():
    with pytest.raises(ValueError, match="this plan"):
        release_program(Answers(np.zeros((7, 3), dtype=np.int64), ()), PLAN)


@pytest.mark.parametrize("accountant", Accountant)
def test_medians_are_drawn_within_the_seconds_that_the_plan_names_where_one_candidate_alone_is_likely(accountant):
    planned = plan(output("m", 4, MEDIAN), blocks=96, epsilon=Fraction(100), accountant=accountant)
    answers = answers_of(
        planned, {block: vector(*[-3.0, 0.0, 3.0][block % 3 : block % 3 + 1] * 4) for block in range(96)}
    )
    began = time.process_time()
    release_program(answers, planned)
    assert time.process_time() - began < 2 * planned.choosing_seconds
    assert plan(output(), accountant=accountant).choosing_seconds == 0
