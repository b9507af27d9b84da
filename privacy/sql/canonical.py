"""A query in one spelling: texts that ask the same have the same, however they are written (design R16).

It can be asked again, and its own spelling is then itself; except for a subquery that is compared with nothing outside, whose summary
has a constant as its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal

from privacy.sql.aggregates import Aggregate, Inner
from privacy.sql.algebra import UNIT, Constant, Expand, Filter, Lookup, Project, Relation, Scan, Stacked, Summary
from privacy.sql.asked import Answer, Asked, Grouping, Order, Window, WindowFunction
from privacy.sql.canonical_expression import literal, written
from privacy.sql.conjuncts import conjuncts
from privacy.sql.expressions import ColumnRef, Expression

_EXACT = Context(prec=200)  # ranks are written with few digits
_INNER = {Inner.ROWS: "COUNT(*)", Inner.NONNULL: "COUNT({})", Inner.VALUES: "COUNT(DISTINCT {})"}
_COUNTED = {WindowFunction.ROWS: "COUNT(*)", WindowFunction.NONNULL: "COUNT({})"}
_FINAL = {
    Aggregate.ROWS: "COUNT(*)",
    Aggregate.NONNULL: "COUNT({})",
    Aggregate.VALUES: "COUNT(DISTINCT {})",
}


def canonical_text(answer: Answer) -> str:
    """The query, from our own tree alone: every name is quoted or made here, every literal written anew."""
    writer = _Writer()
    text = _asked(answer, writer)
    if writer.parts:
        named = ", ".join(f"{name} AS ({part})" for name, part in writer.parts)
        text = f"WITH {named} {text}"
    return text


@dataclass(eq=False)
class _Writer:
    """The relations that are given a name, in the order in which they are first needed."""

    parts: list[tuple[str, str]] = field(default_factory=list)
    _names: dict[int, str] = field(default_factory=dict)

    def named(self, relation: Relation) -> str:
        """What stands in FROM for a relation."""
        if isinstance(relation, Scan):
            return _quoted(relation.asset)
        if isinstance(relation, Constant):
            rows = ", ".join(f"({', '.join(map(literal, row))})" for row in relation.values)
            return f"(VALUES {rows})"
        if id(relation) not in self._names:
            text = _block(relation, self)
            self._names[id(relation)] = f"r{len(self.parts) + 1}"
            self.parts.append((self._names[id(relation)], text))
        return self._names[id(relation)]


@dataclass(frozen=True)
class _Rows:
    """FROM and WHERE of a relation, and what its columns are called there."""

    text: str
    names: tuple[str, ...]


def _asked(answer: Answer, writer: _Writer) -> str:
    grouping = answer.grouping
    rows = _rows(grouping.source, writer)
    keys = [written(key.expression, rows.names) for key in grouping.keys]
    names = [*keys, *(_aggregate(each, rows.names) for each in grouping.values)]
    windows = [_window(each, names) for each in answer.windows]
    having = None if answer.having is None else _conditions(answer.having, names)
    names += windows
    items = ", ".join(f"{written(each.expression, names)} AS {_quoted(each.name)}" for each in answer.outputs)
    text = f"SELECT {items} {rows.text}{_group_by(grouping, keys)}"
    if having is not None:
        text += f" HAVING {having}"
    if answer.order:
        text += f" ORDER BY {', '.join(_term(each, names) for each in answer.order)}"
    if answer.limit is not None:
        text += f" LIMIT {answer.limit}"
    return text + (f" OFFSET {answer.offset}" if answer.offset else "")


def _group_by(grouping: Grouping, keys: Sequence[str]) -> str:
    if not keys:
        return ""
    if grouping.sets == (tuple(range(len(keys))),):
        return f" GROUP BY {', '.join(keys)}"
    sets = (f"({', '.join(keys[at] for at in each)})" for each in grouping.sets)
    return f" GROUP BY GROUPING SETS ({', '.join(sets)})"


def _term(order: Order, names: Sequence[str]) -> str:
    text = written(order.expression, names) + (" DESC" if order.descending else "")
    return text + (" NULLS FIRST" if order.nulls_first else "")


def _window(window: Window, names: Sequence[str]) -> str:
    args = "" if window.argument is None else written(window.argument, names)
    if window.function in (WindowFunction.LAG, WindowFunction.LEAD):
        args += f", {window.offset}"
    over = []
    if window.partition:
        over.append(f"PARTITION BY {', '.join(written(each, names) for each in window.partition)}")
    if window.order:
        over.append(f"ORDER BY {', '.join(_term(each, names) for each in window.order)}")
    if window.frame is not None:
        start, end = _end(window.frame.before, "PRECEDING"), _end(window.frame.after, "FOLLOWING")
        over.append(f"ROWS BETWEEN {start} AND {end}")
    call = _COUNTED.get(window.function, f"{window.function.upper()}({{}})").format(args)
    return f"{call} OVER ({' '.join(over)})"


def _end(rows: int | None, side: str) -> str:
    if rows is not None and rows < 0:
        rows, side = -rows, "FOLLOWING" if side == "PRECEDING" else "PRECEDING"
    return "CURRENT ROW" if rows == 0 else f"{'UNBOUNDED' if rows is None else rows} {side}"


def _aggregate(asked: Asked, names: Sequence[str]) -> str:
    argument = "" if asked.argument is None else written(asked.argument, names)
    if asked.aggregate is Aggregate.UNITS:
        text = f"COUNT(DISTINCT {names[UNIT]})"
    elif asked.parameter is not None:
        rank = _EXACT.divide(Decimal(asked.parameter.numerator), Decimal(asked.parameter.denominator))
        text = f"QUANTILE_CONT({argument}, {rank:f})"
    else:
        text = _FINAL.get(asked.aggregate, f"{asked.aggregate.upper()}({{}})").format(argument)
    return text if asked.condition is None else f"{text} FILTER (WHERE {_conditions(asked.condition, names)})"


def _block(relation: Relation, writer: _Writer) -> str:
    """A SELECT of all columns of a relation: its unit is called u, the others c1, c2 and so on."""
    relation = _bare(relation)
    if isinstance(relation, Stacked):
        return " UNION ALL ".join(_block(source, writer) for source in relation.sources)
    items: Sequence[Expression] = [ColumnRef(at) for at in range(len(relation.columns))]
    inner: Relation = relation
    if isinstance(relation, Project):
        items = [*([ColumnRef(UNIT)] if relation.private else []), *relation.expressions]
        inner = relation.source
    having = None
    if isinstance(inner, Filter) and isinstance(_bare(inner.source), Summary):
        having, inner = inner.condition, inner.source
    grouped = _bare(inner)
    if isinstance(grouped, Summary):
        return _summary(grouped, items, having, writer)
    rows = _rows(inner, writer)
    return f"SELECT {_items(items, rows.names, private=relation.private)} {rows.text}"


def _summary(summary: Summary, items: Sequence[Expression], having: Expression | None, writer: _Writer) -> str:
    rows = _rows(summary.source, writer)
    keys = [*rows.names[: int(summary.private)], *(written(each, rows.names) for each in summary.by)]
    values = [
        _INNER.get(inner, f"{inner.upper()}({{}})").format("" if each is None else written(each, rows.names))
        for inner, each in summary.values
    ]
    names = [*keys, *values]
    text = f"SELECT {_items(items, names, private=summary.private)} {rows.text} GROUP BY {', '.join(keys)}"
    return text if having is None else f"{text} HAVING {_conditions(having, names)}"


def _items(items: Sequence[Expression], names: Sequence[str], *, private: bool) -> str:
    called = _called(len(items), private=private)
    return ", ".join(f"{written(each, names)} AS {name}" for each, name in zip(items, called, strict=True))


def _called(count: int, *, private: bool) -> list[str]:
    """What the columns of a named relation are called."""
    return (["u"] if private else []) + [f"c{at}" for at in range(1, count + 1 - int(private))]


def _rows(relation: Relation, writer: _Writer) -> _Rows:
    """The joins of a relation in their order, each part with a name of its own, and its conditions in the order of their texts."""
    condition = None
    if isinstance(relation, Filter):
        condition, relation = relation.condition, relation.source
    joins = list[Lookup | Expand]()
    while isinstance(relation, Lookup | Expand):
        joins.append(relation)
        relation = relation.source
    first, columns = _part(relation, 0, writer)
    text, names = f"FROM {first}", list(columns)
    for at, join in enumerate(reversed(joins), start=1):
        own, other = (join.other.condition, join.other.source) if isinstance(join.other, Filter) else (None, join.other)
        part, columns = _part(other, at, writer)
        tests = sorted(f"({written(left, names)} = {written(right, columns)})" for left, right in join.on)
        if join.local:
            tests.insert(0, f"({names[UNIT]} = {columns[UNIT]})")
        if own is not None:
            tests.append(_conditions(own, columns))
        text += f" {'LEFT JOIN' if join.keeps else 'JOIN'} {part} ON {' AND '.join(tests)}"
        names += columns[int(other.private) :]
    if condition is not None:
        text += f" WHERE {_conditions(condition, names)}"
    return _Rows(text, tuple(names))


def _part(relation: Relation, at: int, writer: _Writer) -> tuple[str, tuple[str, ...]]:
    """One part of FROM, and what its columns are called."""
    relation = _bare(relation)
    called = [_quoted(column.name) for column in relation.columns]
    text = f"{writer.named(relation)} AS t{at}"
    if not isinstance(relation, Scan):
        called = _called(len(called), private=relation.private)
    if isinstance(relation, Constant):
        text += f"({', '.join(called)})"
    return text, tuple(f"t{at}.{name}" for name in called)


def _conditions(condition: Expression, names: Sequence[str]) -> str:
    return " AND ".join(sorted(written(part, names) for part in conjuncts(condition)))


def _bare(relation: Relation) -> Relation:
    """The relation without selections that select all its columns as they are."""
    while isinstance(relation, Project):
        source, first = relation.source, int(relation.private)
        every = tuple(ColumnRef(at) for at in range(first, len(source.columns)))
        if relation.expressions != every or isinstance(source, Lookup | Expand | Filter):
            break
        relation = source
    return relation


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
