"""What leaves the gate: every number noised, the same shape whatever the data, ordered by the keys alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from core.canonical import canonical
from privacy.accountant import Accountant
from privacy.mechanisms import Noise
from privacy.sql.combine import Totals, combine
from privacy.sql.keys import encode
from privacy.sql.release import release
from tests.unit.sql_world import ExactGate, plan_of

EMPTY = Totals({})
EVERY_AGGREGATE = [
    "COUNT(*)",
    "COUNT(score)",
    "COUNT(DISTINCT person)",
    "SUM(score)",
    "SUM(cost)",
    "AVG(score)",
    "AVG(cost)",
    "AVG(age)",
]


def totals_of(plan, cells) -> Totals:
    return combine([{encode(row, plan.keys): values for row, values in cells.items()}], plan)


def shape_of(table: dict) -> tuple:
    """All of a table that is not a number: what may be seen beside the noised values."""
    names = {c["name"] for c in table["columns"] if c["role"] == "value"}
    return (
        canonical([table["columns"], table["notes"], table["schema"]]),
        [tuple((k, tuple(v) if k in names else v) for k, v in row.items()) for row in table["rows"]],
    )


@pytest.mark.parametrize("accountant", list(Accountant))
@pytest.mark.parametrize("aggregate", EVERY_AGGREGATE)
def test_no_accepted_aggregate_is_ever_released_without_noise(aggregate, accountant):
    """T06: twenty draws on three rows, even at the largest ε, are not all equal."""
    plan = plan_of(f"SELECT {aggregate} AS x FROM visits", epsilon="4", groups=1, rows=1, accountant=accountant)
    totals = totals_of(plan, {(): tuple(3 for _ in plan.measures)})
    drawn = {release(totals, plan).rows[0]["x"]["value"] for _ in range(20)}
    assert len(drawn) > 1


def test_a_rare_key_is_never_shown_and_declared_keys_always_are():
    """T07: 1,000 people of the one name, a single one of the other."""
    plan = plan_of(
        "SELECT surname, COUNT(*) AS n, COUNT(DISTINCT person) AS people FROM visits GROUP BY surname", groups=1, rows=1
    )
    totals = totals_of(plan, {("Li",): (1000, 1000), ("Zyx",): (1, 1)})
    shown = Counter(row["surname"] for _ in range(200) for row in release(totals, plan).rows)
    assert shown == {"Li": 200}
    public = plan_of("SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward", groups=1, rows=1)
    for totals in (EMPTY, totals_of(public, {("north",): (1000,)})):
        for _ in range(200):
            rows = release(totals, public).rows
            assert [row["ward"] for row in rows] == ["north", "south", "it's"]
            assert all(isinstance(row["n"]["value"], int) for row in rows)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + ", ".join(f"{a} AS a{i}" for i, a in enumerate(EVERY_AGGREGATE)) + " FROM visits",
        "SELECT ward, urgent, AVG(cost) AS a, COUNT(DISTINCT person) AS n FROM visits GROUP BY ward, urgent",
    ],
)
def test_empty_data_and_full_data_have_the_same_shape(sql):
    plan = plan_of(sql)
    full = totals_of(
        plan,
        {
            row: tuple(10**6 for _ in plan.measures)
            for row in ([()] if not plan.keys else [("north", True), ("south", None)])
        },
    )
    assert shape_of(release(EMPTY, plan).to_json()) == shape_of(release(full, plan).to_json())


def test_without_group_by_there_is_exactly_one_row():
    for where in ("", " WHERE FALSE"):
        assert len(release(EMPTY, plan_of(f"SELECT COUNT(*) FROM visits{where}")).rows) == 1


def test_rows_stand_in_the_order_of_their_keys_whatever_the_data():
    plan = plan_of("SELECT urgent, seen, COUNT(*) FROM visits GROUP BY seen, urgent")
    table = release(EMPTY, plan)
    assert [row["seen"] for row in table.rows[::3]] == [
        "2020-02-27",
        "2020-02-28",
        "2020-02-29",
        "2020-03-01",
        "2020-03-02",
        None,
    ]
    assert [row["urgent"] for row in table.rows[:3]] == [False, True, None]
    private = plan_of("SELECT surname, born, COUNT(*) AS n FROM visits GROUP BY surname, born", epsilon="50", groups=1)
    keys = [
        ("b", date(2000, 1, 1)),
        ("a", None),
        (None, date(1900, 1, 1)),
        ("a", date(1999, 1, 1)),
        ("B", None),
        ("李", None),
    ]
    for order in (keys, keys[::-1]):
        rows = release(totals_of(private, dict.fromkeys(order, (9, 1000))), private).rows
        assert [(row["surname"], row["born"]) for row in rows] == [
            ("B", None), ("a", "1999-01-01"), ("a", None), ("b", "2000-01-01"), ("李", None), (None, "1900-01-01"),
        ]  # fmt: skip


def test_keys_outside_the_declared_domain_are_dropped():
    plan = plan_of("SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward")
    totals = totals_of(plan, {("north",): (5,), ("elsewhere",): (7,)})
    rows = release(totals, plan, ExactGate()).rows
    assert [(row["ward"], row["n"]["value"]) for row in rows] == [("north", 5), ("south", 0), ("it's", 0)]


def test_the_other_measures_of_a_passed_key_are_drawn_and_those_of_the_rest_are_not():
    plan = plan_of("SELECT surname, COUNT(*) AS n, SUM(score) AS s FROM visits GROUP BY surname", groups=1)
    drawn = []

    class Watching(ExactGate):
        def draw(self, noise, values):
            drawn.append(list(values))
            return values

        def select(self, threshold, units):
            return {key: count for key, count in units.items() if count > 1}

    rows = release(totals_of(plan, {("a",): (3, 4, 2), ("b",): (9, 9, 1), ("c",): (5, -6, 7)}), plan, Watching()).rows
    assert drawn == [[3, 5], [4, -6]]
    assert [row["surname"] for row in rows] == ["a", "c"]


class Fixed(ExactGate):
    def __init__(self, change: int) -> None:
        self.change = change

    def draw(self, noise, values):
        return [value + self.change for value in values]


def test_a_count_is_never_negative_and_a_sum_may_be():
    plan = plan_of("SELECT COUNT(*) AS n, SUM(score) AS s, SUM(cost) AS c FROM visits")
    row = release(EMPTY, plan, Fixed(-12345)).rows[0]
    assert row["n"]["value"] == row["n"]["low"] == 0
    assert row["n"]["high"] >= 0
    assert row["s"]["value"] == -12345
    assert row["c"]["value"] == -123.45


@pytest.mark.parametrize("change", [0, 10**9, -(10**9), 2**61, -(2**61)])
@pytest.mark.parametrize("column", ["score", "cost", "age"])
def test_a_mean_stays_finite_and_within_its_bounds_whatever_the_noise(column, change):
    plan = plan_of(f"SELECT AVG({column}) AS a FROM visits", epsilon="0.01")
    output = plan.outputs[0]
    cell = release(EMPTY, plan, Fixed(change)).rows[0]["a"]
    scale = 10**output.scale
    assert output.lower / scale <= cell["low"] <= cell["value"] <= cell["high"] <= output.upper / scale
    assert math.isfinite(cell["standard_error"])


def test_a_mean_over_one_row_survives_a_thousand_draws():
    """dp.md §5 row 15: a noisy count of 0 must not divide."""
    plan = plan_of("SELECT ward, AVG(cost) AS a FROM visits GROUP BY ward", epsilon="0.01", groups=1, rows=1)
    totals = totals_of(plan, {("north",): (5, 1)})
    for _ in range(100):
        for row in release(totals, plan).rows:
            assert -2.5 <= row["a"]["low"] <= row["a"]["value"] <= row["a"]["high"] <= 99.99


def test_a_mean_is_centre_plus_sum_by_count_and_is_rounded_only_once():
    plan = plan_of("SELECT AVG(cost) AS a, AVG(score) AS b FROM visits")
    centre = [measure.centre for measure in plan.measures]
    assert centre == [4874, 0, 2, 0]
    row = release(totals_of(plan, {(): (7, 3, -1, 3)}), plan, ExactGate()).rows[0]
    assert row["a"]["value"] == float(round((4874 + Fraction(7, 3)) / 100, 8))
    assert row["b"]["value"] == float(round(2 + Fraction(-1, 3), 6))


def test_a_noisy_count_of_none_or_less_counts_as_one():
    plan = plan_of("SELECT AVG(score) AS a FROM visits")

    class Given(ExactGate):
        def __init__(self, *noisy: int) -> None:
            self.noisy = list(noisy)

        def draw(self, noise, values):
            return [self.noisy.pop(0)]

    for total, count, mean in ((3, -4, 5), (3, 0, 5), (3, 1, 5), (4, 2, 4), (-90, -9, -7), (90, -9, 12)):
        assert release(EMPTY, plan, Given(total, count)).rows[0]["a"]["value"] == mean


def test_intervals_hold_the_value_and_are_those_of_the_plans_own_noise():
    plan = plan_of("SELECT COUNT(*) AS n, SUM(cost) AS s, COUNT(DISTINCT person) AS u FROM visits")
    row = release(totals_of(plan, {(): (10**5, 10**6, 10**4)}), plan, ExactGate()).rows[0]
    noises: list[Noise] = [measure.noise for measure in plan.measures]
    assert row["n"] == {
        "value": 10**5,
        "standard_error": noises[0].standard_error,
        "low": 10**5 - noises[0].half_width(),
        "high": 10**5 + noises[0].half_width(),
    }
    assert row["s"]["value"] == 10**4
    assert row["s"]["standard_error"] == pytest.approx(noises[1].standard_error / 100)
    assert row["u"]["high"] - row["u"]["low"] == 2 * noises[2].half_width()


@pytest.mark.parametrize("sql", ["SELECT SUM(score) AS s FROM visits", "SELECT SUM(cost) AS s FROM visits"])
def test_every_released_table_has_canonical_bytes(sql):
    """Receipts hash them; RFC 8785 writes no integer beyond 2^53."""
    plan = plan_of(sql)
    for total in (0, 1, -1, 2**53 + 1, 2**62 - 1, -(2**62) + 1):
        table = release(totals_of(plan, {(): (total,)}), plan, ExactGate()).to_json()
        assert json.loads(canonical(table)) == table
        shown = max(-(2**53) + 1, min(2**53 - 1, total / 10 ** plan.outputs[0].scale))
        assert table["rows"][0]["s"]["value"] == pytest.approx(shown, rel=1e-12)


def test_every_release_draws_again():
    plan = plan_of("SELECT COUNT(*) AS n FROM visits", epsilon="0.1")
    assert len({release(EMPTY, plan).rows[0]["n"]["high"] for _ in range(30)}) > 5


def test_totals_and_the_partials_in_them_never_print_themselves():
    assert "1000" not in repr(totals_of(plan_of("SELECT COUNT(*) FROM visits"), {(): (1000,)}))


def test_key_values_are_shown_as_json_that_says_them():
    plan = plan_of(
        "SELECT arrived, weight, urgent, age, COUNT(*) AS n FROM visits GROUP BY 1, 2, 3, 4", epsilon="50", groups=1
    )
    key = (datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC), Decimal("-1.50"), None, 2**62)
    row = release(totals_of(plan, {key: (50, 5000)}), plan).rows[0]
    assert [row[name] for name in ("arrived", "weight", "urgent", "age")] == [
        "2020-01-02T03:04:05.000006Z",
        "-1.50",
        None,
        str(2**62),
    ]
