"""The first line of a CSV file, which names its columns; or why it does not, said without a word of what stands in the file.

A file without a header begins with a person: nothing of its first line is shown unless a name that is needed stands there.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from banyan.errors import Refused

MAX_BYTES = 1 << 20
# So many lines are looked at for the names that the first one does not hold.
_TITLES = 20
_SHOWN, _LONGEST = 40, 60
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_AGAIN = "save it as CSV UTF-8, with commas between the cells"
# How files begin that are no text of ours.
_OTHERS = {
    b"\xff\xfe": "the file is UTF-16 text (Excel's Unicode text), and UTF-8 is needed",
    b"\xfe\xff": "the file is UTF-16 text (Excel's Unicode text), and UTF-8 is needed",
    b"PK\x03\x04": "the file is a spreadsheet or an archive, and no CSV text",
    b"\xd0\xcf\x11\xe0": "the file is a spreadsheet, and no CSV text",
    b"\x1f\x8b": "the file is compressed, and no CSV text",
    b"PAR1": "the file is Parquet, and its name ends in .csv",
}


def names_in(path: Path) -> list[str]:
    """The cells of the first line. Raises Refused (`data.unreadable`, `data.empty`), and OSError."""
    with path.open("rb") as file:
        first = file.readline(MAX_BYTES)
    if not first:
        raise _refused(
            "data.empty", "the file is empty", path, "a first line that names the columns, and then the rows"
        )
    for begins, text in _OTHERS.items():
        if first.startswith(begins):
            raise _refused("data.unreadable", text, path, _AGAIN)
    if b"\0" in first:
        raise _refused("data.unreadable", "the file is no UTF-8 text: its first line holds a zero byte", path, _AGAIN)
    if not first.strip():
        text = "the first line is empty, and names no columns"
        raise _refused("data.empty", text, path, "delete the lines above the one that names the columns")
    try:
        line = first.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _refused("data.unreadable", "the first line is not UTF-8 text", path, _AGAIN) from None
    if "\r" in line:
        text = "the lines of the file end in a carriage return alone, as on old Macintosh computers"
        raise _refused("data.unreadable", text, path, f"{_AGAIN} and ordinary line ends")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        text = "a quote in the first line is not closed there, and the names of the columns stand on one line"
        raise _refused("data.unreadable", text, path, "close the quote, or leave quotes away around names") from None


def check_names(path: Path, names: Sequence[str], needed: Collection[str]) -> None:
    """Raise Refused (`data.column`) unless each needed name is there once."""
    for name in needed:
        count = names.count(name)
        if count == 1:
            continue
        where = {"file": path.name, "field": name}
        if count:
            text = f"the file has {count} columns {name}, and one is needed"
            raise Refused("data.column", text, where, "another name for those that are not meant")
        raise Refused("data.column", *_told(path, names, needed, name, where))


def _told(
    path: Path, names: Sequence[str], needed: Collection[str], missing: str, where: dict[str, Any]
) -> tuple[str, dict[str, Any], str]:
    """What is said of a name that is missing, the place, and the way out: the likeliest reason that can be seen."""
    if any(_plain(each) == _plain(missing) for each in names):
        text = f"the file has no column {missing}, but one that differs from it in blanks, quotes or capitals only"
        return text, where, f"the name written as {missing}"
    if set(names) & set(needed):
        shown = ", ".join(name[:_LONGEST] for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        return f"the file has no column {missing}; its columns are {shown}", where, f"a column {missing}"
    if path.suffix.lower() != ".csv":
        return f"none of the {len(names):,} columns of the file has a name that is needed", where, _wanted(needed)
    line = where | {"line": 1}
    for mark, word in _SEPARATORS.items():
        if (len(names) == 1 and mark in names[0]) or _names(names, mark, needed):
            text = f"the first line is separated by {word}, and commas are needed"
            return text, line, f"{_AGAIN}, and with points in decimal numbers"
    if (at := _line_of_names(path, needed)) is not None:
        text = f"line {at} names the columns, and the first line has to"
        return text, line, f"delete the lines above line {at}"
    cells = f"{len(names):,} cell" + ("s" if len(names) > 1 else "")
    text = f"the first line has {cells}, and none of them is a name that is needed; the file may have no header"
    return text, line, _wanted(needed)


def _wanted(needed: Collection[str]) -> str:
    return f"a first line that names the columns; needed are {', '.join(list(needed)[:_SHOWN])}"


def _names(names: Sequence[str], mark: str, needed: Collection[str]) -> bool:
    return bool({_plain(part) for name in names for part in name.split(mark)} & set(map(_plain, needed)))


def _line_of_names(path: Path, needed: Collection[str]) -> int | None:
    """The number of the line that names all that is needed, if it is one of the first few."""
    with path.open("rb") as file:
        for number, raw in enumerate(islice(iter(lambda: file.readline(MAX_BYTES), b""), _TITLES), start=1):
            cells = raw.decode("utf-8", "replace").strip("\r\n").split(",")
            if set(map(_plain, needed)) <= set(map(_plain, cells)):
                return number
    return None


def _plain(name: str) -> str:
    """A name without what is easily mistaken in it."""
    return unicodedata.normalize("NFKC", name).strip().strip("'\"\ufeff").strip().casefold()


def _refused(code: str, text: str, path: Path, way_out: str) -> Refused:
    return Refused(code, text, {"file": path.name, "line": 1}, way_out)
