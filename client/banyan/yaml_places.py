"""Decides where in a YAML file a character of a scalar's value is written.

A value stands in the file indented, folded or quoted. Folding and quoting only change white space and escapes, so the n-th visible
character of the value is the n-th visible character of its source.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

WHITE = " \t\r\n\x85\u2028\u2029"
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_WHITE_ESCAPES = "tnrNLP \t"


def index_of(text: str, node: yaml.ScalarNode, line: int, column: int) -> int:
    """The index in `text` of the character at `line` and `column` of the scalar's value (at its start if they cannot be matched)."""
    value: str = node.value
    seen = [found for found in value if found not in WHITE]
    sources = list(_visible(text, node))[: len(seen)]
    if not seen or [shown for shown, _ in sources] != seen:
        return int(node.start_mark.index)
    lines = value.split("\n")
    before = "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]]) if 0 < line <= len(lines) else value
    at = sum(found not in WHITE for found in before)
    return sources[at][1] if at < len(sources) else sources[-1][1] + 1


def _visible(text: str, node: yaml.ScalarNode) -> Iterator[tuple[str, int]]:
    """Each visible character of the scalar's value with the index in `text` where it is written."""
    at, end = node.start_mark.index, node.end_mark.index
    while text[at] in "&!":  # an anchor or a tag stands before the scalar itself
        while text[at] not in WHITE:
            at += 1
        while text[at] in WHITE:
            at += 1
    if node.style in ("|", ">"):
        at = text.find("\n", at, end) + 1 or end
    elif node.style in ("'", '"'):
        at, end = at + 1, end - 1
    while at < end:
        shown, length = _escaped(text, at) if node.style == '"' and text[at] == "\\" else (text[at], 1)
        if node.style == "'" and text[at : at + 2] == "''":
            length = 2
        if shown not in WHITE:
            yield shown, at
        at += length


def _escaped(text: str, at: int) -> tuple[str, int]:
    """What the escape sequence at `at` of a double-quoted scalar stands for (white space as a space), and its length."""
    letter = text[at + 1]
    if letter in _HEX_ESCAPES:
        length = 2 + _HEX_ESCAPES[letter]
        return chr(int(text[at + 2 : at + length], 16)), length
    if letter in _WHITE_ESCAPES or letter in WHITE:
        return " ", 2
    return {"0": "\0", "a": "\a", "b": "\b", "v": "\v", "f": "\f", "e": "\x1b", "_": "\xa0"}.get(letter, letter), 2
