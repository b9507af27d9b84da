"""A declaration says what it means, or is refused with line, column and field, all errors at once."""

import re
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.declaration import Declaration, parse_declaration, rounded
from assets.levels import levels
from core.errors import BanyanError, Invalid, TooLarge
from privacy.accountant import Accountant
from privacy.schema import Column, ColumnType
from tests.assets_builders import VISITS, declared, example


def refused(**changes):
    with pytest.raises(Invalid) as caught:
        declared(**changes)
    return caught.value


def refused_text(text):
    with pytest.raises(Invalid) as caught:
        parse_declaration(text, "folder/test.yaml")
    return caught.value


def test_everything_a_declaration_says_is_in_the_result():
    found = declared()
    assert (found.asset, found.name, found.sector, found.level) == ("medical/visits", "visits", "medical", "S2")
    assert (found.title.en, found.title.zh, found.rows, found.units) == ("Visits", "就诊", 100, 40)
    assert (found.population.name, found.population.id_namespace) == ("patients", "hospital-pid")
    assert found.budget.accountant is Accountant.BASIC
    assert (found.budget.epsilon, found.budget.delta) == (4, Fraction(1, 10**7))
    assert found.null_values == ("", "NA")
    assert found.schema.name == "visits"
    assert found.schema.columns == (
        Column("pid", ColumnType.STRING, max_length=8),
        Column("age", ColumnType.INT, nullable=True, lower=0, upper=110),
        Column("cost", ColumnType.DECIMAL, lower=Decimal("0.00"), upper=Decimal("500.00"), scale=2),
        Column("ward", ColumnType.STRING, max_length=4),
        Column("result", ColumnType.CATEGORY, public=True, values=("positive", "negative", "不明")),
        Column("urgent", ColumnType.BOOL),
        Column("day", ColumnType.DATE, nullable=True, lower=date(2020, 1, 1), upper=date(2026, 12, 31)),
        Column("seen", ColumnType.TIMESTAMP),
    )


def test_the_json_form_gives_the_same_declaration_back():
    for found in (
        declared(),
        declared(seen="{type: timestamp, lower: 2020-01-01T00:00:00+08:00, upper: 2021-01-01T00:00:00Z}"),
    ):
        assert Declaration.from_json(found.to_json()) == found
    assert found.schema.column("seen").lower == datetime(2019, 12, 31, 16, tzinfo=UTC)


def test_two_texts_that_say_the_same_have_one_digest_and_any_other_word_changes_it():
    same = declared(
        text=VISITS.replace("{en: Visits, zh: 就诊}", "\n  zh: 就诊\n  en: Visits\n").replace(
            "0, upper: 500", "0.0, upper: 500.00"
        )
    )
    assert same.digest == declared().digest
    assert declared(size="{rows: 110, units: 40}").digest != declared().digest
    assert declared(csv="{null_values: [NA]}").digest != declared().digest


@pytest.mark.parametrize("path", ["traffic/flights.yaml", "medical/covid_testing.yaml"])
def test_the_examples_are_declarations(path):
    assert example(path).asset == path.removesuffix(".yaml")


@pytest.mark.parametrize(
    ("changes", "code", "field", "says"),
    [
        ({"asset": "medical/Visits"}, "name", "asset", "cannot be the asset"),
        ({"asset": "visits"}, "name", "asset", "cannot be the asset"),
        ({"sector": "finance"}, "sector", "sector", "not of the sector"),
        ({"sector": "weather"}, "sector", "sector", "not one of"),
        ({"level": "S5"}, "level", "level", "may not be put on this platform"),
        ({"level": "S9"}, "level", "level", "not one of"),
        ({"title": "Visits"}, "structure", "title", "must be a mapping"),
        ({"title": "{en: Visits}"}, "missing_field", "title.zh", "missing"),
        ({"size": "{rows: 101, units: 40}"}, "size", "size.rows", "rounded"),
        ({"size": "{rows: 0, units: 1}"}, "rows", "size.rows", "whole number from 1"),
        ({"size": "{rows: -5, units: 1}"}, "rows", "size.rows", "whole number from 1"),
        ({"size": "{rows: 40, units: 100}"}, "size", "size.units", "more units than rows"),
        ({"size": "{rows: 1e2, units: 40}"}, "rows", "size.rows", "whole number"),
        ({"age": "{type: int, lower: 5, upper: 5}"}, "bounds", "columns.age.lower", "below upper"),
        ({"age": "{type: int, lower: 6, upper: 5}"}, "bounds", "columns.age.lower", "below upper"),
        ({"age": "{type: int, lower: 5}"}, "bounds", "columns.age.lower", "both"),
        ({"age": "{type: int, lower: 0.5, upper: 5}"}, "bounds", "columns.age.lower", "not a whole number"),
        ({"age": "{type: int, lower: 0, upper: .nan}"}, "bounds", "columns.age.upper", "not a number"),
        ({"age": "{type: int, lower: 0, upper: 1e400}"}, "bounds", "columns.age.upper", "too large"),
        ({"age": f"{{type: int, lower: 0, upper: {2**53}}}"}, "bounds", "columns.age.upper", "2^53"),
        ({"cost": "{type: decimal, scale: 9, lower: 0, upper: 10000000}"}, "bounds", "columns.cost.upper", "2^53"),
        ({"cost": "{type: decimal, scale: 2, lower: 0.005, upper: 1}"}, "bounds", "columns.cost.lower", "more than 2"),
        ({"cost": "{type: decimal, lower: 0, upper: 1}"}, "missing_field", "columns.cost.scale", "missing"),
        ({"cost": "{type: decimal, scale: 10, lower: 0, upper: 1}"}, "scale", "columns.cost.scale", "0 to 9"),
        ({"day": "{type: date, lower: 2020-02-30, upper: 2021-01-01}"}, "bounds", "columns.day.lower", "2020-02-30"),
        ({"day": "{type: date, lower: 2022-01-01, upper: 2021-01-01}"}, "bounds", "columns.day.lower", "below upper"),
        ({"seen": "{type: timestamp, lower: 2020-01-01, upper: 2021-01-01T00:00:00Z}"}, "bounds", "columns.seen.lower", "moment"),
        ({"age": "{type: float}"}, "type", "columns.age.type", "not one of"),
        ({"age": "{lower: 0, upper: 5}"}, "missing_field", "columns.age.type", "missing"),
        ({"age": "{type: int, lowest: 0}"}, "unknown_field", "columns.age.lowest", "no field"),
        ({"ward": "{type: string, values: [a]}"}, "field_misplaced", "columns.ward.values", "string has no values"),
        ({"ward": "{type: string, max_length: 257}"}, "max_length", "columns.ward.max_length", "1 to 256"),
        ({"result": "{type: category}"}, "missing_field", "columns.result.values", "missing"),
        ({"result": "{type: category, values: []}"}, "values", "columns.result.values", "list of 1"),
        ({"result": "{type: category, values: [a, b, a]}"}, "values", "columns.result.values[2]", "twice"),
        ({"result": "{type: category, values: [true]}"}, "values", "columns.result.values[0]", "cannot be a category"),
        ({"result": "{type: category, values: [a, 1.0]}"}, "values", "columns.result.values[1]", "cannot be a category"),
        ({"ward": "{type: string, public: true}"}, "public", "columns.ward.public", "cannot be public"),
        ({"cost": "{type: decimal, scale: 2, lower: 0, upper: 5, public: true}"}, "public", "columns.cost.public", "cannot"),
        ({"age": "{type: int, public: true}"}, "public", "columns.age.public", "needs bounds"),
        ({"age": "{type: int, lower: 0, upper: 10000, public: true}"}, "public", "columns.age.public", "at most 10000"),
        ({"age": "{type: int, public: yes}"}, "flag", "columns.age.public", "true or false"),
        ({"age": "{type: int, unit: true}"}, "unit", "columns.age.unit", "one unit column"),
        ({"age": "{type: int, sensitivity: high}"}, "sensitivity", "columns.age.sensitivity", "not one of"),
        ({"pid": "{type: string, unit: true, nullable: true}"}, "unit", "columns.pid.nullable", "cannot be nullable"),
        ({"pid": "{type: string, unit: true, public: true}"}, "unit", "columns.pid.public", "cannot be public"),
        ({"pid": "{type: decimal, unit: true}"}, "unit", "columns.pid.type", "string or an int"),
        ({"pid": "{type: string, unit: false}"}, "unit", "columns.pid.unit", "said not to be"),
        ({"pid": "{type: int, unit: true, lower: 0}"}, "field_misplaced", "columns.pid.lower", "no lower"),
        ({"budget": "{accountant: basic, epsilon: 0, delta: 0}"}, "epsilon", "budget.epsilon", "above 0"),
        ({"budget": "{accountant: basic, epsilon: -1, delta: 0}"}, "epsilon", "budget.epsilon", "above 0"),
        ({"budget": "{accountant: basic, epsilon: .nan, delta: 0}"}, "epsilon", "budget.epsilon", "above 0"),
        ({"budget": "{accountant: basic, epsilon: 1e309, delta: 0}"}, "epsilon", "budget.epsilon", "above 0"),
        ({"budget": "{accountant: basic, epsilon: abc, delta: 0}"}, "epsilon", "budget.epsilon", "above 0"),
        ({"budget": "{accountant: basic, epsilon: true, delta: 0}"}, "epsilon", "budget.epsilon", "above 0"),
        ({"budget": "{accountant: basic, epsilon: [1], delta: 0}"}, "epsilon", "budget.epsilon", ""),
        ({"budget": "{accountant: basic, epsilon: 4.1, delta: 0}"}, "budget", "budget.epsilon", "S2 may spend ε 4"),
        ({"budget": "{accountant: basic, epsilon: 4, delta: 1e-5}"}, "budget", "budget.delta", "too large"),
        ({"budget": "{accountant: basic, epsilon: 4, delta: -1}"}, "delta", "budget.delta", "from 0"),
        ({"budget": "{accountant: zcdp, epsilon: 4, delta: 0}"}, "budget", "budget.delta", "above 0"),
        ({"budget": "{accountant: renyi, epsilon: 4, delta: 0}"}, "accountant", "budget.accountant", "not one of"),
        ({"budget": "{accountant: basic, epsilon: 4, delta: 0, period: year}"}, "budget", "budget.period", "lifetime"),
        ({"budget": "{accountant: basic, epsilon: 4}"}, "missing_field", "budget.delta", "missing"),
        ({"csv": "{null_values: NA}"}, "null_values", "csv.null_values", "list"),
        ({"csv": "{null_values: [null]}"}, "null_values", "csv.null_values", "quotes"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_name_line_and_column(changes, code, field, says):
    problem = refused(**changes)
    assert problem.code == f"declaration.{code}", problem
    assert problem.where["file"] == "test.yaml"
    assert problem.where["field"] == field
    assert says in problem.text
    (name,) = changes
    line = next(n for n, text in enumerate(VISITS.splitlines(), 1) if text.strip().startswith(f"{name}:"))
    assert problem.where["line"] == line
    assert problem.where["column"] >= 1
    assert "problems" not in problem.where


def test_a_unit_that_no_column_is_named_after_is_refused():
    text = VISITS.replace("unit: pid", "unit: patient")
    problem = refused_text(text.replace("unit: true, ", ""))
    assert (problem.code, problem.where["field"], problem.where["line"]) == ("declaration.unit", "columns", 7)
    assert problem.way_out == "declare patient: {type: string, unit: true}"
    both = refused_text(text).where["problems"]
    assert [found["field"] for found in both] == ["columns", "columns.pid.unit"]


def test_a_refusal_says_the_smallest_change_that_passes():
    assert refused(level="S1", budget="{accountant: basic, epsilon: 11, delta: 1e-7}").way_out == "write epsilon: 10"
    assert refused(budget="{accountant: basic, epsilon: 4, delta: 1e-5}").way_out == "write delta: 1e-6 or less"
    assert refused(size="{rows: 336776, units: 4000}").way_out == "write rows: 340000"
    assert refused(sector="medicine").way_out == "did you mean medical?"
    assert refused(age="{type: int, uper: 5}").way_out == "did you mean upper?"
    declared(size="{rows: 340000, units: 4000}", budget="{accountant: basic, epsilon: 4, delta: 1e-6}")


def test_every_missing_field_is_named_in_one_go():
    problem = refused_text("asset: medical/visits\n")
    assert problem.where["file"] == "test.yaml"
    named = [found["field"] for found in problem.where["problems"]]
    assert set(named) == {"title", "sector", "level", "size", "population", "columns", "budget"}
    assert all(found["way_out"].startswith("add ") for found in problem.where["problems"])


def test_all_errors_are_found_in_one_go_in_the_order_of_the_file():
    problem = refused(
        level="S7", age="{type: int, lower: 9, upper: 1}", budget="{accountant: basic, epsilon: 0, delta: 2}"
    )
    assert [(p["field"], p["line"]) for p in problem.where["problems"]] == [
        ("level", 4),
        ("columns.age.lower", 9),
        ("budget.epsilon", 16),
        ("budget.delta", 16),
    ]
    assert problem.code == "declaration.level"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "syntax"),
        ("- a\n", "syntax"),
        ("asset: [1\n", "syntax"),
        ("asset: medical/a\nasset: medical/b\n", "syntax"),
        ("asset: &a medical/a\nsector: *a\n", "syntax"),
        ("asset: !!python/object/apply:os.system [id]\n", "syntax"),
        ("asset: a\n---\nasset: b\n", "syntax"),
        ("asset: a\0b\n", "syntax"),
        ("a: " + "[" * 100_000, "syntax"),
        ("a: " + "{a: " * 50_000, "syntax"),
    ],
)
def test_a_file_that_is_not_one_plain_mapping_is_refused_at_its_line(text, code):
    problem = refused_text(text)
    assert problem.code == f"declaration.{code}"
    assert problem.where["line"] >= 1


def test_a_bomb_of_anchors_is_refused_at_once():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )
    start = time.perf_counter()
    assert refused_text(bomb).where["line"] == 1
    assert time.perf_counter() - start < 1


def test_a_file_above_256_kib_is_refused():
    with pytest.raises(TooLarge) as caught:
        parse_declaration(VISITS + "#" * (256 * 1024), "test.yaml")
    assert caught.value.code == "declaration.too_large"


def test_a_file_that_is_not_utf8_is_refused_at_its_line():
    with pytest.raises(Invalid) as caught:
        parse_declaration(VISITS.encode("gb18030"), "test.yaml")
    assert caught.value.code == "declaration.encoding"
    assert caught.value.where == {"file": "test.yaml", "line": 2}


def test_too_many_columns_are_refused():
    many = "".join(f"  c{i}: {{type: bool}}\n" for i in range(200))
    assert refused_text(VISITS.replace("budget:", f"{many}budget:")).code == "declaration.columns"


def test_columns_that_differ_in_case_only_are_refused():
    problem = refused_text(VISITS.replace("budget:", "  Age: {type: bool}\nbudget:"))
    assert (problem.code, problem.where["field"]) == ("declaration.name", "columns.Age")


def test_bounds_may_reach_the_ends_of_the_grid_and_still_have_a_digest():
    edge = 2**53 - 1
    found = declared(age=f"{{type: int, lower: -{edge}, upper: {edge}}}")
    assert Declaration.from_json(found.to_json()).digest == found.digest
    assert found.schema.column("age").upper == edge


def test_categories_are_text_as_written_and_composed():
    found = declared(result="{type: category, values: [007, 1, no, 2026-01-01, 'true', 'e\u0301']}")
    assert found.schema.column("result").values == ("007", "1", "no", "2026-01-01", "true", "é")


def test_the_unit_column_is_text_in_the_schema_whatever_it_is_declared_as():
    found = declared(pid="{type: int, unit: true}")
    assert found.population.unit_type is ColumnType.INT
    assert found.schema.column("pid").type is ColumnType.STRING


def test_a_size_is_rounded_to_two_digits_halves_up():
    assert [rounded(n) for n in (1, 99, 104, 105, 336_776, 15_524, 999)] == [1, 99, 100, 110, 340_000, 16_000, 1000]


def test_each_level_caps_epsilon_and_delta():
    scale = levels()
    assert {code: level.epsilon_cap for code, level in scale.items()} == {
        "S0": None, "S1": 10, "S2": 4, "S3": 2, "S4": Fraction(1, 2), "S5": None,
    }  # fmt: skip
    assert {code: level.approvals for code, level in scale.items() if level.ingest} == {
        "S0": 0, "S1": 1, "S2": 2, "S3": 3, "S4": 3,
    }  # fmt: skip
    assert scale["S3"].admits_delta(Fraction(1, 10**7), 100_000)
    assert not scale["S3"].admits_delta(Fraction(1, 10**6), 100_000)
    assert scale["S3"].admits_delta(Fraction(1, 10 * 2**11), 2**10) is False
    assert scale["S2"].largest_delta(10**7) == "1e-8"
    for code in ("S1", "S2", "S3", "S4"):
        cap = scale[code].epsilon_cap
        budget = "{{accountant: basic, epsilon: {}, delta: 1e-7}}"
        declared(level=code, budget=budget.format(float(cap)))
        assert refused(level=code, budget=budget.format(float(cap) + 0.01)).code == "declaration.budget"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_a_declaration_raises_anything_but_a_typed_error(data):
    text = list(VISITS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 12))] = data.draw(st.text(max_size=6))
    try:
        found = parse_declaration("".join(text), "test.yaml")
    except BanyanError as problem:
        refusal = problem
    else:
        assert Declaration.from_json(found.to_json()) == found
        return
    assert re.fullmatch(r"declaration\.[a-z_]+", refusal.code)
    assert refusal.text.isprintable()
