r"""Which bytes from a container count as a sheaf's partial (design R18). The bytes are hostile.

This module is read on its own in a process with little to lose (sandbox.limited), where every import costs time: it needs `sys`
and nothing else. Every length is checked before it is used. As a program it takes the shape as its argument and frames from
stdin (u32 BE sheaf index, u8 status, u32 BE length, bytes), and writes the frames whose partial is well-formed to stdout.

A partial: `BNYP\x02`, u8 number of grouping sets; for each set u32 groups, u16 columns, u16 length of each key, the keys one after
another and strictly increasing, the columns one after another (int64 for each group); then for each distinct measure u64 count and
that many records (u32 group, 16-byte keyed hash), strictly increasing. Numbers are little-endian, as are the machines that read them.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAGIC = b"BNYP\x02"
HEAD_BYTES = 6
SET_BYTES = 6
RECORD_BYTES = 20
LARGEST = 2**62 - 1
FRAME_BYTES = 9

# Days and microseconds from 1970 to the first and last that Python's calendar has; decimals have 18 digits.
_RANGES = {
    "integer": (-(2**63), 2**63 - 1),
    "decimal": (-(10**18) + 1, 10**18 - 1),
    "date": (-719_162, 2_932_896),
    "timestamp": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}
_KINDS = ("units", "rows", "nonnull", "sum", "squares", "bins", "distinct")


class SetShape:
    """What a grouping set's part looks like.

    keys        pairs of form (text, boolean, or one of the ranges) and most bytes of a value with its prefix
    max_groups  most groups that some unit of a sheaf keeps
    max_values  most distinct values that units keep, over all groups and distinct measures
    """

    def __init__(self, keys: tuple[tuple[str, int], ...], max_groups: int, max_values: int = 0) -> None:
        self.keys = keys
        self.max_groups = max_groups
        self.max_values = max_values


class Shape:
    """What a partial of a plan looks like. `measures` are pairs of kind and number of columns (0 for distinct ones)."""

    def __init__(self, measures: tuple[tuple[str, int], ...], sets: tuple[SetShape, ...]) -> None:
        if any(kind not in _KINDS or (columns == 0) != (kind == "distinct") for kind, columns in measures):
            raise ValueError("no such measure")
        if not measures or not sets:
            raise ValueError("a partial without measures or grouping sets")
        self.measures = measures
        self.sets = sets
        self.lowest = [-LARGEST if kind == "sum" else 0 for kind, columns in measures for _ in range(columns)]
        self.distinct = sum(kind == "distinct" for kind, _ in measures)

    @property
    def max_bytes(self) -> int:
        """The most bytes that an honest partial has."""
        size = HEAD_BYTES
        for part in self.sets:
            group = 2 + sum(most for _, most in part.keys) + 8 * len(self.lowest)
            size += SET_BYTES + part.max_groups * group + 8 * self.distinct + RECORD_BYTES * part.max_values
        return size

    def text(self) -> str:
        """One line that says the shape; `Shape.of` reads it back."""
        measures = ",".join(f"{kind}:{columns}" for kind, columns in self.measures)
        sets = [
            f"{','.join(f'{form}:{most}' for form, most in part.keys)}/{part.max_groups}/{part.max_values}"
            for part in self.sets
        ]
        return ";".join([measures, *sets])

    @classmethod
    def of(cls, text: str) -> Shape:
        """The shape that `text` said. Raises ValueError."""
        measures, *sets = text.split(";")
        parts = []
        for part in sets:
            keys, groups, values = part.split("/")
            parts.append(SetShape(_pairs(keys), int(groups), int(values)))
        return cls(_pairs(measures), tuple(parts))


class SetPart:
    """A grouping set's part of a partial: keys, then int64 columns (bytes), then the records of each distinct measure (bytes)."""

    def __init__(self, keys: list[bytes], columns: bytes, records: list[bytes]) -> None:
        self.keys = keys
        self.columns = columns
        self.records = records


class Reader:
    """Reads partials of one shape. It remembers keys that it found well-formed: the same groups stand in every sheaf."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._known: list[set[bytes]] = [set() for _ in shape.sets]

    def parse(self, data: bytes) -> list[SetPart]:
        """The parts of a partial, strictly read: exact length, keys well-formed and in order, values in range.

        Raises ValueError for any byte that an honest pass could not have written.
        """
        if not HEAD_BYTES <= len(data) <= self._shape.max_bytes:
            raise ValueError("a partial of this length is not possible")
        if data[:5] != MAGIC or data[5] != len(self._shape.sets):
            raise ValueError("not a partial of this plan")
        at, parts = HEAD_BYTES, []
        for shape, known in zip(self._shape.sets, self._known, strict=True):
            part, at = self._set(data, at, shape, known)
            parts.append(part)
        if at != len(data):
            raise ValueError("bytes are left over")
        return parts

    def _set(self, data: bytes, at: int, shape: SetShape, known: set[bytes]) -> tuple[SetPart, int]:
        groups, at = _number(data, at, 4)
        width, at = _number(data, at, 2)
        if width != len(self._shape.lowest) or groups > shape.max_groups:
            raise ValueError("not a partial of this plan")
        lengths, at = _take(data, at, 2 * groups)
        keys, at = _keys(data, at, memoryview(lengths).cast("H").tolist())
        for key in set(keys) - known:
            _check_key(key, shape)
        known.update(keys)
        columns, at = _take(data, at, 8 * width * groups)
        _check_columns(columns, groups, self._shape.lowest)
        records, left = [], shape.max_values
        for _ in range(self._shape.distinct):
            count, at = _number(data, at, 8)
            if count > left:
                raise ValueError("more distinct values than the plan allows")
            left -= count
            found, at = _take(data, at, RECORD_BYTES * count)
            _check_records(found, groups)
            records.append(found)
        return SetPart(keys, columns, records), at


def accepted_frames(output: bytes, shape: Shape) -> Iterator[bytes]:
    """The frames of a container's output whose partial is well-formed; what follows a broken frame is not looked at."""
    at, reader = 0, Reader(shape)
    while at + FRAME_BYTES <= len(output):
        status, size, start = output[at + 4], int.from_bytes(output[at + 5 : at + 9], "big"), at + FRAME_BYTES
        if size > shape.max_bytes or start + size > len(output):
            return
        if status == 0:
            try:
                reader.parse(output[start : start + size])
            except ValueError:
                status = 1
        if status == 0:
            yield output[at : start + size]
        at = start + size


def _pairs(text: str) -> tuple[tuple[str, int], ...]:
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    return tuple((name, int(number)) for name, number in pairs)


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    word, at = _take(data, at, size)
    return int.from_bytes(word, "little"), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise ValueError("the bytes end too early")
    return data[at : at + size], at + size


def _keys(data: bytes, at: int, lengths: Sequence[int]) -> tuple[list[bytes], int]:
    """The keys that lie from `at` on, strictly increasing."""
    if at + sum(lengths) > len(data):
        raise ValueError("the bytes end too early")
    keys = []
    for length in lengths:
        keys.append(data[at : at + length])
        at += length
    if len(set(keys)) != len(keys) or sorted(keys) != keys:
        raise ValueError("keys do not increase")
    return keys, at


def _check_columns(columns: bytes, groups: int, lowest: list[int]) -> None:
    values = memoryview(columns).cast("q")
    for index, least in enumerate(lowest if groups else ()):
        column = values[index * groups : (index + 1) * groups].tolist()
        if min(column) < least or max(column) > LARGEST:
            raise ValueError("a value is outside what the plan claims")


def _check_records(found: bytes, groups: int) -> None:
    of = memoryview(found).cast("I")[::5].tolist()
    if of and max(of) >= groups:
        raise ValueError("a distinct value is in no group")
    records = list(zip(of, (found[at : at + 16] for at in range(4, len(found), RECORD_BYTES)), strict=True))
    if len(set(records)) != len(records) or sorted(records) != records:
        raise ValueError("distinct values do not increase")


def _check_key(key: bytes, shape: SetShape) -> None:
    at = 0
    for form, most in shape.keys:
        flag, at = _take(key, at, 1)
        if flag == b"\x00":
            continue
        if flag != b"\x01":
            raise ValueError("a key value has no such flag")
        word, at = _take(key, at, 4)
        size = int.from_bytes(word, "big")
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
