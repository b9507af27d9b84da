"""YAML as people write it by hand: plain values, and for each of them the line it stands on.

Stricter than YAML on purpose, so that a file means what it looks like: a field given twice, anchors, aliases, tags,
several documents and deep nesting are refused; `no`, `on`, `1:30`, `007` and `2026-01-01` are text; a decimal number is
a Decimal, exactly as written; quoted scalars are always text; keys are always text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

from core.errors import Invalid, TooLarge

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
Path = tuple[str | int, ...]

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,99})")
_DECIMAL = re.compile(r"[-+]?([0-9]{1,100}(\.[0-9]{0,100})?|\.[0-9]{1,100})([eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, Any] = {
    "": None, "~": None, "null": None, "true": True, "false": False,
    ".nan": Decimal("NaN"), ".inf": Decimal("Infinity"), "-.inf": Decimal("-Infinity"),
}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A file that was read: its fields, and where each of them stands."""

    fields: Mapping[str, Any]
    filename: str
    _positions: Mapping[Path, tuple[int, int]] = field(repr=False)

    def where(self, *path: str | int) -> dict[str, Any]:
        """File, line, column (from 1) and dotted name of a field; of what encloses it, where the field is absent."""
        known = path
        while known not in self._positions:
            known = known[:-1]
        line, column = self._positions[known]
        return {"file": self.filename, "line": line, "column": column, "field": dotted(path)}

    def invalid(self, code: str, path: Path, text: str, *, way_out: str | None = None) -> Invalid:
        """The error to raise about the field at `path`."""
        return Invalid(code, text, where=self.where(*path), way_out=way_out)

    def check_fields(self, code: str, path: Path, known: Collection[str], given: Mapping[str, Any]) -> None:
        """Raise Invalid for the first field of `given`, the mapping at `path`, that is not among `known`."""
        for name in given:
            if name not in known:
                raise self.invalid(
                    code,
                    (*path, name),
                    f"there is no field {shown(name)} here",
                    way_out=nearest(name, known) or f"the fields are {', '.join(known)}",
                )


def nearest(name: str, known: Collection[str]) -> str | None:
    """A suggestion ("did you mean …?") for a misspelt name; None where nothing is close."""
    close = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else None


def printable(text: str, limit: int = 120) -> str:
    """Text of a stranger's file, cut short and without control characters."""
    short = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in short)


def shown(value: object) -> str:
    """A value of a stranger's file, in quotes, for use in a sentence."""
    return f'"{printable(str(value), 60)}"'


def dotted(path: Path) -> str:
    """`("columns", "age", "lower")` as `columns.age.lower`; list items as `assets[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return printable(text.removeprefix("."))


def read_document(text: str, filename: str, code: str) -> Document:
    """Read one YAML mapping.

    Raises Invalid with `code` (such as `policy.syntax`) and file, line and column in `where` for anything that is not
    one plain mapping, and TooLarge above MAX_BYTES.
    """
    name = printable(re.split(r"[/\\]", filename)[-1])
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise TooLarge(f"{code.partition('.')[0]}.too_large", f"the file is larger than {MAX_BYTES // 1024} KiB")
    positions: dict[Path, tuple[int, int]] = {(): (1, 1)}
    try:
        fields = _Builder(text, positions).document()
    except yaml.MarkedYAMLError as problem:
        line, column = _start(problem.problem_mark)
        raise _refused(code, name, problem.problem or "not YAML", line, column) from None
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise _refused(code, name, "a character that may not stand in a text file", line, 1) from None
    except _NotPlainError as problem:
        raise _refused(code, name, problem.text, problem.line, problem.column) from None
    return Document(fields, name, positions)


def _refused(code: str, filename: str, text: str, line: int, column: int) -> Invalid:
    where = {"file": filename, "line": line, "column": column}
    return Invalid(code, f"the file cannot be read as YAML: {printable(text)}", where=where)


def _start(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _NotPlainError(Exception):
    """YAML that is well-formed and still not accepted."""

    def __init__(self, text: str, event: yaml.Event) -> None:
        super().__init__(text)
        self.text = text
        self.line, self.column = _start(event.start_mark)


class _Builder:
    """Builds values from the parser's events; nothing of YAML's type system is used."""

    def __init__(self, text: str, positions: dict[Path, tuple[int, int]]) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._positions = positions

    def document(self) -> dict[str, Any]:
        """The mapping at the root of the only document."""
        start = [next(self._events), next(self._events)]
        if not isinstance(start[1], yaml.DocumentStartEvent):
            raise _NotPlainError("the file is empty", start[1])
        root = next(self._events)
        if not isinstance(root, yaml.MappingStartEvent):
            raise _NotPlainError("expected fields such as name: value", root)
        value: dict[str, Any] = self._value(root, ())
        next(self._events)
        rest = next(self._events)
        if not isinstance(rest, yaml.StreamEndEvent):
            raise _NotPlainError("more than one document in the file", rest)
        return value

    def _value(self, event: yaml.Event, path: Path) -> Any:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _NotPlainError("anchors and aliases are not accepted", event)
        if getattr(event, "tag", None) is not None:
            raise _NotPlainError("tags are not accepted", event)
        if len(path) > MAX_DEPTH:
            raise _NotPlainError("nested too deeply", event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        raise _NotPlainError("not YAML", event)

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _NotPlainError("a field's name must be a plain word", event)
            self._value(event, path)
            name = event.value
            if name in found:
                raise _NotPlainError(f"the field {shown(name)} is given twice", event)
            self._place((*path, name), event)
            found[name] = self._value(next(self._events), (*path, name))
        return found

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            here = (*path, len(found))
            self._place(here, event)
            found.append(self._value(event, here))
        return found

    def _place(self, path: Path, event: yaml.Event) -> None:
        self._positions[path] = _start(event.start_mark)


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.style is not None:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text):
        return Decimal(text)
    return text
