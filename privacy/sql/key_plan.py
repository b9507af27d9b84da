"""How the group keys of a query are planned: which are public, how many cells there are, and how large a partial can honestly be."""

from __future__ import annotations

from core.errors import Invalid
from privacy.schema import EXCESS, Column, ColumnType, TableSchema
from privacy.sql.keys import MAX_CELLS, MAX_KEY_BYTES, KeyColumn, domain_of, domain_size, max_bytes
from privacy.sql.partials import HEAD_BYTES, VALUE_BYTES
from privacy.sql.tree import KeyOutput, Query

MAX_PARTIAL_GROUPS = 1_000_000
MAX_PARTIAL_BYTES = 256 << 20

_LISTABLE = frozenset({ColumnType.CATEGORY, ColumnType.BOOL, ColumnType.INT, ColumnType.DATE})


def key_of(query: Query, column: Column) -> KeyColumn:
    """One group column with its domain, if that is public. Raises Invalid for a column that cannot be a key."""
    name = next(o.name for o in query.outputs if isinstance(o, KeyOutput) and o.column == column.name)
    size = max_bytes(column)
    if size is None or size > MAX_KEY_BYTES:
        raise Invalid(
            "keys.unbounded",
            f"{column.name} may hold texts of any length and cannot be a group key",
            where={"field": "query"},
            way_out=f"ask the data operator to declare max_length for {column.name}",
        )
    if column.public and column.type in _LISTABLE and (domain_size(column) or 0) > MAX_CELLS:
        raise _too_many_cells()
    return KeyColumn(name, column.name, column.type, column.scale, size, domain_of(column))


def cells_of(keys: tuple[KeyColumn, ...]) -> int | None:
    """How many rows the answer has; None where a key is not public. Raises Invalid for more than can be shown."""
    if not all(key.public for key in keys):
        return None
    cells = 1
    for key in keys:
        cells *= len(key.values or ())
    if cells > MAX_CELLS:
        raise _too_many_cells()
    return cells


def _too_many_cells() -> Invalid:
    return Invalid(
        "keys.too_many",
        f"the public keys together have more than {MAX_CELLS} combinations, and every one would be shown",
        where={"field": "query"},
        way_out="group by fewer columns, or by columns with fewer declared values",
    )


def partial_groups(keys: tuple[KeyColumn, ...], schema: TableSchema, groups: int, width: int) -> int:
    """The most groups that an honest block can hold, so that no honest partial is ever cut off (design R9)."""
    most = min(EXCESS * min(schema.rows, schema.units * groups), _listable_groups(keys, schema))
    size = HEAD_BYTES + most * (2 + sum(key.max_bytes for key in keys) + VALUE_BYTES * width)
    if most > MAX_PARTIAL_GROUPS or size > MAX_PARTIAL_BYTES:
        raise Invalid(
            "keys.too_many",
            "these keys could form more groups than a query may carry",
            where={"field": "query"},
            way_out="group by fewer or coarser columns, lower max_groups_per_unit, or ask for a shorter max_length",
        )
    return most


def _listable_groups(keys: tuple[KeyColumn, ...], schema: TableSchema) -> int:
    """How many groups the declared values of the keys can form; more than any partial holds where they cannot be listed."""
    product = 1
    for key in keys:
        column = schema.column(key.column)
        size = domain_size(column)
        if size is None:
            return 2**62
        product *= size + column.nullable
    return product
