"""Which state of the service's log is believed: signed by the pinned key, and an extension of the newest one seen before.

A spend counts only with a proof that this log holds it. A log that shrank or forked is an incident: the service's database was restored,
or it shows different people different logs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from banyan.errors import VerificationError
from banyan.verify import Key, open_note, parse_checkpoint, root_from
from cryptography.exceptions import InvalidSignature

from core.canonical import canonical

RESERVED, COMMITTED = "budget:reserved", "budget:committed"


class LogForked(ValueError):
    """The log shown is not an extension of the one seen before."""


class Stale(ValueError):
    """The log shown is smaller than the one seen: a request that another one overtook. A log that stays so extends nothing for ever."""


@dataclass(frozen=True)
class Head:
    """Size and root of the log, and the note that says so."""

    size: int
    root: bytes
    note: str


def extended(proof: Mapping[str, Any], key: Key, seen: Head | None, was_seen: Callable[[int, bytes], bool]) -> Head:
    """The head that a proof's checkpoint states. Raises ValueError; Stale, or LogForked where it does not extend `seen`, the newest one.

    `was_seen` tells whether a head of this size and root was ever followed.
    """
    note = proof["checkpoint"]
    try:
        size, root = parse_checkpoint(open_note(note, key), key.name)
    except (VerificationError, InvalidSignature, ValueError, KeyError, TypeError):
        raise ValueError("the checkpoint is not signed by the service's log") from None
    path = [_bytes(part) for part in proof["consistency"]]
    if seen is None or (size, root) == (seen.size, seen.root):  # what is followed already needs no path
        return Head(size, root, note)
    if was_seen(size, root):
        raise Stale("the checkpoint is older than the one followed")
    if size < seen.size:
        raise Stale("the checkpoint is smaller than the one followed")
    if not is_consistent(seen.size, seen.root, size, root, path):
        raise LogForked("the log does not extend the one seen before")
    return Head(size, root, note)


def spend_in(proof: Mapping[str, Any], head: Head) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The facts of the reservation and of the commitment, both in the log and of one spend. Raises ValueError."""
    entries = [_entry(proof[name], kind, head) for name, kind in (("reserved", RESERVED), ("committed", COMMITTED))]
    if entries[0]["subject"] != entries[1]["subject"]:
        raise ValueError("reservation and commitment are of different spends")
    return entries[0]["facts"], entries[1]["facts"]


def _entry(said: Mapping[str, Any], kind: str, head: Head) -> Mapping[str, Any]:
    raw, index = _bytes(said["entry"]), said["index"]
    if type(index) is not int or index < 0:
        raise ValueError("an entry has an index")
    leaf = hashlib.sha256(b"\x00" + raw).digest()
    if root_from(leaf, index, head.size, [_bytes(part) for part in said["inclusion"]]) != head.root:
        raise ValueError("the log does not hold the entry")
    entry = json.loads(raw)
    if not isinstance(entry, dict) or canonical(entry) != raw or entry.get("index") != index:
        raise ValueError("the entry is of another form")
    if entry.get("type") != kind or not isinstance(entry.get("facts"), dict):
        raise ValueError("the entry is of another type")
    return entry


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 §2.1.4.2: whether `proof` shows that the tree (new, new_root) extends the tree (old, old_root)."""
    if old == new:
        return old_root == new_root and not proof
    if not 0 < old < new or not proof:
        return False
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    found_old = found_new = path[0]
    for part in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            found_old, found_new = _node(part, found_old), _node(part, found_new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found_new = _node(found_new, part)
        at, last = at >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
