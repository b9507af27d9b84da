"""docs/reference/declaration.md says what the code does."""

import re
from pathlib import Path

import pytest

from assets import declaration_columns as columns
from assets.cells import Reason
from assets.declaration import FIELDS, parse_declaration
from assets.declaration_model import SECTORS, SENSITIVITIES
from assets.levels import levels
from core.units import text_of
from privacy.accountant import Accountant
from privacy.schema import ColumnType

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/reference/declaration.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w[^\n]*)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def first_cells(section):
    rows = re.findall(r"^\| ([^|]+?) \|", SECTIONS[section], re.MULTILINE)
    return [name for cell in rows[2:] for name in re.findall(r"`([^`]+)`", cell)]


def test_the_example_is_a_declaration():
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert parse_declaration(example, "doc.yaml").asset == "medical/covid_testing"


def test_every_field_has_its_row_and_no_other():
    assert first_cells("Fields") == list(FIELDS)
    of_types = {field for fields in columns.TYPE_FIELDS.values() for field in fields}
    assert set(first_cells("Columns")) == {*columns.COMMON_FIELDS, *of_types}


def test_every_reason_has_its_row_and_no_other():
    assert first_cells("What ingest keeps") == [reason.value for reason in Reason]


@pytest.mark.parametrize("word", [*SECTORS, *SENSITIVITIES, *ColumnType, *Accountant])
def test_every_accepted_word_is_named(word):
    assert f"`{word}`" in TEXT


def test_the_levels_are_those_of_the_scale():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in SECTIONS["Levels"].splitlines()
        if line.startswith("| S")
    ]
    for row, (code, level) in zip(rows, levels().items(), strict=True):
        assert row[:2] == [code, level.meaning]
        if not level.ingest:
            assert row[2:] == ["refused", "", "", ""]
            continue
        power = "" if level.delta_units_power == 1 else f"^{text_of(level.delta_units_power)}"
        assert row[2] == ("–" if level.epsilon_cap is None else text_of(level.epsilon_cap))
        assert float(row[3]) == float(level.delta_cap)
        assert row[4] == f"1 / (10 · units{power})"
        assert int(row[5]) == level.approvals


def test_the_numbers_in_the_text_are_those_of_the_code():
    assert f"1 to {columns.MAX_COLUMNS} columns" in TEXT
    assert f"1 to {columns.MAX_LENGTH}; without it, {columns.DEFAULT_LENGTH}" in TEXT
    assert f"0 to {columns.MAX_SCALE}" in TEXT
    assert f"at most {columns.MAX_VALUES:,}" in TEXT


def test_every_code_of_the_room_is_listed_and_no_other():
    listed = set(first_cells("Codes"))
    sources = {path.name: path.read_text() for path in (ROOT / "assets").glob("*.py")}
    everything = "\n".join(sources.values())
    room = set(re.findall(r'"((?:asset|version|ingest|storage|blocks|keys|mock)\.[a-z_]+)"', everything))
    declaration = "\n".join(text for name, text in sources.items() if name.startswith("declaration"))
    noted = re.findall(r'(?:wrong\(\s*[^,()]+|problems\.add\()\s*,?\s*"([a-z_]+)"\s*,', declaration)
    chosen = re.findall(r'\.(?:choice|whole)\(\s*"([a-z_]+)"', declaration)
    fixed = ["syntax", "too_large", "encoding", "epsilon", "delta"]
    assert {code for code in listed if not code.startswith("declaration.")} == room
    assert {code for code in listed if code.startswith("declaration.")} == {
        f"declaration.{code}" for code in {*noted, *chosen, *fixed}
    }
