"""What a cell counts as: exactly a whole number on its column's grid, one text for one unit, the number of a public group, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from banyan.encrypt.terms import Bounded

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# Beyond any bound of a total (terms.LARGEST).
LARGEST = 2**61
_LONGEST = 100
# The server's form of a number (docs/reference/declaration.md), and the part of it that is read a batch at a time.
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_PLAIN, _PLAIN_WHOLE = r"^[-+]?[0-9]{1,20}(\.[0-9]{1,9})?$", r"^(0|-?[1-9][0-9]{0,99})$"
_DIGITS = 38
_CONTROL = r"[\x00-\x1f\x7f]"
_NONE = "is not a number"
# Said of every cell of the kind, so that it tells nothing of the one.
NOTHING = "if a text such as NA stands for an empty cell: --null-value NA --drop-nulls"


class CellFault(Exception):
    """The cell at this place of the array does not count as anything; `why` says it without its value."""

    def __init__(self, code: str, at: int, why: str, way_out: str | None = None) -> None:
        super().__init__(why)
        self.code, self.at, self.why, self.way_out = code, at, why, way_out


def nothing(column: pa.Array, null_values: Sequence[str]) -> Flags:
    """Which cells are null, only space, or a text that the declaration says means null."""
    found = pc.equal(pc.utf8_trim_whitespace(column), "")
    if set(null_values) - {""}:
        found = pc.or_kleene(found, pc.is_in(column, value_set=pa.array(list(null_values), pa.string())))
    return np.asarray(pc.fill_null(found, fill_value=True))


def units(column: pa.Array, *, whole: bool) -> pa.StringArray:
    """The units' texts, the same for the same unit in every source: trimmed and NFC; with `whole`, plain decimal text.

    Raises CellFault (`data.unit`) for what is no whole number then, and for a text with a control character.
    """
    plain = pc.utf8_normalize(pc.utf8_trim_whitespace(column), form="NFC")
    controls = np.asarray(pc.match_substring_regex(plain, _CONTROL))
    if controls.any():
        text = "holds a line break or another character that no name has"
        raise CellFault("data.unit", int(np.flatnonzero(controls)[0]), text, "a quote may be left open before it")
    if not whole or pc.all(pc.match_substring_regex(plain, _PLAIN_WHOLE)).as_py() is not False:
        return plain
    coded = plain.dictionary_encode()
    texts = [None if (number := _exact(text, 0)) is None else str(number) for text in coded.dictionary.to_pylist()]
    if None in texts:
        at = _first(coded, texts.index(None))
        text = "is not a whole number, as the unit's column is declared to be"
        raise CellFault("data.unit", at, text, f"a whole number; {NOTHING}")
    return pa.array(texts, pa.string()).take(coded.indices)


def groups(column: pa.Array, known: pa.Array) -> Integers:
    """Each cell's place among the public groups. Raises CellFault (`data.group`)."""
    found = pc.index_in(pc.utf8_normalize(column, form="NFC"), value_set=known)
    if found.null_count:
        at = int(np.flatnonzero(np.asarray(pc.is_null(found)))[0])
        shown = ", ".join(known.slice(0, 20).to_pylist()) + (", …" if len(known) > 20 else "")
        raise CellFault("data.group", at, "is none of the public groups", f"one of {shown}; {NOTHING}")
    return np.asarray(found).astype(np.int64)


def numbers(column: pa.Array, bounded: Bounded) -> Integers:
    """The cells as whole numbers on the column's grid of `scale` digits. Raises CellFault (`data.number`): nothing is rounded."""
    trimmed = pc.ascii_trim(column, characters=" \t")
    if pc.all(pc.match_substring_regex(trimmed, _PLAIN)).as_py() is not False:
        try:
            exact = pc.cast(trimmed, pa.decimal128(_DIGITS, bounded.scale))
        except pa.ArrowInvalid:
            return _one_by_one(trimmed, bounded)
        low, high = _words(exact)
        if ((high == low >> 63) & (np.abs(low >> 1) < LARGEST >> 1)).all():
            return low
    return _one_by_one(trimmed, bounded)


def _words(exact: pa.Decimal128Array) -> tuple[Integers, Integers]:
    """The two 64-bit halves of each number; there are no nulls."""
    words = np.frombuffer(exact.buffers()[1], np.int64)[2 * exact.offset : 2 * (exact.offset + len(exact))]
    return words[::2].copy(), words[1::2]


def _one_by_one(column: pa.Array, bounded: Bounded) -> Integers:
    """Any form of number, each distinct text once; and the place of the first cell that is none."""
    coded = column.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    found = [_exact(text, bounded.scale) for text in texts]
    wrong = [number for number, value in enumerate(found) if value is None or abs(value) >= LARGEST]
    if wrong:
        first = min(wrong, key=lambda number: _first(coded, number))
        form = f"a decimal number with at most {bounded.scale} decimals" if bounded.scale else "a whole number"
        why = _why(texts[first], found[first], bounded.scale)
        raise CellFault("data.number", _first(coded, first), why, f"{form}; {NOTHING}" if why == _NONE else form)
    exact: Integers = np.array(found, np.int64)[np.asarray(coded.indices)]
    return exact


def _exact(text: str, scale: int) -> int | None:
    """The text's number · 10^scale as a whole number; None for what is no number or has more digits."""
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return None
    sign, digits, exponent = Decimal(text).as_tuple()
    shift = int(exponent) + scale
    number = int("".join(map(str, digits)))
    if shift < 0:
        number, rest = divmod(number, 10**-shift)
        if rest:
            return None
    exact: int = (-number if sign else number) * 10 ** max(shift, 0)
    return exact


def _why(text: str, found: int | None, scale: int) -> str:
    if found is not None:
        return "is too large"
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return _NONE
    return f"has more than {scale} decimals" if scale else "is not a whole number"


def _first(coded: pa.DictionaryArray, number: int) -> int:
    return int(np.flatnonzero(np.asarray(coded.indices) == number)[0])
