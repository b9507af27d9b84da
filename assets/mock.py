"""What mock data looks like: made from the declaration and a seed, never from data, with every edge case that the declaration has.

Nothing here depends on a version, a file or the machine: with the data deleted or replaced the bytes are the same
(proof_obligations.md B17). Randomness is SHAKE-256 of declaration digest, seed and purpose, so it is the same for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.declaration_model import Declaration
from assets.grid import GRID
from assets.judge_batches import kept_rows
from assets.physical import arrow_schema, parquet_bytes
from assets.placement import placed
from core.canonical import canonical
from core.errors import Invalid
from privacy.schema import Column, ColumnType

MAX_ROWS = 1_000_000
MAX_SEED = 2**53 - 1
_WORDS = 40
_UNBOUNDED = 1000
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_DAYS = 365 * 5
Draws = npt.NDArray[np.uint64]


def mock_minimum(declaration: Declaration) -> int:
    """The number of rows from which on mock data holds every edge case: each category, both bounds, a null in each nullable column."""
    unit = declaration.population.unit
    return max((len(_edges(column)) for column in declaration.columns if column.name != unit), default=1)


def mock_table(declaration: Declaration, rows: int, seed: int = 0) -> pa.Table:
    """Exactly `rows` rows in the form of a block, in no order. Raises Invalid (`mock.rows`, `mock.seed`)."""
    _check(rows, seed)
    schema = arrow_schema(declaration.schema)
    arrays = []
    for column, field in zip(declaration.columns, schema, strict=True):
        draw = _Draw(declaration, seed, column.name)
        is_unit = column.name == declaration.population.unit
        values = _units(declaration, rows, draw) if is_unit else _values(column, rows, draw)
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def mock_blocks(declaration: Declaration, rows: int, seed: int, block_count: int) -> list[bytes]:
    """The same rows as Parquet blocks, placed and sorted as an ingest would, by a key that is no secret."""
    kept, counts = kept_rows(mock_table(declaration, rows, seed).to_batches(), declaration)
    if counts.rows_kept != rows:
        raise RuntimeError("mock data broke its own declaration")
    key = hashlib.sha256(canonical(["banyan.mock/1", declaration.population.name])).digest()
    return [parquet_bytes(block) for block in placed(kept, declaration.population.unit, key, block_count)]


def _check(rows: int, seed: int) -> None:
    if not 1 <= rows <= MAX_ROWS:
        raise Invalid("mock.rows", f"mock data has from 1 to {MAX_ROWS} rows", where={"field": "rows"})
    if not 0 <= seed <= MAX_SEED:
        raise Invalid("mock.seed", f"a seed is a whole number from 0 to {MAX_SEED}", where={"field": "seed"})


class _Draw:
    """Uniform 64-bit numbers for one column of one mock table."""

    def __init__(self, declaration: Declaration, seed: int, name: str) -> None:
        self._start = canonical(["banyan.mock/1", declaration.digest, seed, name])

    def numbers(self, purpose: str, count: int) -> Draws:
        """`count` numbers, the same for the same purpose."""
        stream = hashlib.shake_256(self._start + purpose.encode()).digest(8 * count)
        return np.frombuffer(stream, dtype="<u8").astype(np.uint64)

    def below(self, purpose: str, count: int, limit: int) -> list[int]:
        """`count` numbers from 0 to `limit` - 1."""
        found: list[int] = (self.numbers(purpose, count) % np.uint64(limit)).tolist()
        return found


def _units(declaration: Declaration, rows: int, draw: _Draw) -> list[str]:
    """About as many rows a unit as declared: some units have one, some have many."""
    wanted = max(1, rows * declaration.units // declaration.rows)
    column = declaration.schema.column(declaration.population.unit)
    most = 10 ** min(column.max_length or 1, 15)
    count = min(wanted, most - 1) if most > 2 else 1
    has_room = len(str(count)) < (column.max_length or 1)
    prefix = "m" if declaration.population.unit_type is ColumnType.STRING and has_room else ""
    first, second = draw.below("unit", rows, count), draw.below("skew", rows, count)
    # The smaller of two draws makes low numbers more frequent, so that contribution bounds have something to bound.
    # Not padded: the units of two assets of a population then have the same ids, whatever their numbers, and can be joined.
    return [f"{prefix}{min(a, b) + 1}" for a, b in zip(first, second, strict=True)]


def _values(column: Column, rows: int, draw: _Draw) -> list[Any]:
    """Values drawn from what is declared, with the edge cases put over as many of them as there is room for."""
    values = _drawn(column, rows, draw)
    edges = _edges(column)[:rows]
    places = np.argsort(draw.numbers("places", rows), kind="stable")[: len(edges)].tolist()
    for place, edge in zip(places, edges, strict=True):
        values[place] = edge
    return values


def _drawn(column: Column, rows: int, draw: _Draw) -> list[Any]:
    domain = _domain(column)
    found = [domain[index] for index in draw.below("value", rows, len(domain))]
    if column.nullable:
        return [None if null == 0 else value for null, value in zip(draw.below("null", rows, 20), found, strict=True)]
    return found


def _domain(column: Column) -> Sequence[Any]:
    """What a value can be: by index, so that wide ranges need no room."""
    if column.type is ColumnType.CATEGORY:
        return column.values
    if column.type is ColumnType.BOOL:
        return (False, True)
    if column.type is ColumnType.STRING:
        return sorted({_word(index, column.max_length or 1) for index in range(_WORDS)})
    return _Range(column)


class _Range(Sequence[Any]):
    """The values between a column's bounds, in steps of its grid (days for dates, seconds for timestamps)."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._lower, self._upper = _limits(column)

    def __len__(self) -> int:
        if isinstance(self._lower, datetime):
            return int((self._upper - self._lower).total_seconds()) + 1
        if isinstance(self._lower, date):
            return int((self._upper - self._lower).days) + 1
        return int((self._upper - self._lower) * 10**self._column.scale) + 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self._lower, datetime):
            return self._lower + timedelta(seconds=index)
        if isinstance(self._lower, date):
            return self._lower + timedelta(days=index)
        if self._column.type is ColumnType.INT:
            return self._lower + index
        return self._lower + Decimal(index).scaleb(-self._column.scale)


def _limits(column: Column) -> tuple[Any, Any]:
    if column.lower is not None and column.upper is not None:
        return column.lower, column.upper
    if column.type is ColumnType.TIMESTAMP:
        return _EPOCH, _EPOCH + timedelta(days=_DAYS)
    if column.type is ColumnType.DATE:
        return _EPOCH.date(), _EPOCH.date() + timedelta(days=_DAYS)
    reach = min(_UNBOUNDED, GRID // 10**column.scale)
    return (-reach, reach) if column.type is ColumnType.INT else (Decimal(-reach), Decimal(reach))


def _edges(column: Column) -> list[Any]:
    domain = _domain(column)
    if isinstance(domain, _Range):
        lower, upper = _limits(column)
        edges: list[Any] = [lower, upper]
    elif column.type is ColumnType.STRING:
        edges = ["w" * (column.max_length or 1)]
    else:
        edges = list(domain)
    return [*edges, None] if column.nullable else edges


def _word(index: int, max_length: int) -> str:
    """Short made-up words that read as made up: maaa, maab and so on."""
    letters = "".join(chr(ord("a") + index // 26**power % 26) for power in (2, 1, 0))
    return f"m{letters}"[-max_length:]
