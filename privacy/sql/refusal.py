"""How a query is refused: a stable code, the position in the text, what is wrong, and what would be accepted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from sqlglot import exp

from core.errors import Invalid

ACCEPTED = (
    "one SELECT of group columns and COUNT(*), COUNT(column), COUNT(DISTINCT unit), SUM(column) or AVG(column), "
    "with WHERE and GROUP BY"
)
_SHOWN = 40  # how much of the researcher's own words is repeated to them


@dataclass(frozen=True)
class Text:
    """The query as it came, for positions: lines and columns count from 1, in characters."""

    sql: str

    def place(self, offset: int) -> dict[str, int | str]:
        """Where the character at `offset` stands."""
        at = max(0, min(offset, len(self.sql)))
        return {
            "field": "query",
            "line": self.sql.count("\n", 0, at) + 1,
            "column": at - (self.sql.rfind("\n", 0, at) + 1) + 1,
        }

    def refuse(self, code: str, reason: str, at: int, way_out: str | None = None) -> Invalid:
        """The error to raise for what stands at offset `at`."""
        return Invalid(code, reason, where=self.place(at), way_out=way_out)

    def refuse_node(
        self, node: exp.Expr, reason: str, way_out: str | None = None, code: str = "sql.not_allowed"
    ) -> Invalid:
        """The error to raise for a part of the parsed text."""
        return self.refuse(code, reason, offset_of(node), way_out)


def offset_of(node: exp.Expr) -> int:
    """Where a parsed node begins: its own mark, else the first mark below it, else the nearest above it."""
    marks = [start for start in (_mark(part) for part in node.walk()) if start is not None]
    if marks:
        return min(marks)
    parent = node.parent
    while parent is not None:
        start = _mark(parent)
        if start is not None:
            return start
        marks = [found for found in (_mark(part) for part in parent.walk()) if found is not None]
        if marks:
            return min(marks)
        parent = parent.parent
    return 0


def _mark(node: exp.Expr) -> int | None:
    start = node.meta.get("start")
    return start if isinstance(start, int) else None


def quoted(words: str) -> str:
    """The researcher's own words, shortened, with nothing in them that could disturb a terminal."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in words)
    return clean if len(clean) <= _SHOWN else clean[: _SHOWN - 1] + "…"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Declared names for a way out: the first few, and how many more there are."""
    every = list(names)
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The declared name that is most like `name`, if one is like it at all."""
    by_lower = {known.lower(): known for known in names}
    found = get_close_matches(name.lower()[:100], by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
