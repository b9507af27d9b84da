"""Which window functions are accepted: those over the noisy table, which look at released values alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from sqlglot import exp

from privacy.sql.asked import Frame, Order, Window, WindowFunction
from privacy.sql.check_expression import Reader
from privacy.sql.expressions import ColumnRef, Expression
from privacy.sql.facts import Facts, Unfit
from privacy.sql.refusal import Text, quoted
from privacy.sql.windows import window_facts

FIRST = 1_000_000  # the number of the first window, until it is known how many columns stand before it
MAX_WINDOWS = 16
MAX_AWAY = 1_000_000  # rows
_FUNCTIONS: Mapping[type[exp.Expr], WindowFunction] = {
    exp.RowNumber: WindowFunction.ROW_NUMBER,
    exp.Rank: WindowFunction.RANK,
    exp.DenseRank: WindowFunction.DENSE_RANK,
    exp.Lag: WindowFunction.LAG,
    exp.Lead: WindowFunction.LEAD,
    exp.Sum: WindowFunction.SUM,
    exp.Avg: WindowFunction.AVG,
    exp.Min: WindowFunction.MIN,
    exp.Max: WindowFunction.MAX,
}
_RANKS = frozenset({WindowFunction.ROW_NUMBER, WindowFunction.RANK, WindowFunction.DENSE_RANK})
_NEIGHBOURS = frozenset({WindowFunction.LAG, WindowFunction.LEAD})
_ASK = "ROW_NUMBER, RANK, DENSE_RANK, LAG, LEAD, COUNT, SUM, AVG, MIN and MAX are accepted over the answer"
_FRAME = "write ROWS BETWEEN 2 PRECEDING AND CURRENT ROW"


class Extended(Sequence[Facts]):
    """Facts of keys and values, which grow while the query is read, and of windows from FIRST on."""

    def __init__(self, columns: Sequence[Facts]) -> None:
        self._columns = columns
        self.windows: list[Facts] = []

    @overload
    def __getitem__(self, at: int) -> Facts: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Facts]: ...
    def __getitem__(self, at: int | slice) -> Facts | Sequence[Facts]:
        if isinstance(at, slice):
            raise TypeError("facts are asked for one column")
        return self.windows[at - FIRST] if at >= FIRST else self._columns[at]

    def __len__(self) -> int:
        return FIRST + len(self.windows)


@dataclass(eq=False)
class Windows:
    """Collects the windows of an answer. `reader` reads what stands inside them, `term` the terms of their ORDER BY."""

    text: Text
    columns: Sequence[Facts]
    reader: Reader
    term: Callable[[exp.Expr, Reader], Order]
    facts: Extended
    found: dict[Window, int] = field(default_factory=dict)

    def value(self, node: exp.Window) -> Expression:
        """Where the value of a window will stand. Raises Invalid."""
        self.text.only(
            node,
            "this",
            "partition_by",
            "order",
            "spec",
            "over",
            what="this form of OVER (…)",
            way_out="OVER (ORDER BY x)",
        )
        window = self._window(node)
        if window not in self.found:
            if len(self.found) == MAX_WINDOWS:
                raise self.text.refuse_node(node, f"more than {MAX_WINDOWS} windows are asked", "ask fewer")
            try:
                self.facts.windows.append(window_facts(window, self.columns))
            except Unfit as unfit:
                raise self.text.refuse_node(node, unfit.reason, unfit.way_out, unfit.code) from None
            self.found[window] = FIRST + len(self.found)
        return ColumnRef(self.found[window])

    def _window(self, node: exp.Window) -> Window:
        partition = tuple(self.reader.read(part) for part in node.args.get("partition_by") or ())
        clause = node.args.get("order")
        if clause is not None:
            self.text.only(clause, "expressions", what="this form of ORDER BY", way_out="ORDER BY x DESC")
        order = () if clause is None else tuple(self.term(each, self.reader) for each in clause.expressions)
        function, argument, offset = self._function(node.this)
        frame = None if node.args.get("spec") is None else self._frame(node.args["spec"], node, ordered=bool(order))
        if frame is not None and (function in _RANKS or function in _NEIGHBOURS):
            raise self.text.refuse_node(node, "ranks and neighbours have no frame", "leave ROWS BETWEEN out")
        return Window(function, argument, partition, order, frame, offset)

    def _function(self, node: exp.Expr) -> tuple[WindowFunction, Expression | None, int]:
        if type(node) is exp.Count:
            self.text.only(node, "this", "big_int", way_out="COUNT(*) OVER (…)")
            if type(node.this) is exp.Star:
                self.text.only(node.this)
                return WindowFunction.ROWS, None, 1
            return WindowFunction.NONNULL, self._argument(node), 1
        function = _FUNCTIONS.get(type(node))
        if function is None:
            name = node.sql_name() if isinstance(node, exp.Func) else node.key
            raise self.text.refuse_node(node, f"{quoted(name.upper())} is not accepted with OVER (…)", _ASK)
        if function in _RANKS:
            self.text.only(node)
            return function, None, 1
        if function in _NEIGHBOURS:
            way_out = f"write COALESCE({function.upper()}(x) OVER (…), 0) for a value of your own"
            self.text.only(node, "this", "offset", way_out=way_out)
            return function, self._argument(node), self._away(node)
        self.text.only(node, "this", way_out=f"write {function.upper()}(x) OVER (…)")
        return function, self._argument(node), 1

    def _argument(self, node: exp.Expr) -> Expression:
        if not isinstance(node.this, exp.Expr) or type(node.this) is exp.Distinct:
            raise self.text.refuse_node(node, "a window takes one value, without DISTINCT", "write SUM(x) OVER (…)")
        return self.reader.read(node.this)

    def _away(self, node: exp.Expr) -> int:
        offset = node.args.get("offset")
        return 1 if offset is None else self._rows(offset, node)

    def _rows(self, part: exp.Expr, node: exp.Expr) -> int:
        words = str(part.this) if isinstance(part, exp.Literal) and not part.is_string else ""
        if not words.isdecimal() or int(words) > MAX_AWAY:
            reason = f"a number of rows is written as a whole number up to {MAX_AWAY:,}"
            raise self.text.refuse_node(node, reason, "write LAG(x, 2), or ROWS 2 PRECEDING")
        return int(words)

    def _frame(self, spec: exp.Expr, node: exp.Expr, *, ordered: bool) -> Frame | None:
        self.text.only(
            spec, "kind", "start", "start_side", "end", "end_side", what="EXCLUDE in a frame", way_out=_FRAME
        )
        before = self._end(spec, "start", node)
        after = 0 if spec.args.get("end") is None else self._end(spec, "end", node)
        kind = str(spec.args.get("kind") or "").upper()
        if kind == "RANGE" and (before, after) == (None, 0) and ordered:
            return None  # what SQL means without a frame
        if kind != "ROWS":
            raise self.text.refuse_node(node, f"a frame in {quoted(kind)} is not accepted", _FRAME)
        return Frame(before, after)

    def _end(self, spec: exp.Expr, name: str, node: exp.Expr) -> int | None:
        """How far a frame reaches on its own side: before the row for its start, after it for its end."""
        value, side = spec.args.get(name), str(spec.args.get(f"{name}_side") or "").upper()
        own = "PRECEDING" if name == "start" else "FOLLOWING"
        if value == "CURRENT ROW":
            return 0
        if value == "UNBOUNDED":
            if side != own:
                raise self.text.refuse_node(node, "a frame that ends before it starts", _FRAME)
            return None
        if not isinstance(value, exp.Expr):
            raise self.text.refuse_node(node, "this form of a frame is not accepted", _FRAME)
        rows = self._rows(value, node)
        return rows if side == own else -rows
