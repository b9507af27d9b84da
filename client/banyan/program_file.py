"""Decides what file may be sent as a program, and where in it a place is that the server names."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from banyan.errors import Excerpt, Refused
from banyan.textfile import read_bytes, unreadable

MAX_PROGRAM_BYTES = 1 << 20
# Where Python ends a line; str.splitlines knows of more.
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Program:
    """A program as it is sent: its file's name without folders, and its text."""

    name: str
    text: str

    def to_json(self) -> dict[str, str]:
        """The form of the REST contract."""
        return {"name": self.name, "text": self.text}

    def excerpt(self, where: Mapping[str, Any]) -> Excerpt | None:
        """The place that `where` means by line and column of the program; None if it means none."""
        line, column = where.get("line"), where.get("column", 1)
        lines = _LINE_END.split(self.text)
        if not isinstance(line, int) or not isinstance(column, int) or not 1 <= line <= len(lines):
            return None
        return Excerpt(self.name, line, max(1, column), lines[line - 1])


def read_program(path: Path) -> Program:
    """The program in a file, byte for byte (a mark of the byte order at its start is left out).

    Raises Refused for what is no regular file of UTF-8 text, or longer than 1 MiB.
    """
    content = _content(path)
    if len(content) > MAX_PROGRAM_BYTES:
        raise Refused(
            "program.too_long",
            f"{path} is longer than 1 MiB",
            way_out="numbers and texts that it needs belong in params or in a registered asset",
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise Refused(
            "program.not_text", f"{path} is not UTF-8 text: see its line {line:,}", way_out="save it as UTF-8"
        ) from None
    if "\0" in text:
        raise Refused("program.not_text", f"{path} is not a text file of Python", way_out="name the .py file itself")
    return Program(path.name, text.removeprefix("\ufeff"))


def _content(path: Path) -> bytes:
    """At most one byte more than a program may have. A pipe or a device is not opened: it may have no end."""
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as problem:
        raise unreadable(path, problem) from None
    except ValueError:
        raise unreadable(path, OSError()) from None
    if not is_regular:
        raise Refused("file.unusable", f"{path} is not a regular file")
    return read_bytes(path, MAX_PROGRAM_BYTES)
