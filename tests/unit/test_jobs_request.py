"""What a job may ask for, and what a person is told who asked otherwise."""

from fractions import Fraction

import pytest

from core.errors import Invalid
from jobs.request import parsed

JOB = {
    "asset": "traffic/flights",
    "purpose": "research",
    "query": "SELECT COUNT(*) FROM flights",
    "epsilon": 0.3,
    "bounds": {"max_groups_per_unit": 1, "max_rows_per_group": 10},
}


def test_a_job_is_read_exactly_and_written_back():
    job = parsed(JOB)
    assert job.epsilon == Fraction(3, 10)
    assert parsed(job.to_json()) == job


@pytest.mark.parametrize(
    "epsilon",
    [
        0,
        -1,
        -0.0,
        "abc",
        "nan",
        float("nan"),
        float("inf"),
        "1e309",
        1e309,
        5e-324,
        "",
        None,
        True,
        [],
        {},
        101,
        "0x1",
        "1_0",
        "½",
    ],
)
def test_an_epsilon_that_is_no_price_is_refused_by_name(epsilon):
    with pytest.raises(Invalid) as refusal:
        parsed(JOB | {"epsilon": epsilon})
    assert refusal.value.code == "epsilon.invalid"
    assert refusal.value.where == {"field": "epsilon"}


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"epsilon_": 1}, "job.unknown_field", "epsilon_"),
        ({"purpose": "fun"}, "job.purpose", "purpose"),
        ({"asset": "flights"}, "job.asset", "asset"),
        ({"asset": "../x/y"}, "job.asset", "asset"),
        ({"query": ""}, "job.missing", "query"),
        ({"query": None}, "job.missing", "query"),
        ({"delta": 1}, "delta.invalid", "delta"),
        ({"bounds": None}, "job.missing", "bounds"),
        (
            {"bounds": {"max_groups_per_unit": "auto", "max_rows_per_group": 1}},
            "bounds.no_profile",
            "bounds.max_groups_per_unit",
        ),
        (
            {"bounds": {"max_groups_per_unit": 0, "max_rows_per_group": 1}},
            "bounds.invalid",
            "bounds.max_groups_per_unit",
        ),
        (
            {"bounds": {"max_groups_per_unit": True, "max_rows_per_group": 1}},
            "bounds.invalid",
            "bounds.max_groups_per_unit",
        ),
        (
            {"bounds": {"max_groups_per_unit": 1, "max_rows_per_group": 1.5}},
            "bounds.invalid",
            "bounds.max_rows_per_group",
        ),
        ({"bounds": {"max_groups_per_unit": 1}}, "bounds.invalid", "bounds.max_rows_per_group"),
    ],
)
def test_every_other_mistake_is_named_with_its_field(change, code, field):
    with pytest.raises(Invalid) as refusal:
        parsed(JOB | change)
    assert (refusal.value.code, refusal.value.where["field"]) == (code, field)


def test_a_misspelt_field_is_answered_with_the_nearest_one():
    with pytest.raises(Invalid) as refusal:
        parsed(JOB | {"epsilom": 1})
    assert refusal.value.way_out == "did you mean epsilon?"


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_what_is_no_job_at_all_is_refused(document):
    with pytest.raises(Invalid):
        parsed(document)
