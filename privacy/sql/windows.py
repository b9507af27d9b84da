"""Window functions over the noisy table: ranks, neighbours and running aggregates, each in time n log n for n rows.

They are post-processing of noisy values, and total: no rows, no values and no frame can make one fail.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from privacy.sql.aggregates import AVG_SCALE
from privacy.sql.asked import Window, WindowFunction
from privacy.sql.ends import hull, multiplied, rescaled
from privacy.sql.evaluate import evaluator
from privacy.sql.facts import Facts, Unfit, number
from privacy.sql.functions import facts_of
from privacy.sql.functions.rounding import half_away
from privacy.sql.held import Held, Kind
from privacy.sql.ordering import Row, Sorting, comparable

MOST_ROWS = 2**24  # more than 16 grouping sets of a million groups have
_RANKS = frozenset({WindowFunction.ROW_NUMBER, WindowFunction.RANK, WindowFunction.DENSE_RANK})
_NEIGHBOURS = frozenset({WindowFunction.LAG, WindowFunction.LEAD})
_ENDS = frozenset({WindowFunction.MIN, WindowFunction.MAX})

Span = tuple[int, int]  # from where to before where of a partition


def window_facts(window: Window, columns: Sequence[Facts]) -> Facts:
    """Facts of a window's value over a table with these columns. Raises Unfit where it cannot be accepted."""
    function, name = window.function, window.function.value.upper()
    if function in _RANKS or function is WindowFunction.ROWS:
        return number((0, MOST_ROWS), 0, nullable=False)
    known = None if window.argument is None else facts_of(window.argument, columns)
    if known is None or known.kind is Kind.NOTHING:
        raise Unfit(f"{name} needs a value", f"write {name}(x) OVER (…)")
    if function is WindowFunction.NONNULL:
        return number((0, MOST_ROWS), 0, nullable=False)
    if function in _NEIGHBOURS:
        return replace(known, nullable=True)
    if function in _ENDS:
        if known.kind is Kind.TRUTH:
            raise Unfit(f"{name} is not taken of true and false", "use COUNT, or CASE WHEN x THEN 1 ELSE 0 END")
        return replace(known, nullable=True)
    if known.kind is not Kind.NUMBER:
        raise Unfit(f"{name} adds numbers, not a {known.kind}", "use COUNT, MIN or MAX")
    if function is WindowFunction.AVG:
        scale = max(known.scale, AVG_SCALE)
        return number(rescaled(known.ends, scale - known.scale), scale, nullable=True, of=(known,))
    ends = hull(known.ends, multiplied(known.ends, (MOST_ROWS, MOST_ROWS)))
    return number(ends, known.scale, nullable=True, of=(known,))


def window_column(window: Window, columns: Sequence[Facts]) -> Callable[[Sequence[Row]], list[Held]]:
    """The window as a function of all rows: its value on each. Raises Unfit as `window_facts` does."""
    facts = window_facts(window, columns)
    sorting = Sorting(window.order, columns)
    partition = [evaluator(expression, columns) for expression in window.partition]
    argument = None if window.argument is None else evaluator(window.argument, columns)
    gain = 1
    if window.function is WindowFunction.AVG and window.argument is not None:
        gain = 10 ** (facts.scale - facts_of(window.argument, columns).scale)

    def column(rows: Sequence[Row]) -> list[Held]:
        found: list[Held] = [None] * len(rows)
        parts: dict[tuple[Held, ...], list[int]] = {}
        for place, row in enumerate(rows):
            parts.setdefault(tuple(value(row) for value in partition), []).append(place)
        for places in parts.values():
            ordered = sorting.sorted(places, rows)
            peers = sorting.peers(ordered, rows)
            values = [None if argument is None else argument(rows[place]) for place in ordered]
            for place, value in zip(ordered, _values(window, peers, values, gain), strict=True):
                found[place] = value
        return found

    return column


def _values(window: Window, peers: Sequence[int], values: Sequence[Held], gain: int) -> list[Any]:
    """The window's values on the sorted rows of one partition."""
    function, count = window.function, len(peers)
    if function in _RANKS:
        return _ranks(function, peers)
    if function in _NEIGHBOURS:
        away = -window.offset if function is WindowFunction.LAG else window.offset
        return [values[at + away] if 0 <= at + away < count else None for at in range(count)]
    spans = _spans(window, peers)
    if function is WindowFunction.ROWS:
        return [end - start for start, end in spans]
    if function in _ENDS:
        return _extremes(values, spans, largest=function is WindowFunction.MAX)
    return _TOTALS[function](values, spans, gain)


def _ranks(function: WindowFunction, peers: Sequence[int]) -> list[int]:
    if function is WindowFunction.ROW_NUMBER:
        return list(range(1, len(peers) + 1))
    if function is WindowFunction.RANK:
        return [first + 1 for first in peers]
    return list(accumulate(int(first == at) for at, first in enumerate(peers)))


def _spans(window: Window, peers: Sequence[int]) -> list[Span]:
    """The frame of each row. Neither of its ends ever goes back, and no span is negative."""
    count = len(peers)
    if window.frame is not None:
        before, after = window.frame.before, window.frame.after
        starts = [0 if before is None else min(max(at - before, 0), count) for at in range(count)]
        ends = [count if after is None else min(max(at + after + 1, 0), count) for at in range(count)]
        return [(start, max(start, end)) for start, end in zip(starts, ends, strict=True)]
    if not window.order:
        return [(0, count)] * count
    ends, last = [count] * count, count
    for at in range(count - 1, -1, -1):
        ends[at] = last
        if peers[at] == at:
            last = at
    return [(0, end) for end in ends]


def _extremes(values: Sequence[Held], spans: Sequence[Span], *, largest: bool) -> list[Held]:
    """The least or greatest value of each span: of the values in it, those that a later one does not beat wait in a queue."""
    found, waiting, reached = list[Held](), deque[tuple[int, Any]](), 0
    for start, end in spans:
        for at in range(max(reached, start), end):
            value = values[at]
            if value is None:
                continue
            key = comparable(value)
            while waiting and (waiting[-1][1] <= key if largest else waiting[-1][1] >= key):
                waiting.pop()
            waiting.append((at, key))
        reached = max(reached, end)
        while waiting and waiting[0][0] < start:
            waiting.popleft()
        found.append(values[waiting[0][0]] if waiting and start < end else None)
    return found


def _counts(values: Sequence[Held], spans: Sequence[Span], _gain: int) -> list[Held]:
    before = list(accumulate((int(value is not None) for value in values), initial=0))
    return [before[end] - before[start] for start, end in spans]


def _sums(values: Sequence[Any], spans: Sequence[Span], gain: int) -> list[Held]:
    before = list(accumulate((0 if value is None else value for value in values), initial=0))
    counts = _counts(values, spans, gain)
    return [before[end] - before[start] if held else None for (start, end), held in zip(spans, counts, strict=True)]


def _means(values: Sequence[Held], spans: Sequence[Span], gain: int) -> list[Held]:
    pairs = zip(_sums(values, spans, gain), _counts(values, spans, gain), strict=True)
    return [None if total is None else half_away(int(total) * gain, int(count or 0)) for total, count in pairs]


_TOTALS: Mapping[WindowFunction, Callable[[Sequence[Held], Sequence[Span], int], list[Held]]] = {
    WindowFunction.NONNULL: _counts,
    WindowFunction.SUM: _sums,
    WindowFunction.AVG: _means,
}
