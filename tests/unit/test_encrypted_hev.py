"""The strict reader of uploads: what the provider's tool writes is taken, and nothing else, whatever is done to the file."""

import hashlib
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rfc8785
from banyan.encrypt.context import PublicContext as ProvidersContext
from banyan.encrypt.hev_writer import write_hev
from banyan.encrypt.terms import Terms as ProvidersTerms
from banyan.errors import Refused as ProviderRefused

from jobs.encrypted_lane import chunk_numbers, expected_json
from privacy.encrypted import hev
from privacy.encrypted.header import Header, signature_holds
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.terms import LARGEST, Bounded, LeastSquares
from tests.unit.encrypted_world import context, decryptor, public_line, signing, terms

SMALL = terms(profile="sum34", totals=(), squares=(), least_squares=None)
EXPECTED = hev.Expected.from_json(expected_json(SMALL))
VALUES = {"units": [5, 0, 7]}


def upload(path, said=SMALL, vectors=VALUES, provider="hospital-a"):
    key = ProvidersContext.from_bytes(context(said.profile).to_bytes())
    write_hev(path, vectors, ProvidersTerms.from_json(said.to_json()), key, signing(provider))
    return path


@cache
def whole():
    with tempfile.TemporaryDirectory() as folder:
        return upload(Path(folder) / "whole.hev").read_bytes()


def rewritten(path, *, rows=None, schema=None, metadata=None, options=None):
    """The whole upload with something about its Arrow form changed."""
    with pa.ipc.open_file(pa.BufferReader(whole())) as file:
        table = file.read_all()
        schema = schema or file.schema
        rows = (
            rows
            if rows is not None
            else [table.column(name)[0].as_py() for name in ("vector", "chunk", "used", "poly")]
        )
        found = dict(file.schema.metadata)
    schema = schema.with_metadata(metadata if metadata is not None else found)
    with path.open("wb") as out, pa.ipc.new_file(out, schema, options=options) as writer:
        for row in rows if rows and isinstance(rows[0], list) else [rows]:
            writer.write_batch(
                pa.record_batch(
                    [pa.array([value], field.type) for value, field in zip(row, schema, strict=True)], schema=schema
                )
            )
    return path


def refused(path, expected=EXPECTED):
    with pytest.raises(hev.Refused) as found:
        hev.read(path, expected)
    return found.value


def header_of():
    with pa.ipc.open_file(pa.BufferReader(whole())) as file:
        return json.loads(file.schema.metadata[b"banyan"])


def poly():
    with pa.ipc.open_file(pa.BufferReader(whole())) as file:
        return file.read_all().column("poly")[0].as_py()


def test_what_the_providers_tool_writes_is_read_and_decrypts(tmp_path):
    said = terms()
    vectors = {vector.name: list(range(1, vector.length + 1)) for vector in said.vectors}
    path = upload(tmp_path / "a.hev", said, vectors)
    expected = hev.Expected.from_json(expected_json(said))
    header = Header.from_json(hev.read(path, expected))
    assert header.terms == said
    assert signature_holds(header, public_line("hospital-a"))
    assert not signature_holds(header, public_line("hospital-b"))
    for name, numbers in chunk_numbers(said).items():
        with hev.mapped(path, expected) as chunk_of:
            assert decryptor().decrypt(np.array(chunk_of(numbers[0])))[: len(vectors[name])] == vectors[name]


def test_a_vector_longer_than_a_chunk_takes_several(tmp_path):
    said = terms(
        profile="sum34", groups=tuple(f"g{number}" for number in range(5000)), totals=(), squares=(), least_squares=None
    )
    path = upload(tmp_path / "a.hev", said, {"units": list(range(5000))})
    expected = hev.Expected.from_json(expected_json(said))
    hev.read(path, expected)
    with hev.mapped(path, expected) as chunk_of:
        parts = [decryptor("sum34").decrypt(np.array(chunk_of(number))) for number in (0, 1)]
    assert (parts[0] + parts[1])[:5000] == list(range(5000))
    assert parts[1][904:] == [0] * (4096 - 904)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda row: ["sums", *row[1:]], "encrypted.format"), (lambda row: [row[0], 1, *row[2:]], "encrypted.format"),
        (lambda row: [row[0], 0, 5000, row[3]], "encrypted.format"), (lambda row: [*row[:3], bytes(len(row[3]))], "encrypted.transparent"),
        (lambda row: [*row[:3], b"\xff" * 8 + row[3][8:]], "encrypted.range"),
        (lambda row: [*row[:3], row[3][:-8] + bytes(8)], "encrypted.digest"), (lambda row: [row, row], "encrypted.format"),
    ],
)  # fmt: skip
def test_a_changed_chunk_is_refused_with_its_reason(tmp_path, change, code):
    found = refused(rewritten(tmp_path / "b.hev", rows=change(["units", 0, 3, poly()])))
    assert found.code == code
    assert found.reason


def test_other_columns_and_types_are_refused(tmp_path):
    with pa.ipc.open_file(pa.BufferReader(whole())) as file:
        schema = file.schema
    row = ["units", 0, 3, poly()]
    others = (
        (schema.append(pa.field("more", pa.int32(), nullable=False)), [*row, 1]),
        (schema.set(1, pa.field("chunk", pa.int64(), nullable=False)), row),
        (schema.set(2, pa.field("used", pa.int32(), nullable=True)), row),
        (schema.set(0, pa.field("vector", pa.dictionary(pa.int8(), pa.string()), nullable=False)), None),
    )
    for other, values in others:
        if values is None:
            path = tmp_path / "d.hev"
            with path.open("wb") as out, pa.ipc.new_file(out, other) as writer:
                arrays = [
                    pa.array(["units"]).dictionary_encode().cast(other.field(0).type),
                    *(pa.array([value], field.type) for value, field in zip(row[1:], list(other)[1:], strict=True)),
                ]
                writer.write_batch(pa.record_batch(arrays, schema=other))
        else:
            path = rewritten(tmp_path / "d.hev", rows=values, schema=other)
        assert refused(path).code == "encrypted.format"


def test_the_largest_header_that_terms_can_make_is_read(tmp_path):
    groups = tuple(f"{number:017}" for number in range(9_999))
    totals = tuple(Bounded(f"x{number:061}", 9, -LARGEST, LARGEST) for number in range(16))
    features = tuple(Bounded(f"y{number:061}", 9, -LARGEST, LARGEST) for number in range(16))
    said = terms("a" * 40, unit="u" * 63, population="p" * 61, groups=groups, totals=totals, squares=(), least_squares=LeastSquares(features, totals[0]), profile="crt115")  # fmt: skip
    whole_header = rfc8785.dumps(said.to_json())
    assert 200_000 < len(whole_header) < hev.MAX_HEADER_BYTES - 2000
    small = replace(said, totals=(), least_squares=None, profile="sum34")
    path = upload(tmp_path / "a.hev", small, {"units": [1] * len(groups)})
    assert hev.read(path, hev.Expected.from_json(expected_json(small)))["terms"] == small.to_json()


def test_a_file_with_more_beside_its_chunks_than_a_file_needs_is_refused(tmp_path):
    path = tmp_path / "a.hev"
    content = whole()
    length = len(json.dumps(header_of(), separators=(",", ":")))
    # The footer says where everything is, so whatever stands between the magic and it may be anything: but not much.
    rest = len(content) - EXPECTED.chunk_bytes - 2 * length
    assert rest < hev.REST_BYTES // 8
    for more, fits in (
        (hev.REST_BYTES // 2, True),
        (hev.REST_BYTES + hev.REST_BYTES_PER_CHUNK, False),
        (1 << 30, False),
    ):
        footer = int.from_bytes(content[-10:-6], "little") + 10
        with path.open("wb") as file:
            file.write(content[:-footer])
            file.seek(more, 1)
            file.write(content[-footer:])
        if fits:
            assert hev.read(path, EXPECTED) == header_of()
        else:
            assert refused(path).code == "encrypted.format"
            assert "need" in refused(path).reason


def test_a_chunk_that_any_one_modulus_shows_is_transparent(tmp_path):
    profile = profile_named("sum34")
    for at in range(len(profile.moduli)):
        words = np.frombuffer(poly(), "<u8").reshape(profile.shape).copy()
        words[0, 1, at] = 0
        found = refused(rewritten(tmp_path / "t.hev", rows=["units", 0, 3, words.tobytes()]))
        assert (found.code, found.vector, found.chunk) == ("encrypted.transparent", "units", 0)


def test_every_coefficient_is_below_its_own_modulus(tmp_path):
    profile = profile_named("sum34")
    for at, modulus in enumerate(profile.moduli):
        for polynomial in (0, 1):
            for value, code in (
                (modulus - 1, "encrypted.digest"),
                (modulus, "encrypted.range"),
                (2**64 - 1, "encrypted.range"),
            ):
                words = np.frombuffer(poly(), "<u8").reshape(profile.shape).copy()
                words[0, polynomial, at, -1] = value
                found = refused(rewritten(tmp_path / "r.hev", rows=["units", 0, 3, words.tobytes()]))
                assert found.code == code


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0), (0, 40)])
def test_no_empty_batches_stand_beside_the_chunks(tmp_path, before, after):
    with pa.ipc.open_file(pa.BufferReader(whole())) as file:
        schema, batch = file.schema, file.get_batch(0)
    with (tmp_path / "e.hev").open("wb") as out, pa.ipc.new_file(out, schema) as writer:
        for each in [batch.slice(0, 0)] * before + [batch] + [batch.slice(0, 0)] * after:
            writer.write_batch(each)
    assert "chunks, not 1" in refused(tmp_path / "e.hev").reason


def test_used_slots_and_places_are_those_of_the_terms(tmp_path):
    for row in (
        ["units", 0, 2, poly()],
        ["units", 0, 4096, poly()],
        ["units", 0, -1, poly()],
        ["units", -1, 3, poly()],
    ):
        found = refused(rewritten(tmp_path / "u.hev", rows=row))
        assert (found.code, found.vector, found.chunk) == ("encrypted.format", "units", 0)
    two = hev.Expected.from_json({**expected_json(SMALL), "vectors": [["units", 4097]]})
    assert "size" in refused(upload(tmp_path / "one.hev"), two).reason


def test_a_compressed_file_is_refused(tmp_path):
    path = rewritten(tmp_path / "z.hev", options=pa.ipc.IpcWriteOptions(compression="zstd"))
    assert refused(path).code == "encrypted.format"


@pytest.mark.parametrize(
    "metadata",
    [
        {}, {b"banyan": b""}, {b"banyan": b"[]"}, {b"banyan": b"\xff"}, {b"other": b"1"}, {b"banyan": b"{ }"}, {b"banyan": b'{"a":NaN}'},
        {b"banyan": b'{"a":1,"a":1}'}, {b"banyan": b"{}", b"more": b"1"}, {b"banyan": b"[" * 100_000}, {b"banyan": b'{"a":"' + b"x" * 600_000 + b'"}'},
    ],
)  # fmt: skip
def test_the_metadata_is_one_canonical_header(tmp_path, metadata):
    assert refused(rewritten(tmp_path / "m.hev", metadata=metadata)).code == "encrypted.format"


@pytest.mark.parametrize(
    "content", [b"", b"ARROW1", b"\0" * 200_000, b"PK\x03\x04" * 40_000, b"ARROW1\0\0" + b"\xff" * 150_000]
)
def test_junk_is_refused(tmp_path, content):
    (tmp_path / "junk.hev").write_bytes(content)
    assert refused(tmp_path / "junk.hev").code == "encrypted.format"
    assert refused(tmp_path / "absent.hev").code == "encrypted.format"


def test_a_header_is_read_strictly():
    said = header_of()
    Header.from_json(said)
    wrong = (
        {**said, "more": 1}, {name: value for name, value in said.items() if name != "tool"}, {**said, "schema": "banyan.hev/2"},
        {**said, "key": "sha256:0"}, {**said, "content": 5}, {**said, "created": "yesterday"}, {**said, "signature": "AAAA"},
        {**said, "tool": "x" * 100}, {**said, "terms": {**said["terms"], "units": True}}, {**said, "terms": []},
        {**said, "terms": {**said["terms"], "max_groups": 10**9}}, {**said, "terms": {**said["terms"], "profile": "sum99"}},
    )  # fmt: skip
    for each in wrong:
        with pytest.raises((ValueError, TypeError)):
            Header.from_json(each)


def test_an_expired_key_or_another_profile_encrypts_nothing(tmp_path):
    said = ProvidersTerms.from_json(SMALL.to_json())
    for key, code in (
        (context("sum34", "2026-01-02T00:00:00Z"), "context.expired"),
        (context("sum58"), "context.profile"),
    ):
        with pytest.raises(ProviderRefused) as found:
            write_hev(
                tmp_path / "x.hev", VALUES, said, ProvidersContext.from_bytes(key.to_bytes()), signing("hospital-a")
            )
        assert found.value.code == code


def test_two_thousand_mutated_files_are_refused_without_a_crash(tmp_path):
    (tmp_path / "whole.hev").write_bytes(whole())
    seed = str(random.randrange(10**6))
    said = subprocess.run(
        [sys.executable, "-m", "tests.unit.hev_mutations", tmp_path / "whole.hev", tmp_path, seed, "2000", json.dumps(expected_json(SMALL)), public_line("hospital-a")],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert said.returncode == 0, (seed, said.stderr[-2000:])
    found = json.loads(said.stdout)
    assert sum(sum(codes.values()) for codes in found.values()) == 2000
    assert found["cut"] == {"encrypted.format": 200}, seed
    assert found["arrow"] == {"encrypted.format": 400}, seed
    assert "read" not in found["header_members"], seed
    assert found["header_members"]["forged"] > 100, seed
    assert found["bits"]["encrypted.digest"] > 20, seed
    assert found["bits"]["encrypted.range"] > 20, seed
    read = sum(codes.get("read", 0) for codes in found.values())
    assert read < 400, "a change between the parts may be none"


def test_what_a_mutation_leaves_readable_is_what_was_signed(tmp_path):
    """Whatever the file looks like: an accepted one has the digest that the provider signed."""
    profile = profile_named("sum34")
    path = tmp_path / "w.hev"
    path.write_bytes(whole())
    with hev.mapped(path, EXPECTED) as chunk_of:
        words = chunk_of(0)
        assert hev.read(path, EXPECTED)["content"] == "sha256:" + hashlib.sha256(words.tobytes()).hexdigest()
        assert words.shape == profile.shape
