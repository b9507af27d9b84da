"""Checks a receipt offline, against one trusted log key, sharing no code with the server.

The steps, in order; each is marked in the code and named by the error when it fails:
    1 receipt     strict JSON of the known form
    2 key         a verifier key (C2SP signed-note), and the receipt names no other
    3 signature   the checkpoint is a signed note with a valid Ed25519 signature of that key
    4 checkpoint  the note states that log's name, a size and a root hash (C2SP tlog-checkpoint)
    5 inclusion   the entry's bytes are in the tree of that size and root, at that index (RFC 9162, 2.1.3.2)
    6 entry       the entry is canonical JSON (RFC 8785) that issues this release of this job
    7 statement   the entry binds the hash of the receipt's statement
    8 output      the entry binds the salted hash of the released table
    9 result      the table at hand, if one is, has that hash
What this shows, and what it does not, is put in words by `banyan.proof`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from banyan.errors import VerificationError

MAX_RECEIPT_BYTES = 4_000_000
MAX_RESULT_BYTES = 500_000_000
_ED25519 = b"\x01"
_MOST_SIGNATURES = 100
_MEMBERS = {"schema", "release", "job", "statement", "output", "entry", "inclusion", "checkpoint", "log_key"}
_BESIDE_THE_TABLE = ("job", "mode", "guarantee", "receipt", "reused")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Key:
    """A log's public key under its name; `text` is the vkey that says it."""

    text: str
    name: str
    identifier: bytes
    public: bytes


@dataclass(frozen=True)
class Verified:
    """What a receipt was found to bind."""

    release: str
    job: str
    statement: Mapping[str, Any]
    entry: Mapping[str, Any]
    index: int
    size: int
    key: Key
    result_checked: bool


def verify(receipt: bytes, key: str, result: bytes | None = None) -> Verified:
    """Check a receipt file's bytes with the log's verifier key, and a result saved as JSON if given. Raises VerificationError."""
    with _step("1 receipt"):
        found = _receipt(receipt)
        entry_bytes, salt = _base64(found["entry"]["bytes"]), bytes.fromhex(found["output"]["salt"])
        index, digest = found["entry"]["index"], found["output"]["digest"]
    with _step("2 key"):
        trusted = parse_key(key)
        _demand(found["log_key"] == trusted.text, "the receipt names another log key than the trusted one")
    with _step("3 signature"):
        signed = open_note(found["checkpoint"], trusted)
    with _step("4 checkpoint"):
        size, root = parse_checkpoint(signed, trusted.name)
    with _step("5 inclusion"):
        leaf = hashlib.sha256(b"\x00" + entry_bytes).digest()
        path = [_base64(node, 32) for node in found["inclusion"]]
        _demand(root_from(leaf, index, size, path) == root, "the entry is not in the signed log")
    with _step("6 entry"):
        entry = _json(entry_bytes)
        _demand(rfc8785.dumps(entry) == entry_bytes, "the entry is not canonical JSON")
        _demand(entry["v"] == 1 and entry["index"] == index, "the entry is of another form or place")
        _demand(entry["type"] == "release:issued", "the entry issues no release")
        _demand(entry["subject"] == found["release"], "the entry issues another release")
        _demand(entry["facts"]["job"] == found["job"], "the entry is about another job")
    with _step("7 statement"):
        statement = found["statement"]
        _demand(entry["facts"]["statement"] == _sha256(rfc8785.dumps(statement)), "the statement is not the logged one")
        for name in ("release", "job"):
            _demand(statement.get(name, found[name]) == found[name], f"the statement is about another {name}")
    with _step("8 output"):
        _demand(entry["facts"]["output"] == digest, "the output's hash is not the logged one")
    if result is not None:
        with _step("9 result"):
            table = _table(_json(result), found)
            _demand(_sha256(salt + rfc8785.dumps(table)) == digest, "the table at hand is not the released one")
    return Verified(found["release"], found["job"], statement, entry, index, size, trusted, result is not None)


def claimed_key(receipt: bytes) -> Key:
    """The key that the receipt itself names: no proof of anything, until a person compares it."""
    with _step("1 receipt"):
        found = _receipt(receipt)
    with _step("2 key"):
        return parse_key(found["log_key"])


def parse_key(text: str) -> Key:
    """A vkey, `<name>+<hex id>+<base64 of type and key>`. Raises ValueError."""
    name, identifier, material = text.split("+", 2)
    blob = _base64(material, 33)
    _demand(bool(name) and not re.search(r"\s", name), "the key has no name")
    _demand(blob[:1] == _ED25519, "the key is not an Ed25519 key")
    expected = hashlib.sha256(name.encode() + b"\n" + blob).digest()[:4]
    _demand(identifier == expected.hex(), "the key's id does not fit its name and value")
    return Key(text, name, expected, blob[1:])


def open_note(note: str, key: Key) -> str:
    """The text of a signed note that `key` signed. Signatures of other keys are ignored. Raises ValueError or InvalidSignature."""
    _demand(not _CONTROL.search(note), "the note holds control characters")
    head, mark, tail = note.rpartition("\n\n")
    _demand(bool(mark) and tail.endswith("\n"), "the note has no signatures")
    text, lines, valid = head + "\n", tail[:-1].split("\n"), False
    _demand(len(lines) <= _MOST_SIGNATURES, "the note has too many signatures")
    for line in lines:
        dash, name, encoded = line.split(" ")
        blob = _base64(encoded)
        _demand(dash == "—" and bool(name) and "+" not in name and len(blob) > 4, "a signature line is malformed")
        if (name, blob[:4]) == (key.name, key.identifier):
            Ed25519PublicKey.from_public_bytes(key.public).verify(blob[4:], text.encode())
            valid = True
    _demand(valid, "the note is not signed by the trusted key")
    return text


def parse_checkpoint(text: str, origin: str) -> tuple[int, bytes]:
    """Size and root hash of a checkpoint of the log called `origin`. Raises ValueError."""
    name, size, root, *extensions = text.removesuffix("\n").split("\n")
    _demand(name == origin, "the checkpoint is of another log")
    _demand(re.fullmatch(r"0|[1-9][0-9]{0,17}", size) is not None, "the size is not a decimal number")
    _demand(all(extensions), "an extension line is empty")
    return int(size), _base64(root, 32)


def root_from(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion path leads to (RFC 9162, 2.1.3.2). Raises ValueError when the path has the wrong length."""
    _demand(0 <= index < size, "the index lies outside the log")
    at, last, found = index, size - 1, leaf
    for node in path:
        _demand(last > 0, "the inclusion path is too long")
        if at & 1 or at == last:
            found = hashlib.sha256(b"\x01" + node + found).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + node).digest()
        at, last = at >> 1, last >> 1
    _demand(last == 0, "the inclusion path is too short")
    return found


class _Told(ValueError):
    """A failure in words of our own; any other ValueError speaks the words of a library."""


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Every way in which a step can fail becomes the one error that names it."""
    try:
        yield
    except InvalidSignature:
        raise VerificationError(name, "the signature does not fit the text and the trusted key") from None
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise VerificationError(name, "a part is missing or of the wrong kind") from None
    except _Told as problem:
        raise VerificationError(name, str(problem)) from None
    except ValueError:
        raise VerificationError(name, "a part is not of the form that it must have") from None


def _receipt(content: bytes) -> Any:
    _demand(len(content) <= MAX_RECEIPT_BYTES, "the receipt is too large")
    found = _json(content)
    _demand(isinstance(found, dict) and found.get("schema") == "banyan.receipt/1", "this is not a receipt")
    _demand(set(found) == _MEMBERS, "it has other members than a receipt")
    _demand(set(found["output"]) == {"salt", "digest"}, "its output has other members than salt and digest")
    _demand(set(found["entry"]) == {"index", "bytes"}, "its entry has other members than index and bytes")
    texts = [found["release"], found["job"], found["checkpoint"], found["log_key"], *found["inclusion"]]
    _demand(all(isinstance(text, str) for text in texts), "a text is missing")
    _demand(type(found["entry"]["index"]) is int and isinstance(found["inclusion"], list), "index or path is missing")
    _demand(re.fullmatch(r"([0-9a-f]{2}){16,64}", found["output"]["salt"]) is not None, "the salt is malformed")
    return found


def _table(result: Any, receipt: Mapping[str, Any]) -> Any:
    """The released table inside a saved result: what stands beside it there must not contradict the receipt."""
    for name, expected in (("job", receipt["job"]), ("receipt", receipt["release"]), ("mode", "real")):
        _demand(result.get(name, expected) == expected, f"the result at hand is of another {name}")
    _demand("mock" not in result, "the result at hand is of made-up rows")
    reuse = receipt["statement"].get("reuse")
    _demand(
        reuse is None or result.get("reused", reuse) == reuse, "the result at hand says otherwise whether it is a copy"
    )
    stated = receipt["statement"].get("guarantee") or {}
    for name, claimed in (result.get("guarantee") or {}).items():
        _demand(name in stated and stated[name] == claimed, "the result at hand claims another guarantee")
    return {name: value for name, value in result.items() if name not in _BESIDE_THE_TABLE}


def _json(content: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _demand(len({name for name, _ in pairs}) == len(pairs), "a member is given twice")
        return dict(pairs)

    def refuse(text: str) -> None:
        raise _Told(f"{text[:20]} is not a JSON number")

    try:
        return json.loads(content.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise _Told("it is not JSON") from None


def _base64(text: str, length: int | None = None) -> bytes:
    found = base64.b64decode(text, validate=True)
    _demand(base64.b64encode(found).decode() == text, "base64 is not in its one form")
    _demand(length is None or len(found) == length, "base64 has the wrong length")
    return found


def _sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Told(otherwise)
