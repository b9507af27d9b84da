"""What a program job may ask: every wrong field is refused by its own code and place, before a program is even read."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.canonical import canonical
from core.errors import Invalid
from jobs.request import parsed

SLOPE = {"lower": "-1.5", "upper": 3, "default": 0}
JOB = {
    "asset": "medical/visits",
    "purpose": "research",
    "program": {"name": "a.py", "text": "def analyse(tables, params): return {}"},
    "outputs": {"slope": SLOPE},
    "epsilon": "1",
}


def wrong(**changes):
    with pytest.raises(Invalid) as refusal:
        parsed(JOB | changes)
    return refusal.value.code, (refusal.value.where or {}).get("field")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"query": "SELECT 1"}, "job.kind", "query"),
        ({"bounds": {"max_groups_per_unit": 1}}, "job.kind", "bounds"),
        ({"program": "a.py"}, "job.missing", "program"),
        ({"program": {"name": "../a.py", "text": "x"}}, "program.name", "program"),
        ({"program": {"name": ".a", "text": "x"}}, "program.name", "program"),
        ({"program": {"name": "a\x1b[2J.py", "text": "x"}}, "program.name", "program"),
        ({"program": {"name": "", "text": "x"}}, "program.name", "program"),
        ({"program": {"name": "a.py", "text": 7}}, "program.not_text", "program"),
        ({"program": {"name": "a.py", "text": "a\0b"}}, "program.not_text", "program"),
        ({"program": {"name": "a.py", "text": "\ud800"}}, "program.not_text", "program"),
        ({"program": {"name": "a.py", "text": "é" * (1 << 19) + "x"}}, "program.too_long", "program"),
        ({"program": {"name": "a.py", "text": "x", "image": "mine"}}, "job.unknown_field", "program.image"),
        ({"params": [1]}, "params.invalid", "params"),
        ({"params": {"x": float("nan")}}, "params.invalid", "params"),
        ({"params": {"x": 2**60}}, "params.invalid", "params"),
        ({"params": {"x": "y" * (17 << 10)}}, "params.too_long", "params"),
        ({"outputs": {}}, "outputs.missing", "outputs"),
        ({"outputs": None}, "outputs.missing", "outputs"),
        ({"outputs": {f"a{i}": SLOPE for i in range(65)}}, "outputs.missing", "outputs"),
        ({"outputs": {"Slope": SLOPE}}, "outputs.name", "outputs.Slope"),
        ({"outputs": {"slope": {**SLOPE, "sigma": 1}}}, "job.unknown_field", "outputs.slope.sigma"),
        ({"outputs": {"slope": {**SLOPE, "aggregate": "max"}}}, "outputs.aggregate", "outputs.slope.aggregate"),
        ({"outputs": {"slope": {**SLOPE, "length": 0}}}, "outputs.length", "outputs.slope.length"),
        ({"outputs": {"slope": {**SLOPE, "length": True}}}, "outputs.length", "outputs.slope.length"),
        ({"outputs": {"slope": {**SLOPE, "lower": None}}}, "outputs.lower", "outputs.slope.lower"),
        ({"outputs": {"slope": {**SLOPE, "upper": "1e3"}}}, "outputs.upper", "outputs.slope.upper"),
        ({"outputs": {"slope": {**SLOPE, "default": float("inf")}}}, "outputs.default", "outputs.slope.default"),
        ({"blocks": 0}, "blocks.invalid", "blocks"),
        ({"blocks": "many"}, "blocks.invalid", "blocks"),
        ({"blocks": 100_001}, "blocks.invalid", "blocks"),
        ({"blocks": 8, "accuracy": {"slope": "0.1"}}, "accuracy.blocks", "accuracy"),
        ({"accuracy": {"other": "0.1"}}, "job.unknown_field", "accuracy.other"),
        ({"accuracy": {"slope": 0}}, "accuracy.invalid", "accuracy.slope"),
        ({"seconds_per_block": 0}, "seconds.invalid", "seconds_per_block"),
        ({"seconds_per_block": "61"}, "seconds.invalid", "seconds_per_block"),
        ({"seconds_per_block": "soon"}, "seconds.invalid", "seconds_per_block"),
        ({"assets": ["medical/visits"]}, "job.assets", "assets"),
        ({"asset": None, "assets": []}, "job.assets", "assets"),
        ({"asset": None, "assets": ["medical/visits", "finance/visits"]}, "job.assets", "assets"),
        ({"asset": None, "assets": ["medical/visits", "visits"]}, "job.asset", "assets"),
        ({"asset": None, "assets": [f"medical/a{i}" for i in range(9)]}, "job.assets", "assets"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_name(changes, code, field):
    assert wrong(**changes) == (code, field)


def test_several_assets_are_for_programs():
    query = {"purpose": "research", "query": "SELECT COUNT(*) FROM visits", "epsilon": "1"}
    bounds = {"max_groups_per_unit": 1, "max_rows_per_group": 1}
    with pytest.raises(Invalid) as refusal:
        parsed(query | {"bounds": bounds, "assets": ["medical/visits", "medical/people"]})
    assert refusal.value.code == "job.assets"


def test_what_is_left_out_has_its_default():
    asked = parsed(JOB).work
    assert (asked.params, asked.blocks, asked.accuracy, asked.seconds) == ({}, None, (), Fraction(1))
    assert [(output.length, output.aggregate.value) for output in asked.outputs] == [(None, "mean")]


@given(
    st.dictionaries(
        st.text(max_size=5), st.integers(-9, 9) | st.booleans() | st.none() | st.text(max_size=5), max_size=4
    ),
    st.integers(1, 60).map(lambda tenths: f"{tenths / 10:.1f}"),
    st.none() | st.integers(1, 100_000),
)
def test_the_stored_form_reads_back_as_the_same_request(params, seconds, blocks):
    try:
        asked = parsed(JOB | {"params": params, "seconds_per_block": seconds, "blocks": blocks})
    except Invalid:
        assert any("\ud800" <= letter <= "\udfff" for letter in json.dumps(params, ensure_ascii=False))
        return
    stored = json.loads(canonical(asked.to_json()))
    assert parsed(stored).to_json() == asked.to_json()
