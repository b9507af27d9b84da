"""The container's pass and the gate, on neighbouring inputs: one privacy unit more or less proves no more loss than the plan's price.

The real runner bounds the rows, the real gate draws. A mutant changes one number on its way (an instruction, a bound, a record)
while the noise stays as planned; the same audit must find it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from privacy.accountant import Accountant
from privacy.mechanisms import NoiseKind
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.combine import Totals, combine, read_partial
from privacy.sql.keys import encode
from privacy.sql.plan_model import QueryPlan
from privacy.sql.release import release
from tests.statistical.loss_audit import PROVEN, Draws, at_least, keeps_its_claim, loss_found, vector_loss
from tests.unit.sql_world import instruction_of, plan_of, runner, write_block

WARDS = ("a", "b", "c", "d", "e")
ACCOUNTANTS = {NoiseKind.LAPLACE: Accountant.BASIC, NoiseKind.GAUSSIAN: Accountant.ZCDP}
QUERY = "SELECT ward, COUNT(*) AS visits, SUM(score) AS total, AVG(score) AS mean FROM visits GROUP BY ward"
# Large enough for TIMES draws to prove most of the loss.
EPSILON = {NoiseKind.LAPLACE: "2", NoiseKind.GAUSSIAN: "10"}
TIMES = 10_000


def table(upper: int = 20) -> TableSchema:
    return TableSchema(
        name="visits",
        unit="person",
        columns=(
            Column("person", ColumnType.STRING, max_length=20),
            Column("ward", ColumnType.CATEGORY, public=True, values=WARDS),
            Column("surname", ColumnType.STRING, max_length=12),
            Column("score", ColumnType.INT, lower=-upper, upper=upper),
        ),
        rows=10_000,
        units=1000,
    )


def rows_of(person: str, wards: str, each: int, score: int) -> list[dict]:
    return [{"person": person, "ward": ward, "surname": "Li", "score": score} for ward in wards for _ in range(each)]


# The unit that comes and goes has more groups, more rows and larger values than the bounds let it keep; it sorts first.
OTHERS = [row for number in range(6) for row in rows_of(f"p{number}", WARDS[number % 5] + "b", 2, number)]
TARGET = rows_of("a-first", "".join(WARDS), 40, 400)


def audited_plan(kind: NoiseKind, sql: str = QUERY, **changes) -> QueryPlan:
    asked = {"groups": 2, "rows": 10, "epsilon": EPSILON[kind], "delta": Fraction(1, 10**6), "schema": table()}
    return plan_of(sql, accountant=ACCOUNTANTS[kind], **(asked | changes))


def totals(plan: QueryPlan, rows: list[dict], change: Callable[[dict], dict] = dict, sql: str | None = None) -> Totals:
    """What the gate holds before noise: rows through DuckDB and the bounded pass, then the strict reader."""
    instruction = change(instruction_of(plan))
    with tempfile.TemporaryDirectory() as folder:
        block = write_block(Path(folder) / "block.parquet", rows, table())
        partial = runner.bounded(runner.rows_of(str(block), sql or instruction["sql"], 256 << 20), instruction)
    return combine([read_partial(partial, plan)], plan)


def losses(plan: QueryPlan, one: Totals, other: Totals, times: int = TIMES) -> list[float]:
    """For each measure, the loss that draws on its whole vector prove, relative to its price."""
    cells = [encode(row, plan.keys) for row in product(*(key.values or () for key in plan.keys))]
    nothing = (0,) * len(plan.measures)
    found = []
    for index, measure in enumerate(plan.measures):
        here, there = ([side.cells.get(cell, nothing)[index] for cell in cells] for side in (one, other))
        assert here != there
        found.append(vector_loss(measure.noise, here, there, times) / float(measure.noise.price))
    return found


@pytest.mark.parametrize("kind", NoiseKind)
def test_one_unit_loses_no_more_than_the_price_in_any_measure(kind):
    plan = audited_plan(kind)
    one, other = totals(plan, OTHERS + TARGET), totals(plan, OTHERS)
    sums = [measure.noise.price for measure in plan.measures]
    assert sum(sums) <= (plan.price.epsilon if kind is NoiseKind.LAPLACE else plan.price.rho)
    assert keeps_its_claim(lambda: max(losses(plan, one, other)), 1.0)


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_one_group_more_than_the_noise_pays_for_is_found(kind):
    plan = audited_plan(kind, groups=1)

    def change(instruction):
        return instruction | {"max_groups": plan.max_groups + 1}

    found = losses(plan, totals(plan, OTHERS + TARGET, change), totals(plan, OTHERS, change))
    assert min(found) > 1


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_rows_of_a_unit_not_capped_is_found(kind):
    plan = audited_plan(kind)

    def change(instruction):
        return instruction | {"max_rows": 1000}

    found = losses(plan, totals(plan, OTHERS + TARGET, change), totals(plan, OTHERS, change), 2_000)
    assert min(found) > 1


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_values_not_clamped_to_the_claimed_bounds_is_found(kind):
    plan = audited_plan(kind, "SELECT ward, SUM(score) AS total FROM visits GROUP BY ward")
    wide = audited_plan(kind, "SELECT ward, SUM(score) AS total FROM visits GROUP BY ward", schema=table(upper=500))
    assert wide.block_sql != plan.block_sql
    one, other = (totals(plan, rows, sql=wide.block_sql) for rows in (OTHERS + TARGET, OTHERS))
    assert min(losses(plan, one, other, 2_000)) > 1


# --- the gate itself: one release over many cells with equal totals is as many independent draws


CELLS = 5_000
MANY = TableSchema(
    name="visits",
    unit="person",
    columns=(
        Column("person", ColumnType.STRING, max_length=20),
        Column("code", ColumnType.INT, lower=1, upper=CELLS, public=True),
        Column("surname", ColumnType.STRING, max_length=12),
    ),
    rows=10_000,
    units=1000,
)
COUNT = "SELECT code, COUNT(*) AS visits FROM visits GROUP BY code"


def released_counts(plan: QueryPlan, count: int, releases: int) -> Draws:
    cells = {encode((code,), plan.keys): (count,) for code in range(1, CELLS + 1)}
    drawn = [row["visits"]["value"] for _ in range(releases) for row in release(Totals(cells), plan).to_json()["rows"]]
    return np.array(drawn, dtype=np.float64)


def counting_plan(kind: NoiseKind) -> QueryPlan:
    return plan_of(
        COUNT, groups=1, rows=20, epsilon="1", delta=Fraction(1, 10**4), accountant=ACCOUNTANTS[kind], schema=MANY
    )


@pytest.mark.parametrize("kind", NoiseKind)
def test_released_numbers_lose_no_more_than_the_price(kind):
    plan = counting_plan(kind)

    def audit() -> float:
        return loss_found(released_counts(plan, 1000, 8), released_counts(plan, 980, 8), PROVEN[kind])

    paid = plan.price.epsilon if kind is NoiseKind.LAPLACE else plan.price.rho
    assert keeps_its_claim(audit, float(paid))


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_a_gate_with_half_the_noise_is_found(kind):
    plan = counting_plan(kind)
    measure = plan.measures[0]
    mutant = replace(plan, measures=(replace(measure, noise=replace(measure.noise, scale=measure.noise.scale / 2)),))
    found = loss_found(released_counts(mutant, 1000, 4), released_counts(mutant, 980, 4), PROVEN[kind])
    assert found > float(plan.price.epsilon if kind is NoiseKind.LAPLACE else plan.price.rho)


NAMES = "SELECT surname, COUNT(*) AS visits FROM visits GROUP BY surname"
DELTA = Fraction(999, 10**6)


def shown_of_lone_units(plan: QueryPlan, keys: int) -> float:
    """How often, at least, the gate shows a key that one unit alone holds."""
    measures = {"units": 1, "rows": 5}
    values = tuple(measures[measure.kind.value] for measure in plan.measures)
    cells = {encode((f"n{number}",), plan.keys): values for number in range(keys)}
    return at_least(len(release(Totals(cells), plan).rows), keys)


@pytest.mark.parametrize("kind", NoiseKind)
def test_the_gate_shows_a_lone_unit_no_more_often_than_delta(kind):
    plan = plan_of(NAMES, groups=1, rows=20, epsilon="1", delta=DELTA, accountant=ACCOUNTANTS[kind], schema=MANY)
    assert keeps_its_claim(lambda: shown_of_lone_units(plan, 100_000), float(plan.price.delta))


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_a_gate_with_a_lower_threshold_is_found(kind):
    plan = plan_of(NAMES, groups=1, rows=20, epsilon="1", delta=DELTA, accountant=ACCOUNTANTS[kind], schema=MANY)
    lower = replace(plan.threshold, threshold=plan.threshold.threshold * 4 // 5)
    assert shown_of_lone_units(replace(plan, threshold=lower), 50_000) > float(plan.price.delta)
