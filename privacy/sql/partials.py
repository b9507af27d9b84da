"""Which bytes from a container count as a block's partial (design R18). The bytes are hostile.

This module is read on its own in a process with little to lose (sandbox.limited), where every import costs time: it needs `sys`
and nothing else. Every length is checked before it is used. As a program it takes the shape as its argument and frames from
stdin (u32 BE block index, u8 status, u32 BE length, bytes), and writes the frames whose partial is well-formed to stdout.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"BNYP\x01"
HEAD_BYTES = 11  # magic, u32 number of groups, u16 number of measures
VALUE_BYTES = 16
LARGEST = 2**62 - 1
FRAME_BYTES = 9

Cells = dict[bytes, tuple[int, ...]]

# Days and microseconds from 1970 to the first and last that Python's calendar has; decimals have 18 digits.
_RANGES = {
    "integer": (-(2**63), 2**63 - 1),
    "decimal": (-(10**18) + 1, 10**18 - 1),
    "date": (-719_162, 2_932_896),
    "timestamp": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}


class Shape:
    """What a partial of a plan looks like. `keys` are pairs of form (text, boolean, or one of the ranges) and most bytes."""

    def __init__(self, keys: tuple[tuple[str, int], ...], measures: tuple[str, ...], max_groups: int) -> None:
        self.keys = keys
        self.measures = measures
        self.max_groups = max_groups

    @property
    def max_bytes(self) -> int:
        """The most bytes that an honest partial has."""
        group = 2 + sum(most for _, most in self.keys) + VALUE_BYTES * len(self.measures)
        return HEAD_BYTES + self.max_groups * group

    def text(self) -> str:
        """One line that says the shape; `Shape.of` reads it back."""
        keys = ",".join(f"{form}:{most}" for form, most in self.keys)
        return f"{keys}/{','.join(self.measures)}/{self.max_groups}"

    @classmethod
    def of(cls, text: str) -> Shape:
        """The shape that `text` said. Raises ValueError."""
        keys, measures, groups = text.split("/")
        pairs = [key.split(":") for key in keys.split(",") if key]
        return cls(tuple((form, int(most)) for form, most in pairs), tuple(measures.split(",")), int(groups))


def parse(data: bytes, shape: Shape) -> Cells:
    """The cells of a partial, strictly read: exact length, keys strictly increasing and well-formed, values in range.

    Raises ValueError for any byte that an honest runner could not have written.
    """
    if not HEAD_BYTES <= len(data) <= shape.max_bytes:
        raise ValueError("a partial of this length is not possible")
    groups, width = int.from_bytes(data[5:9], "big"), int.from_bytes(data[9:11], "big")
    if data[:5] != MAGIC or width != len(shape.measures) or groups > shape.max_groups:
        raise ValueError("not a partial of this plan")
    lowest = [-LARGEST if kind == "sum" else 0 for kind in shape.measures]
    cells: Cells = {}
    at, before = HEAD_BYTES, None
    for _ in range(groups):
        size, at = _number(data, at, 2)
        key, at = _take(data, at, size)
        if before is not None and key <= before:
            raise ValueError("keys do not increase")
        _check_key(key, shape)
        words, at = _take(data, at, VALUE_BYTES * width)
        values = tuple(
            int.from_bytes(words[start : start + VALUE_BYTES], "big", signed=True)
            for start in range(0, len(words), VALUE_BYTES)
        )
        for value, least in zip(values, lowest, strict=True):
            if not least <= value <= LARGEST:
                raise ValueError("a value is outside what the plan claims")
        cells[key] = values
        before = key
    if at != len(data):
        raise ValueError("bytes are left over")
    return cells


def accepted_frames(output: bytes, shape: Shape) -> Iterator[bytes]:
    """The frames of a container's output whose partial is well-formed; what follows a broken frame is not looked at."""
    at = 0
    while at + FRAME_BYTES <= len(output):
        status, (size, start) = output[at + 4], _number(output, at + 5, 4)
        if size > shape.max_bytes or start + size > len(output):
            return
        if status == 0:
            try:
                parse(output[start : start + size], shape)
            except ValueError:
                status = 1
        if status == 0:
            yield output[at : start + size]
        at = start + size


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    word, at = _take(data, at, size)
    return int.from_bytes(word, "big"), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise ValueError("the bytes end too early")
    return data[at : at + size], at + size


def _check_key(key: bytes, shape: Shape) -> None:
    at = 0
    for form, most in shape.keys:
        flag, at = _number(key, at, 1)
        if flag == 0:
            continue
        if flag != 1:
            raise ValueError("a key value has no such flag")
        size, at = _number(key, at, 4)
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


def main() -> int:
    """The accepted frames of stdin to stdout."""
    shape = Shape.of(sys.argv[1])
    for frame in accepted_frames(sys.stdin.buffer.read(), shape):
        sys.stdout.buffer.write(frame)
    return 0


if __name__ == "__main__":
    sys.exit(main())
