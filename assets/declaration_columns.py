"""Which columns a declaration may declare: types, bounds on the integer grid, categories, public values, the unit column."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from assets.declaration_fields import Fields
from assets.declaration_model import SENSITIVITIES
from assets.grid import GRID, MAX_LENGTH, MAX_SCALE, is_plain_text
from core.clock import moment_of
from core.yaml_positions import shown
from privacy.schema import Bound, Column, ColumnType

COLUMN_NAME = r"[A-Za-z][A-Za-z0-9_]{0,62}"
MAX_COLUMNS = 200
MAX_VALUES = 10_000
DEFAULT_LENGTH = 64
UNIT_TYPES = (ColumnType.STRING, ColumnType.INT)
COMMON_FIELDS = ("type", "nullable", "public", "unit", "sensitivity")
BOUNDED = (ColumnType.INT, ColumnType.DECIMAL, ColumnType.DATE, ColumnType.TIMESTAMP)
TYPE_FIELDS: Mapping[ColumnType, tuple[str, ...]] = {
    ColumnType.INT: ("lower", "upper"),
    ColumnType.DECIMAL: ("scale", "lower", "upper"),
    ColumnType.STRING: ("max_length",),
    ColumnType.CATEGORY: ("values",),
    ColumnType.BOOL: (),
    ColumnType.DATE: ("lower", "upper"),
    ColumnType.TIMESTAMP: ("lower", "upper"),
}
_EXAMPLE: Mapping[ColumnType, str] = {
    ColumnType.INT: "lower: 0, upper: 110",
    ColumnType.DECIMAL: "lower: 0, upper: 49.5",
    ColumnType.DATE: "lower: 2020-01-01, upper: 2026-12-31",
    ColumnType.TIMESTAMP: "lower: 2020-01-01T00:00:00Z, upper: 2026-12-31T23:59:59Z",
}


def read_columns(section: Fields, unit: str | None) -> tuple[list[Column], ColumnType | None]:
    """The columns in declared order, and the declared type of the unit column; problems are noted in `section`."""
    columns: list[Column] = []
    unit_type: ColumnType | None = None
    _check_names(section, unit)
    for name in list(section.given)[:MAX_COLUMNS]:
        fields = section.section(name, f"{name}: {{type: int, lower: 0, upper: 110}}")
        kind = _type(fields) if fields else None
        if fields is None or kind is None:
            continue
        if name == unit:
            unit_type = kind
            columns.append(_unit_column(name, kind, fields))
        else:
            columns.append(_ordinary_column(name, kind, fields, unit))
    return columns, unit_type


def _check_names(section: Fields, unit: str | None) -> None:
    if not 1 <= len(section.given) <= MAX_COLUMNS:
        section.problems.add(
            "columns", section.path, f"a table has from 1 to {MAX_COLUMNS} columns, one of them the unit"
        )
    seen: dict[str, str] = {}
    for name in section.given:
        if not re.fullmatch(COLUMN_NAME, name):
            section.wrong(
                name, "name", f"{shown(name)} cannot be a column's name", "letters, digits and _, a letter first"
            )
        elif (twin := seen.setdefault(name.lower(), name)) != name:
            section.wrong(name, "name", f"{name} and {twin} differ in case only, which SQL does not see")
    if unit is not None and unit not in section.given:
        text = f"the unit column {shown(unit)} is not among the columns"
        section.problems.add("unit", section.path, text, f"declare {unit}: {{type: string, unit: true}}")


def _type(fields: Fields) -> ColumnType | None:
    found = fields.choice("type", [kind.value for kind in ColumnType], "type: int")
    return None if found is None else ColumnType(found)


def _unit_column(name: str, kind: ColumnType, fields: Fields) -> Column:
    """The unit column is text in every block, never null, never a group key."""
    fields.check_known(
        (*COMMON_FIELDS, "max_length"),
        {
            other: f"the unit column has no {other}: any unit may be in the table"
            for other in ("lower", "upper", "values")
        },
    )
    if kind not in UNIT_TYPES:
        fields.wrong("type", "unit", "the unit column must be a string or an int", "write type: string")
    if fields.flag("nullable"):
        fields.wrong(
            "nullable", "unit", "the unit column cannot be nullable: a row without a unit is dropped at ingest"
        )
    if fields.flag("public"):
        fields.wrong("public", "unit", "the unit column cannot be public: its values are whom the guarantee protects")
    if fields.has("unit") and not fields.flag("unit"):
        fields.wrong("unit", "unit", f"population.unit names {name}, and here it is said not to be the unit")
    _sensitivity(fields)
    return Column(name, ColumnType.STRING, max_length=_length(fields))


def _ordinary_column(name: str, kind: ColumnType, fields: Fields, unit: str | None) -> Column:
    allowed = (*COMMON_FIELDS, *TYPE_FIELDS[kind])
    elsewhere = {
        other: f"a column of type {kind} has no {other}"
        for others in TYPE_FIELDS.values()
        for other in others
        if other not in allowed
    }
    fields.check_known(allowed, elsewhere)
    if fields.flag("unit"):
        fields.wrong("unit", "unit", f"population.unit names {shown(unit)}, not {name}: a table has one unit column")
    _sensitivity(fields)
    scale = (fields.whole("scale", "scale: 2", 0, MAX_SCALE) or 0) if kind is ColumnType.DECIMAL else 0
    lower, upper = _bounds(fields, kind, scale) if kind in BOUNDED else (None, None)
    column = Column(
        name,
        kind,
        nullable=fields.flag("nullable"),
        public=fields.flag("public"),
        lower=lower,
        upper=upper,
        scale=scale,
        values=_values(fields) if kind is ColumnType.CATEGORY else (),
        max_length=_length(fields) if kind is ColumnType.STRING else None,
    )
    _check_public(fields, column)
    return column


def _sensitivity(fields: Fields) -> None:
    fields.choice("sensitivity", SENSITIVITIES, "sensitivity: sensitive", required=False)


def _length(fields: Fields) -> int:
    return fields.whole("max_length", "max_length: 64", 1, MAX_LENGTH, required=False) or DEFAULT_LENGTH


def _bounds(fields: Fields, kind: ColumnType, scale: int) -> tuple[Bound | None, Bound | None]:
    given = [name for name in ("lower", "upper") if fields.has(name)]
    if not given:
        return None, None
    if len(given) == 1:
        fields.wrong(given[0], "bounds", "give both lower and upper, or neither", _EXAMPLE[kind])
        return None, None
    lower, upper = (_bound(fields, name, kind, scale) for name in given)
    if lower is None or upper is None:
        return None, None
    if not lower < upper:  # type: ignore[operator]  # both are of the column's own kind
        fields.wrong("lower", "bounds", "lower must be below upper", _EXAMPLE[kind])
        return None, None
    return lower, upper


def _bound(fields: Fields, name: str, kind: ColumnType, scale: int) -> Bound | None:
    value = fields.given[name]
    try:
        return _read_bound(value, kind, scale)
    except ValueError as problem:
        text = f"{shown(value)} cannot be the {name} bound of a column of type {kind}: {problem}"
        fields.wrong(name, "bounds", text, _EXAMPLE[kind])
        return None


def _read_bound(value: Any, kind: ColumnType, scale: int) -> Bound:
    if kind is ColumnType.DATE:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
        raise ValueError("a date looks like 2026-01-31")
    if kind is ColumnType.TIMESTAMP:
        if isinstance(value, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", value):
            return moment_of(value)
        raise ValueError("a moment looks like 2026-01-31T08:00:00Z")
    return _grid_bound(value, kind, scale)


def _grid_bound(value: Any, kind: ColumnType, scale: int) -> int | Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
        raise ValueError("not a number")
    number = Decimal(value)
    if number.adjusted() > 20:
        raise ValueError("too large for the integer grid")
    grid = number.scaleb(scale)
    if grid != grid.to_integral_value():
        raise ValueError(f"more than {scale} decimal digits" if kind is ColumnType.DECIMAL else "not a whole number")
    if abs(grid) > GRID:
        raise ValueError("too large for the integer grid: |bound| times 10^scale must be below 2^53")
    return int(grid) if kind is ColumnType.INT else Decimal(int(grid)).scaleb(-scale)


def _values(fields: Fields) -> tuple[str, ...]:
    form = "values: [female, male]"
    given = fields.value("values", form)
    if given is None:
        return ()
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_VALUES:
        fields.wrong("values", "values", f"values must be a list of 1 to {MAX_VALUES} categories", form)
        return ()
    found: dict[str, None] = {}
    for index, value in enumerate(given):
        text = _category(value)
        if text is None:
            way_out = "write each as text of at most 256 characters; put true, false, null and decimals in quotes"
            fields.problems.add(
                "values", (*fields.path, "values", index), f"{shown(value)} cannot be a category", way_out
            )
        elif text in found:
            fields.problems.add("values", (*fields.path, "values", index), f"{shown(value)} is listed twice")
        else:
            found[text] = None
    return tuple(found)


def _category(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = unicodedata.normalize("NFC", str(value))
    return text if len(text) <= MAX_LENGTH and is_plain_text(text) else None


def _check_public(fields: Fields, column: Column) -> None:
    """Public values always appear as groups, so there must be a list of them that is known without the data."""
    if not column.public or column.type in (ColumnType.CATEGORY, ColumnType.BOOL):
        return
    if column.type not in (ColumnType.INT, ColumnType.DATE):
        text = f"a column of type {column.type} cannot be public: its values are not listed in the declaration"
        fields.wrong("public", "public", text, "make it a category with values, or leave public out")
    elif column.lower is None:
        fields.wrong(
            "public", "public", "a public column needs bounds, so that its values are known", _EXAMPLE[column.type]
        )
    elif _count(column) > MAX_VALUES:
        fields.wrong("public", "public", f"a public column has at most {MAX_VALUES} values", "narrow the bounds")


def _count(column: Column) -> int:
    lower, upper = column.lower, column.upper
    if isinstance(lower, int) and isinstance(upper, int):
        return upper - lower + 1
    if isinstance(lower, date) and isinstance(upper, date) and not isinstance(lower, datetime):
        return (upper - lower).days + 1
    return 0
