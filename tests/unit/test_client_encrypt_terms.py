"""The provider's tool takes from a declaration, the catalogue or the command line the same terms that the server takes from the declaration."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from banyan.encrypt.declared import Declared, of_asset, of_file
from banyan.encrypt.flags import Flags, of_flags
from banyan.encrypt.terms import Bounded
from banyan.errors import Refused

from assets.catalogue import Asset, entry
from assets.declaration import parse_declaration
from tests.unit.test_client_docs import help_of

ROOT = Path(__file__).parents[2]
EXAMPLES, PAGE = ROOT / "examples", ROOT / "docs" / "encrypting.md"
KEY = base64.b64encode(bytes(range(32))).decode()
DECLARATION = f"""\
asset: medical/admissions_a
title: {{en: Admissions, zh: 住院}}
sector: medical
level: S1
population: {{name: patients, id_namespace: city, unit: patient_id}}
size: {{rows: 5000, units: 900}}
columns:
  patient_id: {{type: int, unit: true}}
  region: {{type: category, values: [north, "cafe\u0301", 3, no], public: true}}
  cost: {{type: decimal, scale: 2, lower: 0, upper: 50000.5}}
  stay: {{type: int, lower: 0, upper: 365}}
  age: {{type: int, lower: 0, upper: 110, nullable: true}}
budget: {{accountant: basic, epsilon: 4, delta: 1e-7}}
csv: {{null_values: ["", NA]}}
encrypted:
  provider: hospital-a
  signing_key: {KEY}
  profile: sum58
  group_by: region
  max_groups: 2
  totals: {{cost: [-10.50, 1e6], stay: [0, 400]}}
  squares: [stay]
  least_squares: {{features: [age, stay], target: cost}}
"""
FLAGS = Flags(
    unit="patient_id:int",
    provider="hospital-a",
    population="patients",
    units=900,
    max_groups=2,
    group_by="region=north|cafe\u0301|3|no",
    columns=[
        "cost:decimal(2),clip=-10.50..1000000,range=0..50000.5",
        "stay:int,range=0..365,clip=0..400",
        "age:int,range=0..110",
    ],
    squares=["stay"],
    features="age,stay",
    target="cost",
)


def read(tmp_path, text):
    path = tmp_path / "asset.yaml"
    path.write_text(text)
    return of_file(path)


def servers(text):
    found = parse_declaration(text, "asset.yaml")
    assert found.encrypted is not None
    return found


def refused(call, code):
    with pytest.raises(Refused) as found:
        call()
    assert found.value.code == code
    return found.value


@pytest.mark.parametrize(
    "change",
    [
        ("", ""),
        ("  group_by: region\n  max_groups: 2\n", "  group_by: null\n"),
        ("  max_groups: 2\n", ""),
        ("  squares: [stay]\n", "  squares:\n"),
        ("  least_squares: {features: [age, stay], target: cost}\n", ""),
        ("  totals: {cost: [-10.50, 1e6], stay: [0, 400]}\n  squares: [stay]\n", ""),
        ("profile: sum58", "profile: 'crt115'"),
        ('csv: {null_values: ["", NA]}\n', ""),
        ("type: int, unit: true", "type: string, unit: true"),
    ],
)
def test_the_terms_are_those_that_the_server_reads(tmp_path, change):
    text = DECLARATION.replace(*change)
    found, server = read(tmp_path, text), servers(text)
    assert found.terms.to_json() == server.encrypted.terms.to_json()
    assert found.signing_key == server.encrypted.signing_key == KEY
    assert found.null_values == server.null_values
    assert found.whole_units == (server.population.unit_type.value == "int")


@pytest.mark.parametrize("name", ["medical/hospital.yaml", "finance/bank.yaml"])
def test_the_declarations_of_the_examples(tmp_path, name):
    text = (EXAMPLES / name).read_text().replace("REPLACE WITH WHAT banyan provider-key SHOWS", KEY)
    assert read(tmp_path, text).terms.to_json() == servers(text).encrypted.terms.to_json()


def test_the_declaration_of_the_page(tmp_path):
    (text,) = [
        block.removeprefix("yaml\n") for block in PAGE.read_text().split("```")[1::2] if block.startswith("yaml\n")
    ]
    assert read(tmp_path, text).terms.to_json() == servers(text).encrypted.terms.to_json()


def test_the_page_has_every_option_and_no_other():
    page = PAGE.read_text()
    described = set(re.findall(r"`[^`\n]*?(--[a-z-]+)", page)) | set(re.findall(r", `(--[a-z-]+)", page))
    known = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", help_of(("encrypt",)) + help_of(("upload",)), re.MULTILINE))
    assert described == known - {"--help"}


def test_what_the_catalogue_says_is_the_same(tmp_path):
    of_the_catalogue = of_asset("medical/admissions_a", entry(Asset(servers(DECLARATION), 8), None))
    of_the_file = read(tmp_path, DECLARATION)
    assert of_the_catalogue == of_the_file == Declared(of_the_file.terms, True, ("", "NA"), KEY)


def test_options_say_the_same_terms(tmp_path):
    found = of_flags(FLAGS, "sum58")
    assert found.terms == read(tmp_path, DECLARATION).terms
    assert (found.whole_units, found.signing_key) == (True, None)


def flags(**changed):
    return Flags(**(vars(FLAGS) | changed))


def test_options_for_the_least():
    least = flags(unit="pid", group_by=None, max_groups=None, columns=[], squares=[], features=None, target=None)
    found = of_flags(least, "sum34")
    assert [vector.name for vector in found.terms.vectors] == ["units"]
    assert (found.terms.groups, found.terms.max_groups, found.whole_units) == (("all",), 1, False)


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"unit": None, "units": None}, "option.missing", "say --unit, --units"),
        ({"provider": None}, "option.missing", "say --provider"),
        ({"unit": "pid:date"}, "option.unit", '"pid:date"'),
        ({"group_by": "region"}, "option.group_by", "never read from the data"),
        ({"group_by": "region=north|north"}, "option.terms", "a group stands twice"),
        ({"max_groups": 9}, "option.terms", "a unit counts in 1 to all groups"),
        ({"provider": "Hospital A"}, "option.terms", "a provider's name is 1 to 40 letters a-z, digits and hyphens"),
        ({"squares": ["age"]}, "option.terms", "squares are of totalled columns"),
        ({"columns": ["cost"]}, "option.column", '"cost"'),
        ({"columns": ["cost:int"]}, "option.column", '"cost:int"'),
        ({"columns": ["cost:float,clip=0..1"]}, "option.column", "float"),
        ({"columns": ["cost:int,clip=0..1,clip=0..2"]}, "option.column", "there twice"),
        ({"columns": ["cost:int,clip=0..1", "cost:int,clip=0..2"]}, "option.column", "there twice"),
        ({"columns": ["cost:int,clip=0..1.5"]}, "option.column", "has more than 0 decimals"),
        ({"columns": ["cost:int,clip=1..0"]}, "option.column", "bounds are in order"),
        ({"columns": ["cost:int,clip=1...5..2"]}, "option.column", "is not a number"),
        ({"columns": ["cost:int,clip=-..2"]}, "option.column", "is not a number"),
        ({"columns": [f"cost:int,clip=0..{'9' * 61}"]}, "option.column", "is not a number"),
        ({"target": None}, "option.features", '"" is none'),
        ({"features": "age,weight"}, "option.features", '"weight" is none'),
        ({"features": None}, "option.features", '"" is none'),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(changed, code, says):
    problem = refused(lambda: of_flags(flags(**changed), "sum58"), code)
    assert says in problem.text


@pytest.mark.parametrize(
    ("old", "new", "code", "place", "says"),
    [
        ("  provider: hospital-a\n", "", "declaration.missing_field", "signing_key: ", "encrypted: provider is missing"),
        ("unit: patient_id}", "unit: pid}", "declaration.missing_field", "patient_id: {type", "columns: pid is missing"),
        ("[-10.50, 1e6]", "[-10.505, 1e6]", "declaration.value", "[-10.505", "cost has more than 2 decimals"),
        ("[-10.50, 1e6]", "[-10.50]", "declaration.value", "[-10.50]", "needs its lower and its upper end"),
        ("[-10.50, 1e6]", "5", "declaration.value", "5, stay", "a list is expected"),
        ("[-10.50, 1e6]", "[a, b]", "declaration.value", "[a, b]", "is not a number"),
        ("[-10.50, 1e6]", "[0, .inf]", "declaration.value", "[0, .inf]", "is not a number"),
        ("[-10.50, 1e6]", "[5, 4]", "declaration.value", "[5, 4]", "bounds are in order"),
        ("  max_groups: 2", "  max_groups: two", "declaration.value", "two", "a whole number is expected"),
        ("  max_groups: 2", "  max_groups: 5", "declaration.value", "provider: hosp", "a unit counts in 1 to all groups"),
        ("  group_by: region", "  group_by: regions", "declaration.missing_field", "patient_id: {type", "regions is missing"),
        ("  group_by: region", "  group_by: cost", "declaration.missing_field", "{type: decimal", "values is missing"),
        ("target: cost}", "target: region}", "declaration.value", "category, values", "of type int or decimal"),
        ("target: cost}", "target: cost, x: [}", "declaration.syntax", "}", "this is not YAML"),
        ("squares: [stay]", "squares: [stay, {a: b}]", "declaration.value", "{a: b}", "a single value is expected"),
        ("  profile: sum58\n", "  profile: sum58\n  profile: sum34\n", "declaration.value", "profile: sum34", "given twice"),
        ("size: {rows: 5000, units: 900}", "size: 900", "declaration.value", "900", "a mapping is expected"),
    ],
)  # fmt: skip
def test_a_declaration_that_does_not_fit_is_refused_with_its_place(tmp_path, old, new, code, place, says):
    text = DECLARATION.replace(old, new, 1)
    assert text != DECLARATION
    problem = refused(lambda: read(tmp_path, text), code)
    assert says in problem.text
    line = text.split("\n")[problem.excerpt.line - 1]
    assert line[problem.excerpt.column - 1 :].startswith(place)


@pytest.mark.parametrize("text", ["", "[]", "just words"])
def test_what_is_no_declaration_is_refused(tmp_path, text):
    with pytest.raises(Refused, match=r"declaration\.(syntax|value)"):
        read(tmp_path, text)


def test_an_asset_that_is_not_encrypted_or_of_another_time_is_refused():
    found = dict(entry(Asset(servers(DECLARATION), 8), None))
    refused(lambda: of_asset("medical/x", {"asset": "medical/x"}), "asset.not_encrypted")
    later = found | {
        "encrypted": found["encrypted"] | {"terms": found["encrypted"]["terms"] | {"schema": "banyan.terms/2"}}
    }
    refused(lambda: of_asset("medical/x", later), "server.strange_answer")
    refused(lambda: of_asset("medical/x", found | {"encrypted": "yes"}), "server.strange_answer")


def test_bounds_keep_every_digit():
    assert of_flags(flags(columns=["cost:decimal(9),clip=-0.000000001..1.000000001"], squares=[], features=None, target=None), "sum58").terms.totals == (
        Bounded("cost", 9, -1, 10**9 + 1),
    )  # fmt: skip
