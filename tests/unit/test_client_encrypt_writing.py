"""An upload holds exactly the bounded vectors under the key holder's key, is written whole or not at all, and fits one asset."""

from __future__ import annotations

import base64
import stat

import pyarrow as pa
import pytest
from banyan.encrypt import hev_writer, signing_key, upload_fit
from banyan.encrypt.context import PublicContext
from banyan.encrypt.declared import Declared
from banyan.encrypt.header import signature_holds
from banyan.encrypt.hev_writer import write_hev
from banyan.encrypt.terms import Terms
from banyan.errors import Refused

from jobs.encrypted_lane import expected_json
from privacy.encrypted import hev
from privacy.encrypted.chunks import read_chunk
from privacy.encrypted.profiles import profile_named
from tests.unit.encrypted_world import context, decryptor, public_line, signing
from tests.unit.encrypted_world import terms as services_terms

GROUPS = tuple(f"g{at}" for at in range(5000))


def terms(**changed):
    return Terms.from_json(services_terms(**changed).to_json())


def key(profile="sum58", **options):
    return PublicContext.from_bytes(context(profile, **options).to_bytes())


def vectors_of(said, most=1):
    return {vector.name: [(at % 7 - 3) * most for at in range(vector.length)] for vector in said.vectors}


def chunks_in(path, profile):
    with pa.ipc.open_file(path) as file:
        return [read_chunk(profile_named(profile), each.as_py()) for each in file.read_all().column("poly")]


def written(path, said, vectors, **options):
    return write_hev(path, vectors, said, key(said.profile), signing("hospital-a"), **options)


@pytest.mark.parametrize(
    ("profile", "groups", "most"),
    [
        ("sum58", ("north", "south", "west"), 2**52),
        ("sum34", GROUPS, 1000),
        ("crt115", ("north", "south", "west"), 2**100),
    ],
)
def test_the_service_reads_it_and_the_key_holder_decrypts_what_was_put_in(tmp_path, profile, groups, most):
    changed = {} if profile != "sum34" else {"squares": (), "totals": (), "least_squares": None}
    said = terms(profile=profile, groups=groups, **changed)
    expected = services_terms(profile=profile, groups=groups, **changed)
    vectors = vectors_of(said, most)
    seen = []
    header = written(tmp_path / "out.hev", said, vectors, progress=lambda done, of: seen.append((done, of)))
    form = hev.Expected.from_json(expected_json(expected))
    assert hev.read(tmp_path / "out.hev", form) == header.to_json()
    assert signature_holds(header, public_line("hospital-a"))
    found, rest = {}, set()
    wanted = list(form.chunks())
    for (name, _, used), words in zip(wanted, chunks_in(tmp_path / "out.hev", profile), strict=True):
        slots = decryptor(profile).decrypt(words)
        found.setdefault(name, []).extend(slots[:used])
        rest |= set(slots[used:])
    assert found == vectors
    assert rest == {0}
    in_all = sum(len(values) for values in vectors.values())
    assert seen[-1] == (in_all, in_all)
    assert len(seen) == len(wanted)


def test_the_same_numbers_are_never_encrypted_alike(tmp_path):
    said = terms()
    one, two = (written(tmp_path / name, said, vectors_of(said)) for name in ("a.hev", "b.hev"))
    assert one.content != two.content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hev", "b.hev"]


def test_a_number_beyond_the_profile_is_not_encrypted(tmp_path):
    said = terms(profile="sum34", squares=(), totals=(), least_squares=None)
    with pytest.raises(ValueError, match="beyond"):
        written(tmp_path / "out.hev", said, {"units": [2**34, 0, 0]})
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_another_profile_or_time_is_refused(tmp_path):
    said = terms()
    for wrong, code in ((key("sum34"), "context.profile"), (key(expires="2026-01-02T00:00:00Z"), "context.expired")):
        with pytest.raises(Refused) as found:
            write_hev(tmp_path / "out.hev", vectors_of(said), said, wrong, signing("hospital-a"))
        assert found.value.code == code
        assert found.value.way_out is not None
    assert list(tmp_path.iterdir()) == []


def test_what_fails_half_way_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "out.hev"
    path.write_text("earlier")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hev_writer.pa.ipc, "new_file", full)
    with pytest.raises(Refused, match=r"no\s+room\s+left"):
        written(path, terms(), vectors_of(terms()))
    assert [one.name for one in tmp_path.iterdir()] == ["out.hev"]
    assert path.read_text() == "earlier"


def test_the_signing_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "keys" / "own.key"
    first = signing_key.made_or_found(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert signing_key.line_of(signing_key.made_or_found(path)) == signing_key.line_of(first)
    assert len(base64.b64decode(signing_key.line_of(first))) == 32


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda path: None, "provider.no_key"),
        (lambda path: (path.write_bytes(bytes(32)), path.chmod(0o440)), "provider.key_exposed"),
        (lambda path: (path.write_bytes(bytes(32)), path.chmod(0o402)), "provider.key_exposed"),
        (lambda path: (path.write_bytes(bytes(31)), path.chmod(0o400)), "provider.key_invalid"),
        (lambda path: (path.write_bytes(bytes(33)), path.chmod(0o400)), "provider.key_invalid"),
        (lambda path: (path.mkdir(), path.chmod(0o500)), "file.unusable"),
    ],
)
def test_a_signing_key_that_cannot_be_used_is_refused(tmp_path, prepare, code):
    prepare(tmp_path / "own.key")
    with pytest.raises(Refused) as found:
        signing_key.opened(tmp_path / "own.key")
    assert found.value.code == code


def test_a_key_that_cannot_be_kept_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"file\.unusable"):
        signing_key.made_or_found(tmp_path / "file" / "own.key")


def test_another_key_than_the_declared_one_is_refused():
    signing_key.check_declared(signing("hospital-a"), None)
    signing_key.check_declared(signing("hospital-a"), public_line("hospital-a"))
    with pytest.raises(Refused, match=r"provider\.other_key"):
        signing_key.check_declared(signing("hospital-a"), public_line("hospital-b"))


@pytest.fixture
def header(tmp_path):
    written(tmp_path / "out.hev", terms(), vectors_of(terms()))
    return upload_fit.header_of(tmp_path / "out.hev")


def test_an_upload_fits_the_asset_with_its_terms_key_and_signer(header):
    upload_fit.check_fits(header, "medical/a", Declared(terms(), signing_key=public_line("hospital-a")), key())


@pytest.mark.parametrize(
    ("declared", "public", "code", "says"),
    [
        (lambda: Declared(terms(provider="hospital-b"), signing_key=public_line("hospital-a")), key, "upload.terms", "provider differ"),
        (lambda: Declared(terms(units=101, max_groups=1), signing_key=public_line("hospital-a")), key, "upload.terms", "max_groups, units differ"),
        (lambda: Declared(terms(), signing_key=public_line("hospital-a")), lambda: key("sum34"), "upload.key", "the key holder's present key is"),
        (lambda: Declared(terms(), signing_key=public_line("hospital-b")), key, "upload.signature", "hospital-a"),
    ],
)  # fmt: skip
def test_an_upload_for_another_asset_is_refused_with_what_differs(header, declared, public, code, says):
    with pytest.raises(Refused) as found:
        upload_fit.check_fits(header, "medical/a", declared(), public())
    assert found.value.code == code
    assert says in found.value.text


def test_the_asset_of_an_upload_is_the_one_with_its_terms(header):
    same = {"asset": "medical/a", "encrypted": {"terms": terms().to_json(), "signing_key": ""}}
    other = {"asset": "medical/b", "encrypted": {"terms": terms(units=7).to_json(), "signing_key": ""}}
    plain = {"asset": "medical/c", "encrypted": None}
    assert upload_fit.asset_of(header, [plain, other, same]) == "medical/a"
    for entries, says in (([plain, other], "one of medical/b"), ([plain], "register"), ([same, same], "2 assets have")):
        with pytest.raises(Refused) as found:
            upload_fit.asset_of(header, entries)
        assert found.value.code == "upload.no_asset"
        assert says in f"{found.value.text} {found.value.way_out}"


@pytest.mark.parametrize("content", [b"", b"ARROW1 or not", None])
def test_what_is_no_upload_is_refused(tmp_path, content):
    path = tmp_path / "out.hev"
    if content is None:
        with pa.ipc.new_file(path, pa.schema([pa.field("x", pa.int32())])):
            pass
    else:
        path.write_bytes(content)
    with pytest.raises(Refused, match=r"upload\.not_hev"):
        upload_fit.header_of(path)
    with pytest.raises(Refused, match=r"file\.unusable"):
        upload_fit.header_of(tmp_path / "none.hev")
