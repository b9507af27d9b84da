"""Encrypted assets and their jobs on a terminal of 80 columns: no word is broken, and bounds are as the declaration has them."""

from __future__ import annotations

import json

import pytest
from banyan import layout
from banyan.cli import main, screen
from banyan.encrypt.declared import of_asset

from assets.catalogue import Asset, entry
from assets.declaration import parse_declaration
from tests.unit.client_contract import TOKEN, contract_server, moment
from tests.unit.test_assets_encrypted import HOSPITAL

ASSET = "medical/stays_a"


def catalogued(*changes):
    text = HOSPITAL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return dict(entry(Asset(parse_declaration(text, "hospital.yaml"), 8), None))


@pytest.fixture
def contract(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(screen, "width", lambda: 80)
    with contract_server() as found:
        monkeypatch.setenv("BANYAN_SERVER", found.url)
        monkeypatch.setenv("BANYAN_TOKEN", TOKEN)
        yield found


def shown(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert not ended.value.code
    lines = capsys.readouterr().out.split("\n")
    assert max(map(len, lines)) <= 80, lines
    return lines


def show(contract, capsys, found):
    contract.answers["GET", f"/v1/assets/{ASSET}"] = lambda: (200, "application/json", json.dumps(found).encode())
    lines = shown(capsys, "assets", "show", ASSET)
    assert not any(mark in line for line in lines for mark in "{}'[]"), lines
    return "\n".join(lines)


def test_an_encrypted_asset_is_shown_in_the_units_of_its_declaration(contract, capsys):
    told = show(contract, capsys, catalogued())
    for line in (
        "encrypted.provider       hospital-a",
        "encrypted.groups         region: north, south\n" + " " * 25 + "each pid counts in at most 2 of 2",
        "encrypted.totals         cost -10.50 … 900.00",
        "encrypted.squares        cost",
        "encrypted.least_squares  of cost 0.00 … 500.00\n" + " " * 25 + "on age 0 … 110",
        "encrypted.stored         yes",
        'null_values              ""',
    ):
        assert line in told, told


def test_without_groups_and_regression_that_is_said(contract, capsys):
    told = show(
        contract,
        capsys,
        catalogued(
            ("  group_by: region\n", ""),
            ("  max_groups: 2\n", ""),
            ("  squares: [cost]\n", "  stored: false\n"),
            ("  least_squares: {features: [age], target: cost}\n", ""),
            ("accountant: basic", "accountant: zcdp"),
        ),
    )
    assert "encrypted.groups         one for all" in told
    assert "encrypted.squares        none" in told
    assert "encrypted.least_squares  none" in told
    assert "encrypted.stored         no: each job is encrypted for (banyan calls)" in told


def test_what_another_version_of_the_server_says_is_shown_as_it_is(contract, capsys):
    told = show(
        contract,
        capsys,
        {"asset": ASSET, "encrypted": {"terms": {"limits": [{"column": "cost", "low": None}], "open": True}}},
    )
    assert "encrypted.terms.limits  column cost, low null" in told
    assert "encrypted.terms.open    true" in told


def test_jobs_over_many_assets_take_two_lines_and_no_word_is_broken(contract, capsys):
    assets = [f"medical/trial_hospital_{letter}" for letter in "abc"]
    contract.states = [{"state": "released"}]
    contract.job = {"id": "j-s5jzy8gm5vvjjhaj", "kind": "encrypted", "asset": assets[0], "joined": assets[1:]}
    lines = shown(capsys, "jobs")
    assert len(lines) == 4
    assert lines[1].split()[:7] == ["j-s5jzy8gm5vvjjhaj", "released", "encrypted", "on", "3", "assets:", "0.5"]
    assert lines[2].strip() == "medical/trial_hospital_a"
    assert ", ".join(assets) in " ".join(" ".join(shown(capsys, "show", "j-1")).split())
    contract.job |= {"submitted_at": moment(-400 * 86400)}
    year = moment(-400 * 86400)[:4]
    assert shown(capsys, "jobs")[1].endswith(f" {year}")


def test_a_long_name_is_broken_where_its_parts_end():
    rows = [["x" * 40, "medical/trial_hospital_of_the_whole_province_a", "sha256:" + "a" * 64]]
    told = layout.table(("one", "two", "three"), rows, (0,), 90)
    column = [line[43:68].strip() for line in told]
    assert "".join(column[1:]) == rows[0][1]
    assert column[1].endswith("_")
    assert column[2] == "of_the_whole_province_a"
    assert all(len(line) <= 90 for line in told)


def test_the_texts_that_mean_nothing_are_taken_from_the_catalogue():
    found = catalogued(("budget: {accountant", "csv: {null_values: [NA, '']}\nbudget: {accountant"))
    assert of_asset(ASSET, found).null_values == ("NA", "")
    del found["null_values"]
    assert of_asset(ASSET, found).null_values == ("",)
