"""A plan is worked out from request and declaration alone, and what it says it costs is what it costs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from core.canonical import canonical
from core.errors import Invalid
from privacy.accountant import Accountant, Loss, rho_for
from privacy.mechanisms import NoiseKind
from privacy.schema import Column, ColumnType
from privacy.sql.keys import decode, encode
from privacy.sql.plan import MeasureKind, QueryPlan
from tests.unit.sql_world import SCHEMA, plan_of

QUERIES = [
    "SELECT COUNT(*) FROM visits",
    "SELECT SUM(score) FROM visits",
    "SELECT AVG(score) FROM visits",
    "SELECT AVG(cost), SUM(cost), COUNT(cost), COUNT(*) FROM visits",
    "SELECT COUNT(*), COUNT(DISTINCT person) FROM visits WHERE age > 3",
    "SELECT ward, COUNT(*), AVG(score) FROM visits GROUP BY ward",
    "SELECT surname, COUNT(DISTINCT person) FROM visits GROUP BY surname",
    "SELECT surname, ward, AVG(cost), SUM(score) FROM visits GROUP BY surname, ward",
]


@pytest.mark.parametrize("sql", QUERIES)
@pytest.mark.parametrize("epsilon", ["0.1", "1/3", "1", "7"])
@pytest.mark.parametrize("accountant", list(Accountant))
def test_the_mechanisms_together_cost_at_most_what_is_charged_and_that_is_what_was_asked(sql, epsilon, accountant):
    """T05 and dp.md §5 row 2: exact rationals; an AVG is charged for its sum and its count."""
    plan = plan_of(sql, epsilon=epsilon, accountant=accountant)
    asked = Fraction(epsilon)
    spent = sum((mechanism.price for mechanism in plan.mechanisms), Fraction(0))
    slack = Fraction(99, 100) if asked <= 1 else 0  # noise never falls below scale 1, however much is offered
    if accountant is Accountant.BASIC:
        assert plan.price == Loss(epsilon=asked, delta=plan.delta)
        assert asked * slack < spent <= asked
        assert {m.kind for m in plan.mechanisms} == {NoiseKind.LAPLACE}
    else:
        rho = rho_for(asked, plan.delta / 2)
        assert plan.price == Loss(rho=rho, delta=plan.delta / 2 if plan.threshold else Fraction(0))
        assert rho * slack < spent <= rho
        assert {m.kind for m in plan.mechanisms} == {NoiseKind.GAUSSIAN}
    if plan.threshold is not None:
        assert plan.threshold.delta <= (plan.delta if accountant is Accountant.BASIC else plan.delta / 2)
    assert len(plan.mechanisms) == len(set(map(id, plan.mechanisms)))


def test_every_released_number_has_a_mechanism():
    for sql in QUERIES:
        plan = plan_of(sql)
        for output in plan.outputs:
            for index in output.measures:
                measure = plan.measures[index]
                assert measure.noise is not None or (measure.kind is MeasureKind.UNITS and plan.threshold is not None)


def kinds(sql: str) -> list[str]:
    return [measure.kind.value for measure in plan_of(sql).measures]


def test_equal_measures_are_bought_once():
    assert kinds("SELECT AVG(score), COUNT(score), AVG(score) AS again FROM visits") == ["sum", "nonnull"]
    assert kinds("SELECT AVG(age), COUNT(*), COUNT(age) FROM visits") == ["sum", "rows"]
    assert kinds("SELECT SUM(score), AVG(score) FROM visits") == [
        "sum",
        "sum",
        "nonnull",
    ]  # centred and not: two numbers
    assert kinds("SELECT COUNT(*), COUNT(surname), COUNT(score) FROM visits") == ["rows", "nonnull", "nonnull"]
    assert kinds("SELECT surname, COUNT(*) FROM visits GROUP BY surname") == ["rows", "units"]


def test_the_key_threshold_serves_the_count_of_units_too():
    plan = plan_of("SELECT surname, COUNT(DISTINCT person) AS n FROM visits GROUP BY surname", epsilon="0.5")
    assert [measure.noise for measure in plan.measures] == [None]
    assert plan.threshold.price <= Fraction(1, 2)
    assert plan.threshold.price > Fraction(49, 100)
    assert plan.forecast[0].noise_95 == plan.threshold.noise.half_width()


def test_sensitivities_are_taken_on_the_integer_grid_after_centring():
    plan = plan_of(
        "SELECT SUM(cost) AS s, AVG(cost) AS a, COUNT(cost) AS n, COUNT(DISTINCT person) AS u, ward FROM visits GROUP BY ward",
        groups=2,
        rows=4,
    )
    by_kind = {(m.kind.value, m.centre): m for m in plan.measures}
    centre = (-250 + 9999) // 2
    assert set(by_kind) == {("sum", 0), ("sum", centre), ("nonnull", 0), ("units", 0)}
    assert by_kind["sum", 0].linf == 4 * 9999
    assert by_kind["sum", centre].linf == 4 * (9999 - centre)
    assert by_kind["nonnull", 0].linf == 4
    units = by_kind["units", 0].noise
    assert (units.linf, units.l0, units.l1, units.l2_squared) == (1, 2, 2, 2)
    total = by_kind["sum", 0].noise
    assert (total.l0, total.l1, total.l2_squared) == (2, 2 * 4 * 9999, 2 * (4 * 9999) ** 2)


@pytest.mark.parametrize(
    ("lower", "upper", "most", "centred"), [(-100, 3, 100, 52), (3, 100, 100, 49), (-7, -5, 7, 1), (0, 3, 3, 2)]
)
def test_the_farther_bound_decides(lower, upper, most, centred):
    schema = with_column(Column("x", ColumnType.INT, lower=lower, upper=upper))
    plan = plan_of("SELECT SUM(x), AVG(x) FROM visits", schema=schema, rows=10)
    assert [measure.linf for measure in plan.measures if measure.kind is MeasureKind.SUM] == [10 * most, 10 * centred]


def test_groups_per_unit_never_exceed_the_cells_that_exist():
    assert plan_of("SELECT COUNT(*) FROM visits", groups=50).max_groups == 1
    assert plan_of("SELECT urgent, COUNT(*) FROM visits GROUP BY urgent", groups=50).max_groups == 3
    assert plan_of("SELECT surname, COUNT(*) FROM visits GROUP BY surname", groups=50).max_groups == 50


def test_the_domain_of_public_keys_is_their_whole_product_with_null_where_null_may_be():
    plan = plan_of("SELECT ward, urgent, seen, COUNT(*) FROM visits WHERE ward = 'north' GROUP BY ward, urgent, seen")
    assert plan.cells == 3 * 3 * 6
    assert plan.keys[0].values == ("north", "south", "it's")
    assert plan.keys[1].values == (False, True, None)
    assert plan.keys[2].values == (*(date(2020, 2, 27 + d) for d in range(3)), date(2020, 3, 1), date(2020, 3, 2), None)
    assert plan.threshold is None
    assert plan.delta == 0


def test_one_private_key_makes_all_keys_pass_a_threshold():
    plan = plan_of("SELECT ward, surname, COUNT(*) FROM visits GROUP BY ward, surname")
    assert plan.cells is None
    assert plan.threshold is not None


@pytest.mark.parametrize("column", ["weight", "arrived"])
def test_decimals_and_moments_are_never_a_public_domain(column):
    columns = tuple(dataclasses.replace(c, public=True) if c.name == column else c for c in SCHEMA.columns)
    schema = dataclasses.replace(SCHEMA, columns=columns)
    assert plan_of(f"SELECT {column}, COUNT(*) FROM visits GROUP BY 1", schema=schema).threshold is not None


def test_delta_has_a_default_from_the_declared_units_and_none_where_none_is_needed():
    surname = "SELECT surname, COUNT(*) FROM visits GROUP BY surname"
    for units, exponent in ((1, 4), (2, 5), (10, 5), (11, 6), (200, 7), (1000, 7), (1001, 8), (4000, 8), (12_000, 9)):
        schema = dataclasses.replace(SCHEMA, units=units)
        assert plan_of(surname, schema=schema).delta == Fraction(1, 10**exponent)
        assert plan_of(QUERIES[0], schema=schema).delta == 0
        assert plan_of(QUERIES[0], schema=schema, accountant=Accountant.ZCDP).delta == Fraction(1, 10**exponent)
    assert plan_of(surname, delta=Fraction(1, 10**6)).delta == Fraction(1, 10**6)
    assert plan_of(QUERIES[0], delta=Fraction(1, 10**6)).delta == 0
    with pytest.raises(Invalid) as caught:
        plan_of(surname, delta=Fraction(0))
    assert caught.value.code == "delta.required"


@pytest.mark.parametrize("sql", QUERIES)
def test_a_plan_survives_json_and_has_canonical_bytes(sql):
    for accountant in Accountant:
        plan = plan_of(sql, accountant=accountant)
        assert QueryPlan.from_json(json.loads(canonical(plan.to_json()))) == plan


def test_the_same_request_gives_the_same_bytes_in_another_process():
    code = (
        "from tests.unit.sql_world import plan_of; from core.canonical import canonical;"
        f"import sys; sys.stdout.buffer.write(b''.join(canonical(plan_of(q).to_json()) for q in {QUERIES!r}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {b"".join(canonical(plan_of(q).to_json()) for q in QUERIES)}


def test_texts_that_ask_the_same_have_the_same_plan():
    one = plan_of("SELECT ward, COUNT(*) AS n FROM visits WHERE age BETWEEN 1 AND 3 GROUP BY ward")
    other = plan_of("select WARD, count(*) n from visits v where (v.age >= 1 and 3 >= v.age) group by 1 -- the same\n;")
    assert canonical(one.to_json()) == canonical(other.to_json())


def test_a_plan_knows_nothing_of_the_true_size_only_of_the_declared():
    """R10: rows and units of the schema are n_pub; nothing else of the table enters."""
    small = dataclasses.replace(SCHEMA, rows=500, units=100)
    assert plan_of(QUERIES[6]).to_json() != plan_of(QUERIES[6], schema=small).to_json()
    assert plan_of(QUERIES[0]).to_json() == plan_of(QUERIES[0], schema=small).to_json()


@pytest.mark.parametrize(
    ("groups", "rows"), [(0, 1), (1, 0), (-1, 1), (10**9, 1), (1, 10**9), (True, 1), (1.5, 1), ("1", 1)]
)
def test_bounds_that_are_no_bounds_are_refused(groups, rows):
    with pytest.raises(Invalid) as caught:
        plan_of(QUERIES[0], groups=groups, rows=rows)
    assert caught.value.code == "bounds.invalid"
    assert caught.value.where["field"].startswith("bounds.max_")


def with_column(column: Column):
    return dataclasses.replace(SCHEMA, columns=(*SCHEMA.columns, column))


@pytest.mark.parametrize(
    "column",
    [
        Column("x", ColumnType.INT, lower=0, upper=2**60),
        Column("x", ColumnType.INT, lower=-(2**63), upper=2**63 - 1),
        Column("x", ColumnType.DECIMAL, scale=18, lower=Decimal(-1), upper=Decimal(1)),
    ],
)
def test_totals_that_could_wrap_are_refused(column):
    for name in ("SUM", "AVG"):
        with pytest.raises(Invalid) as caught:
            plan_of(f"SELECT {name}(x) FROM visits", schema=with_column(column), rows=1000)
        assert caught.value.code in {"plan.too_large", "plan.sensitivity_too_large"}
        assert caught.value.way_out


def test_equal_bounds_are_no_bounds():
    """T06: [0] with bounds 0..0 was released without noise."""
    with pytest.raises(Invalid) as caught:
        plan_of("SELECT SUM(x) FROM visits", schema=with_column(Column("x", ColumnType.INT, lower=0, upper=0)))
    assert caught.value.code == "bounds.invalid"


def test_more_cells_than_can_be_shown_are_refused_with_a_way_out():
    wide = with_column(Column("x", ColumnType.INT, public=True, lower=0, upper=5000))
    assert plan_of("SELECT x, COUNT(*) FROM visits GROUP BY x", schema=wide).cells == 5001
    for sql in (
        "SELECT x, urgent, COUNT(*) FROM visits GROUP BY x, urgent",
        "SELECT x, age, COUNT(*) FROM visits GROUP BY 1, 2",
    ):
        with pytest.raises(Invalid) as caught:
            plan_of(sql, schema=wide)
        assert caught.value.code == "keys.too_many"
    huge = with_column(Column("x", ColumnType.INT, public=True, lower=-(2**62), upper=2**62))
    with pytest.raises(Invalid) as caught:
        plan_of("SELECT x, COUNT(*) FROM visits GROUP BY x", schema=huge)
    assert caught.value.code == "keys.too_many"


def test_a_key_of_unbounded_text_is_refused():
    with pytest.raises(Invalid) as caught:
        plan_of("SELECT x, COUNT(*) FROM visits GROUP BY x", schema=with_column(Column("x", ColumnType.STRING)))
    assert caught.value.code == "keys.unbounded"
    assert "max_length" in caught.value.way_out


def test_a_partial_may_hold_twice_what_is_declared_and_no_more_than_a_gate_can_read():
    assert plan_of("SELECT surname, COUNT(*) FROM visits GROUP BY surname", groups=1).max_groups_in_partial == 2 * 200
    assert plan_of("SELECT surname, COUNT(*) FROM visits GROUP BY surname", groups=90).max_groups_in_partial == 2 * 1000
    private = dataclasses.replace(SCHEMA.column("ward"), name="x", public=False)
    assert plan_of("SELECT x, COUNT(*) FROM visits GROUP BY x", schema=with_column(private)).max_groups_in_partial == 3
    large = dataclasses.replace(SCHEMA, rows=10**9, units=10**8)
    with pytest.raises(Invalid) as caught:
        plan_of("SELECT surname, COUNT(*) FROM visits GROUP BY surname", schema=large)
    assert caught.value.code == "keys.too_many"


def test_an_epsilon_too_small_to_be_noised_is_refused():
    for accountant in Accountant:
        with pytest.raises(Invalid) as caught:
            plan_of("SELECT AVG(cost) FROM visits", epsilon=str(Fraction(1, 10**18)), accountant=accountant)
        assert caught.value.code in {"epsilon.invalid", "plan.sensitivity_too_large"}


def test_the_forecast_is_the_noise_and_says_what_it_does_not_know():
    plan = plan_of(
        "SELECT ward, COUNT(*) AS n, SUM(cost) AS s, AVG(cost) AS a FROM visits GROUP BY ward", groups=1, rows=2
    )
    n, s, a = plan.forecast
    assert (n.kind, s.kind, a.kind) == ("count_rows", "sum", "avg")
    assert {entry.clipping for entry in plan.forecast} == {"unknown"}
    assert n.noise_95 == plan.measures[0].noise.half_width()
    assert s.noise_95 == pytest.approx(plan.measures[1].noise.half_width() / 100)
    assert 0 < a.noise_95 <= 102.49
    assert plan_of("SELECT AVG(cost) AS a FROM visits WHERE age = 1").forecast[0].noise_95 is None
    assert plan_of("SELECT surname, AVG(cost) FROM visits GROUP BY 1").forecast[0].noise_95 is None


def test_the_instruction_carries_no_name_value_or_size_of_the_table():
    plan = plan_of(QUERIES[7])
    body = json.loads(plan.instruction([(3, "/blocks/3.parquet")], b"s" * 32, 2.5, 60)[4:])
    assert set(body) == {
        "blocks", "sql", "keys", "columns", "measures", "max_groups", "max_rows", "seed", "cpu_seconds_per_block", "wall_seconds", "max_partial_bytes",
    }  # fmt: skip
    assert body["blocks"] == [{"index": 3, "path": "/blocks/3.parquet"}]
    with pytest.raises(ValueError):
        plan.instruction([], b"short", 1, 1)


@pytest.mark.parametrize(
    "row",
    [
        ("Li", 5, date(2020, 2, 29), True, Decimal("-1.25")),
        (None, None, None, None, None),
        ("", -(2**63), date(1, 1, 1), False, Decimal(0)),
        ("李" * 12, 2**63 - 1, date(9999, 12, 31), True, Decimal("99999999999999.99")),
    ],
)
def test_keys_have_bytes_that_say_them_and_only_them(row):
    keys = plan_of("SELECT surname, age, seen, urgent, weight, COUNT(*) FROM visits GROUP BY 1, 2, 3, 4, 5").keys
    assert decode(encode(row, keys), keys) == row
    assert len({encode(tuple(None if i == j else v for j, v in enumerate(row)), keys) for i in range(5)}) >= (
        1 if row[0] is None else 5
    )


@pytest.mark.parametrize(
    "change",
    [{"columns": (*SCHEMA.columns, Column("PERSON", ColumnType.INT))}, {"unit": "nobody"}, {"rows": 0}, {"units": 0}],
)
def test_a_table_whose_unit_could_be_mistaken_is_no_table(change):
    with pytest.raises(ValueError):
        dataclasses.replace(SCHEMA, **change)
