"""The example programs: what they declare is accepted, planned and allowed by the policies beside them, and docs/examples.md says so."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.program_accuracy import MARK, PAGE, plan_lines
from benchmarks.program_blocks import EXAMPLES, read_example
from policies.policy_file import parse_policy
from policies.usage import JobKind, Purpose
from tests.assets_builders import example as declared

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 25, tzinfo=UTC)
POLICIES = ("finance/policy.yaml", "medical/survival_policy.yaml", "traffic/program_policy.yaml")


def test_every_program_is_measured():
    jobs = [path for path in (ROOT / "examples").glob("*/*.yaml") if "\nprogram: " in path.read_text(encoding="utf-8")]
    assert {str(path.relative_to(ROOT / "examples").with_suffix("")) for path in jobs} == set(EXAMPLES)
    programs = {path.with_suffix(".py") for path in jobs} | {read_program(path) for path in jobs}
    assert programs == set((ROOT / "examples").glob("*/*.py"))


def read_program(path):
    return path.parent / re.search(r"^program: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE).group(1)


@pytest.mark.parametrize("asset", ["finance/credit_cards", "finance/loan_applicants", "medical/actg175"])
def test_the_new_examples_are_declarations(asset):
    assert declared(f"{asset}.yaml").asset == asset


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_program_is_planned_as_it_asks(name):
    found = read_example(name)
    assert found.plan.blocks == found.work.blocks, "the file names a number of blocks that there cannot be"
    assert found.plan.epsilon == found.asked.epsilon <= found.declaration.budget.epsilon / 2
    assert [output.name for output in found.plan.outputs] == list(found.work.to_json()["outputs"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_policy_allows_it(name):
    found = read_example(name)
    policies = [parse_policy((ROOT / "examples" / path).read_text(encoding="utf-8"), path, NOW) for path in POLICIES]
    (policy,) = [policy for policy in policies if found.asked.asset in policy.assets]
    assert JobKind.PROGRAM in policy.kinds
    assert Purpose(found.asked.purpose) in policy.purposes
    assert found.asked.epsilon <= policy.epsilon.per_job


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_shows_what_is_planned(name):
    """Noise, blocks and price on the page are those of the plan; the measured columns beside them are checked on the data."""
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(MARK) == 1
    for line in plan_lines(read_example(name)):
        assert line in page, "run: just bench-programs"
