"""Decides what a value of `params` is as JSON: what is read in one way only, and nothing that YAML versions read differently.

`no` is false to some readers of YAML and a text to others; 1E50 is a number, a text, and a diagnosis of the ICD-11. A program must not
find out by accident which one it got.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import yaml

MAX_DEPTH = 32
MAX_VALUES = 20_000
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_EXPONENT = re.compile(_REAL.pattern.removesuffix("?"))
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_TAG = "tag:yaml.org,2002:"
_LONGEST_NUMBER = 400
_QUOTE = "put it in quotes if it is a text"
_TWO_WAYS = "{} can be read in more than one way, or JSON cannot say it"

Refuse = Callable[[yaml.Node, str, str | None], NoReturn]


def params_of(node: yaml.Node, refuse: Refuse) -> dict[str, Any] | None:
    """The object that the node writes, None for null; what cannot be said exactly goes to `refuse` (node, text, way out)."""
    found = _Reader(refuse).value(node, 0)
    if found is not None and not isinstance(found, dict):
        refuse(node, "params must be names with values", "params: {penalty: 0.1}")
    return found


class _Reader:
    """One reading; an alias may stand for a large value many times over, so values are counted."""

    def __init__(self, refuse: Refuse) -> None:
        self._refuse, self._values = refuse, 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            self._refuse(node, "params hold too much", f"at most 16 KiB, nested {MAX_DEPTH} deep")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return dict(self._pairs(node, depth))
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(each, depth + 1) for each in node.value]
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, "params hold texts, numbers, true, false, null, lists and names with values", None)
        return self._scalar(node)

    def _pairs(self, node: yaml.MappingNode, depth: int) -> Iterator[tuple[str, Any]]:
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                self._refuse(key, "a name in params is a text", "put it in quotes")
            if key.value in seen:
                self._refuse(key, f"{key.value} is given twice", "keep one of the two")
            seen.add(key.value)
            yield key.value, self.value(value, depth + 1)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        if node.tag == _TAG + "str":
            if node.style is None and _EXPONENT.fullmatch(text):
                self._refuse(node, _TWO_WAYS.format(text[:40]), f"with a point if it is a number (1.0e-3); {_QUOTE}")
            return text
        if node.style is None and text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text) and len(text) < _LONGEST_NUMBER:
            return int(text)
        if node.style is None and _REAL.fullmatch(text):
            return self._real(node)
        return self._refuse(node, _TWO_WAYS.format(text[:40]), _QUOTE)

    def _real(self, node: yaml.ScalarNode) -> float:
        number = float(node.value)
        if not math.isfinite(number):
            self._refuse(node, f"{node.value[:40]} is too large a number", _QUOTE)
        return number
