"""Rows never go to an encrypted asset, nor ciphertexts to another one: the client asks what the asset takes before it sends a byte."""

from __future__ import annotations

import json

import pytest
from banyan.cli import main
from banyan.client import Client
from banyan.errors import Refused

from tests.unit.client_contract import TOKEN, contract_server
from tests.unit.encrypted_world import context

PLAIN, ENCRYPTED = "traffic/flights", "medical/trial_hospital_a"
SECRET = "4711,north,12.50"


@pytest.fixture
def contract(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "rows.csv").write_text(f"pid,region,cost\n{SECRET}\n")
    (tmp_path / "out.hev").write_bytes(b'ARROW1 {"schema":"banyan.hev/1"}')
    (tmp_path / "asset.yaml").write_text("asset: x\n")
    with contract_server() as found:
        monkeypatch.setenv("BANYAN_SERVER", found.url)
        monkeypatch.setenv("BANYAN_TOKEN", TOKEN)
        entry = {"asset": ENCRYPTED, "version": None, "encrypted": {"provider": "hospital-a"}}
        found.answers["GET", f"/v1/assets/{ENCRYPTED}"] = lambda: (200, "application/json", json.dumps(entry).encode())
        found.answers["POST", "/v1/assets"] = lambda: (201, "application/json", json.dumps(entry).encode())
        yield found


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 1
    return " ".join(capsys.readouterr().err.split())


def check_nothing_was_sent(contract):
    assert all(method == "GET" and body == b"" for method, _, _, body in contract.requests), contract.requests


@pytest.mark.parametrize("format_option", [(), ("--format", "csv"), ("--format", "parquet")])
def test_rows_are_not_sent_to_an_encrypted_asset(contract, capsys, format_option):
    said = refused(capsys, "assets", "ingest", ENCRYPTED, "rows.csv", *format_option)
    assert said.startswith("refused asset.encrypted")
    assert f"banyan encrypt rows.csv --asset {ENCRYPTED} -o OUT.hev, and then banyan upload OUT.hev" in said
    assert SECRET not in said
    check_nothing_was_sent(contract)


def test_ciphertexts_are_not_sent_as_rows(contract, capsys):
    assert "banyan upload out.hev" in refused(capsys, "assets", "ingest", PLAIN, "out.hev")
    assert "arrow, csv, parquet" in refused(capsys, "assets", "ingest", ENCRYPTED, "rows.csv", "--format", "hev")
    assert contract.requests == []


@pytest.mark.parametrize(
    ("asset", "file", "form", "code"),
    [
        (PLAIN, "out.hev", "hev", "asset.not_encrypted"),
        (ENCRYPTED, "out.hev", "csv", "asset.encrypted"),
        (ENCRYPTED, "rows.csv", "hev", "upload.not_hev"),
    ],
)
def test_a_program_of_ones_own_is_refused_as_well(contract, asset, file, form, code):
    with Client() as client, pytest.raises(Refused) as found:
        client.ingest(asset, file, file_format=form)
    assert found.value.code == code
    check_nothing_was_sent(contract)


def test_rows_are_no_contribution_to_a_job(contract):
    with Client() as client, pytest.raises(Refused, match=r"upload\.not_hev"):
        client.contribute(ENCRYPTED, "j-1", "rows.csv")
    assert contract.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ("assets", "register", "rows.csv"),
        ("policies", "propose", "rows.csv"),
        ("plan", "rows.csv"),
        ("submit", "rows.csv"),
        ("encrypt", "asset.yaml", "--declaration", "rows.csv", "--context", "key.hectx", "-o", "new.hev"),
    ],
)
def test_rows_in_the_place_of_what_people_write_are_neither_sent_nor_shown(contract, capsys, tmp_path, words):
    (tmp_path / "key.hectx").write_bytes(context().to_bytes())
    said = refused(capsys, *words)
    assert said.startswith("refused file.format rows.csv is a file of rows by its name")
    assert SECRET not in said
    assert contract.requests == []


def test_who_registers_an_encrypted_asset_is_not_told_to_send_its_rows(contract, capsys):
    with pytest.raises(SystemExit):
        main(["assets", "register", "asset.yaml"])
    said = capsys.readouterr().out
    assert "assets ingest" not in said
    assert f"banyan encrypt FILE --asset {ENCRYPTED} -o OUT.hev" in said
    del contract.answers["POST", "/v1/assets"]
    with pytest.raises(SystemExit):
        main(["assets", "register", "asset.yaml"])
    assert f"banyan assets ingest {PLAIN} FILE" in capsys.readouterr().out
    said = refused(capsys, "assets", "report", ENCRYPTED)
    assert "assets ingest" not in said
    assert "banyan upload" in said
