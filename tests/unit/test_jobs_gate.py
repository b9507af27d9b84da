"""The gate: whatever bytes come, a table of the plan's form leaves, noise is drawn for all of it, and a rare key never shows."""

import secrets
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from jobs.gate import gate
from privacy.accountant import Accountant
from privacy.mechanisms import Noise
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.release import DrawnNoise
from privacy.thresholds import KeyThreshold
from tests.policies_world import quick_folder
from tests.unit.sql_world import partial_of, plan_of, write_block

PEOPLE = TableSchema(
    name="people",
    unit="person",
    columns=(
        Column("person", ColumnType.STRING, max_length=12),
        Column("surname", ColumnType.STRING, max_length=8),
        Column("sex", ColumnType.CATEGORY, public=True, values=("f", "m", "x")),
        Column("income", ColumnType.INT, lower=-1000, upper=1000),
        Column("duration", ColumnType.INT),
    ),
    rows=1000,
    units=1000,
)
BY_NAME = "SELECT surname, COUNT(*) AS n FROM people GROUP BY surname"
BY_SEX = "SELECT sex, COUNT(*) AS n, SUM(income) AS total, AVG(income) AS mean FROM people GROUP BY sex"
ALL = "SELECT SUM(income) AS total FROM people"


def person(number, surname="Li", sex="f", income=10):
    return {"person": f"p{number:06d}", "surname": surname, "sex": sex, "income": income, "duration": number}


def planned(sql, groups=1, rows=1, epsilon="1", accountant=Accountant.BASIC):
    delta = "1e-6" if accountant is Accountant.ZCDP else None
    return plan_of(
        sql,
        groups=groups,
        rows=rows,
        epsilon=epsilon,
        delta=None if delta is None else Fraction(delta),
        accountant=accountant,
        schema=PEOPLE,
    )


PLANS = (planned(ALL), planned(BY_NAME))


@pytest.fixture(scope="module")
def partials():
    """The partial of some rows under a plan, as the runner's own code gives it."""
    with quick_folder() as folder:

        def make(plan, rows):
            return partial_of(plan, write_block(Path(folder) / f"{secrets.token_hex(4)}.parquet", rows, PEOPLE))

        yield make


class Drawn:
    """What noise was asked for, beside drawing it."""

    def __init__(self, monkeypatch):
        self.numbers, self.selections = [], []
        draw, select = DrawnNoise.draw, DrawnNoise.select

        def drawing(source, noise, values):
            self.numbers.append((noise, len(values)))
            return draw(source, noise, values)

        def selecting(source, threshold, units):
            self.selections.append((threshold, dict(units)))
            return select(source, threshold, units)

        monkeypatch.setattr(DrawnNoise, "draw", drawing)
        monkeypatch.setattr(DrawnNoise, "select", selecting)


# T07: a rare key


def test_a_rare_key_never_shows_in_200_draws(partials):
    """1,000 people called Li and one called Zyx: whoever knows the 1,000 learns nothing of the one (T07)."""
    plan = planned(BY_NAME)
    partial = partials(plan, [person(n) for n in range(1000)] + [person(5000, "Zyx")])
    shown = [[row["surname"] for row in gate(plan, 1, {0: partial}).table.rows] for _ in range(200)]
    assert shown == [["Li"]] * 200


def test_declared_keys_all_show_whatever_there_is(partials):
    plan = planned(BY_SEX)
    for rows in ([], [person(1)], [person(n, sex="m") for n in range(50)]):
        for _ in range(20):
            table = gate(plan, 1, {0: partials(plan, rows)}).table
            assert [row["sex"] for row in table.rows] == ["f", "m", "x"]
            for row in table.rows:
                for cell in (row["n"], row["total"], row["mean"]):
                    assert all(cell[part] is not None for part in ("value", "low", "high", "standard_error"))


def test_a_count_is_never_null_nor_below_zero():
    plan = planned("SELECT COUNT(*) AS n FROM people")
    for _ in range(50):
        (row,) = gate(plan, 1, {}).table.rows
        assert isinstance(row["n"]["value"], int)
        assert row["n"]["value"] >= 0


def test_no_rows_at_all_show_no_private_key():
    plan = planned(BY_NAME)
    assert [gate(plan, 1, {}).table.rows for _ in range(50)] == [()] * 50


# T06: there is no aggregate without noise


@pytest.mark.parametrize("epsilon", ["0.1", "1", "10"])
@pytest.mark.parametrize("accountant", list(Accountant))
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) AS a FROM people",
        "SELECT COUNT(income) AS a FROM people",
        "SELECT COUNT(DISTINCT person) AS a FROM people",
        "SELECT SUM(income) AS a FROM people",
        "SELECT AVG(income) AS a FROM people",
    ],
)
def test_twenty_draws_on_three_rows_are_not_all_equal(partials, sql, accountant, epsilon):
    plan = planned(sql, epsilon=epsilon, accountant=accountant)
    partial = partials(plan, [person(1, income=5), person(2, income=-9), person(3, income=40)])
    values = {gate(plan, 1, {0: partial}).table.rows[0]["a"]["value"] for _ in range(20)}
    assert len(values) > 1


def test_a_sum_without_bounds_is_refused_at_the_plan():
    for aggregate in ("SUM", "AVG"):
        with pytest.raises(Invalid) as refused:
            planned(f"SELECT {aggregate}(duration) AS a FROM people")
        assert refused.value.code == "bounds.required"


# R9: what comes or does not come changes nothing but the noised values


def test_noise_is_drawn_for_everything_even_if_nothing_came(monkeypatch):
    drawn = Drawn(monkeypatch)
    plan = planned(BY_SEX)
    gate(plan, 4, {})
    assert [count for _, count in drawn.numbers] == [3] * len(plan.measures)
    assert [noise for noise, _ in drawn.numbers] == [measure.noise for measure in plan.measures]


def test_neighbours_draw_the_same_noise(partials, monkeypatch):
    """One unit more or less: the same mechanisms, as many numbers, in the same order; only what they are added to differs."""
    drawn = Drawn(monkeypatch)
    plan = planned(BY_SEX, groups=2, rows=3)
    rows = [person(n, sex="fm"[n % 2]) for n in range(40)]
    tables, asked = [], []
    for version in (rows, rows[:-1], [*rows, person(99, sex="x", income=1000)], []):
        drawn.numbers.clear()
        tables.append(gate(plan, 1, {0: partials(plan, version)}).table.to_json())
        asked.append(list(drawn.numbers))
    assert all(each == asked[0] for each in asked)
    for table in tables:
        assert [column["name"] for column in table["columns"]] == [column["name"] for column in tables[0]["columns"]]
        assert table["notes"] == tables[0]["notes"]
        assert [row["sex"] for row in table["rows"]] == ["f", "m", "x"]
        assert [row["n"]["standard_error"] for row in table["rows"]] == [
            row["n"]["standard_error"] for row in tables[0]["rows"]
        ]


def test_a_block_that_did_not_come_is_named_to_the_operator_and_the_rest_counts(partials):
    plan = planned(ALL, epsilon="100")
    good = {index: partials(plan, [person(index, income=1000)]) for index in range(4)}
    whole = gate(plan, 4, good)
    assert whole.defaulted == ()
    lacking = gate(plan, 4, {index: data for index, data in good.items() if index != 2})
    assert lacking.defaulted == (2,)
    assert abs(whole.table.rows[0]["total"]["value"] - 4000) < 800
    assert abs(lacking.table.rows[0]["total"]["value"] - 3000) < 800


def words(*values):
    return b"".join(value.to_bytes(16, "big", signed=True) for value in values)


def packed(groups, width):
    body = b"".join(struct.pack(">H", len(key)) + key + values for key, values in groups)
    return b"BNYP\x01" + struct.pack(">IH", len(groups), width) + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BNYP\x01",
        b"\x80\x04\x95cos\nsystem\n.",
        packed([(b"", words(2**62))], 1),
        packed([(b"", words(-(2**62)))], 1),
        packed([(b"", words(1)), (b"", words(1))], 1),
        packed([(b"x", words(1))], 1),
        packed([(b"", words(1, 1))], 2),
        packed([(b"", words(1))], 1) + b"\x00",
    ],
)
def test_a_malformed_or_impossible_partial_counts_as_empty(partials, data):
    plan = planned(ALL, epsilon="100")
    found = gate(plan, 2, {0: data, 1: partials(plan, [person(1, income=1000)])})
    assert found.defaulted == (0,)
    assert abs(found.table.rows[0]["total"]["value"] - 1000) < 800


def test_partials_beyond_the_blocks_are_not_looked_at(partials):
    plan = planned(ALL, epsilon="100")
    good = partials(plan, [person(1, income=1000)])
    found = gate(plan, 1, {0: good, 1: good, 77: good, -1: good})
    assert found.defaulted == ()
    assert abs(found.table.rows[0]["total"]["value"] - 1000) < 800


def test_totals_that_lie_are_clamped(monkeypatch):
    """Blocks that each claim the most possible: the sum stays inside the range that the noise was fitted for."""
    plan, largest = planned(ALL), 2**62 - 1
    seen = []
    monkeypatch.setattr(DrawnNoise, "draw", lambda _, noise, values: seen.extend(values) or values)
    gate(plan, 50, dict.fromkeys(range(50), packed([(b"", words(largest))], 1)))
    gate(plan, 50, dict.fromkeys(range(50), packed([(b"", words(-largest))], 1)))
    assert seen == [largest, -largest]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.binary(max_size=120), head=st.sampled_from([b"", b"BNYP\x01", b"BNYP\x01\x00\x00\x00\x01\x00\x01"]))
def test_no_bytes_stop_the_gate(data, head):
    for plan in PLANS:
        table = gate(plan, 1, {0: head + data}).table.to_json()
        assert table["schema"] == "banyan.table/1"
        assert len(table["columns"]) == len(plan.outputs)


# T08: less noise costs more


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    pair=st.lists(st.integers(1, 99), min_size=2, max_size=2, unique=True),
    kind=st.sampled_from(["count", "sum", "key"]),
)
def test_a_smaller_price_is_more_noise(pair, kind):
    """ε(scale) strictly decreases: nobody gets less noise for less (T08). Above ε 1 a count's noise stops at scale 1 (T06)."""
    sql = {"count": "SELECT COUNT(*) AS a FROM people", "sum": ALL, "key": BY_NAME}[kind]
    low, high = (planned(sql, epsilon=f"{value}/100") for value in sorted(pair))
    for cheap, dear in zip(low.mechanisms, high.mechanisms, strict=True):
        assert isinstance(cheap, Noise | KeyThreshold)
        assert cheap.scale > dear.scale
        assert cheap.price < dear.price
    assert low.price.epsilon < high.price.epsilon


@pytest.mark.parametrize("sql", [ALL, BY_NAME, BY_SEX, "SELECT AVG(income) AS a, COUNT(*) AS n FROM people"])
def test_what_the_mechanisms_cost_is_within_the_price(sql):
    plan = planned(sql, groups=3, rows=4, epsilon="0.7")
    assert sum(mechanism.price for mechanism in plan.mechanisms) <= plan.price.epsilon == plan.epsilon
