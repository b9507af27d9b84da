"""Decides how rows become aligned text, within a width if one is given, and keeps foreign text from steering a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from rich.cells import cell_len

_GAP = "   "
_NARROWEST = 12
# A word of so many cells, such as an id, is only broken where there is no other way to keep within the width.
_WHOLE_WORD = 24
# Where a word too long for its column (a digest) begins.
_OWN_LINE = 6
_PARTS = "/_-.:"
_HARMLESS = "\u3000"


def clean(text: str) -> str:
    """The text with every control, direction or other unprintable character written out as an escape."""
    return "".join(
        letter if letter.isprintable() or letter in _HARMLESS else letter.encode("unicode_escape").decode()
        for letter in text
    )


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), width: int | None = None
) -> list[str]:
    """Lines of a table: headers, then rows; columns named in `numbers` are right-aligned.

    If the table is wider than `width`, the widest text columns wrap between words; numbers are never cut.
    """
    cells = [[clean(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(cell_len(row[at]) for row in cells) for at in range(len(headers))]
    if width is not None:
        flexible = [at for at in range(len(headers)) if at not in numbers]
        _squeeze(widths, {at: _longest_word([row[at] for row in cells]) for at in flexible}, width)
        _squeeze(widths, dict.fromkeys(flexible, _NARROWEST), width)
    return [line for row in cells for line in _lines(row, widths, numbers)]


def split_by_width(widths: Sequence[int], keys: int, width: int | None) -> list[list[int]]:
    """Which columns stand together so that each group fits `width`: the first `keys` columns lead every group."""
    lead, groups = list(range(keys)), []
    group: list[int] = []
    for at in range(keys, len(widths)):
        taken = sum(widths[one] + len(_GAP) for one in (*lead, *group, at)) - len(_GAP)
        if width is not None and group and taken > width:
            groups.append(lead + group)
            group = []
        group.append(at)
    return [*groups, lead + group]


def fields(pairs: Sequence[tuple[str, str]], width: int | None = None) -> list[str]:
    """Lines `Name   text`, one field each, wrapped with a hanging indent."""
    wide = max((len(name) for name, _ in pairs), default=0) + 2
    lines: list[str] = []
    for name, text in pairs:
        lines += hanging(name.ljust(wide), text, width)
    return lines


def hanging(label: str, text: str, width: int | None = None) -> list[str]:
    """`text` after `label`, each further line of it indented as far; a word too long for that (a digest) gets a line of its own."""
    indent = cell_len(label)
    lines: list[str] = []
    for part in text.split("\n"):
        lines += _wrapped(clean(part), max(_NARROWEST, width - indent) if width else None, whole=True)
    if width is not None and indent + cell_len(lines[0]) > width:
        lines.insert(0, "")
    spaces = [_spaces(indent, line, width) for line in lines]
    return [((label if number == 0 else " " * spaces[number]) + line).rstrip() for number, line in enumerate(lines)]


def _spaces(indent: int, line: str, width: int | None) -> int:
    if width is None or indent + cell_len(line) <= width:
        return indent
    return max(0, min(_OWN_LINE, width - cell_len(line)))


def _squeeze(widths: list[int], floors: Mapping[int, int], width: int) -> None:
    """Narrow the widest of the columns that may be narrowed, none below its floor, until the table fits."""
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        able = [at for at, floor in floors.items() if widths[at] > floor]
        if not able:
            return
        widths[max(able, key=lambda at: widths[at])] -= 1


def _longest_word(cells: Sequence[str]) -> int:
    words = (word for cell in cells for word in cell.split())
    found = max((cell_len(piece) for word in words for piece in _pieces(word, _WHOLE_WORD)), default=1)
    return found if found <= _WHOLE_WORD else _NARROWEST


def _lines(row: Sequence[str], widths: Sequence[int], numbers: Sequence[int]) -> list[str]:
    parts = [_wrapped(cell, widths[at]) for at, cell in enumerate(row)]
    lines = []
    for number in range(max(len(part) for part in parts)):
        shown = [part[number] if number < len(part) else "" for part in parts]
        padded = [_padded(cell, widths[at], at in numbers) for at, cell in enumerate(shown)]
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _wrapped(text: str, width: int | None, *, whole: bool = False) -> list[str]:
    if width is None or cell_len(text) <= width:
        return [text]
    # A wide letter takes two cells: wrapping by letters at half the width then always fits.
    letters = width if cell_len(text) == len(text) else max(1, width // 2)
    text = text if whole else " ".join(piece for word in text.split(" ") for piece in _pieces(word, letters))
    return textwrap.wrap(text, letters, break_on_hyphens=False, break_long_words=not whole) or [""]


def _pieces(word: str, most: int) -> list[str]:
    """A word too long for a line in pieces that end where its parts do (`medical/`, `trial_hospital_a`); those never fit on one line."""
    pieces = []
    while len(word) > most and (ends := [at for at in range(1, most + 1) if word[at - 1] in _PARTS]):
        pieces.append(word[: ends[-1]])
        word = word[ends[-1] :]
    return [*pieces, word]


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * max(0, width - cell_len(cell))
    return space + cell if right else cell + space
