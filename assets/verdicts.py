"""What is decided of a whole column of cells at once, exactly as assets.cells decides of each, and which cells it must be asked for.

Numbers are judged as integers on their grid. A cell on which a vector operation could differ from the rule stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from assets.cells import Reason
from assets.grid import GRID
from assets.physical import DECIMAL_DIGITS
from privacy.schema import Column, ColumnType

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]
_REASONS = tuple(Reason)
_LARGEST_POWER = 18  # of ten, in an int64
_LARGEST_WHOLE = 2.0**53
_SAFE_FLOAT = 2.0**40
# Below 2^40 a float, its shortest decimal and their products with a power of ten are within 2^-11 of each other.
_SURE_OF_HALF = 0.5 - 2.0**-10
_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000


def code_of(reason: Reason) -> int:
    """The number that stands for a reason in `Verdicts.reasons`; 0 is none."""
    return _REASONS.index(reason) + 1


@dataclass(frozen=True)
class Verdicts:
    """For each cell what is stored, why its row is not kept (0: it is), and whether that is still open.

    What is stored of a cell that has a reason, or is open or null, means nothing.
    """

    stored: pa.Array
    reasons: Codes
    is_open: Mask

    @classmethod
    def none(cls, cells: pa.Array, kind: pa.DataType) -> Verdicts:
        """Nothing decided."""
        return cls(pa.nulls(len(cells), kind), np.zeros(len(cells), np.uint8), np.ones(len(cells), np.bool_))


def verdicts_on(cells: pa.Array, column: Column) -> Verdicts | None:
    """What can be decided of typed cells of an ordinary column. None: nothing, for cells of this type in such a column."""
    deciders: Mapping[ColumnType, Callable[[pa.Array, Column], Verdicts | None]] = {
        ColumnType.INT: _numbers,
        ColumnType.DECIMAL: _numbers,
        ColumnType.BOOL: _bools,
        ColumnType.DATE: _dates,
        ColumnType.TIMESTAMP: _moments,
    }
    decide = deciders.get(column.type)
    return None if decide is None else decide(cells, column)


@dataclass(frozen=True)
class _Grid:
    """Cells as multiples of 10^-scale, where they are known; the others are open or no whole multiples."""

    numbers: Integers
    is_open: Mask
    reasons: Codes


def _numbers(cells: pa.Array, column: Column) -> Verdicts | None:
    kind, scale = cells.type, column.scale
    if pa.types.is_integer(kind):
        grid = _grid_of_integers(cells, scale)
    elif pa.types.is_float32(kind) or pa.types.is_float64(kind):
        grid = _grid_of_floats(_numpy(cells.cast(pa.float64())), column)
    elif pa.types.is_decimal128(kind) and abs(kind.scale - scale) <= _LARGEST_POWER:
        grid = _grid_of_decimals(cells, column)
    else:
        return None
    lower, upper = grid_bounds(column)
    reasons, known = grid.reasons, (grid.reasons == 0) & ~grid.is_open
    reasons[known & (grid.numbers < lower)] = code_of(Reason.BELOW_LOWER)
    reasons[known & (grid.numbers > upper)] = code_of(Reason.ABOVE_UPPER)
    numbers = np.where(known & (reasons == 0), grid.numbers, 0)
    stored = pa.array(numbers) if column.type is ColumnType.INT else decimals_of(numbers, scale)
    return Verdicts(stored, reasons, grid.is_open)


def grid_bounds(column: Column) -> tuple[int, int]:
    """The least and the greatest multiple of 10^-scale in a numeric column; undeclared bounds are those of the grid."""
    if column.lower is None or column.upper is None:
        return -GRID, GRID
    lower, upper = (Decimal(bound).scaleb(column.scale) for bound in (column.lower, column.upper))  # type: ignore[arg-type]  # a numeric column's are numbers
    return int(lower.to_integral_value(ROUND_CEILING)), int(upper.to_integral_value(ROUND_FLOOR))


def decimals_of(numbers: Integers, scale: int) -> pa.Array:
    """Multiples of 10^-scale as decimals: two words each, the lower one first."""
    words = np.stack([numbers, numbers >> 63], axis=1)
    kind = pa.decimal128(DECIMAL_DIGITS, scale)
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(words)])


def _grid_of_integers(cells: pa.Array, scale: int) -> _Grid:
    numbers = _numpy(cells)
    reach = (2**63 - 1) // 10**scale
    is_open = numbers > reach
    if numbers.dtype != np.uint64:
        numbers = numbers.astype(np.int64)
        is_open |= numbers < -reach
    return _Grid(np.where(is_open, 0, numbers).astype(np.int64) * 10**scale, is_open, np.zeros(len(cells), np.uint8))


def _grid_of_floats(numbers: npt.NDArray[np.float64], column: Column) -> _Grid:
    """A float means its shortest decimal; one without a fraction is that number, up to 2^53.

    Where the decimal could be on the other side of a half, or is large, the cell stays open.
    """
    finite = np.isfinite(numbers)
    reasons = np.where(finite, 0, code_of(Reason.NOT_A_NUMBER)).astype(np.uint8)
    is_whole = column.type is ColumnType.INT
    is_open = finite & (np.abs(numbers) > (_LARGEST_WHOLE if is_whole else _SAFE_FLOAT / 10**column.scale))
    numbers = np.where(finite & ~is_open, numbers, 0.0) * 10.0**column.scale
    nearest = np.rint(numbers)
    if is_whole:
        reasons[numbers != nearest] = code_of(Reason.NOT_AN_INTEGER)
    else:
        is_open |= np.abs(numbers - nearest) > _SURE_OF_HALF
    return _Grid(nearest.astype(np.int64), is_open, reasons)


def _grid_of_decimals(cells: pa.Array, column: Column) -> _Grid:
    words = np.frombuffer(cells.buffers()[1], np.int64, 2 * (cells.offset + len(cells))).reshape(-1, 2)[cells.offset :]
    numbers, is_open = words[:, 0], words[:, 1] != words[:, 0] >> 63
    reasons = np.zeros(len(cells), np.uint8)
    finer = cells.type.scale - column.scale
    if finer <= 0:
        reach = (2**63 - 1) // 10**-finer
        is_open = is_open | (numbers > reach) | (numbers < -reach)
        return _Grid(np.where(is_open, 0, numbers) * 10**-finer, is_open, reasons)
    whole, rest = np.divmod(numbers, 10**finer)
    if column.type is ColumnType.INT:
        reasons[(rest != 0) & ~is_open] = code_of(Reason.NOT_AN_INTEGER)
        return _Grid(whole, is_open, reasons)
    half = 10**finer // 2  # half-even: `rest` is not negative
    return _Grid(whole + ((rest > half) | ((rest == half) & (whole % 2 == 1))), is_open, reasons)


def _bools(cells: pa.Array, column: Column) -> Verdicts | None:  # noqa: ARG001 - of the deciders' form
    return _all_kept(cells) if pa.types.is_boolean(cells.type) else None


def _dates(cells: pa.Array, column: Column) -> Verdicts | None:
    if pa.types.is_date32(cells.type):
        days, rest = _numpy(cells.cast(pa.int32())), None
    elif pa.types.is_timestamp(cells.type):
        days, rest = np.divmod(_numpy(cells.cast(pa.int64())), _DAY)
    else:
        return None
    reasons = _outside(days, column, lambda bound: (bound - _EPOCH_DAY).days)
    if rest is not None:
        reasons[rest != 0] = code_of(Reason.NOT_A_DATE)
    return _decided(pa.array(days.astype(np.int32)).cast(pa.date32()), reasons)


def _moments(cells: pa.Array, column: Column) -> Verdicts | None:
    if pa.types.is_date32(cells.type):
        cells = cells.cast(pa.timestamp("us"))
    elif not pa.types.is_timestamp(cells.type):
        return None
    moments = _numpy(cells.cast(pa.int64()))
    reasons = _outside(moments, column, lambda bound: (bound - _EPOCH) // timedelta(microseconds=1))
    return _decided(pa.array(moments).cast(pa.timestamp("us", tz="UTC")), reasons)


def _outside(numbers: npt.NDArray[Any], column: Column, number_of: Callable[[Any], int]) -> Codes:
    reasons = np.zeros(len(numbers), np.uint8)
    if column.lower is not None and column.upper is not None:
        reasons[numbers < number_of(column.lower)] = code_of(Reason.BELOW_LOWER)
        reasons[numbers > number_of(column.upper)] = code_of(Reason.ABOVE_UPPER)
    return reasons


def _all_kept(stored: pa.Array) -> Verdicts:
    return _decided(stored, np.zeros(len(stored), np.uint8))


def _decided(stored: pa.Array, reasons: Codes) -> Verdicts:
    return Verdicts(stored, reasons, np.zeros(len(stored), np.bool_))


def _numpy(cells: pa.Array) -> npt.NDArray[Any]:
    """The cells as a vector; what stands for a null means nothing."""
    if cells.null_count:
        cells = compute.fill_null(cells, pa.scalar(0, cells.type))
    found: npt.NDArray[Any] = cells.to_numpy(zero_copy_only=False)
    return found
