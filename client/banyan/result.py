"""A released table: its rows, its guarantee, and the forms in which people take it away."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from banyan import chart, figures, layout
from banyan.errors import BanyanError, Refused
from banyan.textfile import unreadable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_REUSED = "a copy of an identical job's earlier release: the same figures, and nothing more of the population's budget"
_PARTS = ("standard_error", "low", "high")


class Result:
    """What left the sandbox. `rows` are mappings by column; a value is a mapping of value, standard_error, low and high (95 %)."""

    def __init__(self, data: Mapping[str, Any], parquet: Callable[[], bytes] | None = None) -> None:
        self.data = dict(data)
        self._parquet = parquet

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Each column's name, role (key or value) and type."""
        return list(self.data.get("columns") or [])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, in the order in which they were released."""
        return list(self.data.get("rows") or [])

    @property
    def guarantee(self) -> dict[str, Any]:
        """What is promised to each person behind the data; `sentence` says it in words. Empty for mock data."""
        return dict(self.data.get("guarantee") or {})

    @property
    def job_id(self) -> str:
        """The job that it is the result of."""
        return str(self.data.get("job"))

    @property
    def receipt_id(self) -> str | None:
        """The release that the receipt is about; None for mock data."""
        return self.data.get("receipt")

    @property
    def mock(self) -> dict[str, Any] | None:
        """What a program did on made-up rows; None for anything else.

        `blocks` ran, `answered` of them gave an answer, `answers` says for each which one (None for none), and `log` is all that they
        printed and raised.
        """
        found = self.data.get("mock")
        return dict(found) if isinstance(found, Mapping) else None

    @property
    def is_reused(self) -> bool:
        """Whether it is a copy of an identical job's earlier release, for which the population was charged nothing more."""
        return self.data.get("reused") is True

    @property
    def is_mock(self) -> bool:
        """Whether the figures come from made-up rows."""
        return self.data.get("mode") == "mock"

    def flat(self) -> tuple[list[str], list[list[Any]]]:
        """Headers and rows with one column for each figure: value, standard error, low and high of every value column."""
        headers: list[str] = []
        for column in self.columns:
            name = column["name"]
            headers += [name] if _is_key(column) else [name, *(f"{name}_{part}" for part in _PARTS)]
        return headers, [self._flat_row(row) for row in self.rows]

    def _flat_row(self, row: Mapping[str, Any]) -> list[Any]:
        found: list[Any] = []
        for column in self.columns:
            cell = row.get(column["name"])
            found += [cell] if _is_key(column) else [_part(cell, part) for part in ("value", *_PARTS)]
        return found

    def to_pandas(self) -> Any:
        """A pandas.DataFrame in the form of `flat`. Raises BanyanError when pandas is not installed here."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise BanyanError("pandas.missing", "pandas is not installed", "pip install pandas") from None
        headers, rows = self.flat()
        frame = pandas.DataFrame(rows, columns=headers)
        types = self._types(headers, rows)
        return frame.astype(types) if types else frame

    def _types(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, str]:
        """By header, where pandas would guess wrong because something is missing: whole keys are no fractions, figures no objects."""
        keys = {column["name"]: column.get("type") for column in self.columns if _is_key(column)}
        found: dict[str, str] = {}
        for header, cells in zip(headers, zip(*rows, strict=True), strict=False):
            if header in keys:
                is_whole = keys[header] == "int" and all(cell is None or isinstance(cell, int) for cell in cells)
                found |= {header: "Int64"} if is_whole and None in cells else {}
            elif all(cell is None for cell in cells):
                found[header] = "float64"
        return found

    def save(self, path: str | Path) -> Path:
        """Write the table as .csv, .json or .parquet, by the file's suffix. Raises Refused for another suffix."""
        path = Path(path)
        write = {".csv": self._csv, ".json": self._json, ".parquet": self._parquet}.get(path.suffix.lower())
        if write is None:
            raise Refused("file.format", f"a result is not saved as {path.name}", way_out=".csv, .json or .parquet")
        content = write()
        try:
            path.write_bytes(content)
        except OSError as problem:
            raise unreadable(path, problem) from None
        return path

    def _csv(self) -> bytes:
        headers, rows = self.flat()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([headers, *([_harmless(cell) for cell in row] for row in rows)])
        return text.getvalue().encode()

    def _json(self) -> bytes:
        return (json.dumps(self.data, ensure_ascii=False, indent=1) + "\n").encode()

    def shown_cells(self) -> list[list[str]]:
        """The rows as people read them: keys, and values with ± half of the 95 % interval."""
        return [[self._shown(column, row.get(column["name"])) for column in self.columns] for row in self.rows]

    def _shown(self, column: Mapping[str, Any], cell: Any) -> str:
        if not _is_key(column):
            return figures.with_interval(_part(cell, "value"), _part(cell, "low"), _part(cell, "high"))
        # One number of a program has no element; a NULL among a query's groups is a group.
        return ("" if self._is_of_a_program else "NULL") if cell is None else layout.clean(str(cell))

    @property
    def _is_of_a_program(self) -> bool:
        return self.guarantee.get("blocks") is not None

    def lines(self, width: int | None = None, limit: int | None = None) -> list[str]:
        """The table, its notes and its guarantee as text within `width`; at most `limit` rows."""
        found = self._table(self.shown_cells()[:limit], width)
        hidden = len(self.rows) - limit if limit is not None else 0
        if hidden > 0:
            found.append(f"… {hidden:,} more rows")
        for note in self.data.get("notes") or []:
            found += layout.hanging("", str(note), width)
        return found + layout.fields(self._footer(), width)

    def _table(self, cells: Sequence[Sequence[str]], width: int | None) -> list[str]:
        names = [layout.clean(column["name"]) for column in self.columns]
        keys = sum(1 for column in self.columns if _is_key(column))
        widths = [max(cell_len(row[at]) for row in (names, *cells)) for at in range(len(names))]
        lines: list[str] = []
        for group in layout.split_by_width(widths, keys, width):
            numbers = [position for position, at in enumerate(group) if at >= keys]
            rows = [[row[at] for at in group] for row in cells]
            lines += [""] * bool(lines) + layout.table([names[at] for at in group], rows, numbers, width)
        return lines

    def _footer(self) -> list[tuple[str, str]]:
        if self.is_mock:
            return [("Mock", "made-up rows: the figures mean nothing, nothing was paid")]
        found = [("Guarantee", str(self.guarantee.get("sentence") or "none is stated"))]
        return [*found, ("Reused", _REUSED)] if self.is_reused else found

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return f"<banyan.Result of job {self.job_id}: {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        footer = " · ".join(text for _, text in self._footer())
        return chart.html([column["name"] for column in self.columns], self.shown_cells(), self.bars(), footer)

    def bars(self) -> list[chart.Bar]:
        """The first value column as bars with error bars, one for each row that has a value."""
        value = next((column["name"] for column in self.columns if not _is_key(column)), None)
        keys = [column for column in self.columns if _is_key(column)]
        found = []
        for row in self.rows if value is not None else []:
            cell = row.get(str(value))
            figure = figures.decimal_of(_part(cell, "value"))
            if figure is not None:
                ends = [figures.decimal_of(_part(cell, part)) for part in ("low", "high")]
                low, high = (float(figure if end is None else end) for end in ends)
                shown = [self._shown(column, row.get(column["name"])) for column in keys]
                label = " · ".join(part for part in shown if part) or str(value)
                found.append(chart.Bar(label, float(figure), low, high))
        return found


def _is_key(column: Mapping[str, Any]) -> bool:
    return column.get("role") == "key"


def _part(cell: Any, part: str) -> Any:
    if isinstance(cell, Mapping):
        return cell.get(part)
    return cell if part == "value" else None


def _harmless(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula is quoted with an apostrophe, as in the server's own CSV."""
    if cell is None:
        return ""
    return "'" + cell if isinstance(cell, str) and cell[:1] in _FORMULA else cell
