"""YAML is read as it looks, and every field knows its line."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from core.yaml_positions import read_document

TEXT = """\
# a comment
name: x
columns:
  age: {type: int, lower: 0, upper: 1e-9}
  no: {values: [NO, on, 007, 1:30, 2026-01-01, "1", 0.10, ~]}
"""


def test_values_are_what_they_look_like():
    fields = read_document(TEXT, "t.yaml", "t.syntax").fields
    assert fields["columns"]["no"]["values"] == ["NO", "on", "007", "1:30", "2026-01-01", "1", Decimal("0.10"), None]
    assert fields["columns"]["age"] == {"type": "int", "lower": 0, "upper": Decimal("1e-9")}


def test_a_field_knows_its_place():
    document = read_document(TEXT, "some/folder/t.yaml", "t.syntax")
    assert document.where("columns", "age", "lower") == {
        "file": "t.yaml",
        "line": 4,
        "column": 20,
        "field": "columns.age.lower",
    }
    assert document.where("columns", "no", "values", 2)["line"] == 5
    assert document.where("columns", "no", "values", 2)["field"] == "columns.no.values[2]"


def test_an_absent_field_is_placed_at_what_encloses_it():
    document = read_document(TEXT, "t.yaml", "t.syntax")
    assert document.where("columns", "age", "scale")["line"] == 4
    assert document.where("title")["line"] == 1


def test_an_unknown_field_is_refused_with_the_nearest_name():
    document = read_document(TEXT, "t.yaml", "t.syntax")
    with pytest.raises(Invalid) as caught:
        document.check_fields("t.field", (), ("name", "column"), document.fields)
    assert caught.value.where["line"] == 3
    assert caught.value.way_out == "did you mean column?"


@pytest.mark.parametrize("name", ["x" * 400 + ".yaml", "a\nb\x1b[31m.yaml", "..\\..\\t.yaml"])
def test_a_hostile_file_name_is_shown_harmlessly(name):
    shown = read_document(TEXT, name, "t.syntax").filename
    assert len(shown) <= 120
    assert shown.isprintable()
    assert "\\" not in shown


@given(st.text(alphabet=st.sampled_from("a:b,[]{}-?!&*<>|'\"%@` \n\t#0.1~\x00é"), max_size=60))
def test_any_text_is_read_or_refused_with_a_line(text):
    outcome = read(text)
    if isinstance(outcome, Invalid):
        assert outcome.code == "t.syntax"
        assert 1 <= outcome.where["line"] <= text.count("\n") + 2
    else:
        assert isinstance(outcome.fields, dict)


def read(text):
    try:
        return read_document(text, "t.yaml", "t.syntax")
    except Invalid as problem:
        return problem
