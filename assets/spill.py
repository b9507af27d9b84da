"""Rows set aside on disk while an ingest runs, so that memory holds a block and not the file.

They are sealed by a key that lies in memory only, in a file without a name: whatever ends the process, nothing is left that could be
found, or read if it were.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from assets.keys import KEY_BYTES, NONCE_BYTES
from assets.object_store import storage_problem
from core.errors import Unavailable

PENDING_BYTES = 64 << 20


@contextmanager
def spill_in(folder: Path, schema: pa.Schema, parts: int) -> Iterator[Spill]:
    """A spill of so many parts on the disk of `folder`, for as long as the context lasts.

    Raises Unavailable (`ingest.storage_full`, `storage.unreachable`), as do its methods.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed below
    except OSError as problem:
        raise storage_problem(problem) from None
    with file:
        yield Spill(file, schema, parts)


class Spill:
    """Rows by part. Those of one part come back in the order in which they were added."""

    def __init__(self, file: IO[bytes], schema: pa.Schema, parts: int) -> None:
        self._file, self._schema = file, schema
        self._seal = AESGCM(secrets.token_bytes(KEY_BYTES))
        self._pending: list[list[pa.RecordBatch]] = [[] for _ in range(parts)]
        self._pending_bytes = 0
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(parts)]
        self._end = 0
        self._bytes = [0] * parts

    def add(self, part: int, rows: pa.RecordBatch) -> None:
        """Set rows aside."""
        size = rows.nbytes
        self._pending[part].append(rows)
        self._pending_bytes += size
        self._bytes[part] += size
        if self._pending_bytes > PENDING_BYTES:
            self._flush()

    def size(self, part: int) -> int:
        """How many bytes the rows of a part take in memory."""
        return self._bytes[part]

    def rows(self, part: int) -> pa.Table:
        """All rows of one part. Raises Unavailable (`ingest.spill_damaged`) unless they are as they were added."""
        found = [batch for place in self._written[part] for batch in self._read(part, *place)]
        return pa.Table.from_batches([*found, *self._pending[part]], self._schema)

    def _flush(self) -> None:
        for part, batches in enumerate(self._pending):
            if batches:
                self._write(part, batches)
                batches.clear()
        self._pending_bytes = 0

    def _write(self, part: int, batches: list[pa.RecordBatch]) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as writer:
            writer.write_batch(pa.concat_batches(batches))
        sealed = self._seal.encrypt(_nonce(self._end), memoryview(sink.getvalue()).cast("B"), _bound(part))
        try:
            self._file.seek(self._end)
            written = 0
            while written < len(sealed):
                written += self._file.write(memoryview(sealed)[written:])
        except OSError as problem:
            raise storage_problem(problem) from None
        self._written[part].append((self._end, len(sealed)))
        self._end += len(sealed)

    def _read(self, part: int, start: int, size: int) -> list[pa.RecordBatch]:
        try:
            self._file.seek(start)
            sealed = bytearray()
            while len(sealed) < size and (read := self._file.read(size - len(sealed))):
                sealed += read
            content = self._seal.decrypt(_nonce(start), bytes(sealed), _bound(part))
        except OSError as problem:
            raise storage_problem(problem) from None
        except InvalidTag:
            raise Unavailable(
                "ingest.spill_damaged",
                "what was set aside on the disk did not come back as it was written; there is no new version",
                way_out="look at the disk under the state folder and send the file again",
            ) from None
        with pa.ipc.open_stream(content) as reader:
            return list(reader)


def _nonce(start: int) -> bytes:
    """A place in the file is written once, under a key of this spill only."""
    return start.to_bytes(NONCE_BYTES, "big")


def _bound(part: int) -> bytes:
    return part.to_bytes(8, "big")
