"""Group keys: their canonical bytes, their public domains, and how they read in a released table."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from core.clock import moment_of
from core.clock import text_of as text_of_moment
from privacy.schema import TEXTUAL, Column, ColumnType

KeyValue = bool | int | Decimal | str | date | datetime | None

MAX_CELLS = 10_000
MAX_KEY_BYTES = 65_535  # a partial gives a key's length in 16 bits
_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SAFE_INTEGER = 2**53 - 1


@dataclass(frozen=True)
class KeyColumn:
    """A group column. `values` is its public domain in the order shown (None last where NULL is possible), or None if private."""

    name: str
    column: str
    type: ColumnType
    scale: int
    max_bytes: int
    values: tuple[KeyValue, ...] | None

    @property
    def public(self) -> bool:
        """Whether the column's values may be shown without a threshold."""
        return self.values is not None

    def to_json(self) -> dict[str, Any]:
        """The JSON form; `KeyColumn.from_json` is its inverse."""
        values = None if self.values is None else [text_of(value, self) for value in self.values]
        return {
            "name": self.name,
            "column": self.column,
            "type": self.type.value,
            "scale": self.scale,
            "max_bytes": self.max_bytes,
            "values": values,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> KeyColumn:
        """Rebuild what `to_json` gave."""
        bare = cls(
            entry["name"], entry["column"], ColumnType(entry["type"]), entry["scale"], entry["max_bytes"], values=None
        )
        if entry["values"] is None:
            return bare
        values = tuple(_value_of(text, bare) for text in entry["values"])
        return cls(bare.name, bare.column, bare.type, bare.scale, bare.max_bytes, values)


def domain_of(column: Column) -> tuple[KeyValue, ...] | None:
    """The public domain of a column, NULL last where it is nullable; None where it is private or cannot be listed."""
    size = domain_size(column)
    if not column.public or size is None or size > MAX_CELLS:
        return None
    values: tuple[KeyValue, ...]
    if column.type is ColumnType.CATEGORY:
        values = column.values
    elif column.type is ColumnType.BOOL:
        values = (False, True)
    elif column.type is ColumnType.INT and isinstance(column.lower, int):
        values = tuple(range(column.lower, column.lower + size))
    else:
        lower = column.lower
        if not isinstance(lower, date):
            return None
        values = tuple(lower + timedelta(days=day) for day in range(size))
    return (*values, None) if column.nullable else values


def domain_size(column: Column) -> int | None:
    """How many values, NULL apart, the declaration lets a column have; None where that cannot be listed."""
    lower, upper = column.lower, column.upper
    if column.type is ColumnType.CATEGORY:
        return len(column.values)
    if column.type is ColumnType.BOOL:
        return 2
    if column.type is ColumnType.INT and isinstance(lower, int) and isinstance(upper, int):
        return upper - lower + 1
    if column.type is ColumnType.DATE and isinstance(lower, date) and isinstance(upper, date):
        return (upper - lower).days + 1
    return None


def max_bytes(column: Column) -> int | None:
    """The most bytes that a value of the column takes in a key, with its prefix; None where it is not bounded."""
    if column.type is ColumnType.CATEGORY:
        return 5 + max(len(value.encode()) for value in column.values)
    if column.type is ColumnType.STRING:
        return None if column.max_length is None else 5 + 4 * column.max_length
    return 6 if column.type is ColumnType.BOOL else 13


def encode(row: tuple[KeyValue, ...], keys: tuple[KeyColumn, ...]) -> bytes:
    """Canonical bytes of a group: for each value u8 0 for NULL, or u8 1, u32 BE length and its bytes (design R1)."""
    parts = []
    for value, key in zip(row, keys, strict=True):
        if value is None:
            parts.append(b"\x00")
        else:
            data = _bytes_of(value, key)
            parts.append(struct.pack(">BI", 1, len(data)) + data)
    return b"".join(parts)


def decode(data: bytes, keys: tuple[KeyColumn, ...]) -> tuple[KeyValue, ...]:
    """The inverse of `encode`, for bytes that `combine.read_partial` has accepted."""
    row: list[KeyValue] = []
    at = 0
    for key in keys:
        if data[at] == 0:
            row.append(None)
            at += 1
            continue
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        row.append(_value_from(data[at + 5 : at + 5 + size], key))
        at += 5 + size
    return tuple(row)


def order_of(row: tuple[KeyValue, ...]) -> tuple[tuple[bool, Any], ...]:
    """What rows of a table are sorted by: their values, NULL last; nothing of the data but the keys shown (design R14)."""
    return tuple((value is None, 0 if value is None else value) for value in row)


def shown(value: KeyValue, key: KeyColumn) -> bool | int | str | None:
    """How a key value stands in a released table: JSON, exact."""
    if value is None or isinstance(value, bool):
        return value
    if key.type is ColumnType.INT and isinstance(value, int) and abs(value) <= _SAFE_INTEGER:
        return value
    return text_of(value, key)


def text_of(value: KeyValue, key: KeyColumn) -> str | bool | None:
    """A key value as JSON text (NULL and booleans as themselves)."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, datetime):
        return text_of_moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:.{key.scale}f}"
    return str(value)


def _value_of(text: str | bool | None, key: KeyColumn) -> KeyValue:
    if text is None or isinstance(text, bool):
        return text
    if key.type is ColumnType.INT:
        return int(text)
    if key.type is ColumnType.DECIMAL:
        return Decimal(text)
    if key.type is ColumnType.DATE:
        return date.fromisoformat(text)
    return moment_of(text) if key.type is ColumnType.TIMESTAMP else text


def _bytes_of(value: KeyValue, key: KeyColumn) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, bool):
        return b"\x01" if value else b"\x00"
    if isinstance(value, Decimal):
        whole = int(value.scaleb(key.scale))
    elif isinstance(value, datetime):
        whole = (value - _EPOCH) // _MICROSECOND
    elif isinstance(value, date):
        whole = (value - _EPOCH_DAY).days
    else:
        whole = int(value or 0)
    return whole.to_bytes(8, "big", signed=True)


def _value_from(data: bytes, key: KeyColumn) -> KeyValue:
    if key.type in TEXTUAL:
        return data.decode("utf-8")
    if key.type is ColumnType.BOOL:
        return data == b"\x01"
    whole = int.from_bytes(data, "big", signed=True)
    if key.type is ColumnType.DECIMAL:
        return Decimal(whole).scaleb(-key.scale)
    if key.type is ColumnType.DATE:
        return _EPOCH_DAY + timedelta(days=whole)
    return _EPOCH + whole * _MICROSECOND if key.type is ColumnType.TIMESTAMP else whole
