"""A usage policy file is read exactly or refused with the line, the field and what would pass."""

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from core.canonical import canonical
from core.errors import Invalid, TooLarge
from policies.policy_file import parse_policy
from policies.usage import JobKind, Purpose, UsagePolicy
from tests.policies_world import NOW, POLICY

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def parsed(text=POLICY, now=NOW):
    return parse_policy(text, "policy.yaml", now)


def with_line(field, line):
    """POLICY with the line of `field` replaced (or added at the end)."""
    lines = [each for each in POLICY.strip().splitlines() if not each.startswith(f"{field}:")]
    return "\n".join([*lines, line])


def refused(text):
    with pytest.raises(Invalid) as caught:
        parsed(text)
    return caught.value


def test_a_policy_is_read_exactly():
    policy = parsed()
    assert (policy.name, policy.purposes, policy.kinds) == ("traffic-research", (Purpose.RESEARCH,), (JobKind.QUERY,))
    assert policy.assets == ("traffic/flights",)
    assert (policy.epsilon.total, policy.epsilon.per_person, policy.epsilon.per_job) == (4, 2, 1)
    assert (policy.valid_from, policy.valid_until) == (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2030, 1, 1, tzinfo=UTC),
    )
    assert policy.max_runs is None
    assert policy.people == policy.organisations == ()


def test_decimals_mean_what_they_say():
    assert parsed(
        with_line("epsilon", "epsilon: {total: 0.3, per_person: 0.2, per_job: 1e-1}")
    ).epsilon.per_job == Fraction(1, 10)


def test_the_stored_form_gives_the_policy_back():
    policy = parsed(
        with_line("epsilon", "epsilon: {total: 1/3, per_person: 1/7, per_job: 0.1}\nmax_runs: 3\ntitle: 航班")
    )
    assert UsagePolicy.from_json(policy.to_json()) == policy
    assert canonical(policy.to_json())


def test_the_order_of_lists_does_not_change_the_digest():
    one = parsed(with_line("assets", "assets: [traffic/flights, traffic/buses]"))
    other = parsed(with_line("assets", "assets: [traffic/buses, traffic/flights]"))
    assert one.digest(1) == other.digest(1)


def test_a_digest_fits_one_version_only():
    assert parsed().digest(1) != parsed().digest(2)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/policy.yaml")), ids=lambda path: path.parent.name)
def test_the_examples_are_policies(path):
    assert parse_policy(path.read_text(encoding="utf-8"), path.name, NOW).assets


@pytest.mark.parametrize("field", ["name", "purpose", "kinds", "assets", "epsilon", "valid"])
def test_what_is_needed_may_not_be_missing(field):
    problem = refused(with_line(field, "title: x"))
    assert (problem.code, problem.where["field"]) == ("policy.missing", field)


WRONG = [
    ("name", "name: Traffic Research"),
    ("name", "name: traffic/research"),
    ("name", "name: ../x"),
    ("name", "name: é"),
    ("name", "name: " + "a" * 255),
    ("name", "name: [a]"),
    ("title", "title: " + "x" * 201),
    ("title", "title: {en: x}"),
    ("purpose", "purpose: marketing"),
    ("purpose", "purpose: []"),
    ("purpose[1]", "purpose: [research, research]"),
    ("kinds[0]", "kinds: [training]"),
    ("kinds", "kinds: []"),
    ("assets", "assets: []"),
    ("assets", "assets: flights"),
    ("assets[0]", "assets: [1]"),
    ("assets[1]", "assets: [traffic/flights, traffic/flights]"),
    ("people", "people: []"),
    ("people[0]", "people: [alice]"),
    ("organisations", "organisations: [ ]"),
    ("organisations[0]", "organisations: [Health Bureau]"),
    ("epsilon", "epsilon: 1"),
    ("epsilon.total", "epsilon: {total: abc, per_person: 1, per_job: 1}"),
    ("epsilon.total", "epsilon: {total: 0, per_person: 1, per_job: 1}"),
    ("epsilon.total", "epsilon: {total: -1, per_person: 1, per_job: 1}"),
    ("epsilon.total", "epsilon: {total: .nan, per_person: 1, per_job: 1}"),
    ("epsilon.total", "epsilon: {total: .inf, per_person: 1, per_job: 1}"),
    ("epsilon.total", "epsilon: {total: 1e309, per_person: 1, per_job: 1}"),
    ("epsilon.total", "epsilon: {total: true, per_person: 1, per_job: 1}"),
    ("epsilon.total", "epsilon: {total: [1], per_person: 1, per_job: 1}"),
    ("epsilon.per_job", "epsilon: {total: 4, per_person: 1, per_job: 5e-324}"),
    ("epsilon.per_person", "epsilon: {total: 4, per_person: 5, per_job: 1}"),
    ("epsilon.per_job", "epsilon: {total: 4, per_person: 1, per_job: 2}"),
    ("max_runs", "max_runs: 0"),
    ("max_runs", "max_runs: 1.5"),
    ("max_runs", "max_runs: true"),
    ("max_runs", 'max_runs: "1"'),
    ("release", "release: one reviewer"),
    ("release", "release: [automatic]"),
    ("valid", "valid: 2026-01-01"),
    ("valid.from", "valid: {from: 2026-13-01, until: 2030-01-01}"),
    ("valid.from", "valid: {from: 2026-01-01T00:00:00, until: 2030-01-01}"),
    ("valid.from", "valid: {from: 1, until: 2030-01-01}"),
    ("valid.from", "valid: {from: 2030-01-01, until: 2030-01-01}"),
    ("valid.until", "valid: {from: 2020-01-01, until: 2026-11-25T09:00:00Z}"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "line"), WRONG, ids=[line[:60] for _, line in WRONG])
def test_a_wrong_value_is_refused_with_its_place(field, line):
    text = with_line(field.partition(".")[0].partition("[")[0], line)
    problem = refused(text)
    assert (problem.code, problem.where["field"]) == ("policy.value", field)
    assert problem.where["line"] == len(text.splitlines())
    assert problem.where["file"] == "policy.yaml"


def test_until_may_be_a_moment_seconds_away():
    assert parsed(with_line("valid", "valid: {from: 2026-01-01, until: 2026-11-25T09:00:02Z}")).valid_until > NOW


@pytest.mark.parametrize(
    "path",
    [
        "epsilom: 1",
        "epsilon: {total: 4, per_person: 1, per_job: 1, per_hour: 1}",
        "valid: {from: 2026-01-01, until: 2030-01-01, utnil: 1}",
    ],
)
def test_an_unknown_field_is_refused(path):
    assert refused(with_line(path.partition(":")[0], path)).code == "policy.field"


def test_an_unknown_field_names_the_nearest_known_one():
    problem = refused(POLICY + "max_run: 3\n")
    assert problem.way_out == "did you mean max_runs?"
    assert problem.where["line"] == 8


def test_an_unavailable_release_rule_says_why():
    assert "no release desk" in refused(with_line("release", "release: two reviewers")).text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: b: c",
        "name: x\nname: y",
        "name: &a x",
        "name: !!python/object x",
        "name: x\n---\nname: y",
        "name: \x00",
        "a: " + "[" * 100,
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text):
    problem = refused(text)
    assert problem.code == "policy.syntax"
    assert problem.where["line"] >= 1


def test_a_file_of_a_megabyte_is_refused_unread():
    with pytest.raises(TooLarge):
        parsed("a: " + "x" * 1_000_000)
