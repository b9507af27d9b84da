"""Decides how a person's text file is read, and what is said about a place in it or about a file that cannot be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banyan.errors import Excerpt, Refused
from banyan.file_kind import FORMATS

MAX_TEXT_BYTES = 1_000_000
_WHY = {
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "this is a folder, and a file is needed",
    errno.ENOTDIR: "a part of this path is a file, and no folder",
    errno.EACCES: "you may not read or write it",
    errno.EROFS: "nothing can be written there",
    errno.ENOSPC: "there is no room left",
}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, whatever its line ends. Raises Refused when there is none, or more than a person writes.

    A file of rows is refused by its name: of what people write lines are shown, and it is sent.
    """
    if path.suffix.lower() in FORMATS:
        raise Refused(
            "file.format", f"{path.name} is a file of rows by its name", way_out="a file that people write, .yaml"
        )
    if len(content := read_bytes(path, MAX_TEXT_BYTES)) > MAX_TEXT_BYTES:
        raise Refused("file.too_large", f"{path} is larger than {MAX_TEXT_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("file.not_text", f"{path} is not UTF-8 text", way_out="save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path, limit: int) -> bytes:
    """The file's bytes, at most `limit` + 1 of them. Raises Refused when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as problem:
        raise unreadable(path, problem) from None


def unreadable(path: Path, problem: OSError) -> Refused:
    """The refusal for a file that cannot be read or written, in our own words: libraries put theirs into an OSError too."""
    number = problem.errno or (errno.EISDIR if path.is_dir() else 0)
    text = _WHY.get(number) or (os.strerror(number).lower() if number else "it cannot be used")
    return Refused("file.unusable", f"{path}: {text}")


def place_of(name: str, text: str, index: int) -> Excerpt:
    """The line and column of `index` in `text`."""
    index = min(index, len(text))
    start = text.rfind("\n", 0, index) + 1
    source = text[start:].split("\n", 1)[0]
    return Excerpt(name, text.count("\n", 0, index) + 1, index - start + 1, source)


def place_told(name: str, text: str, where: Mapping[str, Any]) -> Excerpt | None:
    """The place in `text` that a server's `where` tells in lines and columns of the whole file."""
    line, column = where.get("line"), where.get("column", 1)
    lines = text.split("\n")
    if not isinstance(line, int) or not isinstance(column, int) or not 1 <= line <= len(lines):
        return None
    return Excerpt(name, line, max(1, column), lines[line - 1])
