"""What may be declared as encrypted, and which upload becomes a version: read strictly, of these terms, signed, under a key in use."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from assets import catalogue, uploads
from assets.declaration import Declaration, parse_declaration
from assets.source import Format
from assets.uploads import Uploads
from assets.versions import latest_version, version_blocks
from audit.log import entries_from
from core.errors import BanyanError, Conflict, Invalid
from jobs.upload_reader import UploadReader
from privacy.encrypted.header import Header
from sandbox.fake_runtime import FakeRuntime
from tests.assets_builders import declared, server_in
from tests.policies_world import quick_folder
from tests.unit.encrypted_world import public_line, signing

KEY = "sha256:" + "a" * 64
HOSPITAL = f"""\
asset: medical/stays_a
title: {{en: Stays, zh: 住院}}
sector: medical
level: S1
population: {{name: patients, id_namespace: hospital-pid, unit: pid}}
size: {{rows: 1000, units: 400}}
columns:
  pid:    {{type: string, unit: true, max_length: 8}}
  region: {{type: category, values: [north, south], public: true}}
  ward:   {{type: category, values: [a, b]}}
  cost:   {{type: decimal, scale: 2, lower: 0, upper: 500}}
  age:    {{type: int, lower: 0, upper: 110}}
  note:   {{type: string, max_length: 9}}
budget: {{accountant: basic, epsilon: 4, delta: 1e-7}}
encrypted:
  provider: hospital-a
  signing_key: {public_line("hospital-a")}
  profile: sum58
  group_by: region
  max_groups: 2
  totals: {{cost: [-10.5, 900]}}
  squares: [cost]
  least_squares: {{features: [age], target: cost}}
"""


def hospital(old="", new="", text=HOSPITAL):
    assert old in text
    return parse_declaration(text.replace(old, new, 1), "hospital.yaml")


def test_what_is_declared_are_the_terms_on_the_grid_and_comes_back_from_json():
    declaration = hospital()
    terms = declaration.encrypted.terms
    assert (terms.provider, terms.population, terms.unit, terms.units) == ("hospital-a", "patients", "pid", 400)
    assert terms.groups == ("north", "south")
    assert (terms.total("cost").lower, terms.total("cost").upper) == (-1050, 90_000)
    assert (terms.least_squares.target.lower, terms.least_squares.target.upper) == (0, 50_000)
    assert Declaration.from_json(declaration.to_json()) == declaration
    assert "encrypted" not in declared().to_json(), "declarations from before keep their digest"


def test_without_groups_there_is_one_for_all():
    text = HOSPITAL.replace("  group_by: region\n", "").replace("  max_groups: 2\n", "")
    assert parse_declaration(text, "hospital.yaml").encrypted.terms.groups == ("all",)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("provider: hospital-a", "provider: Hospital A", "encrypted.provider"), ("signing_key: ", "signing_key: x", "encrypted.signing_key"),
        ("profile: sum58", "profile: sum99", "encrypted.profile"), ("group_by: region", "group_by: ward", "encrypted.group_by"),
        ("group_by: region", "group_by: cost", "encrypted.group_by"), ("group_by: region", "group_by: nowhere", "encrypted.group_by"),
        ("max_groups: 2", "max_groups: 3", "encrypted.max_groups"), ("[-10.5, 900]", "[900, 1]", "encrypted.totals.cost"),
        ("[-10.5, 900]", "[0.001, 1]", "encrypted.totals.cost"), ("[-10.5, 900]", "[0]", "encrypted.totals.cost"), ("[-10.5, 900]", "[0, .inf]", "encrypted.totals.cost"),
        ("[-10.5, 900]", "[0, 10000000000000000000]", "encrypted.totals.cost"), ("{cost: [-10.5, 900]}", "{note: [0, 1]}", "encrypted.totals.note"),
        ("squares: [cost]", "squares: [age]", "encrypted.squares"), ("squares: [cost]", "squares: [cost, cost]", "encrypted.squares"),
        ("features: [age]", "features: [cost]", "encrypted.least_squares"), ("features: [age]", "features: [note]", "encrypted.least_squares.features"),
        ("target: cost", "target: note", "encrypted.least_squares.target"), ("  profile: sum58", "  profile: sum58\n  colour: red", "encrypted.colour"),
        ("  profile: sum58\n", "", "encrypted.profile"),
    ],
)  # fmt: skip
def test_what_cannot_be_encrypted_is_refused_by_field_and_line(old, new, field):
    with pytest.raises(Invalid) as refused:
        hospital(old, new)
    assert refused.value.code.startswith("declaration.")
    assert refused.value.where["field"].startswith(field.rpartition(".")[0] if field.count(".") > 1 else field)
    assert refused.value.where["line"] >= 15


def header(declaration, provider="hospital-a", key=KEY):
    unsigned = Header(
        declaration.encrypted.terms,
        key,
        "sha256:" + "0" * 64,
        "2026-01-01T00:00:00Z",
        "test",
        None,
        base64.b64encode(bytes(64)).decode(),
    )
    return replace(unsigned, signature=base64.b64encode(signing(provider).sign(unsigned.signed())).decode())


@pytest.fixture
def server():
    with quick_folder() as folder, server_in(Path(folder)) as made:
        made.register(hospital())
        yield made


def taking(server, read, states=None):
    return Uploads(
        server.journal, server.store, server.keys, lambda *_: read.to_json(), lambda: states or {KEY: "active"}
    )


def file_in(server):
    path = server.folder / "upload"
    path.write_bytes(b"ciphertext")
    return path


def test_an_upload_becomes_a_version_that_is_kept_as_it_came(server):
    declaration = hospital()
    taken = taking(server, header(declaration)).version("medical/stays_a", file_in(server), "p-1")
    version = taken.version
    assert not taken.is_repeated
    with server.journal.reading() as connection:
        assert latest_version(connection, "medical/stays_a") == version
        (block,) = version_blocks(connection, version.id)
        assert uploads.key_of(connection, version.id) == KEY
        assert uploads.header_of(connection, "medical/stays_a", 1) == header(declaration).to_json() | {
            "signature": uploads.header_of(connection, "medical/stays_a", 1)["signature"]
        }
    assert server.store.get(block.path) == b"ciphertext"


def test_the_very_bytes_of_the_newest_version_make_no_other_one(server):
    uploading, path = taking(server, header(hospital())), file_in(server)

    def sent(content):
        path.chmod(0o644)
        path.write_bytes(content)
        taken = uploading.version("medical/stays_a", path, "p-1")
        return taken.version.number, taken.is_repeated

    assert [sent(b"one"), sent(b"one"), sent(b"two"), sent(b"two"), sent(b"one")] == [
        (1, False), (1, True), (2, False), (2, True), (3, False),
    ]  # fmt: skip
    assert len(server.store.folders("blocks")) == 3
    with server.journal.reading() as connection:
        events = [entry.content for entry in entries_from(connection, 0, 1000)]
    told = [(event["type"], event["subject"]) for event in events if event["type"].startswith("version:")]
    assert told == [
        (f"version:{kind}", "medical/stays_a") for kind in ("ingested", "repeated", "ingested", "repeated", "ingested")
    ]
    with pytest.raises(Conflict, match="takes no new data"):
        taking(server, header(hospital()), {KEY: "decrypt-only"}).version("medical/stays_a", path, "p-1")


@pytest.mark.parametrize(
    ("read", "states", "code"),
    [
        (lambda declared: header(hospital("max_groups: 2", "max_groups: 1")), None, "encrypted.terms"),
        (lambda declared: header(declared, "hospital-b"), None, "encrypted.signature"),
        (lambda declared: header(declared, key="sha256:" + "b" * 64), None, "encrypted.key_unknown"),
        (lambda declared: header(declared), {KEY: "decrypt-only"}, "encrypted.key_expired"),
        (lambda declared: header(declared), {KEY: "frozen"}, "encrypted.key_expired"),
    ],
)  # fmt: skip
def test_another_upload_is_refused_and_leaves_nothing_but_its_event(server, read, states, code):
    with pytest.raises(BanyanError) as refused:
        taking(server, read(hospital()), states).version("medical/stays_a", file_in(server), "p-1")
    assert refused.value.code == code
    with server.journal.reading() as connection:
        assert latest_version(connection, "medical/stays_a") is None
    assert server.store.folders("blocks") == {}


def test_rows_and_ciphertexts_are_not_taken_for_each_other(server):
    with pytest.raises(Invalid, match="stay with their provider"):
        server.ingest.version("medical/stays_a", b"pid,region\n", Format.CSV, "p-1")
    server.register(declared())
    with pytest.raises(Invalid, match="not declared as encrypted"):
        taking(server, header(hospital())).version("medical/visits", file_in(server), "p-1")


def test_a_population_may_hold_both_kinds_and_ingest_looks_past_ciphertexts(server):
    taking(server, header(hospital())).version("medical/stays_a", file_in(server), "p-1")
    other = declared(population="{name: others, id_namespace: hospital-pid, unit: pid}", asset="medical/other")
    server.register(other)
    rows = b"pid,age,cost,ward,result,urgent,day,seen\np1,40,1,A,positive,true,2024-02-29,2024-02-29T08:00:00Z\n"
    assert server.ingest.version("medical/other", rows, Format.CSV, "p-1").number == 1


def test_the_catalogue_shows_the_terms_and_what_means_null(server):
    with server.journal.reading() as connection:
        shown = catalogue.entry(catalogue.get(connection, "medical/stays_a"), None)
    assert shown["encrypted"]["terms"] == hospital().encrypted.terms.to_json()
    assert shown["null_values"] == [""]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"code":"encrypted.range","reason":"too large","vector":"units","chunk":0}', "encrypted.range"), (b'{"code":"own.code","reason":"x"}', "encrypted.format"),
        (b"", "encrypted.format"), (b"[]", "encrypted.format"), (b'{"header":1}', "encrypted.format"), (b"\xff", "encrypted.format"), (b"[" * 9000, "encrypted.format"),
    ],
)  # fmt: skip
def test_whatever_the_reader_answers_is_a_header_or_a_refusal(tmp_path, answer, code):
    path = tmp_path / "upload"
    path.write_bytes(b"x")
    frame = (0).to_bytes(4, "big") + b"\0" + len(answer).to_bytes(4, "big") + answer
    reader = UploadReader(FakeRuntime(lambda *_: frame, test="reader"), "sha256:" + "c" * 64, "test")
    with pytest.raises(Invalid) as refused:
        reader.read(path, hospital().encrypted.terms, hospital().encrypted.vectors)
    assert refused.value.code == code


def test_the_same_registration_again_changes_nothing_and_another_is_refused(server):
    server.register(hospital())
    with pytest.raises(Conflict, match="another declaration"):
        server.register(hospital("max_groups: 2", "max_groups: 1"))
