"""In which order rows of the noisy table stand: by terms of ORDER BY, ties as they stood before, texts by their UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from privacy.sql.asked import Order
from privacy.sql.evaluate import evaluator
from privacy.sql.facts import Facts
from privacy.sql.held import Held

Row = Sequence[Held]


def comparable(value: Held) -> Any:
    """What a value that is not NULL sorts by, among values of its column."""
    return value.encode() if isinstance(value, str) else value


class Sorting:
    """The terms of one ORDER BY over rows with these facts. Raises Unfit where a term cannot be accepted."""

    def __init__(self, terms: Sequence[Order], columns: Sequence[Facts]) -> None:
        self._terms = [(term, evaluator(term.expression, columns)) for term in terms]

    def sorted(self, places: Sequence[int], rows: Sequence[Row]) -> list[int]:
        """These places of `rows`, in order."""
        found = list(places)
        # One sort a term, the last first: each is stable, so the later ones decide ties.
        for term, value in reversed(self._terms):
            found.sort(key=_key(term, value, rows), reverse=term.descending)
        return found

    def peers(self, places: Sequence[int], rows: Sequence[Row]) -> list[int]:
        """For each of these sorted places, how many of them stand before the first that sorts as it does."""
        keys = [tuple(value(rows[place]) for _, value in self._terms) for place in places]
        starts = list[int]()
        for at, key in enumerate(keys):
            starts.append(starts[-1] if at and key == keys[at - 1] else at)
        return starts


def _key(term: Order, value: Callable[[Row], Held], rows: Sequence[Row]) -> Callable[[int], tuple[bool, Any]]:
    null_goes = not (term.nulls_first ^ term.descending)  # True sorts last before the order is turned round

    def key(place: int) -> tuple[bool, Any]:
        found = value(rows[place])
        return (null_goes, 0) if found is None else (not null_goes, comparable(found))

    return key
