"""A log, its Merkle tree and its receipts, written from the definitions of RFC 9162 (2.1.1, 2.1.3.1) and C2SP signed-note for tests.

Shares no code with the server's log nor with the client's verifier: the tree is computed by recursion over the whole list.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def half(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def tree_hash(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha()
    if len(leaves) == 1:
        return sha(b"\x00", leaves[0])
    k = half(len(leaves))
    return sha(b"\x01", tree_hash(leaves[:k]), tree_hash(leaves[k:]))


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), tree_hash(leaves[k:])]
    return [*path(index - k, leaves[k:]), tree_hash(leaves[:k])]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Log:
    """Entries and a key. The seed is fixed: a test's receipt is the same every time."""

    def __init__(self, origin: str, seed: bytes = b"\x07" * 32) -> None:
        self.origin = origin
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.leaves: list[bytes] = []

    @property
    def blob(self) -> bytes:
        return b"\x01" + self.private.public_key().public_bytes_raw()

    @property
    def identifier(self) -> bytes:
        return sha(self.origin.encode(), b"\n", self.blob)[:4]

    @property
    def key(self) -> str:
        return f"{self.origin}+{self.identifier.hex()}+{b64(self.blob)}"

    def record(self, kind: str, subject: str, facts: dict[str, Any]) -> int:
        index = len(self.leaves)
        entry = {"v": 1, "index": index, "time": f"2026-11-25T09:12:{index:02}.000000Z", "type": kind}
        self.leaves.append(rfc8785.dumps({**entry, "subject": subject, "actor": "system", "facts": facts}))
        return index

    def checkpoint(self, extra_signature: str = "") -> str:
        body = f"{self.origin}\n{len(self.leaves)}\n{b64(tree_hash(self.leaves))}\n"
        return f"{body}\n{extra_signature}— {self.origin} {b64(self.identifier + self.private.sign(body.encode()))}\n"


def receipt_of(
    log: Log,
    table: dict[str, Any],
    *,
    release: str = "r-1",
    job: str = "j-1",
    guarantee: dict[str, Any] | None = None,
    kind: str = "release:issued",
    before: int = 5,
    after: int = 3,
) -> dict[str, Any]:
    """A receipt as the contract describes it, in a log with other entries around it."""
    for number in range(before):
        log.record("job:submitted", f"j-{number}", {"number": number})
    statement = {
        "schema": "banyan.statement/1",
        "release": release,
        "job": job,
        "asset": "traffic/flights",
        "version": "v-1",
        "version_root": "sha256:" + "a" * 64,
        "purpose": "research",
        "policy": {"name": "traffic-research-2026", "version": 1, "digest": "sha256:" + "b" * 64},
        "submitted_by": "p-1",
        "reviewers": [],
        "code": "sha256:" + "c" * 64,
        "image": "sha256:" + "d" * 64,
        "guarantee": guarantee or {"epsilon": "0.5", "unit": "aircraft", "sentence": "for people"},
        "ledger": [1, 2],
        "reuse": False,
    }
    salt = b"\x11" * 32
    digest = "sha256:" + sha(salt, rfc8785.dumps(table)).hex()
    facts = {"job": job, "statement": "sha256:" + sha(rfc8785.dumps(statement)).hex(), "output": digest}
    index = log.record(kind, release, facts)
    for number in range(after):
        log.record("log:read", "log", {"number": number})
    return {
        "schema": "banyan.receipt/1",
        "release": release,
        "job": job,
        "statement": statement,
        "output": {"salt": salt.hex(), "digest": digest},
        "entry": {"index": index, "bytes": b64(log.leaves[index])},
        "inclusion": [b64(node) for node in path(index, log.leaves)],
        "checkpoint": log.checkpoint(),
        "log_key": log.key,
    }
