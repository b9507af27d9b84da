"""What is decided of a whole column of texts at once: plain ASCII words, and numbers and moments written in the usual way.

As in assets.verdicts, what could differ from the rule of assets.cells stays open: other scripts, signs, blanks, exponents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from pyarrow import compute

from assets.cells import Reason, rule_for
from assets.verdicts import Mask, Verdicts, code_of, verdicts_on
from privacy.schema import Column, ColumnType

_WORDS = r"\A[ -~]*\z"
_TRIMMED = r"\A[!-~]([ -~]*[!-~])?\z"
_WHOLE = r"\A(0|-?[1-9][0-9]{0,17})\z"
_INTEGER = r"\A-?[0-9]{1,18}\z"
_DECIMAL = r"\A-?[0-9]{1,9}(\.[0-9]{1,9})?\z"
_MOMENT = r"\A[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?\z"
_MOMENT_UTC = _MOMENT.replace(r"\z", r"Z\z")


def text_verdicts(texts: pa.Array, column: Column, unit_type: ColumnType | None) -> Verdicts | None:
    """What can be decided of texts, none of them null. `unit_type` is given for the unit column. None: nothing."""
    if unit_type is not None:
        return _words(texts, column, _WHOLE if unit_type is ColumnType.INT else _TRIMMED)
    deciders: Mapping[ColumnType, Callable[[pa.Array, Column], Verdicts | None]] = {
        ColumnType.STRING: lambda texts, column: _words(texts, column, _WORDS),
        ColumnType.CATEGORY: _categories,
        ColumnType.INT: lambda texts, column: _parsed(texts, column, _INTEGER, pa.int64(), "0"),
        ColumnType.DECIMAL: lambda texts, column: _parsed(texts, column, _DECIMAL, pa.decimal128(18, 9), "0"),
        ColumnType.TIMESTAMP: _moments,
    }
    decide = deciders.get(column.type)
    return None if decide is None else decide(texts, column)


def _words(texts: pa.Array, column: Column, form: str) -> Verdicts:
    """ASCII is its own NFC, and has as many characters as bytes."""
    reasons = np.zeros(len(texts), np.uint8)
    if column.max_length is not None:
        reasons[_numpy(compute.greater(compute.binary_length(texts), column.max_length))] = code_of(Reason.TOO_LONG)
    return Verdicts(texts, reasons, ~_matches(texts, form))


def _categories(texts: pa.Array, column: Column) -> Verdicts:
    rule = rule_for(column)
    listed = pa.array([value for value in column.values if rule(value) == value], pa.utf8())
    is_open = ~_numpy(compute.is_in(texts, listed))
    return Verdicts(texts, np.zeros(len(texts), np.uint8), is_open)


def _moments(texts: pa.Array, column: Column) -> Verdicts | None:
    utc = _parsed(texts, column, _MOMENT_UTC, pa.timestamp("us", tz="UTC"), "2000-01-01T00:00:00Z")
    if utc is not None and not utc.is_open.all():
        return utc
    return _parsed(texts, column, _MOMENT, pa.timestamp("us"), "2000-01-01T00:00:00")


def _parsed(texts: pa.Array, column: Column, form: str, kind: pa.DataType, instead: str) -> Verdicts | None:
    """Texts of this form, read by Arrow and judged as typed cells are; `instead` is read where a text has another."""
    matching = _matches(texts, form)
    try:
        cells = compute.if_else(pa.array(matching), texts, instead).cast(kind)
    except pa.ArrowInvalid:  # a thirtieth of February, for one
        return None
    found = verdicts_on(cells, column)
    return None if found is None else Verdicts(found.stored, found.reasons, found.is_open | ~matching)


def _matches(texts: pa.Array, form: str) -> Mask:
    return _numpy(compute.match_substring_regex(texts, form))


def _numpy(truths: pa.Array) -> Mask:
    found: Mask = truths.to_numpy(zero_copy_only=False)
    return found
