"""What is told of a block before it runs, and of the mock run's blocks: one size, in two digits, and the limits that it really has."""

import pytest

from benchmarks.program_blocks import read_example
from jobs.kinds import KINDS
from jobs.program_kind import _about
from jobs.program_schedule import block_memory_bytes
from tests.unit.test_client_programs_page import NAME, planned
from tests.unit.test_program_runner import pipes


@pytest.mark.parametrize(
    ("whole", "parts", "told"),
    [
        (30_000, 208, "140"), (4_000, 88, "45"), (340_000, 88, "3,900"), (99_400, 1_000, "99"), (99_600, 1_000, "100"),
        (995, 10, "100"), (1_500_000, 1, "1,500,000"), (8, 3, "2.7"), (1, 8, "0.12"),
    ],
)  # fmt: skip
def test_a_size_is_told_in_two_digits(whole, parts, told):
    assert _about(whole, parts) == told


def test_a_plan_tells_what_one_block_may_take_and_one_size_of_a_block():
    plan = planned(read_example(NAME))
    assert plan["block_memory_bytes"] == block_memory_bytes(plan["memory_bytes"] // plan["lanes"])
    assert plan["block_memory_bytes"] < plan["memory_bytes"] / plan["lanes"]
    assert (plan["units_per_block"], plan["rows_per_block"]) == ("45", "3,900")
    assert not [sentence for sentence in plan["trade"] if "blocks of about" in sentence]


def test_a_mock_run_tells_the_limits_that_its_blocks_had():
    plan = planned(read_example(NAME))
    report = KINDS["program"].mock_report(plan, {}, "log")
    assert (report["blocks"], report["answered"], report["log"]) == (88, 0, "log")
    limits = report["limits"]
    assert limits["processor_seconds"] == plan["seconds_per_block"] == "0.08"
    assert limits["memory_bytes"] == plan["block_memory_bytes"]
    assert (
        float(limits["processor_seconds"])
        < limits["seconds"]
        == pytest.approx(plan["own_seconds"] - plan["clear_seconds"])
    )


def test_what_a_mock_block_took_is_told_apart_from_what_it_printed():
    plan = {**planned(read_example(NAME)), "blocks": 3}
    log = (
        "--- block 2\nhm\n"
        + pipes.took_told("block 2", 15_249_000)
        + pipes.took_told("block 0", 100_400_000)
        + "--- block 1 took much\n"
    )
    report = KINDS["program"].mock_report(plan, {}, log)
    assert report["took"] == ["0.1004", None, "0.0152"]
    assert report["log"] == "--- block 2\nhm\n--- block 1 took much\n"
