"""Which subqueries may stand in a condition: EXISTS, IN and scalar ones, each as a summary that is looked up for every row.

Of a private table only what belongs to the row's own unit is summarised; a subquery that would look at other units' rows is refused
(docs/proofs/locality.md). `EXISTS` with one comparison needs no pairs of rows: some y differs from x exactly where the least or the
greatest y does, and some y is less than x exactly where the least y is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from privacy.sql.aggregates import COUNTS, Inner
from privacy.sql.algebra import UNIT, Project, Relation, Summary
from privacy.sql.check_aggregates import Exact, Over, has_aggregate
from privacy.sql.check_expression import reader_of
from privacy.sql.check_source import scope_of
from privacy.sql.conjuncts import all_of, conjuncts, substituted
from privacy.sql.derived import select_is_grouped, with_names
from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, columns_in
from privacy.sql.facts import Unfit
from privacy.sql.functions import Stage
from privacy.sql.join_order import Joined, Joiner
from privacy.sql.locality import Determining, implies_unit, moved
from privacy.sql.names_in_scope import Scope, Source

_MIRRORED = {"ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_EXTREMES = {
    "ne": (Inner.MIN, Inner.MAX),
    "lt": (Inner.MIN,),
    "le": (Inner.MIN,),
    "gt": (Inner.MAX,),
    "ge": (Inner.MAX,),
}
_FALSE = Literal(value=False)
_ONE = Literal(1)
_CLAUSES = ("with_", "expressions", "from_", "joins", "where")
_CORRELATED = "compare a column of the subquery with one of the outer query by ="


def subquery_of(node: exp.Expr, scope: Scope) -> Expression:
    """The value of a subquery, over the scope's numbers: its summary becomes a hidden part of the scope. Raises Invalid."""
    if isinstance(node, exp.Exists):
        scope.text.only(node, "this")
        return _exists(node.this, scope)
    if isinstance(node, exp.In):
        return _in(node, scope)
    if isinstance(node, exp.Subquery):
        scope.text.only(node, "this")
        if isinstance(node.this, exp.Select):
            return _scalar(node.this, scope)
    raise scope.text.refuse_node(
        node, "this form of subquery is not accepted", "write EXISTS (SELECT …), or x IN (SELECT …)"
    )


@dataclass(eq=False)
class _Inside:
    """A subquery's FROM, and what its conditions say: of its own rows, and of them and the outer query's."""

    scope: Scope
    at: exp.Expr
    own: list[Expression] = field(default_factory=list)
    equal: list[tuple[Expression, Expression]] = field(default_factory=list)  # outside, inside; units too
    compared: list[tuple[str, Expression, Expression]] = field(default_factory=list)  # inside, outside
    outside: list[Expression] = field(default_factory=list)

    @property
    def numbers(self) -> set[int]:
        """The numbers of its own columns."""
        return {number for part in self.scope.parts for number in part.numbers}

    def joined(self) -> Joined:
        """Its rows, without regard to the outer query's. Raises Invalid, too where they would be other units' rows."""
        joined = Joiner(self.scope, tuple(self.own)).joined()
        if joined.relation.private:
            self._check_local()
        return joined

    def _check_local(self) -> None:
        outer = [part for part in _outer(self.scope).parts if part.relation.private]
        pairs = [(x.index, y.index) for x, y in self.equal if isinstance(x, ColumnRef) and isinstance(y, ColumnRef)]
        left = [each for part in outer for each in part.determining]
        right = [each for part in self.scope.parts for each in part.determining]
        if implies_unit(pairs, left, right):
            return
        if not outer:
            reason = "rows of a public table would be chosen by private rows"
            way_out = "begin with the private table, and join the public one to it"
        elif not self.equal:
            reason = "the subquery looks at the rows of all protected units, so every row would depend on everybody's"
            way_out = (
                "compare its unit with the outer query's, or ask for the inner value first and write it as a number"
            )
        else:
            reason = "the subquery is not compared on the protected unit, so a row would depend on other units' rows"
            way_out = "add an equality of its unit, or of a key that determines it, with the outer query's"
        raise self.scope.text.refuse_node(self.at, reason, way_out, code="sql.not_local")

    def by(self) -> tuple[Expression, ...]:
        """What its rows are found by, the unit apart; of a public table at least something that is always the same."""
        found = tuple(dict.fromkeys(inner for _, inner in self.equal if not self._is_unit(inner)))
        return found if found or self.equal else (_ONE,)

    def _is_unit(self, expression: Expression) -> bool:
        return isinstance(expression, ColumnRef) and self.scope.is_unit(expression.index)

    def attach(self, relation: Relation, determining: tuple[Determining, ...]) -> int:
        """Makes a relation that begins with the unit (if private) and `by` a hidden part of the outer query.

        Returns the number of its first column.
        """
        scope, first, by = _outer(self.scope), int(relation.private), self.by()
        part = scope.enter("", Source(relation, (), determining), scope.text.offset_of(self.at), keeps=True)
        pairs = [(x, UNIT if self._is_unit(y) else first + by.index(y)) for x, y in self.equal] or [(_ONE, first)]
        scope.settle(part, tuple((outer, ColumnRef(part.first + place)) for outer, place in pairs))
        return part.first

    def determining(self, joined: Joined) -> tuple[Determining, ...]:
        """What determines the unit in a relation that begins with the unit and `by`."""
        first = int(joined.relation.private)
        placed = map(joined.placed, self.by())
        places = {each.index: first + at for at, each in enumerate(placed) if isinstance(each, ColumnRef)}
        return moved(joined.determining, {**places, UNIT: UNIT} if first else places)


def _outer(scope: Scope) -> Scope:
    if scope.outer is None:
        raise ValueError("a subquery stands in another query")
    return scope.outer


def _inside(query: exp.Select, scope: Scope) -> _Inside:
    context = with_names(query, scope.context)
    scope.text.only(query, *_CLAUSES, what="this part of a subquery", way_out="SELECT … FROM … WHERE …")
    inner, conditions = scope_of(query, context, scope)
    where = query.args.get("where")
    if where is not None:
        scope.text.only(where, "this")
        conditions += conjuncts(reader_of(inner).condition(where.this))
    inside = _Inside(inner, query)
    for condition in conditions:
        _place(inside, condition, where or query)
    return inside


def _place(inside: _Inside, condition: Expression, at: exp.Expr) -> None:
    """Puts a condition where it belongs by the columns that it speaks of. Raises Invalid where it mixes them in another form."""
    mine, theirs = inside.numbers, {number for part in _outer(inside.scope).parts for number in part.numbers}
    used = columns_in(condition)
    if used <= mine:
        inside.own.append(condition)
    elif used <= theirs:
        inside.outside.append(condition)
    else:
        if isinstance(condition, Call) and (condition.function == "eq" or condition.function in _MIRRORED):
            name = condition.function
            for turned, (inner, outer) in ((name, condition.args), (_MIRRORED.get(name, name), condition.args[::-1])):
                if columns_in(inner) <= mine and columns_in(outer) <= theirs:
                    if name == "eq":
                        inside.equal.append((outer, inner))
                    else:
                        inside.compared.append((turned, inner, outer))
                    return
        reason = "a condition of the subquery reads both queries, and is no comparison of one side with the other"
        raise inside.scope.text.refuse_node(at, reason, _CORRELATED)


def _exists(query: exp.Expr, scope: Scope) -> Expression:
    if not isinstance(query, exp.Select):
        raise scope.text.refuse_node(query, "EXISTS takes one SELECT", "write EXISTS (SELECT * FROM … WHERE …)")
    if select_is_grouped(query):
        way_out = "write x IN (SELECT x FROM … GROUP BY x HAVING …)"
        raise scope.text.refuse_node(query, "EXISTS over groups is not accepted", way_out)
    return _found(_inside(query, scope))


def _found(inside: _Inside) -> Expression:
    """Whether there is a row inside."""
    if len(inside.compared) > 1:
        reason = "the subquery has more than one comparison with the outer query that is no equality"
        raise inside.scope.text.refuse_node(inside.at, reason, "keep one of them; compare by = otherwise")
    joined = inside.joined()
    values: tuple[tuple[Inner, Expression | None], ...] = ((Inner.ROWS, None),)
    if inside.compared:
        name, inner, _ = inside.compared[0]
        values = tuple((extreme, joined.placed(inner)) for extreme in _EXTREMES[name])
    base = inside.attach(_summary(inside, joined, values), inside.determining(joined))
    base += int(joined.relation.private) + len(inside.by())
    if not inside.compared:
        there: Expression = Call("not", (Call("is_null", (ColumnRef(base),)),))
        return Call("coalesce", (all_of([*inside.outside, there]), _FALSE)) if inside.outside else there
    name, _, outer = inside.compared[0]
    tests = tuple(Call(name, (ColumnRef(base + at), outer)) for at in range(len(values)))
    some = tests[0] if len(tests) == 1 else Call("or", tests)
    return Call("coalesce", (all_of([*inside.outside, some]), _FALSE))


def _summary(inside: _Inside, joined: Joined, values: tuple[tuple[Inner, Expression | None], ...]) -> Summary:
    by = tuple(map(joined.placed, inside.by()))
    names = tuple(f"k{at}" for at in range(len(by))) + tuple(f"v{at}" for at in range(len(values)))
    summary = Summary(joined.relation, by, values, names)
    try:
        _ = summary.columns
    except Unfit as unfit:
        raise inside.scope.text.refuse_node(inside.at, unfit.reason, unfit.way_out, unfit.code) from None
    return summary


def _in(node: exp.In, scope: Scope) -> Expression:
    text = scope.text
    text.only(node, "this", "query", way_out="write x IN (SELECT y FROM …)")
    query, asked = node.args["query"], node.this.unnest()
    while isinstance(query, exp.Subquery):
        text.only(query, "this")
        query = query.this
    if isinstance(asked, exp.Tuple):
        raise text.refuse_node(asked, "IN compares one value", "write EXISTS (SELECT * FROM … WHERE a = x AND b = y)")
    inside, item, value = _listed(query, scope)
    outer = _side(asked, scope)
    units = [
        isinstance(side, ColumnRef) and of.is_unit(side.index) for side, of in ((outer, scope), (value, inside.scope))
    ]
    if units[0] != units[1]:
        raise scope.unit_refused(asked if units[0] else item)
    reader = reader_of(scope)
    reader.call(asked, "eq", (outer, value))  # refuses what cannot be compared
    if any(reader.known(side).nullable for side in (outer, value)) and not _is_positive(node):
        reason = "IN is neither true nor false where one of the values is NULL, and here one can be"
        raise text.refuse_node(node, reason, "write EXISTS (SELECT * FROM … WHERE y = x), or NOT EXISTS (…)")
    inside.equal.append((outer, value))
    return _found(inside)


def _listed(query: exp.Expr, scope: Scope) -> tuple[_Inside, exp.Expr, Expression]:
    """The query of IN, its one column as written, and as an expression inside."""
    if isinstance(query, exp.Select) and not select_is_grouped(query):
        inside = _inside(query, scope)
        item = _only_item(query, scope)
        value = _side(item, inside.scope)
        if not columns_in(value) <= inside.numbers:
            raise scope.text.refuse_node(item, "IN selects a column of its own tables", "write EXISTS (SELECT …)")
        return inside, item, value
    source = scope.context.nested(query, scope.context)
    if len(source.names) != 1:
        raise scope.text.refuse_node(query, "a subquery of IN selects one column", "SELECT one column")
    inner = Scope(scope.context, scope)
    part = inner.enter("", source, scope.text.offset_of(query))
    return _Inside(inner, query), query, ColumnRef(part.first + source.names[0][1])


def _only_item(query: exp.Select, scope: Scope) -> exp.Expr:
    if len(query.expressions) != 1:
        raise scope.text.refuse_node(query, "a subquery selects one column here", "SELECT one column")
    item = query.expressions[0]
    bare: exp.Expr = (item.this if isinstance(item, exp.Alias) else item).unnest()
    return bare


def _side(node: exp.Expr, scope: Scope) -> Expression:
    """One side of IN, which can be the unit."""
    if isinstance(node, exp.Column):
        number = scope.resolve(node)
        if scope.is_unit(number):
            return ColumnRef(number)
    return reader_of(scope).value(node)


def _is_positive(node: exp.Expr) -> bool:
    """Whether NULL does here what FALSE does: nothing stands between this part and WHERE but AND, OR and brackets."""
    above = node.parent
    while isinstance(above, exp.And | exp.Or | exp.Paren):
        above = above.parent
    return isinstance(above, exp.Where)


def _scalar(query: exp.Select, scope: Scope) -> Expression:
    if query.args.get("group") or query.args.get("having") or query.args.get("distinct"):
        way_out = "SELECT one aggregate, with its group as equalities in WHERE"
        raise scope.text.refuse_node(query, "a subquery that is a value has one row, not groups", way_out)
    inside = _inside(query, scope)
    item = _only_item(query, scope)
    if inside.compared or inside.outside:
        reason = "a subquery that is a value is compared with the outer query by = only"
        raise scope.text.refuse_node(query, reason, _CORRELATED)
    joined = inside.joined()
    return _aggregated(item, inside, joined) if has_aggregate(item) else _single(item, inside, joined)


def _aggregated(item: exp.Expr, inside: _Inside, joined: Joined) -> Expression:
    """An expression over aggregates of the rows found; a count of none is 0, anything else of none NULL."""
    reader, relation, by = reader_of(inside.scope), joined.relation, inside.by()
    first = int(relation.private) + len(by)
    facts = [*(field.facts for field in relation.columns[: int(relation.private)]), *map(reader.known, by)]
    exact = Exact(inside.scope, joined, first, facts)
    found = Over(inside.scope, {}, facts, Stage.ROW, exact.value).reader().value(item)
    base = inside.attach(_summary(inside, joined, tuple(exact.values)), inside.determining(joined))
    refs = dict[int, Expression]()
    for at, (inner, _) in enumerate(exact.values):
        ref = ColumnRef(base + first + at)
        refs[first + at] = Call("coalesce", (ref, Literal(0))) if inner in COUNTS else ref
    return substituted(found, refs)


def _single(item: exp.Expr, inside: _Inside, joined: Joined) -> Expression:
    """A value of the one row that is found."""
    text, by = inside.scope.text, inside.by()
    value = reader_of(inside.scope, subqueries=False).value(item)
    if not columns_in(value) <= inside.numbers:
        raise text.refuse_node(
            item, "the subquery selects a value of the outer query", "write the value without a subquery"
        )
    columns = tuple(map(joined.placed, (*by, value)))
    relation = Project(joined.relation, columns, (*(f"k{at}" for at in range(len(by))), "v"))
    first = int(relation.private) + len(by)
    if not any(each <= set(range(first)) for each in relation.unique):
        reason = "the subquery could give several rows"
        way_out = "aggregate it, such as MAX(x), or compare all columns of a declared key by ="
        raise text.refuse_node(inside.at, reason, way_out, code="sql.join")
    return ColumnRef(inside.attach(relation, inside.determining(joined)) + first)
