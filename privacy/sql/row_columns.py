"""In which form the keys and values of a row reach the pass: their types in DuckDB and Arrow, the bytes of a key, the number of a value.

A row of the pass is `u` (the unit's ordinal in the block), `k0`, `k1`, … (one for every key) and `v0`, `v1`, … (one for every pair of
an argument and a FILTER). Everything that an aggregate needs of a row is in its value column: whether there is a value, and its number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

from privacy.sql.aggregates import Aggregate
from privacy.sql.asked import Asked, Grouping
from privacy.sql.codes import code_type, coded, listed_texts
from privacy.sql.columns_read import operand
from privacy.sql.expressions import Expression
from privacy.sql.facts import SMALL_BITS, WHOLE, Facts, Unfit
from privacy.sql.functions.strings import quoted_text
from privacy.sql.held import Held, Kind

LARGEST = (1 << SMALL_BITS) - 1  # what a value column can hold; it is clamped further in the pass, to ends inside
_SEARCHED_FOR_KEYS = 64  # a text is searched in no longer list for each row: as a key it can go as it is,
_SEARCHED_FOR_VALUES = 1_000  # as a value it cannot
_WIDTHS = {"SMALLINT": 2, "INTEGER": 4, "BIGINT": 8}


class KeyKind(StrEnum):
    """How a key column is read."""

    INTEGER = "integer"
    TRUTH = "truth"
    CODE = "code"
    TEXT = "text"


@dataclass(frozen=True)
class KeyColumn:
    """A key column: `type` in DuckDB; the listed texts of a CODE; the most bytes of a value (UTF-8 for texts)."""

    kind: KeyKind
    type: str
    max_bytes: int
    values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Bytes of a whole number in Arrow; 0 for texts."""
        return _WIDTHS.get(self.type, 0)


@dataclass(frozen=True)
class ValueColumn:
    """A value column: of an argument (None: of the row itself), in the rows for which the condition is TRUE."""

    argument: Expression | None
    condition: Expression | None


@dataclass(frozen=True)
class Operand:
    """DuckDB's text of a value in the held form, or of its place in the list."""

    text: str
    is_place: bool


def key_columns(grouping: Grouping) -> tuple[KeyColumn, ...]:
    """The form of each key. Raises Unfit for a number that needs more than 63 bits."""
    carried = coded(grouping.source)[id(grouping.source)]
    pairs = zip(grouping.keys, grouping.key_facts, strict=True)
    return tuple(_key_column(facts, carries=operand(key.expression, carried) is not None) for key, facts in pairs)


def _key_column(facts: Facts, *, carries: bool) -> KeyColumn:
    if facts.kind is Kind.TRUTH:
        return KeyColumn(KeyKind.TRUTH, "SMALLINT", 1)
    if facts.kind is Kind.TEXT:
        listed = listed_texts(facts)
        if listed and (carries or len(listed) <= _SEARCHED_FOR_KEYS):
            longest = max(len(value.encode("utf-8")) for value in listed)
            return KeyColumn(KeyKind.CODE, code_type(listed), longest, listed)
        return KeyColumn(KeyKind.TEXT, "VARCHAR", facts.max_bytes)
    if facts.kind in WHOLE and not facts.fits(SMALL_BITS):
        reason = f"a group key could need more than {SMALL_BITS} bits"
        raise Unfit(reason, "group by a coarser value, such as ROUND(x, 2) or a CASE", "sql.too_wide")
    return KeyColumn(KeyKind.INTEGER, "INTEGER" if facts.kind is Kind.DAY else "BIGINT", 8)


def value_columns(grouping: Grouping) -> tuple[ValueColumn, ...]:
    """All value columns, once each, in the order in which they are first asked for. Raises Unfit for values that cannot be told apart."""
    carried = coded(grouping.source)[id(grouping.source)]
    for asked, facts in zip(grouping.values, grouping.argument_facts, strict=True):
        if asked.aggregate is not Aggregate.VALUES or asked.argument is None or facts is None:
            continue
        if not _told_apart(facts, carries=operand(asked.argument, carried) is not None):
            reason = "COUNT(DISTINCT …) counts values of a declared list, or numbers of at most 63 bits"
            raise Unfit(reason, "declare the column as a category, or count a CASE or a number made of it")
    return tuple(dict.fromkeys(column for column in map(_value_column, grouping.values) if column is not None))


def value_places(grouping: Grouping) -> tuple[int | None, ...]:
    """For each value of the grouping the place of its value column; None where rows and units are counted without a FILTER."""
    places = {column: at for at, column in enumerate(value_columns(grouping))}
    return tuple(None if (of := _value_column(asked)) is None else places[of] for asked in grouping.values)


def _value_column(asked: Asked) -> ValueColumn | None:
    if asked.argument is None and asked.condition is None:
        return None
    return ValueColumn(asked.argument, asked.condition)


def _told_apart(facts: Facts, *, carries: bool) -> bool:
    if facts.kind in WHOLE:
        return facts.fits(SMALL_BITS)
    listed = listed_texts(facts)
    return facts.kind is not Kind.TEXT or (listed is not None and (carries or len(listed) <= _SEARCHED_FOR_VALUES))


def key_sql(operand: Operand, key: KeyColumn) -> str:
    """DuckDB's text of a key column."""
    if key.kind is KeyKind.TEXT or operand.is_place:
        return operand.text
    text = _place_sql(operand.text, key.values) if key.kind is KeyKind.CODE else operand.text
    return f"CAST({text} AS {key.type})"


def value_sql(argument: Operand | None, facts: Facts | None, condition: str | None) -> str:
    """DuckDB's text of a value column."""
    number = "CAST(0 AS BIGINT)" if argument is None or facts is None else _number_sql(argument, facts)
    return number if condition is None else f"CASE WHEN {condition} THEN {number} END"


def _number_sql(operand: Operand, facts: Facts) -> str:
    text = operand.text
    if facts.kind is Kind.TEXT and not operand.is_place:
        listed = listed_texts(facts)
        if listed is None or len(listed) > _SEARCHED_FOR_VALUES:
            return f"CASE WHEN {text} IS NOT NULL THEN CAST(0 AS BIGINT) END"
        text = _place_sql(text, listed)
    if facts.kind in WHOLE and not facts.fits(SMALL_BITS):
        text = f"CASE WHEN {text} < -{LARGEST} THEN -{LARGEST} WHEN {text} > {LARGEST} THEN {LARGEST} ELSE {text} END"
    return f"CAST({text} AS BIGINT)"


def _place_sql(text: str, values: tuple[str, ...]) -> str:
    return f"(list_position([{', '.join(map(quoted_text, values))}], {text}) - 1)"


def key_bytes(value: Held, facts: Facts) -> bytes:
    """The canonical bytes of a held key value (design R1): u8 0 for NULL; else u8 1, u32 BE length, and the bytes of the value.

    These are UTF-8 of a text, one byte of truth, and a signed 64-bit number, most significant byte first, of everything else.
    """
    if value is None:
        return b"\x00"
    if isinstance(value, str):
        data = value.encode("utf-8")
    else:
        data = int(value).to_bytes(1 if facts.kind is Kind.TRUTH else 8, "big", signed=facts.kind is not Kind.TRUTH)
    return struct.pack(">BI", 1, len(data)) + data


def value_number(value: Held, facts: Facts) -> int | None:
    """What a value column holds for a held value: the number itself, the place of a listed text, 0 of another text.

    Of a list that is too long to be searched DuckDB gives 0 as well: there only NULL and other values are told apart.
    """
    if value is None:
        return None
    if isinstance(value, str):
        listed = listed_texts(facts) or (value,)
        return listed.index(value)
    return min(max(int(value), -LARGEST), LARGEST)
