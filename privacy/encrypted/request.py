"""Which statistics an encrypted job may ask, and which vectors they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from core.errors import Invalid
from privacy.encrypted.terms import GRAM, SQUARE, SUM, UNITS, Terms

STATISTICS = ("sum", "mean", "variance")
FIELDS = (*STATISTICS, "count", "least_squares")
MOST_COLUMNS = 16
EXAMPLE = "compute: {count: true, sum: [cost], mean: [cost]}"


@dataclass(frozen=True)
class Compute:
    """Statistics by group: `count` of units, `sum` of their totals, `mean` total of a unit, `variance` of units' totals.

    Or `least_squares`, over all groups together; then nothing else.
    """

    count: bool = False
    sum: tuple[str, ...] = ()
    mean: tuple[str, ...] = ()
    variance: tuple[str, ...] = ()
    least_squares: bool = False

    def vectors(self, terms: Terms) -> tuple[str, ...]:
        """The names of the vectors to be released, in the order of the terms. Raises Invalid (`compute.…`) for what was not encrypted."""
        self._check(terms)
        if self.least_squares:
            return (GRAM,)
        needed = {SUM + column for column in (*self.sum, *self.mean, *self.variance)}
        needed |= {SQUARE + column for column in self.variance}
        if self.count or self.mean or self.variance:
            needed.add(UNITS)
        return tuple(vector.name for vector in terms.vectors if vector.name in needed)

    def _check(self, terms: Terms) -> None:
        if self.least_squares and terms.least_squares is None:
            raise Invalid(
                "compute.least_squares",
                "the providers of these assets did not encrypt a regression",
                where={"field": "compute.least_squares"},
                way_out="ask for totals, or for a declaration with least_squares",
            )
        totals, squares = [total.column for total in terms.totals], list(terms.squares)
        for name in STATISTICS:
            known = squares if name == "variance" else totals
            for column in getattr(self, name):
                if column not in known:
                    said = ", ".join(known) or "none"
                    raise Invalid(
                        "compute.column",
                        f"{name} needs a column of which the {'squares' if name == 'variance' else 'totals'} were encrypted: {said}",
                        where={"field": f"compute.{name}"},
                    )

    def to_json(self) -> dict[str, Any]:
        """The canonical JSON form, without what is not asked."""
        asked: dict[str, Any] = {name: list(getattr(self, name)) for name in STATISTICS if getattr(self, name)}
        return asked | ({"count": True} if self.count else {}) | ({"least_squares": True} if self.least_squares else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; for stored ones only, what people write goes through `read_compute`."""
        columns = {name: tuple(stored.get(name, ())) for name in STATISTICS}
        return cls(count=stored.get("count", False), least_squares=stored.get("least_squares", False), **columns)


def read_compute(asked: object) -> Compute:
    """The statistics that a job file names. Raises Invalid (`compute.…`) naming the field."""
    if not isinstance(asked, Mapping) or not asked:
        raise Invalid("compute.invalid", "compute names statistics", where={"field": "compute"}, way_out=EXAMPLE)
    for name in asked:
        if name not in FIELDS:
            raise Invalid(
                "compute.unknown",
                f"compute knows {', '.join(FIELDS)}",
                where={"field": f"compute.{str(name)[:40]}"},
                way_out=EXAMPLE,
            )
    columns = {name: _columns(name, asked[name]) for name in STATISTICS if asked.get(name) is not None}
    count, least_squares = (_flag(name, asked.get(name)) for name in ("count", "least_squares"))
    found = Compute(count=count, least_squares=least_squares, **columns)
    if not found.to_json():
        raise Invalid("compute.invalid", "compute asks for nothing", where={"field": "compute"}, way_out=EXAMPLE)
    if found.least_squares and found != Compute(least_squares=True):
        text = "least_squares is a job of its own: it is over all groups together"
        raise Invalid("compute.least_squares", text, where={"field": "compute.least_squares"})
    return found


def _columns(name: str, asked: object) -> tuple[str, ...]:
    listed = isinstance(asked, list) and 1 <= len(asked) <= MOST_COLUMNS
    if not isinstance(asked, list) or not listed or not all(isinstance(column, str) for column in asked):
        raise Invalid(
            "compute.columns",
            f"{name} lists 1 to {MOST_COLUMNS} columns",
            where={"field": f"compute.{name}"},
            way_out=f"{name}: [cost]",
        )
    if len(set(asked)) != len(asked):
        raise Invalid("compute.columns", f"{name} names a column twice", where={"field": f"compute.{name}"})
    return tuple(asked)


def _flag(name: str, asked: object) -> bool:
    if asked is None or isinstance(asked, bool):
        return bool(asked)
    raise Invalid("compute.flag", f"{name} is true or false", where={"field": f"compute.{name}"})
