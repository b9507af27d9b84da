"""Which aggregates are accepted, exact ones inside a unit and noisy ones at the end, and how expressions stand over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from sqlglot import exp

from core.errors import Invalid
from privacy.sql.aggregates import Aggregate, Inner, inner_facts
from privacy.sql.answer_facts import value_facts
from privacy.sql.asked import Asked
from privacy.sql.check_expression import Reader, reader_of
from privacy.sql.expressions import Call, ColumnRef, Expression, columns_in
from privacy.sql.facts import Facts, Unfit
from privacy.sql.functions import Stage
from privacy.sql.held import Kind
from privacy.sql.join_order import Joined
from privacy.sql.names_in_scope import Scope
from privacy.sql.refusal import Text, quoted
from privacy.sql.written_values import written_number

MAX_AGGREGATES = 64
LOW, HIGH = Fraction(1, 200), Fraction(199, 200)  # what MIN and MAX are answered with: nobody's own value is shown
_ASK = "ask for COUNT, SUM, AVG, VAR, STDDEV, MEDIAN, QUANTILE_CONT, MIN or MAX"
_WRAPPED = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)

_INNER: Mapping[type[exp.Expr], Inner] = {
    exp.Sum: Inner.SUM,
    exp.Avg: Inner.AVG,
    exp.Min: Inner.MIN,
    exp.Max: Inner.MAX,
}
_FINAL: Mapping[type[exp.Expr], Aggregate] = {
    exp.Sum: Aggregate.SUM,
    exp.Avg: Aggregate.AVG,
    exp.Variance: Aggregate.VAR_SAMP,
    exp.VariancePop: Aggregate.VAR_POP,
    exp.Stddev: Aggregate.STDDEV_SAMP,
    exp.StddevSamp: Aggregate.STDDEV_SAMP,
    exp.StddevPop: Aggregate.STDDEV_POP,
}
_RANKS: Mapping[type[exp.Expr], Fraction] = {exp.Median: Fraction(1, 2), exp.Min: LOW, exp.Max: HIGH}
_RANKED: Mapping[type[exp.Expr], str] = {exp.Quantile: "quantile", exp.PercentileCont: "expression"}


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a parsed part is an aggregate by itself."""
    return isinstance(node, (exp.AggFunc, *_WRAPPED))


def has_aggregate(node: exp.Expr) -> bool:
    """Whether a parsed part has an aggregate in it, those of subqueries and of OVER (…) apart."""
    return any(map(is_aggregate, node.walk(prune=lambda each: isinstance(each, exp.Query | exp.Subquery | exp.Window))))


Windowed = tuple[Callable[[exp.Window], Expression], Sequence[Facts]]  # where windows stand, and facts of all columns


@dataclass(frozen=True, eq=False)
class Over:
    """Expressions over a grouping: `keys` gives the position of each key, `facts` those of keys and values as they are collected."""

    scope: Scope
    keys: Mapping[Expression, int]
    facts: list[Facts]
    stage: Stage
    value: Callable[[exp.Expr], Expression]
    aliases: dict[str, Expression] = field(default_factory=dict)

    def reader(self, *, aliases_first: bool = False, windows: Windowed | None = None) -> Reader:
        """Reads expressions over keys and aggregates, and `windows` where they may stand.

        A name that the select list gives stands for what it names.
        """
        rows = reader_of(self.scope, subqueries=False)
        kinds = {key.function for key in self.keys if isinstance(key, Call)}

        def leaf(node: exp.Expr) -> Expression | None:
            if is_aggregate(node):
                return self.value(node)
            if isinstance(node, exp.Window) and windows is not None:
                return windows[0](node)
            if isinstance(node, exp.Column):
                found = self._column(node, aliases_first=aliases_first)
                self._check_window(node, found, allowed=windows is not None)
                return found
            if kinds and not isinstance(node, exp.Literal | exp.Boolean | exp.Null) and not has_aggregate(node):
                return self._key(node, rows)
            return None

        context = self.scope.context
        facts = self.facts if windows is None else windows[1]
        return Reader(context.text, facts, self.stage, leaf, context.tips, context.level)

    def _check_window(self, node: exp.Column, found: Expression, *, allowed: bool) -> None:
        """A name for a window stands only where a window could."""
        if not allowed and any(number >= len(self.facts) for number in columns_in(found)):
            reason = f"{quoted(node.name)} is a window function, which is worked out last"
            raise self.scope.text.refuse_node(node, reason, "use it in the select list or in ORDER BY")

    def _key(self, node: exp.Expr, rows: Reader) -> Expression | None:
        try:
            at = self.keys.get(rows.read(node))
        except Invalid:
            return None  # refused, if it is wrong, where its parts are read
        return None if at is None else ColumnRef(at)

    def _column(self, node: exp.Column, *, aliases_first: bool) -> Expression:
        alias = None if node.args.get("table") is not None else self.aliases.get(node.name.lower())
        if alias is not None and aliases_first:
            return alias
        try:
            number = self.scope.resolve(node)
        except Invalid:
            if alias is not None:
                return alias
            raise
        at = self.keys.get(ColumnRef(number))
        if at is not None:
            return ColumnRef(at)
        if alias is not None:
            return alias
        if self.scope.is_unit(number):
            reason = f"selecting {quoted(node.name)} would name the units that are protected"
            way_out = f"COUNT(DISTINCT {quoted(node.name)}) counts them"
            raise self.scope.text.refuse_node(node, reason, way_out, code="sql.unit_column")
        reason = f"{quoted(node.name)} is neither grouped by nor aggregated"
        raise self.scope.text.refuse_node(node, reason, f"GROUP BY {quoted(node.name)}, or COUNT({quoted(node.name)})")


@dataclass(eq=False)
class Exact:
    """Collects the exact aggregates of a grouping inside a unit (or of public tables); values stand from position `first` on."""

    scope: Scope
    joined: Joined
    first: int
    facts: list[Facts]
    values: list[tuple[Inner, Expression | None]] = field(default_factory=list)
    _found: dict[tuple[Inner, Expression | None], int] = field(default_factory=dict)

    def value(self, node: exp.Expr) -> Expression:
        """Where the value of an aggregate will stand. Raises Invalid for one that is not accepted here."""
        text, rows = self.scope.text, reader_of(self.scope, subqueries=False)
        if type(node) is exp.Count:
            inner, argument = self._count(node, rows)
        elif type(node) in _INNER:
            inner, part = _INNER[type(node)], node.this
            text.only(node, "this", way_out=f"write {inner.upper()}(x)")
            if not isinstance(part, exp.Expr) or type(part) is exp.Distinct:
                raise text.refuse_node(node, f"{_name(node)} takes one value here", f"write {inner.upper()}(x)")
            argument = rows.value(part)
        else:
            reason = f"{_name(node)} is not computed inside a unit"
            raise text.refuse_node(node, reason, "COUNT, SUM, AVG, MIN and MAX are; FILTER is written with CASE")
        known = None if argument is None else rows.known(argument)
        relation = self.joined.relation
        try:
            facts = inner_facts(inner, known, relation.rows, private=relation.private)
        except Unfit as unfit:
            raise text.refuse_node(node, unfit.reason, unfit.way_out, unfit.code) from None
        if argument is not None and not columns_in(argument) <= self.joined.places.keys():
            reason = "an aggregate of a subquery reads its own tables only"
            raise text.refuse_node(node, reason, "multiply by the outer value outside of the aggregate")
        asked = inner, None if argument is None else self.joined.placed(argument)
        if asked not in self._found:
            if len(self.values) == MAX_AGGREGATES:
                raise text.refuse_node(node, f"more than {MAX_AGGREGATES} aggregates are asked", "ask fewer")
            self._found[asked] = len(self.values)
            self.values.append(asked)
            self.facts.append(facts)
        return ColumnRef(self.first + self._found[asked])

    def _count(self, node: exp.Count, rows: Reader) -> tuple[Inner, Expression | None]:
        self.scope.text.only(node, "this", "big_int", way_out="COUNT(*), or COUNT(x)")
        inner = node.this
        if type(inner) is exp.Star:
            self.scope.text.only(inner)
            return Inner.ROWS, None
        if type(inner) is exp.Distinct:
            return Inner.VALUES, rows.value(_distinct(inner, self.scope.text))
        if not isinstance(inner, exp.Expr):
            raise self.scope.text.refuse_node(node, "COUNT() counts nothing", "COUNT(*), or COUNT(x)")
        return Inner.NONNULL, rows.value(inner)


@dataclass(eq=False)
class Noisy:
    """Collects the aggregates of the final grouping; values stand from position `first` on, `places` has where each is in the text."""

    scope: Scope
    joined: Joined
    first: int
    facts: list[Facts]
    values: list[Asked] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    _found: dict[Asked, int] = field(default_factory=dict)

    def value(self, node: exp.Expr) -> Expression:
        """Where the value of an aggregate will stand. Raises Invalid for one that is not accepted."""
        text, rows = self.scope.text, reader_of(self.scope, subqueries=False)
        inner, condition = node, None
        if type(node) is exp.Filter:
            text.only(node, "this", "expression")
            text.only(node.expression, "this")
            inner, condition = node.this, rows.condition(node.expression.this)
        asked, known = self._asked(inner, rows)
        if condition is not None:
            asked = _with_condition(asked, condition)
        self._check(inner, asked, known)
        return self._collected(node, asked, known)

    def _collected(self, node: exp.Expr, asked: Asked, known: Facts | None) -> Expression:
        placed = Asked(
            asked.aggregate,
            None if asked.argument is None else self.joined.placed(asked.argument),
            None if asked.condition is None else self.joined.placed(asked.condition),
            asked.parameter,
        )
        if placed not in self._found:
            if len(self.values) == MAX_AGGREGATES:
                raise self.scope.text.refuse_node(node, f"more than {MAX_AGGREGATES} aggregates are asked", "ask fewer")
            self._found[placed] = len(self.values)
            self.values.append(placed)
            self.places.append(self.scope.text.offset_of(node))
            self.facts.append(value_facts(placed, known))
        return ColumnRef(self.first + self._found[placed])

    def _asked(self, node: exp.Expr, rows: Reader) -> tuple[Asked, Facts | None]:
        kind, text = type(node), self.scope.text
        if isinstance(node, exp.Count):
            return self._count(node, rows)
        if kind is exp.CountIf:
            text.only(node, "this", "big_int", way_out="COUNT_IF(x > 0)")
            return Asked(Aggregate.ROWS, None, rows.condition(node.this)), None
        if kind is exp.WithinGroup:
            return self._within_group(node, rows)
        if kind not in _FINAL and kind not in _RANKS and kind not in _RANKED:
            raise text.refuse_node(node, f"{_name(node)} is not accepted", _ASK)
        rank_name = _RANKED.get(kind)
        text.only(node, "this", *((rank_name,) if rank_name else ()), way_out=f"write {_name(node)}(x)")
        if not isinstance(node.this, exp.Expr) or type(node.this) is exp.Distinct:
            raise text.refuse_node(node, f"{_name(node)} takes one value, without DISTINCT", f"write {_name(node)}(x)")
        argument = rows.value(node.this)
        if kind in (exp.Min, exp.Max):
            share = float(100 * _RANKS[kind])
            self.scope.context.tips.append(
                f"{_name(node)} is answered with the {share:g} % quantile: nobody's own value is shown"
            )
        rank = _RANKS.get(kind) if rank_name is None else self._rank(node, node.args.get(rank_name))
        return Asked(_FINAL.get(kind, Aggregate.QUANTILE), argument, None, rank), rows.known(argument)

    def _within_group(self, node: exp.Expr, rows: Reader) -> tuple[Asked, Facts | None]:
        """PERCENTILE_CONT(p) WITHIN GROUP (ORDER BY x)."""
        text, inner, order = self.scope.text, node.this, node.expression
        way_out = "write QUANTILE_CONT(x, 0.9)"
        text.only(node, "this", "expression", way_out=way_out)
        if type(inner) is not exp.PercentileCont or not isinstance(order, exp.Order) or len(order.expressions) != 1:
            raise text.refuse_node(node, f"{_name(inner)} is not accepted in this form", way_out)
        text.only(inner, "this", way_out=way_out)
        text.only(order, "expressions", way_out=way_out)
        text.only(order.expressions[0], "this", "nulls_first", way_out=way_out)
        argument = rows.value(order.expressions[0].this)
        return Asked(Aggregate.QUANTILE, argument, None, self._rank(inner, inner.this)), rows.known(argument)

    def _rank(self, node: exp.Expr, rank: exp.Expr | None) -> Fraction:
        number = written_number(str(rank.this)) if isinstance(rank, exp.Literal) and not rank.is_string else None
        if number is None or not 0 <= number <= 1:
            reason = f"{_name(node)} needs its rank written as a number from 0 to 1"
            raise self.scope.text.refuse_node(node, reason, "write QUANTILE_CONT(x, 0.9)")
        return Fraction(number)

    def _count(self, node: exp.Count, rows: Reader) -> tuple[Asked, Facts | None]:
        self.scope.text.only(node, "this", "big_int", way_out="COUNT(*), or COUNT(x)")
        inner = node.this
        if type(inner) is exp.Star:
            self.scope.text.only(inner)
            return Asked(Aggregate.ROWS, None), None
        if type(inner) is exp.Distinct:
            part = _distinct(inner, self.scope.text)
            if self._is_unit(part):
                return Asked(Aggregate.UNITS, None), None
            argument = rows.value(part)
            return Asked(Aggregate.VALUES, argument), rows.known(argument)
        if not isinstance(inner, exp.Expr):
            raise self.scope.text.refuse_node(node, "COUNT() counts nothing", "COUNT(*), or COUNT(x)")
        if self._is_unit(inner):
            reason = f"{quoted(inner.name)} names the unit that is protected"
            way_out = f"COUNT(*), or COUNT(DISTINCT {quoted(inner.name)})"
            raise self.scope.text.refuse_node(inner, reason, way_out, code="sql.unit_column")
        argument = rows.value(inner)
        return Asked(Aggregate.NONNULL, argument), rows.known(argument)

    def _is_unit(self, node: exp.Expr) -> bool:
        bare = node.unnest()
        return isinstance(bare, exp.Column) and self.scope.is_unit(self.scope.resolve(bare))

    def _check(self, node: exp.Expr, asked: Asked, known: Facts | None) -> None:
        counts = (Aggregate.ROWS, Aggregate.NONNULL, Aggregate.UNITS, Aggregate.VALUES)
        if known is None or asked.aggregate in counts or known.kind is Kind.NUMBER:
            return
        reason = f"{_name(node)} takes numbers, and this is a {known.kind}"
        raise self.scope.text.refuse_node(node, reason, "COUNT(x), or GROUP BY it", code="sql.type_mismatch")


def _with_condition(asked: Asked, condition: Expression) -> Asked:
    both = condition if asked.condition is None else Call("and", (condition, asked.condition))
    return Asked(asked.aggregate, asked.argument, both, asked.parameter)


def _distinct(node: exp.Distinct, text: Text) -> exp.Expr:
    text.only(node, "expressions", way_out="COUNT(DISTINCT x)")
    if len(node.expressions) != 1:
        raise text.refuse_node(node, "COUNT(DISTINCT …) takes one value", "COUNT(DISTINCT x)")
    part: exp.Expr = node.expressions[0]
    return part


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.IgnoreNulls | exp.RespectNulls | exp.Filter | exp.WithinGroup):
        return _name(node.this)
    name = node.name if isinstance(node, exp.Anonymous) else node.sql_name() if isinstance(node, exp.Func) else node.key
    return quoted(name.upper())
