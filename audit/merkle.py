"""RFC 9162 Merkle tree hashes and proofs; pure. `node(level, index)` hands out hashes of complete subtrees.

A complete subtree at `level` covers the leaves index·2^level … (index+1)·2^level − 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

NodeReader = Callable[[int, int], bytes]
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed_by(index: int, leaf: bytes, node: NodeReader) -> list[tuple[int, int, bytes]]:
    """The complete subtrees (level, index, hash) that appending leaf `index` finishes, from the leaf up."""
    made = [(0, index, leaf)]
    level, at, current = 0, index, leaf
    while at % 2 == 1:
        current = node_hash(node(level, at - 1), current)
        level, at = level + 1, at // 2
        made.append((level, at, current))
    return made


def _split(size: int) -> int:
    """The largest power of two below `size` (RFC 9162 §2.1.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_hash(start: int, size: int, node: NodeReader) -> bytes:
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    left = _split(size)
    return node_hash(_range_hash(start, left, node), _range_hash(start + left, size - left, node))


def root(size: int, node: NodeReader) -> bytes:
    """The tree head of the first `size` leaves."""
    return _range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """RFC 9162 §2.1.3.1: the audit path of leaf `index` in the tree of `size` leaves. Raises ValueError outside the tree."""
    if not 0 <= index < size:
        raise ValueError("the entry is not in a tree of this size")
    path: list[bytes] = []
    start = 0
    while size > 1:
        left = _split(size)
        if index - start < left:
            path.append(_range_hash(start + left, size - left, node))
            size = left
        else:
            path.append(_range_hash(start, left, node))
            start, size = start + left, size - left
    return path[::-1]


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """RFC 9162 §2.1.4.1: that the first `old` leaves of the tree of `new` leaves are a tree seen before."""
    if not 0 < old <= new:
        raise ValueError("no consistency proof between these sizes")
    path: list[bytes] = []
    start, size, whole = 0, new, True
    while old != size:
        left = _split(size)
        if old <= left:
            path.append(_range_hash(start + left, size - left, node))
            size = left
        else:
            path.append(_range_hash(start, left, node))
            start, size, old, whole = start + left, size - left, old - left, False
    return (path if whole else [*path, _range_hash(start, size, node)])[::-1]


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 §2.1.4.2: whether `proof` shows that the tree (new, new_root) extends the tree (old, old_root)."""
    if old == new:
        return old_root == new_root and not proof
    if not 0 < old < new or not proof:
        return False
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_found = new_found = path[0]
    for part in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            old_found, new_found = node_hash(part, old_found), node_hash(part, new_found)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            new_found = node_hash(new_found, part)
        first, last = first >> 1, last >> 1
    return last == 0 and old_found == old_root and new_found == new_root
