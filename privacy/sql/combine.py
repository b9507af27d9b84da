"""Which bytes from a container count as a block's partial, and what all partials add up to (design R18, R9).

The bytes are hostile. The parser uses the standard library only, checks every length before it uses it, and can be run in a
process of its own with little to lose: `python -m privacy.sql.combine` reads u32 BE length, the shape as JSON, then the partial,
and exits 0 if the partial is well-formed, 1 if not.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privacy.sql.plan_model import QueryPlan

MAGIC = b"BNYP\x01"
HEAD = struct.Struct(">5sIH")
LARGEST = 2**62 - 1
VALUE_BYTES = 16

Cells = dict[bytes, tuple[int, ...]]


@dataclass(frozen=True)
class Totals:
    """The bounded totals of all blocks by canonical key bytes: not noised, never to leave the gate."""

    cells: Mapping[bytes, tuple[int, ...]]


@dataclass(frozen=True)
class Shape:
    """What a partial of a plan looks like. `keys` are pairs of form (integer, text, boolean, date) and most bytes."""

    keys: tuple[tuple[str, int], ...]
    measures: tuple[str, ...]
    max_groups: int
    max_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The JSON form; `Shape.from_json` is its inverse."""
        return {
            "keys": [list(key) for key in self.keys],
            "measures": list(self.measures),
            "max_groups": self.max_groups,
            "max_bytes": self.max_bytes,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shape:
        """Rebuild what `to_json` gave."""
        keys = tuple((str(form), int(most)) for form, most in value["keys"])
        return cls(keys, tuple(value["measures"]), value["max_groups"], value["max_bytes"])


def read_partial(data: bytes, plan: QueryPlan) -> Cells:
    """The cells of one block. Raises ValueError for any byte that an honest runner could not have written."""
    return parse(data, plan.shape)


def combine(partials: Iterable[Mapping[bytes, tuple[int, ...]]], plan: QueryPlan) -> Totals:
    """The sum over blocks, in any order with equal results; each total clamped to ±(2^62 - 1), which is 1-Lipschitz (R3)."""
    width = len(plan.measures)
    sums: dict[bytes, list[int]] = {}
    for partial in partials:
        for key, values in partial.items():
            total = sums.setdefault(key, [0] * width)
            for index, value in enumerate(values):
                total[index] += value
    return Totals({key: tuple(max(-LARGEST, min(LARGEST, value)) for value in sums[key]) for key in sorted(sums)})


def parse(data: bytes, shape: Shape) -> Cells:
    """The cells of a partial, strictly read: exact length, keys strictly increasing and well-formed, values in range."""
    if not HEAD.size <= len(data) <= shape.max_bytes:
        raise ValueError("a partial of this length is not possible")
    magic, groups, width = HEAD.unpack_from(data)
    if magic != MAGIC or width != len(shape.measures) or groups > shape.max_groups:
        raise ValueError("not a partial of this plan")
    cells: Cells = {}
    at, before = HEAD.size, None
    for _ in range(groups):
        key, at = _take(data, at, int.from_bytes(_take(data, at, 2)[0], "big"), skip=2)
        if before is not None and key <= before:
            raise ValueError("keys do not increase")
        _check_key(key, shape)
        values = []
        for kind in shape.measures:
            word, at = _take(data, at, VALUE_BYTES)
            value = int.from_bytes(word, "big", signed=True)
            if not (-LARGEST if kind == "sum" else 0) <= value <= LARGEST:
                raise ValueError("a value is outside what the plan claims")
            values.append(value)
        cells[key] = tuple(values)
        before = key
    if at != len(data):
        raise ValueError("bytes are left over")
    return cells


def _take(data: bytes, at: int, size: int, skip: int = 0) -> tuple[bytes, int]:
    start = at + skip
    if start + size > len(data):
        raise ValueError("the partial ends too early")
    return data[start : start + size], start + size


def _check_key(key: bytes, shape: Shape) -> None:
    at = 0
    for form, most in shape.keys:
        flag, at = _take(key, at, 1)
        if flag == b"\x00":
            continue
        if flag != b"\x01":
            raise ValueError("a key value has no such flag")
        head, at = _take(key, at, 4)
        size = int.from_bytes(head, "big")
        if size > most - 5:
            raise ValueError("a key value is too long")
        value, at = _take(key, at, size)
        _check_value(form, value)
    if at != len(key):
        raise ValueError("a key has bytes left over")


def _check_value(form: str, value: bytes) -> None:
    if form == "text":
        value.decode("utf-8")  # UnicodeDecodeError is a ValueError
    elif form == "boolean":
        if value not in (b"\x00", b"\x01"):
            raise ValueError("not a boolean")
    elif len(value) != 8:
        raise ValueError("not a whole number")
    else:
        lowest, highest = _RANGES[form]
        if not lowest <= int.from_bytes(value, "big", signed=True) <= highest:
            raise ValueError("a key value is outside its type")


# Days and microseconds from 1970 to the first and last that Python's calendar has; decimals have 18 digits.
_RANGES = {
    "integer": (-(2**63), 2**63 - 1),
    "decimal": (-(10**18) + 1, 10**18 - 1),
    "date": (-719_162, 2_932_896),
    "timestamp": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}


def main() -> int:
    """Check one partial from stdin against the shape before it; 0 if well-formed, 1 if not."""
    data = sys.stdin.buffer.read()
    size = int.from_bytes(data[:4], "big")
    try:
        parse(data[4 + size :], Shape.from_json(json.loads(data[4 : 4 + size])))
    except (ValueError, KeyError, TypeError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
