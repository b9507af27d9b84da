"""provider-key, encrypt and upload from the command line: terms from three places, what is told and kept, and every refusal in words."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from banyan.cli import main

from assets.catalogue import Asset, entry
from assets.declaration import parse_declaration
from jobs.encrypted_lane import expected_json
from privacy.encrypted import hev
from privacy.encrypted.header import Header, signature_holds
from tests.unit.client_contract import TOKEN, contract_server
from tests.unit.encrypted_world import context, decryptor, public_line
from tests.unit.test_client_encrypt_writing import chunks_in

ASSET = "medical/admissions_a"
ROWS = """\
patient_id,region,cost,age,ward
7,north,120.50,30,a
07,north,9999,30,b
8,south,-3,41,a
8,north,20.25,41,a
8,west,1,41,a
9,west,0.75,55,c
9,west,0.75,55,c
"""
# By group north, south, west; patient 8 is in three and counts in two of them, by the hash of its name: north and west.
UNITS, SUMS = [2, 0, 2], [100_000 + 2_025, 0, 100 + 150]
DECLARATION = """\
asset: medical/admissions_a
title: {en: Admissions, zh: 住院}
sector: medical
level: S1
population: {name: patients, id_namespace: city, unit: patient_id}
size: {rows: 10, units: 5}
columns:
  patient_id: {type: int, unit: true}
  region: {type: category, values: [north, south, west], public: true}
  cost: {type: decimal, scale: 2, lower: 0, upper: 5000}
  age: {type: int, lower: 0, upper: 110}
budget: {accountant: basic, epsilon: 4, delta: 1e-7}
encrypted:
  provider: hospital-a
  signing_key: KEY
  profile: sum58
  group_by: region
  max_groups: 2
  totals: {cost: [0, 1000]}
  squares: [cost]
  least_squares: {features: [age], target: cost}
"""
FLAGS = (
    "--unit", "patient_id:int", "--units", "5", "--provider", "hospital-a", "--population", "patients", "--max-groups", "2",
    "--group-by", "region=north|south|west", "--column", "cost:decimal(2),clip=0..1000,range=0..5000", "--square", "cost",
    "--column", "age:int,range=0..110", "--features", "age", "--target", "cost",
)  # fmt: skip


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return command


@pytest.fixture
def house(run, tmp_path):
    """A provider with a signing key, rows, the declaration and the key holder's context."""
    line = run("provider-key").out.strip()
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "asset.yaml").write_text(DECLARATION.replace("KEY", line))
    (tmp_path / "key.hectx").write_bytes(context().to_bytes())
    return tmp_path


@pytest.fixture
def server(house, monkeypatch):
    found = parse_declaration((house / "asset.yaml").read_text(), "asset.yaml")
    catalogue = dict(entry(Asset(found, 8), None))
    with contract_server() as contract:
        monkeypatch.setenv("BANYAN_SERVER", contract.url)
        monkeypatch.setenv("BANYAN_TOKEN", TOKEN)
        path = f"/v1/assets/{ASSET}"
        contract.catalogue = catalogue
        contract.answers["GET", "/v1/assets"] = lambda: _json(
            {"items": [contract.catalogue, {"asset": "traffic/flights"}]}
        )
        contract.answers["GET", path] = lambda: _json(contract.catalogue)
        contract.answers["GET", f"{path}/context"] = lambda: (200, "application/json", context().to_bytes())
        contract.answers["POST", f"{path}/versions"] = lambda: _json(
            {"asset": ASSET, "version": 4, "id": "v", "state": "ready"}
        )
        yield contract


def _json(value):
    return 200, "application/json", json.dumps(value).encode()


def decrypted(path):
    terms = parse_declaration(DECLARATION.replace("KEY", public_line("anybody")), "asset.yaml").encrypted.terms
    expected = hev.Expected.from_json(expected_json(terms))
    header = Header.from_json(hev.read(path, expected))
    assert header.terms == terms
    found = {}
    for vector, words in zip(terms.vectors, chunks_in(path, terms.profile), strict=True):
        found[vector.name] = decryptor().decrypt(words)[: vector.length]
    return header, found


def check_content(path, line):
    header, found = decrypted(path)
    assert signature_holds(header, line)
    assert found["units"] == UNITS
    assert found["sum:cost"] == SUMS
    assert found["square:cost"] == [50_000**2 + (2_025 - 50_000) ** 2, 0, (100 - 50_000) ** 2 + (150 - 50_000) ** 2]
    assert found["gram"][0] == 3 * round(2**20 / 3)


def test_a_declaration_says_all_but_the_key(run, house):
    done = run("encrypt", "rows.csv", "--declaration", "asset.yaml", "--context", "key.hectx", "-o", "out.hev")
    assert done.code == 0, done.err
    check_content(house / "out.hev", run("provider-key").out.strip())
    shown = " ".join(done.out.split())
    assert "by region: north, south, west" in shown
    assert (
        "of each patient_id, whatever its rows hold: counts in at most 2 of 3 groups total of cost in a group from 0.00 to 1000.00"
        in shown
    )
    assert "in the regression the mean of cost from 0.00 to 5000.00" in shown
    assert "second moments for a regression of cost on age, over all groups" in shown
    assert "rows 7, units 3" in shown
    assert "rows that repeat another one in every cell, and count again: 1" in shown
    assert "totals of cost moved to the nearer bound: 1" in shown
    assert "groups left out of units that are in more than they may count in: 1" in shown
    assert context().key in shown
    assert public_line("holder") in done.err
    assert "city key office" in done.err


def test_options_say_the_same(run, house):
    done = run("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", "out.hev", "--json")
    assert done.code == 0, done.err
    check_content(house / "out.hev", run("provider-key").out.strip())
    told = json.loads(done.out)
    assert told["key"] == context().key
    assert told["key_holder"] == {"name": "city key office", "signer": public_line("holder")}
    assert told["digest"] == "sha256:" + hashlib.sha256((house / "out.hev").read_bytes()).hexdigest()
    assert [vector["name"] for vector in told["vectors"]] == ["units", "sum:cost", "square:cost", "gram"]
    assert told["only_here"] == {
        "rows": 7, "units": 3, "rows_without_a_cell": 0, "rows_repeated": 1, "totals_clamped": {"cost": 1}, "groups_left_out": 1,
    }  # fmt: skip


def test_with_an_asset_terms_and_key_come_from_the_server_and_no_row_goes_there(run, house, server):
    signer = public_line("holder")
    done = run("encrypt", "rows.csv", "--asset", ASSET, "--key-holder", signer, "-o", "out.hev", "--quiet")
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out.startswith("sha256:")
    assert done.out.count("\n") == 1
    check_content(house / "out.hev", run("provider-key").out.strip())
    assert [request[0] for request in server.requests] == ["GET", "GET"]
    assert run("upload", "out.hev", "--asset", ASSET).out == f"{ASSET} v4 is ready\n"
    method, path, query, body = server.last
    assert (method, path, query) == ("POST", f"/v1/assets/{ASSET}/versions", {"format": ["hev"]})
    assert body == Path("out.hev").read_bytes()


def test_a_context_got_in_person_may_stand_beside_the_asset(run, house, server):
    done = run("encrypt", "rows.csv", "--asset", ASSET, "--context", "key.hectx", "-o", "out.hev")
    assert done.code == 0, done.err
    assert [request[1] for request in server.requests] == [f"/v1/assets/{ASSET}"]


def test_an_upload_finds_its_asset_by_its_terms(run, house, server):
    run("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", "out.hev")
    found = run("upload", "out.hev", "--json")
    assert json.loads(found.out)["version"] == 4
    assert server.last[1] == f"/v1/assets/{ASSET}/versions"


def test_an_upload_that_does_not_fit_is_not_sent(run, house, server):
    run("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", "out.hev")
    terms = server.catalogue["encrypted"]["terms"]
    server.catalogue["encrypted"]["terms"] = terms | {"max_groups": 1, "provider": "hospital-b"}
    done = run("upload", "out.hev", "--asset", ASSET)
    assert done.code == 1
    assert done.err.startswith("refused  upload.terms")
    assert "provider, max_groups differ" in done.err
    assert run("upload", "out.hev").err.startswith("refused  upload.no_asset")
    server.catalogue["encrypted"] = {"terms": terms, "signing_key": public_line("somebody")}
    assert run("upload", "out.hev", "--asset", ASSET).err.startswith("refused  upload.signature")
    server.answers["GET", f"/v1/assets/{ASSET}/context"] = lambda: (200, "x", context("sum34").to_bytes())
    assert run("upload", "out.hev", "--asset", ASSET).err.startswith("refused  upload.key")
    assert "POST" not in {request[0] for request in server.requests}


def test_what_would_be_lost_is_not_written_over(run, house):
    words = ("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", "out.hev")
    assert run(*words).code == 0
    before = Path("out.hev").read_bytes()
    assert run(*words).err.startswith("refused  file.exists")
    assert Path("out.hev").read_bytes() == before
    assert run(*words, "--force").code == 0
    assert Path("out.hev").read_bytes() != before


def test_what_is_read_is_never_written_over(run, house, tmp_path):
    """By no name: its own, another link to it, or a way around."""
    key = tmp_path / "config" / "banyan" / "provider.key"
    inputs = {house / name: None for name in ("rows.csv", "asset.yaml", "key.hectx")} | {key: None}
    for number, path in enumerate(inputs):
        inputs[path] = path.read_bytes()
        (house / f"hard{number}.hev").hardlink_to(path)
        (house / f"soft{number}.hev").symlink_to(path)
    outputs = [*inputs, "rows.csv", "./rows.csv", "../" + house.name + "/rows.csv", *house.glob("*.hev")]
    assert len(outputs) == 15
    for output in outputs:
        done = run(
            "encrypt", "rows.csv", "--declaration", "asset.yaml", "--context", "key.hectx", "-o", output, "--force"
        )
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("refused  file.is_input"), done.err
        assert "another name" in done.err
    assert {path: path.read_bytes() for path in inputs} == inputs
    done = run("run", "asset.yaml", "--mock", "-o", "asset.yaml", "--force")
    assert done.err.startswith("refused  file.is_input")


@pytest.mark.parametrize("output", ["o.txt", "out", "out.csv", "hev"])
def test_an_upload_is_named_as_one(run, house, output):
    done = run("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", output)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("refused  file.format")
    assert f"-o {Path(output).stem}.hev" in done.err
    assert not (house / output).exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("encrypt", "none.csv", "--context", "key.hectx", *FLAGS, "-o", "out.hev"), "none.csv: there is no such file"),
        (("encrypt", ".", "--context", "key.hectx", *FLAGS, "-o", "out.hev"), ".: this is a folder, and a file is"),
        (("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", "no/out.hev"), "there is no such file or"),
        (("upload", "none.hev"), "none.hev: there is no such file or folder"),
        (("upload", "."), ".: this is a folder"),
    ],
)
def test_a_file_that_is_not_there_is_told_in_our_own_words(run, house, words, says):
    done = run(*words)
    assert (done.code, done.out) == (1, "")
    assert "refused  file.unusable" in done.err
    assert says in " ".join(done.err.split())
    assert "rrno" not in done.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--context", "key.hectx"), "option.missing"),
        (FLAGS, "option.context"),
        (("--declaration", "asset.yaml"), "option.context"),
        (("--declaration", "asset.yaml", "--context", "key.hectx", "--unit", "x"), "option.conflict"),
        (("--declaration", "asset.yaml", "--asset", ASSET), "option.conflict"),
        (("--declaration", "asset.yaml", "--context", "none.hectx"), "file.unusable"),
        (("--declaration", "asset.yaml", "--context", "asset.yaml"), "context.invalid"),
        (("--declaration", "asset.yaml", "--context", "other.hectx"), "context.profile"),
        (("--declaration", "asset.yaml", "--context", "old.hectx"), "context.expired"),
        (("--declaration", "asset.yaml", "--context", "forged.hectx"), "context.invalid"),
        (("--declaration", "asset.yaml", "--context", "key.hectx", "--key-holder", "AAAA"), "context.signer"),
        (("--declaration", "asset.yaml", "--context", "key.hectx", "--signing-key", "none"), "provider.no_key"),
        (
            ("--declaration", "asset.yaml", "--context", "key.hectx", "--signing-key", "second.key"),
            "provider.other_key",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_a_row_is_read(run, house, words, code):
    (house / "other.hectx").write_bytes(context("sum34").to_bytes())
    (house / "old.hectx").write_bytes(context(expires="2026-01-02T00:00:00Z").to_bytes())
    (house / "forged.hectx").write_bytes(context().to_bytes().replace(b"city key office", b"city key 0ffice"))
    run("provider-key", "--signing-key", "second.key")
    (house / "rows.csv").unlink()
    done = run("encrypt", "rows.csv", *words, "-o", "out.hev")
    assert (done.code, done.out) == (1, "")
    assert f"refused  {code}" in done.err
    assert not (house / "out.hev").exists()


@pytest.mark.parametrize(
    ("row", "code", "says"),
    [
        ("10,east,1,2,s3cret", "data.group", "column region: the cell is none of the public groups"),
        ("s3cret,north,1,2,x", "data.unit", "column patient_id: the cell is not a whole number"),
        ("10,north,s3cret,2,x", "data.number", "column cost: the cell is not a number"),
        ("10,north,1,,x", "data.null", "--drop-nulls"),
    ],
)
def test_a_row_that_does_not_fit_is_told_by_its_line_and_nothing_is_written(run, house, row, code, says):
    (house / "rows.csv").write_text(ROWS + row + "\n")
    done = run("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", "out.hev")
    assert (done.code, done.out) == (1, "")
    assert f"refused  {code}" in done.err
    assert "rows.csv line 9" in done.err
    assert says in done.err
    assert "s3cret" not in done.err
    assert not (house / "out.hev").exists()


def test_rows_without_a_cell_are_left_out_and_counted(run, house):
    (house / "rows.csv").write_text(f"{ROWS}10,north,NA,2,x\n10,,1,2,x\n")
    words = ("encrypt", "rows.csv", "--context", "key.hectx", *FLAGS, "-o", "out.hev")
    done = run(*words, "--drop-nulls", "--null-value", "NA")
    assert "rows left out because a cell that is needed holds nothing: 2" in " ".join(done.out.split())
    check_content(house / "out.hev", run("provider-key").out.strip())
    assert "data.number" in run(*words, "--drop-nulls", "--force").err


def test_the_provider_key_is_shown_as_one_line_and_kept(run, tmp_path):
    first = run("provider-key")
    assert len(first.out.strip()) == 44
    assert str(tmp_path / "config" / "banyan" / "provider.key") in first.err
    assert run("provider-key").out == first.out
    other = json.loads(run("provider-key", "--signing-key", "mine.key", "--json").out)
    assert other["file"] == "mine.key"
    assert other["signing_key"] != first.out.strip()


LAZY = """
import sys
for name in ("tenseal", "numpy", "pyarrow"):
    sys.modules[name] = None
from banyan.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("encrypt", "rows.csv", "-o", "new.hev"), 1),
        (("upload", "rows.csv"), 1),
        (("provider-key",), 0),
        (("encrypt", "--help"), 0),
    ],
)
def test_without_the_extra_its_name_is_told_by_what_needs_it(house, command, code):
    done = subprocess.run([sys.executable, "-c", LAZY, *command], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.startswith("refused  client.no_extra")
        assert "pip install 'banyan-client[encrypt]'" in done.stderr
