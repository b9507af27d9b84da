"""Reads a provider's upload (.hev) strictly: an Arrow file of raw polynomials, one record batch a chunk, and a signed header.

The container that reads uploads gets a copy of this file: the standard library, numpy and pyarrow only. What it may expect (moduli,
vectors) comes from the declaration, never from the file. The signature is checked outside, where the keys are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

METADATA = b"banyan"
MAX_HEADER_BYTES = 1 << 18
# What an Arrow file takes beside its polynomials and its header, which it has twice (schema and footer): once, and for each record batch.
REST_BYTES, REST_BYTES_PER_CHUNK = 1 << 16, 2048
WORD_BYTES = 8


class Refused(Exception):
    """Why a file is not an upload of the expected form. `vector` and `chunk` say where, if anywhere."""

    def __init__(self, code: str, reason: str, vector: str | None = None, chunk: int | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.vector, self.chunk = code, reason, vector, chunk


@dataclass(frozen=True)
class Expected:
    """What the declaration says of an upload.

    shape    of a chunk: plain moduli, 2, coefficient moduli, slots
    moduli   the coefficient moduli
    vectors  name and number of entries of each vector, in order
    """

    shape: tuple[int, int, int, int]
    moduli: tuple[int, ...]
    vectors: tuple[tuple[str, int], ...]

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Expected:
        """From an instruction."""
        plain, polynomials, moduli, slots = said["shape"]
        vectors = tuple((str(name), int(length)) for name, length in said["vectors"])
        return cls((plain, polynomials, moduli, slots), tuple(said["moduli"]), vectors)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk."""
        plain, polynomials, moduli, slots = self.shape
        return WORD_BYTES * plain * polynomials * moduli * slots

    def chunks(self) -> Iterator[tuple[str, int, int]]:
        """Vector, chunk and used slots of every chunk, in order."""
        slots = self.shape[3]
        for name, length in self.vectors:
            for chunk in range(-(-length // slots)):
                yield name, chunk, min(slots, length - chunk * slots)


def read(path: Path, expected: Expected) -> dict[str, Any]:
    """The header of a file that is exactly as expected, with every coefficient looked at. Raises Refused, and nothing else."""
    try:
        return _read(path, expected)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, pa.ArrowException) as problem:
        raise Refused("encrypted.format", f"it is not an Arrow file of the form: {type(problem).__name__}") from None


@contextmanager
def mapped(path: Path, expected: Expected) -> Iterator[Callable[[int], npt.NDArray[np.uint64]]]:
    """The chunks of a file that `read` accepted, by number (counted over all vectors), as views of the mapped file."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        yield lambda number: _words(file.get_batch(number), expected)


def _read(path: Path, expected: Expected) -> dict[str, Any]:
    wanted = list(expected.chunks())
    size, payload = path.stat().st_size, len(wanted) * expected.chunk_bytes
    room = payload + REST_BYTES + REST_BYTES_PER_CHUNK * len(wanted)
    if not payload < size <= room + 2 * MAX_HEADER_BYTES:
        raise Refused("encrypted.format", "the file has another size than its vectors need")
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(whole := source.read_buffer()) as file:
        header, length = _header(file.schema, expected)
        if size > room + 2 * length:
            raise Refused("encrypted.format", "the file has more than its vectors and its header need")
        if file.num_record_batches != len(wanted):
            raise Refused("encrypted.format", f"it has {file.num_record_batches} chunks, not {len(wanted)}")
        content = hashlib.sha256()
        for number, (vector, chunk, used) in enumerate(wanted):
            batch = file.get_batch(number)
            if not _stands_in(whole, batch):
                raise Refused("encrypted.format", "a chunk is compressed", vector, chunk)
            _check_row(batch, vector, chunk, used)
            words = _words(batch, expected)
            _check_words(words, expected, vector, chunk)
            content.update(words.data)
    if header.get("content") != "sha256:" + content.hexdigest():
        raise Refused("encrypted.digest", "the chunks are not those that the header was signed for")
    return header


def _header(schema: pa.Schema, expected: Expected) -> tuple[dict[str, Any], int]:
    """The header, and its bytes."""
    fields = [
        pa.field("vector", pa.string(), nullable=False),
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("used", pa.int32(), nullable=False),
        pa.field("poly", pa.binary(expected.chunk_bytes), nullable=False),
    ]
    if not schema.remove_metadata().equals(pa.schema(fields), check_metadata=True):
        raise Refused("encrypted.format", "its columns are not vector, chunk, used and poly")
    metadata = schema.metadata or {}
    text = metadata.get(METADATA)
    if set(metadata) != {METADATA} or text is None or len(text) > MAX_HEADER_BYTES:
        raise Refused("encrypted.format", "its metadata is not the one header")
    try:
        header = json.loads(text)
        written = json.dumps(header, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        header, written = None, ""
    if not isinstance(header, dict) or written.encode() != text:
        raise Refused("encrypted.format", "the header is not canonical JSON")
    return header, len(text)


def _stands_in(whole: pa.Buffer, batch: pa.RecordBatch) -> bool:
    """Whether all of a batch is read where it lies in the file: what is elsewhere was unpacked."""
    end = whole.address + whole.size
    buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer is not None]
    return all(whole.address <= buffer.address and buffer.address + buffer.size <= end for buffer in buffers)


def _check_row(batch: pa.RecordBatch, vector: str, chunk: int, used: int) -> None:
    batch.validate(full=True)  # before anything is looked up in its buffers
    if batch.num_rows != 1 or any(column.null_count for column in batch.columns):
        raise Refused("encrypted.format", "a record batch is not one chunk", vector, chunk)
    found = tuple(batch.column(name)[0].as_py() for name in ("vector", "chunk", "used"))
    if found != (vector, chunk, used):
        raise Refused("encrypted.format", "a chunk is not the one that stands here", vector, chunk)


def _words(batch: pa.RecordBatch, expected: Expected) -> npt.NDArray[np.uint64]:
    column = batch.column(3)
    raw = column.buffers()[1]
    start = column.offset * expected.chunk_bytes
    if len(batch) != 1 or raw is None or raw.size < start + expected.chunk_bytes:
        raise Refused("encrypted.format", "a chunk is shorter than it must be")
    words = np.frombuffer(raw, "<u8", expected.chunk_bytes // WORD_BYTES, start)
    return words.reshape(expected.shape)


def _check_words(words: npt.NDArray[np.uint64], expected: Expected, vector: str, chunk: int) -> None:
    for at, modulus in enumerate(expected.moduli):
        if (words[:, :, at] >= np.uint64(modulus)).any():
            raise Refused("encrypted.range", "a coefficient is not below its modulus", vector, chunk)
    # One modulus is enough to read it: what is left there is rounding error.
    if not words[:, 1].any(axis=2).all():
        raise Refused("encrypted.transparent", "a ciphertext is transparent: anybody could read it", vector, chunk)
