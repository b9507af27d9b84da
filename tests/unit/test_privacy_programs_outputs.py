"""What a program may declare of its answers."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from core.errors import Invalid
from privacy.programs.outputs import Output, check_outputs
from tests.unit.program_world import AUC, MEDIAN, output


def test_outputs_survive_their_json():
    for each in (AUC, output("coef", 4), output("x", 1, MEDIAN, lower="-1e3", upper="0.0001", default="-0.5")):
        assert Output.from_json(json.loads(json.dumps(each.to_json()))) == each
    assert output("x", lower="-1e3").to_json()["lower"] == "-1000"
    with pytest.raises(ValueError, match="output"):
        Output.from_json(AUC.to_json() | {"more": 1})


def test_good_outputs_pass():
    check_outputs((AUC, output("coef", 4), output("big", lower="-1e15", upper="1e15")))
    check_outputs((output("tiny", lower="0", upper="1e-12", default="0"),))


@pytest.mark.parametrize(
    ("outputs", "code", "field"),
    [
        ((), "outputs.count", "outputs"),
        (tuple(output(f"o{n}") for n in range(65)), "outputs.count", "outputs"),
        ((AUC, AUC), "outputs.twice", "outputs"),
        ((output("a", 1024), output("b")), "outputs.width", "outputs"),
        ((output("A"),), "outputs.name", "outputs"),
        ((output("a" * 41),), "outputs.name", "outputs"),
        ((output("a", 0),), "outputs.length", "outputs.a.length"),
        ((output("a", 1025),), "outputs.length", "outputs.a.length"),
        ((output("a", lower="3"),), "outputs.lower", "outputs.a.lower"),
        ((output("a", lower="NaN"),), "outputs.number", "outputs.a.lower"),
        ((output("a", upper="Infinity"),), "outputs.number", "outputs.a.upper"),
        ((output("a", upper="1e16"),), "outputs.number", "outputs.a.upper"),
        ((output("a", lower="-0.1234567890123456"),), "outputs.number", "outputs.a.lower"),
        ((output("a", default="3.1"),), "outputs.default", "outputs.a.default"),
        (
            (output("a", lower="1000000000", upper="1000000000.5", default="1000000000"),),
            "outputs.upper",
            "outputs.a.upper",
        ),
        ((output("a", lower="0", upper="1e-320", default="0"),), "outputs.upper", "outputs.a.upper"),
    ],
)
def test_what_cannot_be_released_is_refused_with_its_place(outputs, code, field):
    with pytest.raises(Invalid) as refused:
        check_outputs(outputs)
    assert (refused.value.code, refused.value.where) == (code, {"field": field})


def test_ends_are_kept_exactly():
    assert Output.from_json(output(lower="0.1", default="0.1").to_json()).lower == Decimal("0.1")
