"""Release times: from public numbers only, long enough for the query's own shape, and the same for all sizes in a bucket."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from jobs.schedule import START_SAFETY, Node, lanes_for, schedule_for
from privacy.accountant import Accountant
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.plan import QueryRequest, plan_query

NODE = Node(lanes=2, lane_memory_bytes=1 << 30, start_seconds=1.0, slowness=1.0, cancel_seconds=3)
NUMBERS = tuple(Column(f"x{i}", ColumnType.INT, nullable=True, lower=0, upper=9) for i in range(30))
SCHEMA = TableSchema(
    "t", "unit",
    (Column("unit", ColumnType.STRING, max_length=8), Column("k", ColumnType.INT, public=True, lower=0, upper=9_000),
     Column("s", ColumnType.STRING, max_length=3), *NUMBERS),
    100_000, 50_000,
)  # fmt: skip


def scheduled(sql, schema=SCHEMA, blocks=8, node=NODE):
    plan = plan_query(QueryRequest(sql, Fraction(1), None, 2, 5, Accountant.BASIC), schema)
    return schedule_for(plan, schema, blocks, node)


def averages(count, key=None):
    listed = ", ".join(f"AVG(x{i}) AS a{i}" for i in range(count))
    return f"SELECT {key}, {listed} FROM t GROUP BY {key}" if key else f"SELECT {listed} FROM t"


@settings(max_examples=40)
@given(rows=st.integers(1_000, 10**7), blocks=st.sampled_from([1, 8, 64]))
def test_the_release_is_a_power_of_two_and_leaves_each_block_its_share(rows, blocks):
    schedule = scheduled(averages(2), replace(SCHEMA, rows=rows, units=min(rows, 500_000)), blocks)
    per_lane = -(-blocks // lanes_for(blocks, NODE))
    used = START_SAFETY * NODE.start_seconds + schedule.gate_seconds + per_lane * schedule.block_seconds
    assert math.log2(schedule.seconds).is_integer()
    assert used == pytest.approx(schedule.seconds)
    assert schedule.block_seconds > 0


def test_more_aggregates_get_more_time_for_blocks_and_gate():
    few, many = scheduled(averages(1, "k")), scheduled(averages(30, "k"))
    assert many.gate_seconds > 10 * few.gate_seconds
    assert many.block_seconds > few.block_seconds
    assert many.seconds > few.seconds


def test_the_gate_has_the_time_that_it_was_measured_to_take():
    """30 averages of 9,001 public cells took 16 s of one core."""
    assert scheduled(averages(30, "k")).gate_seconds > 1.5 * 16


def test_the_pass_has_the_time_that_it_was_measured_to_take():
    """One row a unit: 8 averages took 15 microseconds a row of one core; twice the declared rows may be there."""
    schema = replace(SCHEMA, rows=1_000_000, units=1_000_000)
    assert scheduled(averages(8), schema).block_seconds > 2 * 1_000_000 / 8 * 15e-6


def test_a_query_that_cannot_be_planned_for_is_refused():
    with pytest.raises(Invalid) as refusal:
        scheduled(averages(30, "k"), replace(SCHEMA, rows=99_000_000, units=9_900_000), node=replace(NODE, lanes=1))
    assert refusal.value.code == "plan.too_long"


def test_a_long_statement_gets_time_to_be_planned_in_every_block():
    long = "SELECT COUNT(*) FROM t WHERE " + " OR ".join(f"x0 = {i % 10}" for i in range(2_000))
    small = replace(SCHEMA, rows=5_000, units=1_000)
    assert scheduled(long, small).block_seconds > scheduled("SELECT COUNT(*) FROM t", small).block_seconds + 0.2


def test_a_slower_node_plans_for_longer():
    assert scheduled(averages(8, "k"), node=replace(NODE, slowness=8.0)).seconds > scheduled(averages(8, "k")).seconds
