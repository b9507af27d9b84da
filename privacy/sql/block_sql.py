"""DuckDB's SQL for the rows of a block, made from a checked tree: from its nodes, never from the text that was asked.

Nothing that anybody typed is written but literals, and those as values. A stored table is the view `t0`, `t1`, … that the runner makes
(`block_views`); every other relation is a table of WITH, `r0`, `r1`, …, written once however often it is read. Column i of a relation is
`ci`, in the held form; the unit of a private one is `u`, its ordinal among all units of the block; `ei` is the place of a listed text.

Two private relations meet unit by unit, always: that makes the rows of a unit a function of its own (docs/proofs/locality.md).
Expressions are written for all values that the declarations allow, also where a WHERE in front leaves fewer: the database may compute
them on rows that it drops later (design R8).
"""

from __future__ import annotations

from collections.abc import Sequence

from privacy.sql.aggregates import Inner, sum_ends
from privacy.sql.algebra import (
    UNIT,
    Constant,
    Expand,
    Filter,
    Lookup,
    Project,
    Relation,
    Scan,
    Stacked,
    Summary,
    facts_over,
)
from privacy.sql.asked import Grouping
from privacy.sql.block_views import View, view_name, views_of
from privacy.sql.codes import by_code, code_facts, coded
from privacy.sql.columns_read import Stored, columns_read, operand, reads, values_of
from privacy.sql.ends import rescaled
from privacy.sql.expressions import Expression, columns_in
from privacy.sql.facts import Facts
from privacy.sql.functions import FUNCTIONS, facts_of, sql_of, sql_type
from privacy.sql.functions.rounding import quotient_sql
from privacy.sql.functions.strings import quoted_text
from privacy.sql.held import Held, held
from privacy.sql.relation_graph import relations_in
from privacy.sql.row_columns import Operand, key_columns, key_sql, value_columns, value_sql

Made = Constant | Filter | Project | Lookup | Expand | Stacked | Summary  # what is no stored table


def block_sql(grouping: Grouping) -> str:
    """The rows that the pass takes of a block (`row_columns`); sorted by unit where they do not come in its order (design R2).

    Raises Unfit where a key or a value has no form in which the pass takes it, or the SQL of an expression would be too long.
    """
    source = grouping.source
    emitter = _Emitter(source, _read_of(grouping))
    over = emitter.over(source)
    wanted = ["u"]
    for at, (key, form) in enumerate(zip(grouping.keys, key_columns(grouping), strict=True)):
        wanted.append(f"{key_sql(over.place_or_text(key.expression), form)} AS k{at}")
    facts = dict(zip((asked.argument for asked in grouping.values), grouping.argument_facts, strict=True))
    for at, column in enumerate(value_columns(grouping)):
        argument = None if column.argument is None else over.place_or_text(column.argument)
        condition = None if column.condition is None else over.sql(column.condition)
        wanted.append(f"{value_sql(argument, facts[column.argument], condition)} AS v{at}")
    order = "" if source.ordered else " ORDER BY u"
    return emitter.with_ + _select(wanted, emitter.name(source) + order)


def views_read(grouping: Grouping) -> tuple[View, ...]:
    """The stored tables that `block_sql` reads, each with the columns that it reads."""
    return views_of(grouping.source, _read_of(grouping))


def _read_of(grouping: Grouping) -> frozenset[Stored]:
    """The columns of the grouped relation that keys and values are made of."""
    source = grouping.source
    carried = coded(source)[id(source)]
    operands = [key.expression for key in grouping.keys]
    operands += [column.argument for column in value_columns(grouping) if column.argument is not None]
    conditions = [column.condition for column in value_columns(grouping) if column.condition is not None]
    found = {place for place in (operand(each, carried) for each in operands) if place is not None}
    rest = [each for each in operands if operand(each, carried) is None]
    return frozenset(found).union(*(reads(each, source, carried) for each in (*rest, *conditions)))


def relation_sql(relation: Relation) -> str:
    """All rows and columns of a relation, the unit of a private one first; in no order."""
    wanted = values_of(relation)
    emitter = _Emitter(relation, wanted)
    return emitter.with_ + _select(_units(relation) + _names(wanted), emitter.name(relation))


class _Emitter:
    """Writes a relation and all that it is made of; of the relation itself, the columns `wanted`."""

    def __init__(self, relation: Relation, wanted: frozenset[Stored]) -> None:
        self._carried = coded(relation)
        self._read = columns_read(relation, wanted)
        self._names: dict[int, str] = {}
        written: list[str] = []
        for part in relations_in(relation):
            if isinstance(part, Scan):
                self._names[id(part)] = view_name(part)
            else:
                self._names[id(part)] = f"r{len(written)}"
                written.append(f"r{len(written)} AS ({self._sql(part)})")
        self.with_ = f"WITH {', '.join(written)} " if written else ""

    def name(self, relation: Relation) -> str:
        """What the relation is called."""
        return self._names[id(relation)]

    def over(self, relation: Relation, prefix: str = "") -> _Over:
        """Expressions over the relation, where `prefix` names it."""
        return _Over(relation, self._carried[id(relation)], prefix)

    def _wanted(self, relation: Relation) -> list[Stored]:
        return sorted(self._read[id(relation)])

    def _sql(self, relation: Made) -> str:
        if isinstance(relation, Constant):
            return _constant(relation)
        if isinstance(relation, Stacked):
            return " UNION ALL ".join(self._stacked(relation, source) for source in relation.sources)
        if isinstance(relation, Lookup | Expand):
            return self._joined(relation)
        if isinstance(relation, Filter):
            condition = self.over(relation.source).sql(relation.condition)
            wanted = _units(relation) + _names(self._read[id(relation)])
            return _select(wanted, f"{self.name(relation.source)} WHERE {condition}")
        return self._projected(relation) if isinstance(relation, Project) else self._summary(relation)

    def _projected(self, relation: Project) -> str:
        over, first = self.over(relation.source), int(relation.private)
        wanted = _units(relation)
        for each in self._wanted(relation):
            made = relation.expressions[each.at - first]
            text = over.sql(made) if each.letter == "c" else over.place_or_text(made).text
            wanted.append(f"{text} AS {each.name}")
        return _select(wanted, self.name(relation.source))

    def _joined(self, relation: Lookup | Expand) -> str:
        width = len(relation.source.columns)
        shift = width - int(relation.other.private)
        wanted = ["a.u"] if relation.private else []
        for each in self._wanted(relation):
            its = f"b.{each.letter}{each.at - shift} AS {each.name}"
            wanted.append(f"a.{each.name}" if each.at < width else its)
        left, right = self.over(relation.source, "a."), self.over(relation.other, "b.")
        on = ["a.u = b.u"] if relation.local else []
        on += [_equal(left, one, right, other) for one, other in relation.on]
        join = "LEFT JOIN" if relation.keeps else "JOIN"
        tables = f"{self.name(relation.source)} AS a {join} {self.name(relation.other)} AS b"
        return _select(wanted, f"{tables} ON {' AND '.join(on)}")

    def _stacked(self, relation: Stacked, source: Relation) -> str:
        wanted, facts = _units(relation), facts_over(relation)
        for each in self._wanted(relation):
            text = f"CAST({each.name} AS {sql_type(facts[each.at])}) AS {each.name}"
            wanted.append(text if each.letter == "c" else each.name)
        return _select(wanted, self.name(source))

    def _summary(self, relation: Summary) -> str:
        over, first = self.over(relation.source), int(relation.private)
        keys = _units(relation) + [f"{over.sql(e)} AS c{first + at}" for at, e in enumerate(relation.by)]
        facts, read = facts_over(relation), self._read[id(relation)]
        values = [
            f"{_inner(inner, argument, over, facts[at], relation.source.rows)} AS c{at}"
            for at, (inner, argument) in enumerate(relation.values, first + len(relation.by))
            if Stored("c", at) in read
        ]
        places = ", ".join(str(at + 1) for at in range(len(keys)))
        return _select(keys + values, f"{self.name(relation.source)} GROUP BY {places}")


class _Over:
    """Writes expressions over one relation."""

    def __init__(self, relation: Relation, carried: frozenset[int], prefix: str) -> None:
        self._private = relation.private
        self._carried = carried
        self._facts = facts_over(relation)
        # A place is read by what `by_code` has rewritten only, so a column that carries none may stand for itself.
        places = [code_facts(each) if at in carried else each for at, each in enumerate(self._facts)]
        self._all = (*self._facts, *places)
        self._names = [f"{prefix}{letter}{at}" for letter in "ce" for at in range(len(self._facts))]
        self._prefix = prefix

    def facts(self, expression: Expression) -> Facts:
        """What is known of its value."""
        return facts_of(expression, self._facts)

    def sql(self, expression: Expression) -> str:
        """The expression in the held form. Raises ValueError where it reads the unit, which is never a value."""
        if self._private and UNIT in columns_in(expression):
            raise ValueError("an expression reads the unit")
        return sql_of(by_code(expression, self._facts, self._carried), self._names, self._all)

    def place_or_text(self, expression: Expression) -> Operand:
        """The place in its list of a column that carries it; of anything else the held form."""
        place = operand(expression, self._carried)
        if place is not None:
            return Operand(f"{self._prefix}{place.name}", is_place=True)
        return Operand(self.sql(expression), is_place=False)


def _select(wanted: Sequence[str], table: str) -> str:
    return f"SELECT {', '.join(wanted)} FROM {table}"  # noqa: S608 - made of generated names and of expressions that are written by `sql_of`


def _units(relation: Relation) -> list[str]:
    return ["u"] if relation.private else []


def _names(columns: frozenset[Stored]) -> list[str]:
    return [each.name for each in sorted(columns)]


def _constant(relation: Constant) -> str:
    facts = facts_over(relation)
    rows = (
        ", ".join(_written(held(value, of.kind, of.scale), of) for value, of in zip(row, facts, strict=True))
        for row in relation.values
    )
    names = [f"c{at}" for at in range(len(facts))]
    return _select(names, f"(VALUES {', '.join(f'({row})' for row in rows)}) AS v({', '.join(names)})")


def _written(value: Held, facts: Facts) -> str:
    text = quoted_text(value) if isinstance(value, str) else "NULL" if value is None else str(value).upper()
    return f"CAST({text} AS {sql_type(facts)})"


def _equal(left: _Over, one: Expression, right: _Over, other: Expression) -> str:
    equal, known = FUNCTIONS["eq"], (left.facts(one), right.facts(other))
    return equal.sql((left.sql(one), right.sql(other)), known, equal.facts(known))


def _inner(inner: Inner, argument: Expression | None, over: _Over, result: Facts, rows: int) -> str:
    """An exact aggregate, in the type of its result. DuckDB adds whole numbers up in 128 bits."""
    if argument is None:
        return "count(*)"
    text, facts = over.sql(argument), over.facts(argument)
    if inner is Inner.AVG:
        return _average(text, facts, result, rows)
    return {
        Inner.NONNULL: f"count({text})",
        Inner.VALUES: f"count(DISTINCT {text})",
        Inner.SUM: f"CAST(sum({text}) AS {sql_type(result)})",
        Inner.MIN: f"min({text})",
        Inner.MAX: f"max({text})",
    }[inner]


def _average(text: str, argument: Facts, result: Facts, rows: int) -> str:
    """The sum on the result's grid over the count, halves away from zero; `inner_facts` has seen to it that nothing wraps."""
    digits = result.scale - argument.scale
    ends = rescaled(sum_ends(argument, rows), digits)
    total = f"(CAST(sum({text}) AS HUGEINT) * CAST({10**digits} AS HUGEINT))"
    return f"CAST({quotient_sql(total, f'count({text})', ends, (0, rows))} AS {sql_type(result)})"
