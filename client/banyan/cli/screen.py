"""Decides what reaches the person: text for a terminal or a pipe on standard output, errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from banyan import layout
from banyan.errors import BanyanError

_STYLES = {"refused": "bold red", "failed": "bold red", "unreachable": "bold yellow", "NOT VERIFIED": "bold red"}


def console(*, errors: bool = False) -> Console:
    """A console on the present standard stream; nothing in a text is taken for markup."""
    return Console(stderr=errors, markup=False, highlight=False, emoji=False, soft_wrap=True)


def width() -> int | None:
    """The columns of the terminal; None when the output goes into a pipe, where a line stays a line."""
    found = console()
    return found.width if found.is_terminal else None


def say(lines: str | Iterable[str]) -> None:
    """Lines of text on standard output; what could steer a terminal is written out."""
    shown = console()
    for line in [lines] if isinstance(lines, str) else lines:
        shown.print(layout.clean(line))


def say_table(headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> None:
    """A table with its headers in bold, or one line saying that there is nothing."""
    if not rows:
        say("none")
        return
    first, *others = layout.table(headers, rows, numbers, width())
    console().print(Text(first, "bold"))
    say(others)


def say_fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Named fields, one a line."""
    say(layout.fields(pairs, width()))


def say_json(value: Any) -> None:
    """Exactly what the server answered, for programs."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def say_error(error: BanyanError) -> None:
    """An error in its form, on standard error."""
    shown = console(errors=True)
    for number, line in enumerate(str(error).split("\n")):
        text = Text(layout.clean(line))
        word = next((word for word in _STYLES if number == 0 and line.startswith(word)), None)
        if word is not None:
            text.stylize(_STYLES[word], 0, len(word))
        shown.print(text)


def note(text: str) -> None:
    """A remark on standard error, so that standard output holds the answer only."""
    console(errors=True).print(layout.clean(text))


def flat(value: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """An object's fields by dotted name, for showing what has no form of its own."""
    pairs: list[tuple[str, str]] = []
    for name, found in value.items():
        full = f"{path}.{name}" if path else name
        if isinstance(found, Mapping):
            pairs += flat(found, full)
        elif isinstance(found, list):
            mark = "; " if any(isinstance(one, Mapping) for one in found) else ", "
            pairs.append((full, mark.join(map(_value, found)) or "none"))
        elif found is not None:
            pairs.append((full, _value(found)))
    return pairs


def _value(found: Any) -> str:
    """A value in the words of a declaration, never in Python's."""
    if isinstance(found, Mapping):
        return ", ".join(f"{name} {_value(value)}" for name, value in found.items())
    if isinstance(found, list):
        return " ".join(map(_value, found))
    if isinstance(found, bool):
        return "true" if found else "false"
    if found is None:
        return "null"
    return str(found) or '""'
