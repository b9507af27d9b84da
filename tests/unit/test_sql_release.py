"""What leaves the gate on the new types: every number noised, the same shape whatever the data, ordered by the keys alone."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from datetime import UTC, date, datetime
from fractions import Fraction

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from core.canonical import canonical
from privacy.accountant import Accountant
from privacy.histogram import Tree
from privacy.mechanisms import NoiseKind
from privacy.sql.bounds import Bounds
from privacy.sql.error_bars import Bars
from privacy.sql.held import held
from privacy.sql.instruction import pass_specification
from privacy.sql.interpreter import cells_of
from privacy.sql.linear_forms import Linear, Quotient, form_of
from privacy.sql.noised import NoisySet, noised
from privacy.sql.query_plan import Part
from privacy.sql.result_cells import released_table
from privacy.sql.row_columns import key_bytes
from privacy.sql.totals import SetTotals, Totals, combine
from tests.unit.clinic_catalogue import CLINIC, accepted, in_duckdb, some_tables
from tests.unit.sql_planned import AGGREGATES, planned
from tests.unit.sql_trees import Views
from tests.unit.test_query_kernel import aggregate, library

__all__ = ["library"]  # the fixture


class Exact:
    """No noise and no threshold: for tests of exactness only."""

    def draw(self, noise, values):
        return list(values)

    def select(self, threshold, units):
        return dict(units)


class Fixed(Exact):
    def __init__(self, change):
        self.change = change

    def draw(self, noise, values):
        return [value + self.change for value in values]


def width_of(plan):
    return sum(measure.columns for measure in plan.measures)


def totals_of(plan, *cells):
    """Totals of each set, from its groups as people write their keys; a number stands for as many of it as the plan measures."""
    found = []
    for planned_set, groups in zip(plan.sets, cells or [{}] * len(plan.sets), strict=True):
        facts = [plan.post.columns[at] for at in planned_set.keys]
        rows = {
            b"".join(key_bytes(held(v, f.kind, f.scale), f) for v, f in zip(key, facts, strict=True)): values
            for key, values in groups.items()
        }
        keys = sorted(rows)
        values = [[rows[key]] * width_of(plan) if isinstance(rows[key], int) else list(rows[key]) for key in keys]
        found.append(SetTotals(tuple(keys), np.array(values, np.int64).reshape(len(keys), width_of(plan))))
    return Totals(tuple(found))


def release(totals, plan, source=None):
    return released_table(noised(totals, plan, source), plan, seed=1)


def shape_of(table):
    """All of a table that is not a number: what may be seen beside the noised values."""
    names = {c["name"] for c in table["columns"] if c["role"] == "value"}
    return (
        canonical([table["columns"], table["notes"], table["schema"]]),
        [tuple((k, tuple(v) if k in names else v) for k, v in row.items()) for row in table["rows"]],
    )


@pytest.mark.parametrize(
    ("accountant", "kind"),
    [
        (Accountant.BASIC, NoiseKind.LAPLACE),
        (Accountant.BASIC, NoiseKind.GAUSSIAN),
        (Accountant.ZCDP, NoiseKind.GAUSSIAN),
    ],
)
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_no_accepted_aggregate_is_ever_released_without_noise(aggregate, accountant, kind):
    """T06: eight draws on three rows, even at the largest ε, are not all equal."""
    sql = f"SELECT {aggregate} AS x FROM visits"
    plan = planned(sql, epsilon=Fraction(4), groups=1, cap=1, accountant=accountant, kind=kind)
    totals = totals_of(plan, {(): 3})
    drawn = {tuple(numbers.tobytes() for numbers in noised(totals, plan).sets[0].vectors) for _ in range(8)}
    assert len(drawn) > 1
    if aggregate.startswith(("COUNT", "SUM", "AVG")):  # others can lie at an end of their range however the noise falls
        assert len({release(totals, plan).rows[0]["x"]["value"] for _ in range(8)}) > 1


def test_a_rare_key_is_never_shown_and_declared_keys_always_are():
    """T07: 1,000 people of the one note, a single one of the other."""
    sql = "SELECT note, COUNT(*) AS n, COUNT(DISTINCT patient) AS people FROM visits GROUP BY note"
    plan = planned(sql, groups=1, cap=1)
    totals = totals_of(plan, {("Li",): 1000, ("Zyx",): 1})
    shown = Counter(row["note"] for _ in range(100) for row in release(totals, plan).rows)
    assert shown == {"Li": 100}
    public = planned("SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward", groups=1, cap=1)
    for totals in (totals_of(public), totals_of(public, {("north",): 1000})):
        for _ in range(100):
            rows = release(totals, public).rows
            assert [row["ward"] for row in rows] == ["north", "south", "it's"]
            assert all(isinstance(row["n"]["value"], int) for row in rows)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + ", ".join(f"{a} AS a{i}" for i, a in enumerate(AGGREGATES)) + " FROM visits",
        "SELECT ward, urgent, AVG(cost) + 1 AS a, COUNT(DISTINCT patient) AS n FROM visits GROUP BY CUBE (ward, urgent)",
    ],
)
def test_empty_data_and_full_data_have_the_same_shape(sql):
    plan = planned(sql)
    full = [dict.fromkeys(each.domain[:1], 10**6) for each in plan.sets]
    facts = plan.post.columns
    assert all(facts[at].kind in ("text", "truth") for each in plan.sets for at in each.keys), "held as written"
    assert shape_of(release(totals_of(plan), plan).to_json()) == shape_of(
        release(totals_of(plan, *full), plan).to_json()
    )


def test_without_group_by_there_is_exactly_one_row():
    for where in ("", " WHERE FALSE"):
        plan = planned(f"SELECT COUNT(*) FROM visits{where}")
        assert len(release(totals_of(plan), plan).rows) == 1


def test_rows_stand_in_the_order_of_their_keys_whatever_the_data():
    plan = planned("SELECT note, age, COUNT(*) AS n FROM visits GROUP BY note, age", epsilon=Fraction(50), groups=1)
    keys = [("b", 30), ("a", 1), (None, 0), ("a", 0), ("B", 2), ("李", 3), ("", 3)]
    for order in (keys, keys[::-1]):
        rows = release(totals_of(plan, dict.fromkeys(order, 1000)), plan).rows
        assert [(row["note"], row["age"]) for row in rows] == [
            ("", 3), ("B", 2), ("a", 0), ("a", 1), ("b", 30), ("李", 3), (None, 0),
        ]  # fmt: skip


def test_keys_outside_of_what_is_declared_are_dropped():
    plan = planned("SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward")
    rows = release(totals_of(plan, {("north",): 5, ("elsewhere",): 7}), plan, Exact()).rows
    assert [(row["ward"], row["n"]["value"]) for row in rows] == [("north", 5), ("south", 0), ("it's", 0)]
    private = planned("SELECT note, age, COUNT(*) AS n FROM visits GROUP BY note, age")
    lies = {("a", 30): 5, ("a", 111): 5, ("a", -1): 5, ("a" * 161, 3): 5, (None, 3): 5, ("a", None): 5}
    rows = release(totals_of(private, lies), private, Exact()).rows
    assert [(row["note"], row["age"]) for row in rows] == [("a", 30), (None, 3)]


def test_the_other_measures_of_a_passed_key_are_drawn_and_those_of_the_rest_are_not():
    sql = "SELECT note, COUNT(*) AS n, SUM(score) AS s, COUNT(DISTINCT patient) AS u FROM visits GROUP BY note"
    plan = planned(sql, groups=1)
    drawn = []

    class Watching(Exact):
        def draw(self, noise, values):
            drawn.append(list(values))
            return values

        def select(self, threshold, units):
            return {key: count + 100 for key, count in units.items() if count > 1}

    cells = {("a",): (3, 4, 2), ("b",): (9, 9, 1), ("c",): (5, -6, 7)}
    rows = release(totals_of(plan, cells), plan, Watching()).rows
    assert drawn == [[3, 5], [4, -6]]
    assert [(row["note"], row["u"]["value"]) for row in rows] == [("a", 102), ("c", 107)]


def test_a_count_is_never_negative_and_a_sum_may_be():
    plan = planned("SELECT COUNT(*) AS n, SUM(score) AS s, SUM(cost) AS c FROM visits")
    row = release(totals_of(plan), plan, Fixed(-12345)).rows[0]
    assert row["n"]["value"] == row["n"]["low"] == 0
    assert row["n"]["high"] >= 0
    assert row["s"]["value"] == -12345
    assert row["c"]["value"] == -123.45


@pytest.mark.parametrize("change", [0, 10**9, -(10**9), 2**61, -(2**61)])
def test_values_stay_finite_and_within_their_bounds_whatever_the_noise(change):
    bounds = {"AVG(score)": (-7, 12), "AVG(cost)": (-2.5, 99.99), "MEDIAN(cost)": (-2.5, 99.99), "MAX(age)": (0, 110)}
    bounds |= {"STDDEV(score)": (0, 20), "VAR_POP(cost)": (0, 3000), "COUNT(DISTINCT outcome)": (0, 2**62)}
    shown = ", ".join(f"{text} AS a{at}" for at, text in enumerate(bounds))
    plan = planned(f"SELECT {shown} FROM visits", epsilon=Fraction(1, 100))
    (row,) = release(totals_of(plan), plan, Fixed(change)).rows
    for cell, (low, high) in zip(row.values(), bounds.values(), strict=True):
        assert low <= cell["low"] <= cell["value"] <= cell["high"] <= high
        assert math.isfinite(cell["standard_error"])


def test_a_mean_is_centre_plus_sum_by_count_and_is_rounded_only_once():
    plan = planned("SELECT AVG(cost) AS a, AVG(score) AS b FROM visits")
    assert [measure.centre for measure in plan.measures] == [4874, 0, 2, 0]
    row = release(totals_of(plan, {(): (7, 3, -1, 3)}), plan, Exact()).rows[0]
    assert row["a"]["value"] == float(round((4874 + Fraction(7, 3)) / 100, 6))
    assert row["b"]["value"] == float(round(2 + Fraction(-1, 3), 6))


def test_a_noisy_count_of_none_or_less_counts_as_one():
    """dp.md §5 row 15: a noisy count of 0 must not divide."""
    plan = planned("SELECT AVG(score) AS a, SUM(score) / COUNT(score) AS q FROM visits")

    class Given(Exact):
        def __init__(self, *noisy):
            self.noisy = list(noisy)

        def draw(self, noise, values):
            return [self.noisy.pop(0)]

    for count, total, mean in ((-4, 3, 5), (0, 3, 5), (1, 3, 5), (2, 4, 4), (-9, -90, -7), (-9, 90, 12)):
        row = release(totals_of(plan), plan, Given(total, count, 5)).rows[0]
        assert row["a"]["value"] == mean
        assert row["q"]["value"] == (None if count <= 0 else 5 / count)


def test_intervals_hold_the_value_and_are_those_of_the_plans_own_noise():
    sql = (
        "SELECT COUNT(*) AS n, SUM(cost) AS s, COUNT(DISTINCT patient) AS u, SUM(cost) - 3 * COUNT(*) AS d FROM visits"
    )
    plan = planned(sql)
    row = release(totals_of(plan, {(): (10**5, 10**6, 10**4)}), plan, Exact()).rows[0]
    noises = plan.sets[0].noises
    assert row["n"] == {
        "value": 10**5,
        "standard_error": noises[0].standard_error,
        "low": 10**5 - noises[0].half_width(),
        "high": 10**5 + noises[0].half_width(),
    }
    assert row["s"]["value"] == 10**4
    assert row["s"]["standard_error"] == pytest.approx(noises[1].standard_error / 100)
    assert row["u"]["high"] - row["u"]["low"] == 2 * noises[2].half_width()
    assert row["d"]["value"] == 10**4 - 3 * 10**5
    expected = math.hypot(3 * noises[0].standard_error, noises[1].standard_error / 100)
    assert row["d"]["standard_error"] == pytest.approx(expected)
    assert row["d"]["low"] < row["d"]["value"] < row["d"]["high"]


def test_counts_and_means_beside_a_variance_are_of_its_vector_without_its_weights():
    sql = "SELECT VAR_POP(score) AS v, AVG(score) AS a, COUNT(score) AS n, 3 * COUNT(score) + 1 AS t FROM visits"
    plan = planned(sql, epsilon=Fraction(20))
    (noise,) = plan.sets[0].noises
    assert plan.vectors[0].weights == (100, 10, 1)
    row = release(totals_of(plan, {(): (10**4, 5000, 8 * 10**4)}), plan, Exact()).rows[0]
    assert [row[name]["value"] for name in "vant"] == [7.75, 2.5, 10**4, 30_001]
    assert row["n"]["high"] - row["n"]["value"] == pytest.approx(noise.half_width() / 100)
    assert row["t"]["value"] - row["t"]["low"] == pytest.approx(3 * noise.half_width() / 100)
    assert row["t"]["standard_error"] == pytest.approx(3 * row["n"]["standard_error"])
    assert row["n"]["standard_error"] == pytest.approx(noise.standard_error / 100)
    for name, error in (("a", 0.01), ("v", 0.2)):
        assert row[name]["low"] < row[name]["value"] < row[name]["high"]
        assert row[name]["standard_error"] < error


def test_a_threshold_s_count_has_the_thresholds_noise():
    plan = planned("SELECT note, COUNT(DISTINCT patient) AS u FROM visits GROUP BY note")
    row = release(totals_of(plan, {("a",): 10**4}), plan, Exact()).rows[0]
    noise = plan.sets[0].threshold.noise
    assert row["u"]["high"] - row["u"]["low"] == 2 * noise.half_width()


@pytest.mark.parametrize("sql", ["SELECT SUM(score) AS s FROM visits", "SELECT SUM(cost) AS s FROM visits"])
def test_every_released_table_has_canonical_bytes(sql):
    """Receipts hash them; RFC 8785 writes no integer beyond 2^53."""
    plan = planned(sql)
    for total in (0, 1, -1, 2**53 + 1, 2**62 - 1, -(2**62) + 1):
        table = release(totals_of(plan, {(): total}), plan, Exact()).to_json()
        assert json.loads(canonical(table)) == table
        shown = max(-(2**53) + 1, min(2**53 - 1, total / 10 ** plan.made[0].scale))
        assert table["rows"][0]["s"]["value"] == pytest.approx(shown, rel=1e-12)


def test_every_release_draws_again():
    plan = planned("SELECT COUNT(*) AS n FROM visits", epsilon=Fraction(1, 10))
    assert len({release(totals_of(plan), plan).rows[0]["n"]["high"] for _ in range(30)}) > 5


def test_a_weight_cannot_make_a_total_wrap():
    """Totals that a lying container could send: clamped before they are weighed, not wrapped."""
    plan = planned("SELECT VAR_POP(score) AS v, MEDIAN(cost) AS m FROM visits")  # weights 100, 10, 1
    seen = []

    class Watching(Exact):
        def draw(self, noise, values):
            seen.extend(values)
            return values

    for total in (2**62 - 1, -(2**62) + 1):
        noised(totals_of(plan, {(): total}), plan, Watching())
        assert all((value > 0) == (total > 0) or value == 0 for value in seen)
        assert max(map(abs, seen)) <= 2**62
        seen.clear()


def test_outputs_are_typed_and_shown_as_json_that_says_them():
    sql = """SELECT arrived, upper(note) AS k, age, seen, COUNT(*) AS n, AVG(age) AS a, CASE WHEN COUNT(*) > 9 THEN 'many' END AS t,
        RANK() OVER (ORDER BY COUNT(*)) AS r, 1 AS one FROM visits GROUP BY arrived, note, age, seen"""
    plan = planned(sql, epsilon=Fraction(50), groups=1)
    key = (datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "é", 30, date(2020, 2, 29))
    table = release(totals_of(plan, {key: 5000}), plan).to_json()
    assert [(c["role"], c["type"]) for c in table["columns"]] == [
        ("key", "timestamp"), ("key", "string"), ("key", "int"), ("key", "date"),
        ("value", "int"), ("value", "decimal"), ("value", "category"), ("value", "int"), ("key", "int"),
    ]  # fmt: skip
    (row,) = table["rows"]
    assert [row[name] for name in ("arrived", "age", "seen", "one")] == [
        "2020-01-02T03:04:05.000006Z",
        30,
        "2020-02-29",
        1,
    ]
    assert row["t"] == {"value": "many", "standard_error": None, "low": None, "high": None}
    assert row["r"] == {"value": 1, "standard_error": None, "low": None, "high": None}


QUERIES = [
    "SELECT COUNT(*) AS n, COUNT(score) AS m, SUM(cost) AS s, SUM(age * score) AS p FROM visits",
    "SELECT ward, urgent, COUNT(*) AS n, SUM(score) FILTER (WHERE age > 2) AS s FROM visits GROUP BY ward, urgent",
    "SELECT note, COUNT(*) AS n, COUNT(DISTINCT patient) AS u, COUNT(DISTINCT outcome) AS o FROM visits GROUP BY note",
    "SELECT ward, note, COUNT(*) AS n FROM visits GROUP BY ROLLUP (ward, note)",
    "SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward HAVING COUNT(*) > 1 ORDER BY n DESC, ward LIMIT 2",
    "SELECT ward, RANK() OVER (ORDER BY COUNT(*) DESC, ward) AS r, SUM(COUNT(*)) OVER () AS t FROM visits GROUP BY ward",
    "SELECT note, AVG(cost) AS a, AVG(score) AS b FROM visits WHERE score IS NOT NULL AND cost IS NOT NULL GROUP BY note",
    "SELECT note, VAR_POP(cost) AS v, STDDEV_SAMP(cost) AS s FROM visits WHERE cost IS NOT NULL GROUP BY note HAVING COUNT(*) > 1",
]


@pytest.mark.parametrize("sql", QUERIES)
def test_without_noise_and_bounds_it_is_what_the_database_says(sql):
    connection = duckdb.connect()
    compared = 0
    for seed in range(15):
        tables = some_tables(seed)
        in_duckdb(connection, tables)
        plan = planned(sql, groups=1000, cap=1000)
        bounds = Bounds(tuple(each.max_groups for each in plan.sets), plan.max_rows, plan.measures, bytes(16))
        cells = cells_of(accepted(sql).grouping, tables, bounds)
        totals = Totals(
            tuple(
                SetTotals(
                    tuple(sorted(found)),
                    np.array([found[key] for key in sorted(found)], np.int64).reshape(len(found), width_of(plan)),
                )
                for found in cells
            )
        )
        table = release(totals, plan, Exact())
        values = {c["name"] for c in table.columns if c["role"] == "value"}
        ours = [{k: v["value"] if k in values else v for k, v in row.items()} for row in table.rows]
        theirs = connection.sql(sql).fetchall()
        if "GROUP BY" in sql:  # cells that only we show are of no rows
            ours = [
                row
                for row in ours
                if row.get("n", 1) and (row["ward"] in {each[0] for each in theirs} if "r" in row else 1)
            ]
        mine = [tuple(row.values()) for row in ours]
        if "ORDER BY n" not in sql:
            mine, theirs = (sorted(rows, key=lambda row: [(v is None, str(v)) for v in row]) for rows in (mine, theirs))
        assert len(mine) == len(theirs)
        for x, y in zip(itertools.chain(*mine), itertools.chain(*theirs), strict=True):
            same = x == y or (y is None and x == 0) or float(x) == pytest.approx(float(y), abs=2e-6)
            assert same, (sql, mine, theirs)
            compared += 1
    assert compared > 20


PASSED = [
    *QUERIES,
    "SELECT " + ", ".join(f"{a} AS a{i}" for i, a in enumerate(AGGREGATES)) + ", note FROM visits GROUP BY note",
    """SELECT seen, drug, SUM(doses * age) AS d, COUNT(DISTINCT holder) AS n, MEDIAN(doses) AS m
        FROM drugs JOIN visits ON drugs.visit = visits.visit WHERE age > 0 GROUP BY GROUPING SETS ((seen), (drug), ())""",
]


@pytest.mark.parametrize("sql", PASSED)
def test_block_sql_and_the_compiled_pass_give_what_the_interpreter_gives(sql, library):
    """The whole way of a plan but for noise: rows, specification, partial, totals."""
    plan, seed = planned(sql, groups=2, cap=2), bytes(range(16))
    bounds = Bounds(tuple(each.max_groups for each in plan.sets), plan.max_rows, plan.measures, seed)
    some = 0
    for number in range(6):
        tables = some_tables(number)
        views = Views(tables, CLINIC.tables)
        rows = views.use(*plan.views).sql(plan.block_sql).to_arrow_table().combine_chunks().to_batches()
        with aggregate.Pass(library, pass_specification(plan, seed)) as running:
            running.block(len(views.units), pa.array(views.units, pa.string()), rows)
            totals = combine([running.partial()], plan.shape)
        expected = cells_of(accepted(sql).grouping, tables, bounds)
        for found, cells in zip(totals.sets, expected, strict=True):
            shown = dict(zip(found.keys, map(tuple, found.values.tolist()), strict=True))
            ranged = any(key.count for key in plan.keys)
            assert shown == cells or (ranged and shown.items() <= cells.items())
            some += len(shown)
        assert release(totals, plan).columns
    assert some > 5


def test_forms_of_outputs():
    sql = """SELECT 100.0 * SUM(cost) / NULLIF(COUNT(*), 0) AS a, ROUND(AVG(cost) + 1, 2) AS b, -(SUM(cost) - 2 * COUNT(*)) / 4 AS c,
        SUM(cost) * COUNT(*) AS d, 1 - AVG(age) AS e, SQRT_ AS f FROM visits""".replace("SQRT_", "ABS(COUNT(*))")
    plan = planned(sql)
    count, total = Part(0), Part(1)
    found = [form_of(output.expression, plan) for output in plan.post.outputs]
    parts = {made.aggregate: made.parts for made in plan.made}
    (total,), (count,) = parts["sum"], parts["count_rows"]
    assert found[0] == Quotient(Linear({total: Fraction(1)}), Linear({count: Fraction(1)}))
    assert isinstance(found[1], Quotient)
    assert found[2] == Linear({total: Fraction(-1, 400), count: Fraction(1, 2)})
    assert found[3] is None
    assert isinstance(found[4], Quotient)
    assert found[5] is None
    row = release(totals_of(plan, {(): (10**4,) * len(plan.measures)}), plan).rows[0]
    for name in "abce":
        assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]
    for name in "df":
        assert row[name]["low"] is row[name]["high"] is None
        assert row[name]["standard_error"] > 0


def test_a_quotient_by_what_may_be_nothing_has_no_interval():
    plan = planned("SELECT SUM(cost) / COUNT(*) AS a FROM visits")
    made = {each.aggregate: each.parts[0] for each in plan.made}
    vectors = [None, None]
    vectors[made["sum"].vector], vectors[made["count_rows"].vector] = np.array([[10**6]]), np.array([[1]])
    bars = Bars(plan, NoisySet(((),), tuple(vectors), plan.sets[0].noises), [0], seed=1)
    assert bars.of_form(form_of(plan.post.outputs[0].expression, plan)) == [None]


def test_trees_are_of_the_bins_that_the_pass_counts():
    plan = planned("SELECT MEDIAN(cost) AS m FROM visits")
    assert plan.tree_of(plan.vectors[0]) == Tree(plan.measures[0].columns)
