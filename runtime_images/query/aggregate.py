"""Decides which bytes reach the compiled pass: packs its specification, checks Arrow's types and buffers, puts rows in order.

bounded.c says what the pass does with them. A stream whose units descend is sorted here (design R2); the pass checks again.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

VERSION = 1
NO_VALUE = 2**32 - 1
OK, ORDER_BROKEN, MALFORMED, TOO_MANY_GROUPS, NO_MEMORY, NO_ROOM = range(6)
KEY_KINDS = ("integer", "truth", "code", "text")
MEASURE_KINDS = ("units", "rows", "nonnull", "sum", "squares", "bins", "distinct")
_INTEGERS = {2: pa.int16(), 4: pa.int32(), 8: pa.int64()}
_WAYS = {
    ORDER_BROKEN: "its units descend",
    MALFORMED: "it is malformed",
    TOO_MANY_GROUPS: "it has more groups or values than the plan allows",
    NO_MEMORY: "memory is short",
}


class Refused(Exception):
    """The pass cannot go on: everything it was given is lost, and the sheaf counts as its default."""


class _Column(ctypes.Structure):
    _fields_ = (
        ("validity", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("validity_bytes", ctypes.c_uint64),
        ("data_bytes", ctypes.c_uint64),
        ("offsets_bytes", ctypes.c_uint64),
    )


def load(path: Path) -> ctypes.CDLL:
    """The compiled pass at `path`, with the types of its functions."""
    library = ctypes.CDLL(str(path))
    state, size = ctypes.c_void_p, ctypes.c_uint64
    library.bounded_new.restype, library.bounded_new.argtypes = state, [ctypes.c_char_p, size]
    library.bounded_units.argtypes = [state, ctypes.c_uint32, ctypes.POINTER(_Column)]
    library.bounded_ordered.argtypes = [size, ctypes.POINTER(_Column), ctypes.POINTER(ctypes.c_int32)]
    library.bounded_batch.argtypes = [state, size, ctypes.POINTER(_Column), ctypes.c_uint32]
    library.bounded_finish.argtypes = [state, ctypes.c_void_p, size, ctypes.POINTER(ctypes.c_uint64)]
    library.bounded_free.restype, library.bounded_free.argtypes = None, [state]
    return library


def specification(instruction: Mapping[str, Any]) -> bytes:
    """The bytes that `bounded_new` reads: a header, keys, measures, grouping sets; little-endian, nothing padded.

    seed      32 hexadecimal digits
    max_rows  most rows of one unit that count in one group
    values    number of value columns
    keys      `kind` and `width` (bytes of a whole number's column: 2, 4, 8); integer: `low` and `count` where its range is
              declared, rows outside it are dropped; code: `values`, the declared texts in the order of their codes; text: `max_bytes`
    measures  `kind`; `value`, the index of its column (none for rows and for units at large); sum, squares: `low`, `high` to clamp
              to, `centre` to take away; bins: `low`, `high`, `step` (whole numbers a bin); distinct: `k`, most values of a unit in a group
    sets      `keys`, the indices that it groups by; `max_groups` (L0); `most_groups`, `most_values`: what its partial may hold

    Raises ValueError, KeyError, TypeError or struct.error for anything else; numbers that do not fit are refused by the pass.
    """
    seed = bytes.fromhex(instruction["seed"])
    if len(seed) != 16:
        raise ValueError("the seed is not 16 bytes")
    keys, measures, sets = instruction["keys"], instruction["measures"], instruction["sets"]
    head = (VERSION, len(keys), instruction["values"], len(measures), len(sets), instruction["max_rows"])
    parts = [struct.pack("<5IQ", *head), seed]
    parts += [_key(key) for key in keys]
    parts += [_measure(measure) for measure in measures]
    parts += [_set(entry, len(keys)) for entry in sets]
    return b"".join(parts)


def _key(key: Mapping[str, Any]) -> bytes:
    kind = KEY_KINDS.index(key["kind"])
    if key["kind"] == "text":
        return struct.pack("<4Iq", kind, 0, 0, key["max_bytes"], 0)
    if key["kind"] == "integer":
        return struct.pack("<4Iq", kind, key["width"], key.get("count", 0), 8, key.get("low", 0))
    if key["kind"] == "truth":
        return struct.pack("<4Iq", kind, key["width"], 2, 1, 0)
    texts = [value.encode("utf-8") for value in key["values"]]
    if len(set(texts)) != len(texts):
        raise ValueError("two codes stand for one text")  # they would be two groups with one key
    head = struct.pack("<4Iq", kind, key["width"], len(texts), max(map(len, texts)), 0)
    return head + b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _measure(measure: Mapping[str, Any]) -> bytes:
    value = measure.get("value")
    numbers = (measure.get(name, 0) for name in ("centre", "low", "high", "step"))
    head = (MEASURE_KINDS.index(measure["kind"]), NO_VALUE if value is None else value, measure.get("k", 0))
    return struct.pack("<3I3qQ", *head, *numbers)


def _set(entry: Mapping[str, Any], keys: int) -> bytes:
    if not all(0 <= key < keys for key in entry["keys"]):
        raise ValueError("a grouping set names no such key")
    mask = sum(1 << key for key in set(entry["keys"]))
    return struct.pack("<4I", mask, entry["max_groups"], entry["most_groups"], entry.get("most_values", 0))


class Pass:
    """One sheaf's run of the compiled pass: `block` for each block, then `partial`. A context manager; errors are final."""

    def __init__(self, library: ctypes.CDLL, instruction: Mapping[str, Any]) -> None:
        data = specification(instruction)
        self._library = library
        self._names = ["u", *(f"k{i}" for i in range(len(instruction["keys"])))]
        self._names += [f"v{i}" for i in range(instruction["values"])]
        self._types = [
            pa.int32(),
            *(_INTEGERS[key["width"]] if key["kind"] != "text" else pa.string() for key in instruction["keys"]),
        ]
        self._types += [pa.int64()] * instruction["values"]
        self._state = library.bounded_new(data, len(data))
        if not self._state:
            raise Refused("the specification is not one that the pass accepts, or memory is short")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state, self._state = self._state, None
        self._library.bounded_free(state)

    def block(self, units: int, texts: pa.StringArray | None, batches: Iterable[pa.RecordBatch]) -> None:
        """Adds one block.

        units    how many units it has; the column `u` holds their ordinals
        texts    what each is called, by ordinal; None where no unit can have more groups than count and nothing distinct is asked
        batches  rows with exactly the columns `u`, `k0`.., `v0`..
        """
        if texts is not None and len(texts) != units:
            raise Refused("there is not one text for each unit")
        found = None if texts is None else _buffers(texts, pa.string())
        self._checked(self._library.bounded_units(self._state, units, found))
        for batch in self._ordered([batch for batch in batches if batch.num_rows]):
            columns = self._columns(batch)
            self._checked(self._library.bounded_batch(self._state, batch.num_rows, columns, len(columns)))

    def partial(self) -> bytes:
        """What all blocks add up to, in the form that privacy/sql/partial_bytes.py reads. The last call."""
        used = ctypes.c_uint64()
        self._checked(self._library.bounded_finish(self._state, None, 0, used), NO_ROOM)
        out = ctypes.create_string_buffer(used.value)
        self._checked(self._library.bounded_finish(self._state, out, used.value, used))
        return out.raw

    def _columns(self, batch: pa.RecordBatch) -> ctypes.Array[_Column]:
        if batch.schema.names != self._names:
            raise Refused("the columns are not those of the plan")
        columns = [_buffers(batch.column(index), kind) for index, kind in enumerate(self._types)]
        return (_Column * len(columns))(*columns)

    def _ordered(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """The batches with units that never decrease: sorted where one does."""
        last = ctypes.c_int32(-1)
        for batch in batches:
            code = self._library.bounded_ordered(batch.num_rows, self._columns(batch), last)
            if code == ORDER_BROKEN:
                batches = pa.Table.from_batches(batches).sort_by("u").combine_chunks().to_batches()
                break
            self._checked(code)
        return batches

    def _checked(self, code: int, expected: int = OK) -> None:
        if code != expected:
            raise Refused(f"the pass cannot go on: {_WAYS.get(code, 'it gave an unknown code')}")


def _buffers(array: pa.Array, kind: pa.DataType) -> _Column:
    """Where an array lies, each buffer as long as its rows need. Text offsets are looked at by the pass."""
    if array.type != kind or array.offset != 0:
        raise Refused("a column has not the type of the plan, or is a slice")
    buffers = array.buffers()
    validity, *offsets, data = (None if found is None else (found.address, found.size) for found in buffers)
    rows = len(array)
    start = offsets[0] if offsets else None
    if validity is not None and validity[1] < (rows + 7) // 8:
        raise Refused("a column is shorter than it says")
    if kind == pa.string():
        if rows and (start is None or start[1] < 4 * (rows + 1)):
            raise Refused("a column is shorter than it says")
    elif rows and (data is None or data[1] < rows * kind.bit_width // 8):
        raise Refused("a column is shorter than it says")
    (v, v_size), (d, d_size), (o, o_size) = (found or (None, 0) for found in (validity, data, start))
    return _Column(v, d, o, v_size, d_size, o_size)
