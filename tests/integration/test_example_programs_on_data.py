"""The example programs on the real data: rows fit their declarations, noise is as planned, and docs/examples.md tells it."""

from __future__ import annotations

import functools
import re

import numpy as np
import pyarrow.compute as pc
import pytest

from assets.judge_batches import kept_rows
from assets.mock import mock_blocks
from assets.read_batches import read_batches
from assets.source import Format
from benchmarks.program_accuracy import PAGE, measure
from benchmarks.program_blocks import DATA, EXAMPLES, answers_on, block_answers, numbers_of, read_example, stored_blocks
from jobs.program_kind import LEAST_MOCK_ROWS, MOCK_BLOCKS
from jobs.split import read_block
from privacy.programs.outputs import Aggregate
from tests.assets_builders import example as declared

pytestmark = pytest.mark.docker
# One of them for every run; all of them take minutes.
QUICK = "traffic/delay_regression"
CASES = [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXAMPLES]


@pytest.fixture(scope="session")
def answers(python_image, docker_host):
    """Of an example, what its blocks answer: run once a session."""

    @functools.cache
    def run(name):
        example = read_example(name)
        return block_answers(example, stored_blocks(example), python_image, together=20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", docker_host)
        yield run


@pytest.fixture(scope="session")
def measured(answers):
    """Of an example, its releases: drawn once a session."""
    return functools.cache(lambda name: measure(read_example(name), answers(name)))


@pytest.fixture(autouse=True)
def _demo_data():
    if not (DATA / "actg175.csv").exists():
        pytest.skip("no demo data: run `just demo-data` first")


@pytest.mark.parametrize(
    ("asset", "rows", "ignored"),
    [
        ("finance/credit_cards", 30_000, []),
        ("finance/loan_applicants", 4_454, []),
        ("medical/actg175", 2_139, ["", "zprior", "str2", "strat", "r"]),
    ],
)
def test_every_real_row_is_as_declared(asset, rows, ignored):
    declaration = declared(f"{asset}.yaml")
    upload = DATA / f"{asset.partition('/')[2]}.csv"
    source = read_batches(upload, Format.CSV, [column.name for column in declaration.columns])
    _, found = kept_rows(source.batches, declaration, declaration.null_values)
    assert (found.rows_read, found.rows_kept, found.units, found.rejected) == (rows, rows, rows, ())
    assert source.others == ignored


@pytest.mark.parametrize("name", CASES)
def test_every_block_of_the_plan_answers(answers, name):
    example, found = read_example(name), answers(name)
    assert set(found.partials) == set(range(example.plan.blocks))
    vectors = np.array([numbers_of(vector) for vector in found.partials.values()])
    assert np.isfinite(vectors).all()
    assert len({*found.partials.values()}) > example.plan.blocks / 8, "the blocks are not blocks of one table"


@pytest.mark.parametrize("name", CASES)
def test_noise_is_as_planned(measured, name):
    """At least 90 % of the releases from one set of block answers keep the plan's noise, and no plan is three times too careful."""
    for each in measured(name):
        assert each.within >= 0.9, each.coordinate
        assert each.planned <= 3 * each.found, each.coordinate


@pytest.mark.parametrize("name", CASES)
def test_noise_hides_no_answer(measured, name):
    """What is released says something: both errors together are smaller than what is known before, the width of the bounds."""
    for each in measured(name):
        if each.output.aggregate is Aggregate.MEAN:
            assert abs(each.bias) + each.planned < float(each.output.upper - each.output.lower) / 4


@pytest.mark.parametrize("name", CASES)
def test_the_page_tells_what_is_measured(measured, name):
    page = PAGE.read_text(encoding="utf-8").partition(f"## {name}\n")[2].partition("\n## ")[0]
    for each in measured(name):
        row = re.search(rf"^\| {re.escape(each.coordinate)} \|(.*)\|$", page, re.MULTILINE).group(1).split("|")
        whole, without_noise = (float(cell) for cell in row[4:6])
        assert (whole, without_noise) == pytest.approx((each.whole, each.without_noise), rel=0.01, abs=0.002)


# Rows that are all alike in what is to be predicted.
ONE_CLASS = {"finance/default_model": ("late_september", False), "finance/forest": ("status", "good")}


@pytest.mark.parametrize("name", CASES)
def test_a_hard_block_counts_as_its_defaults_or_answers(python_image, docker_host, monkeypatch, name):
    """Nothing that a block of few rows, or of one class, does harms the others."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    example = read_example(name)
    rows = stored_blocks(example)[0]
    tables = {str(few): rows.slice(0, few) for few in (0, 1, 2, 400)}
    if name in ONE_CLASS:
        column, value = ONE_CLASS[name]
        tables["one class"] = rows.filter(pc.equal(rows.column(column), value))
    found = {table: vector for table, (vector, _) in answers_on(example, tables, python_image).items()}
    assert found["400"] is not None
    assert found.get("one class") is None
    assert {len(vector) for vector in found.values() if vector is not None} == {8 * len(example.coordinates)}


@pytest.mark.parametrize("name", CASES)
def test_it_answers_on_mock_data(python_image, docker_host, monkeypatch, name):
    """Nobody has to write for mock data: what runs on real blocks runs on mock blocks of their size."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    example = read_example(name)
    rows = max(LEAST_MOCK_ROWS, MOCK_BLOCKS * example.declaration.rows // example.plan.blocks)
    blocks = mock_blocks(example.declaration, rows, 0, MOCK_BLOCKS)
    tables = {str(index): read_block(block) for index, block in enumerate(blocks)}
    assert all(vector for vector, _ in answers_on(example, tables, python_image).values())
