"""What the offline verifier accepts, and that it accepts nothing else."""

from __future__ import annotations

import ast
import base64
import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import banyan.verify
import pytest
import rfc8785
from banyan.errors import VerificationError
from banyan.proof import NOT_PROVED, proved
from banyan.verify import claimed_key, open_note, parse_checkpoint, parse_key, verify
from cryptography.exceptions import InvalidSignature
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.receipts_by_hand import Log, b64, receipt_of

TABLE = {"schema": "banyan.table/1", "columns": [], "rows": [{"carrier": "UA", "flights": {"value": 7}}], "notes": []}
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def honest() -> tuple[Log, dict[str, Any]]:
    log = Log("banyan.test/log")
    return log, receipt_of(log, TABLE)


LOG, RECEIPT = honest()
BYTES = json.dumps(RECEIPT, ensure_ascii=False).encode()

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def failing(receipt: Any, key: str = LOG.key, result: Any = None) -> str:
    content = receipt if isinstance(receipt, bytes) else json.dumps(receipt).encode()
    with pytest.raises(VerificationError) as caught:
        verify(content, key, None if result is None else json.dumps(result).encode())
    return caught.value.step


def test_an_honest_receipt_holds_with_and_without_the_result() -> None:
    found = verify(BYTES, LOG.key)
    assert (found.release, found.job, found.index, found.size, found.result_checked) == ("r-1", "j-1", 5, 9, False)
    assert verify(BYTES, LOG.key, json.dumps(TABLE).encode()).result_checked


def test_a_result_saved_with_what_stands_beside_the_table_is_recognised() -> None:
    beside = {"job": "j-1", "mode": "real", "receipt": "r-1"}
    guarantee = {"sentence": "for people", "epsilon": "0.5", "unit": "aircraft"}
    assert verify(BYTES, LOG.key, json.dumps({**TABLE, **beside, "guarantee": guarantee}).encode()).result_checked
    for forged in (
        {"job": "j-2"},
        {"mode": "mock"},
        {"receipt": "r-2"},
        {"guarantee": {**guarantee, "epsilon": "0.1"}},
        {"guarantee": {**guarantee, "epsilon_for_all": "0"}},
    ):
        assert failing(RECEIPT, result={**TABLE, **beside, **forged}) == "9 result"


@pytest.mark.parametrize(
    "result",
    [
        {**TABLE, "rows": [{"carrier": "UA", "flights": {"value": 8}}]},
        {**TABLE, "notes": ["added"]},
        {name: value for name, value in TABLE.items() if name != "notes"},
        [],
        "text",
        None.__class__.__name__,
    ],
)
def test_another_table_is_not_the_released_one(result: Any) -> None:
    assert failing(RECEIPT, result=result) == "9 result"


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", b'{"a":NaN}', b'{"rows":1,"rows":1}', b"[" * 100_000])
def test_a_result_that_cannot_be_read_is_refused_by_that_step(content: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        verify(BYTES, LOG.key, content)
    assert caught.value.step == "9 result"


def test_the_published_signed_note_opens() -> None:
    assert open_note(EXAMPLE_NOTE, parse_key(EXAMPLE_KEY)) == "This is an example message.\n"


def test_signatures_of_unknown_keys_are_ignored_and_a_bad_one_of_the_known_key_is_not() -> None:
    key = parse_key(EXAMPLE_KEY)
    head, _, signature = EXAMPLE_NOTE.partition("\n\n")
    stranger = f"— witness.example {b64(b'abcd' + b'x' * 72)}\n"
    assert open_note(f"{head}\n\n{stranger}{signature}", key)
    bad = f"— example.com/foo {b64(key.identifier + bytes(64))}\n"
    for note in (f"{head}\n\n{bad}{signature}", f"{head}\n\n{signature}{bad}"):
        with pytest.raises(InvalidSignature):
            open_note(note, key)
        assert failing({**RECEIPT, "checkpoint": note, "log_key": EXAMPLE_KEY}, key=EXAMPLE_KEY) == "3 signature"


@pytest.mark.parametrize(
    "note",
    [
        "no signature\n",
        "text\n\n",
        "text\n\n— example.com/foo\n",
        "text\n\n- example.com/foo AAAAAAAA\n",
        EXAMPLE_NOTE.rstrip("\n"),
        EXAMPLE_NOTE.replace("example message", "example\tmessage"),
        EXAMPLE_NOTE.replace("— example", "—  example"),
        EXAMPLE_NOTE.replace("=\n", "\n"),
        "text\n\n" + f"— other {b64(b'x' * 68)}\n" * 101,
        "text\n\n" + f"— other {b64(b'x' * 68)}\n",
    ],
)
def test_a_malformed_or_unsigned_note_is_refused(note: str) -> None:
    with pytest.raises(ValueError):
        open_note(note, parse_key(EXAMPLE_KEY))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "a+b+c",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("foo", "fop"),
        EXAMPLE_KEY.replace("+Aek", "+Bek"),
        EXAMPLE_KEY.replace("example.com", "exam ple.com"),
        EXAMPLE_KEY[:-4],
        EXAMPLE_KEY + " ",
    ],
)
def test_a_malformed_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_key(text)
    assert failing(RECEIPT, key=text) == "2 key"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log\n1\n",
        f"log\n-1\n{b64(bytes(32))}\n",
        f"log\n01\n{b64(bytes(32))}\n",
        f"log\n1²\n{b64(bytes(32))}\n",
        f"log\n1\n{b64(bytes(31))}\n",
        f"log\n1\n{b64(bytes(32))}\n\n",
        f"other\n1\n{b64(bytes(32))}\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_checkpoint(text, "log")


def test_a_checkpoint_with_extension_lines_is_read() -> None:
    assert parse_checkpoint(f"log\n7\n{b64(bytes(32))}\nextension\n", "log") == (7, bytes(32))


def set_at(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(receipt: dict[str, Any]) -> None:
        for name in path[:-1]:
            receipt = receipt[name]
        receipt[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (set_at("schema", to="banyan.receipt/2"), "1 receipt"),
        (set_at("more", to=1), "1 receipt"),
        (set_at("output", "more", to=1), "1 receipt"),
        (set_at("entry", "more", to=1), "1 receipt"),
        (set_at("release", to=7), "1 receipt"),
        (set_at("inclusion", to="AAAA"), "1 receipt"),
        (set_at("entry", "index", to=True), "1 receipt"),
        (set_at("entry", to=None), "1 receipt"),
        (set_at("output", "salt", to="11" * 31 + "1"), "1 receipt"),
        (set_at("output", "salt", to="11 " * 32), "1 receipt"),
        (set_at("entry", "bytes", to=RECEIPT["entry"]["bytes"] + "="), "1 receipt"),
        (set_at("log_key", to=EXAMPLE_KEY), "2 key"),
        (set_at("checkpoint", to=RECEIPT["checkpoint"].replace("\n9\n", "\n8\n")), "3 signature"),
        (set_at("inclusion", to=[]), "5 inclusion"),
        (set_at("inclusion", to=RECEIPT["inclusion"][::-1]), "5 inclusion"),
        (set_at("inclusion", to=[b64(b"x")] * 4), "5 inclusion"),
        (set_at("entry", "index", to=6), "5 inclusion"),
        (set_at("entry", "index", to=-1), "5 inclusion"),
        (set_at("entry", "index", to=10**30), "5 inclusion"),
        (set_at("release", to="r-2"), "6 entry"),
        (set_at("job", to="j-2"), "6 entry"),
        (set_at("statement", "reviewers", to=["p-9"]), "7 statement"),
        (set_at("statement", "guarantee", "epsilon", to="0.1"), "7 statement"),
        (set_at("statement", to=None), "7 statement"),
        (set_at("statement", "big", to=2**60), "7 statement"),
        (set_at("output", "digest", to="sha256:" + "0" * 64), "8 output"),
    ],
)
def test_a_changed_part_is_found_by_the_step_that_answers_for_it(
    change: Callable[[dict[str, Any]], None], step: str
) -> None:
    receipt = copy.deepcopy(RECEIPT)
    change(receipt)
    assert failing(receipt) == step


def test_a_member_that_is_given_twice_is_refused() -> None:
    """Another reader might take the other of the two."""
    twice = BYTES.replace(b'"release": "r-1"', b'"release": "r-9", "release": "r-1"', 1)
    assert json.loads(twice) == RECEIPT
    assert failing(twice) == "1 receipt"


def test_a_salt_that_was_changed_is_found_when_the_result_is_compared() -> None:
    receipt = copy.deepcopy(RECEIPT)
    receipt["output"]["salt"] = "22" * 32
    assert failing(receipt, result=TABLE) == "9 result"


def test_an_entry_of_another_kind_issues_no_release() -> None:
    log = Log("banyan.test/log")
    assert failing(receipt_of(log, TABLE, kind="release:sealed"), key=log.key) == "6 entry"


def relogged(change: Callable[[dict[str, Any]], None], *, canonical: bool = True) -> dict[str, Any]:
    """A receipt whose one entry is validly logged, but says something else than a release's entry should."""
    receipt = copy.deepcopy(RECEIPT)
    entry = json.loads(base64.b64decode(receipt["entry"]["bytes"]))
    entry["index"] = 0
    change(entry)
    log = Log("banyan.test/log")
    log.leaves = [rfc8785.dumps(entry) if canonical else json.dumps(entry, indent=1).encode()]
    receipt["entry"] = {"index": 0, "bytes": b64(log.leaves[0])}
    receipt["inclusion"], receipt["checkpoint"] = [], log.checkpoint()
    return receipt


def test_a_relogged_entry_is_accepted_only_as_it_should_be() -> None:
    verify(json.dumps(relogged(lambda entry: None)).encode(), LOG.key)
    assert failing(relogged(lambda entry: None, canonical=False)) == "6 entry"
    for name, value in (("v", 2), ("index", 1), ("type", "job:submitted"), ("subject", "r-9"), ("facts", {})):
        assert failing(relogged(set_at(name, to=value))) == "6 entry"
    assert failing(relogged(set_at("facts", "output", to="sha256:0"))) == "8 output"


def test_a_statement_about_another_release_is_refused_even_when_its_hash_is_logged() -> None:
    for name in ("release", "job"):
        receipt = copy.deepcopy(RECEIPT)
        receipt["statement"][name] = "other"
        digest = banyan.verify._sha256(rfc8785.dumps(receipt["statement"]))
        logged = relogged(set_at("facts", "statement", to=digest))
        assert failing({**logged, "statement": receipt["statement"]}) == "7 statement"


@pytest.mark.parametrize("other", [EXAMPLE_KEY, Log("banyan.test/log", b"\x08" * 32).key, Log("another.log").key])
def test_a_receipt_of_another_log_or_key_is_refused(other: str) -> None:
    assert failing(RECEIPT, key=other) == "2 key"
    assert failing({**RECEIPT, "log_key": other}, key=other) == "3 signature"


def test_every_flipped_bit_is_found_or_changes_nothing() -> None:
    """Each byte region of the receipt: what is accepted after a change says exactly what the honest receipt says."""
    salt = BYTES.index(RECEIPT["output"]["salt"].encode())
    accepted = set()
    for at in range(len(BYTES)):
        forged = bytearray(BYTES)
        forged[at] ^= 1
        try:
            found = verify(bytes(forged), LOG.key, json.dumps(TABLE).encode())
        except VerificationError:
            continue
        assert found == verify(BYTES, LOG.key, json.dumps(TABLE).encode())
        accepted.add(at)
    assert not accepted & set(range(salt, salt + 64))
    assert all(BYTES[at : at + 1] in b" !" for at in accepted), [BYTES[at - 5 : at + 5] for at in accepted]


@settings(max_examples=150)
@given(JSON, st.sampled_from(sorted(RECEIPT)), st.booleans())
def test_whatever_stands_in_a_receipt_the_one_error_is_raised(value: Any, name: str, alone: bool) -> None:
    receipt = value if alone else {**RECEIPT, name: value}
    if receipt == RECEIPT:
        assert verify(json.dumps(receipt).encode(), LOG.key)
    else:
        assert failing(receipt)[0] in "12345678"


@given(st.binary(max_size=200))
def test_whatever_bytes_come_the_one_error_is_raised(content: bytes) -> None:
    with pytest.raises(VerificationError):
        verify(content, LOG.key)
    with pytest.raises(VerificationError):
        claimed_key(content)


def test_a_receipt_that_is_too_large_or_too_deep_is_refused() -> None:
    assert failing(b" " * (banyan.verify.MAX_RECEIPT_BYTES + 1)) == "1 receipt"
    assert failing(b"[" * 200_000) == "1 receipt"
    assert failing(BYTES.replace(b'"statement": {', b'"statement": {"deep": ' + b"[" * 900 + b"]" * 900 + b",", 1))


def test_the_key_that_a_receipt_claims_is_told_without_trusting_it() -> None:
    assert claimed_key(BYTES).text == LOG.key
    with pytest.raises(VerificationError) as caught:
        claimed_key(json.dumps({**RECEIPT, "log_key": "rubbish"}).encode())
    assert caught.value.step == "2 key"


def test_the_words_name_every_bound_fact_and_what_is_not_proved() -> None:
    parts = dict(proved(verify(BYTES, LOG.key)))
    assert "entry 5 (counted from 0) of the 9 entries" in parts["Order"]
    assert "policy.digest: sha256:bbbb" in parts["Approval"]
    assert "reviewers: none" in parts["Approval"]
    assert "its budget events are the log's entries: 1, 2" in parts["Budget"]
    assert "guarantee.epsilon: 0.5" in parts["Budget"]
    assert "copy of an identical job's earlier release: no" in parts["Work"]
    for name in ("asset", "version", "version_root", "code", "image", "submitted_by"):
        assert str(RECEIPT["statement"][name]) in parts["Work"]
    odd = {"new": [{"a": 1}, [2]], "empty": {}, "nothing": None}
    words = dict(proved(dataclasses.replace(verify(BYTES, LOG.key), statement=odd)))["Work"]
    assert words.split("\n") == ["new[0].a: 1", "new[1]: 2", "empty: none", "nothing: none"]
    assert "not compared" in parts["Output"]
    assert any("noise" in text for text in NOT_PROVED)


def test_the_verifier_shares_no_code_with_the_server_and_opens_no_socket(tmp_path: Path) -> None:
    """It runs in a fresh interpreter in which every socket is refused and no room can be imported."""
    source = Path(banyan.verify.__file__)
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - set(sys.stdlib_module_names) == {"banyan", "cryptography", "rfc8785"}
    (tmp_path / "r.json").write_bytes(BYTES)
    program = """
import socket, sys
from pathlib import Path
from banyan.verify import verify
def no(*a, **k): raise AssertionError("a socket was opened")
socket.socket = socket.create_connection = socket.getaddrinfo = no
print(verify(Path(sys.argv[1]).read_bytes(), sys.argv[2]).release)
rooms = {"api", "jobs", "sandbox", "policies", "assets", "privacy", "audit", "core"}
assert not rooms & {name.split(".")[0] for name in sys.modules}
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "r.json"), LOG.key],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("r-1\n", "")
