"""What a block is at rest: a Parquet file, padded to a size that n_pub fixes, under AES-256-GCM bound to its place.

A node opens a block with the version's key, which it is given after the ledger's commit and forgets (design §6).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assets.keys import KEY_BYTES, NONCE_BYTES, pad, unpad
from core.canonical import canonical
from core.errors import Unavailable
from privacy.schema import Column, ColumnType, TableSchema

FOLDER = "blocks"
ROWS_PER_BLOCK = 125_000
FEWEST_BLOCKS, MOST_BLOCKS = 8, 4096
MAX_BLOCK_BYTES = 512 * 1024 * 1024
_STEP_BYTES = 64 * 1024
# Rows differ in size and units in their number of rows; twice the mean leaves room for both.
_SLACK = 2


@dataclass(frozen=True)
class Block:
    """One block of a version: where its ciphertext lies, its size and digest. All three are safe to show."""

    index: int
    path: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class Place:
    """Which block a ciphertext is: the key and the place must both be right for it to open."""

    version: str
    index: int
    count: int

    def bound(self) -> bytes:
        """The associated data of its encryption."""
        return canonical(["banyan.block/1", self.version, self.index, self.count])


def block_count_for(rows: int) -> int:
    """How many blocks a population gets, from n_pub: a power of two, 8 up to a million rows (design R10)."""
    count = FEWEST_BLOCKS
    while count * ROWS_PER_BLOCK < rows and count < MOST_BLOCKS:
        count *= 2
    return count


def padded_bytes(schema: TableSchema, block_count: int) -> int:
    """The plaintext size of every block of a version, from the declaration alone (design §6).

    Per row it allows, in bits, what the declared ranges can carry at most; for texts two bytes a declared character, and half a byte
    for each beyond the sixteenth, since long texts compress.
    """
    bits = sum(_bits(column) for column in schema.columns)
    mean = -(-schema.rows * bits // (8 * block_count))
    return -(-(mean * _SLACK) // _STEP_BYTES) * _STEP_BYTES + _STEP_BYTES * (2 + len(schema.columns) // 8)


def _bits(column: Column) -> int:
    null = 1 if column.nullable else 0
    if column.type in (ColumnType.STRING, ColumnType.CATEGORY):
        longest = column.max_length or 0
        text = 16 * min(longest, 16) + 4 * max(longest - 16, 0)
        return null + (len(column.values).bit_length() if column.values else text)
    if column.type is ColumnType.BOOL:
        return null + 1
    lower, upper = column.lower, column.upper
    if isinstance(lower, int) and isinstance(upper, int):
        return null + (upper - lower).bit_length()
    return null + 64


def folder_of(version: str) -> str:
    """Where everything that belongs to one version lies in the store."""
    return f"{FOLDER}/{version}"


def new_version_key() -> bytes:
    """A fresh key for the blocks of one version."""
    return secrets.token_bytes(KEY_BYTES)


def close_block(content: bytes, size: int, key: bytes, place: Place) -> bytes:
    """Encrypt one block. Raises ValueError if `content` does not fit into `size` bytes."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, pad(content, size), place.bound())


def open_block(ciphertext: bytes, key: bytes, place: Place) -> bytes:
    """The block's Parquet bytes. Raises Unavailable (`blocks.damaged`) if it is not exactly the block of that place."""
    try:
        return unpad(AESGCM(key).decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], place.bound()))
    except (InvalidTag, ValueError):
        raise damaged(place.index) from None


def check_digest(ciphertext: bytes, block: Block) -> None:
    """Raise Unavailable (`blocks.damaged`) unless these are the bytes that the version root covers."""
    if digest_of(ciphertext) != block.digest:
        raise damaged(block.index)


def digest_of(ciphertext: bytes) -> str:
    """The digest of a block's ciphertext, which hides its content (design R15)."""
    return "sha256:" + hashlib.sha256(ciphertext).hexdigest()


def damaged(index: int) -> Unavailable:
    """The error for a block that is missing or not as it was written."""
    return Unavailable("blocks.damaged", f"block {index} is not as it was written", way_out="restore it from a backup")
