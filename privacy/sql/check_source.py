"""What may stand in FROM: tables of the catalogue, derived tables, names of WITH, VALUES, and how they may be joined."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from core.errors import Invalid
from privacy.sql.algebra import Filter, constant_of
from privacy.sql.check_expression import Reader, reader_of
from privacy.sql.conjuncts import all_of, conjuncts, placed
from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, Value, columns_in
from privacy.sql.facts import Unfit
from privacy.sql.functions import Stage
from privacy.sql.names_in_scope import Context, Part, Scope, Source
from privacy.sql.refusal import listed, nearest, quoted

MAX_CONSTANTS = 1_000  # rows of VALUES
MAX_NAME = 64
_JOINS = "JOIN … ON … and LEFT JOIN … ON … are accepted"
_METHODS = {
    "NATURAL": "name the columns: JOIN … USING (…)",
    "ASOF": "join on equalities",
    "POSITIONAL": "rows have no order; join on equalities",
}
_SIDES = {
    "RIGHT": "exchange the two sides and write LEFT JOIN",
    "FULL": "LEFT JOIN from the table whose units are counted",
}
_KINDS = {
    "CROSS": "add the equality that joins the two tables: JOIN … ON …",
    "SEMI": "write WHERE EXISTS (SELECT …)",
    "ANTI": "write WHERE NOT EXISTS (SELECT …)",
}


def scope_of(select: exp.Select, context: Context, outer: Scope | None = None) -> tuple[Scope, list[Expression]]:
    """The sources of a FROM, and the conditions of its inner joins. Raises Invalid."""
    if not select.expressions:
        raise context.text.refuse_node(select, "the query selects nothing", "SELECT a column, or COUNT(*)")
    scope = Scope(context, outer)
    conditions = list[Expression]()
    first = select.args.get("from_")
    if first is None:
        raise context.text.refuse_node(select, "the query names no table", f"FROM {listed(context.catalogue.names)}")
    context.text.only(first, "this")
    _add(first.this, scope, keeps=False)
    for join in select.args.get("joins") or ():
        conditions += _join(join, scope)
    return scope, conditions


def _add(node: exp.Expr, scope: Scope, *, keeps: bool) -> Part:
    context = scope.context
    if isinstance(node, exp.Table):
        name, source = _named(node, context)
    elif isinstance(node, exp.Subquery):
        context.text.only(node, "this", "alias", what="this form of a derived table", way_out="FROM (SELECT …) AS name")
        name, source = "", context.nested(node.this, context)
    elif isinstance(node, exp.Values):
        context.text.only(node, "expressions", "alias", way_out="FROM (VALUES (1, 'a')) AS name(x, y)")
        name, source = "", _values(node, context)
    else:
        what = "LATERAL" if isinstance(node, exp.Lateral) else "a function in FROM"
        tables = listed(context.catalogue.names)
        raise context.text.refuse_node(node, f"{what} is not accepted", f"the tables are {tables}")
    name, source = _aliased(node, name, source, context)
    if name and any(part.name.lower() == name.lower() for part in scope.parts):
        reason = f"two tables are called {quoted(name)}"
        raise context.text.refuse_node(node, reason, f"give one of them another name: {name} AS {name[:40]}2")
    at = context.text.offset_of(node)
    return scope.enter(name, source, at, keeps=keeps)


def _named(node: exp.Table, context: Context) -> tuple[str, Source]:
    tables = listed(context.catalogue.names)
    context.text.only(node, "this", "alias", what="more than a table's plain name", way_out=f"FROM {tables}")
    if not isinstance(node.this, exp.Identifier):
        raise context.text.refuse_node(node, "a function in FROM is not accepted", f"the tables are {tables}")
    name = node.this.name
    if name.lower() in context.with_:
        return name, context.with_[name.lower()]
    try:
        table = context.catalogue.named(name)
    except ValueError as several:
        way_out = 'write the full name in double quotes, such as "finance/orders"'
        raise context.text.refuse_node(
            node, f"{quoted(name)} is not one table: {several}", way_out, "sql.unknown_table"
        ) from None
    if table is None:
        names = (*context.catalogue.names, *context.with_)
        close = nearest(name, names)
        way_out = f"did you mean {close}?" if close is not None else f"the tables are {listed(names)}"
        raise context.text.refuse_node(node, f"there is no table {quoted(name)} here", way_out, "sql.unknown_table")
    return table.schema.name, context.stored(table)


def _aliased(node: exp.Expr, name: str, source: Source, context: Context) -> tuple[str, Source]:
    alias = node.args.get("alias")
    if alias is None:
        return name, source
    return alias_of(alias, source, context)


def alias_of(alias: exp.Expr, source: Source, context: Context) -> tuple[str, Source]:
    """The name after AS, and the source with the column names that it gives. Raises Invalid."""
    context.text.only(alias, "this", "columns")
    given = alias.args.get("columns") or []
    if len(given) > len(source.names):
        reason = f"{len(given)} names are given to {len(source.names)} columns"
        raise context.text.refuse_node(given[len(source.names)], reason, "give as many names as there are columns")
    for each in (alias, *given):
        if each is not alias and not isinstance(each, exp.Identifier):
            raise context.text.refuse_node(each, "a column is renamed by its new name alone", "AS name(x, y)")
        check_name(each, each.name, context)
    names = [each.name for each in given] + [known for known, _ in source.names[len(given) :]]
    check_different(names, node=alias, context=context)
    places = [at for _, at in source.names]
    return alias.name, replace(source, names=tuple(zip(names, places, strict=True)))


def check_name(node: exp.Expr, name: str, context: Context) -> None:
    """Refuses a name that cannot be shown."""
    if len(name) > MAX_NAME or not name.isprintable():
        raise context.text.refuse_node(node, f"a name has 1 to {MAX_NAME} visible characters", "rename it")


def check_different(names: list[str], node: exp.Expr, context: Context, what: str = "columns") -> None:
    """Refuses two columns (or whatever they are) with one name."""
    seen = set[str]()
    for name in names:
        if name.lower() in seen:
            raise context.text.refuse_node(node, f"two {what} are called {quoted(name)}", "rename one with AS")
        seen.add(name.lower())


def _values(node: exp.Values, context: Context) -> Source:
    rows = node.expressions
    if len(rows) > MAX_CONSTANTS:
        raise context.text.refuse_node(rows[MAX_CONSTANTS], f"VALUES has more than {MAX_CONSTANTS} rows", "shorten it")
    width = len(rows[0].expressions)
    values = [_row(row, width, context) for row in rows]
    names = [f"col{at}" for at in range(width)]
    try:
        constant = constant_of(tuple(values), names)
    except Unfit as unfit:
        raise context.text.refuse_node(node, unfit.reason, unfit.way_out, unfit.code) from None
    alone = {frozenset({at}) for at in range(width) if _differ([(row[at],) for row in values])}
    together = {frozenset(range(width))} if _differ(values) else set()
    return Source(
        replace(constant, unique=frozenset(alone | together)), tuple((name, at) for at, name in enumerate(names))
    )


def _row(row: exp.Expr, width: int, context: Context) -> tuple[Value, ...]:
    if not isinstance(row, exp.Tuple) or len(row.expressions) != width:
        raise context.text.refuse_node(row, "the rows of VALUES have different lengths", "write (1, 'a'), (2, 'b')")
    return tuple(_constant(part, context) for part in row.expressions)


def _constant(node: exp.Expr, context: Context) -> Value:
    found = Reader(context.text, (), Stage.ROW, lambda _node: None).read(node)
    if not isinstance(found, Literal):
        raise context.text.refuse_node(node, "VALUES holds literals only", "write the values out")
    return found.value


def _differ(rows: list[tuple[Value, ...]]) -> bool:
    return len(set(rows)) == len(rows)


def _join(join: exp.Expr, scope: Scope) -> list[Expression]:
    """Adds the right side of a join; returns the conditions of an inner one."""
    text = scope.text
    at = text.offset_of(join)
    for name, refused in (("method", _METHODS), ("side", _SIDES), ("kind", _KINDS)):
        word = str(join.args.get(name) or "").upper()
        if word in refused:
            raise text.refuse("sql.join", f"{word} JOIN is not accepted", at, refused[word])
    side, kind = str(join.args.get("side") or "").upper(), str(join.args.get("kind") or "").upper()
    if side not in ("", "LEFT") or kind not in ("", "INNER", "OUTER"):
        raise text.refuse("sql.join", f"{quoted(f'{side} {kind}'.strip())} JOIN is not accepted", at, _JOINS)
    text.only(join, "this", "on", "using", "side", "kind", what="this form of JOIN", way_out=_JOINS)
    keeps = side == "LEFT"
    before = list(scope.parts)
    part = _add(join.this, scope, keeps=keeps)
    found = [] if join.args.get("on") is None else conjuncts(reader_of(scope).condition(join.args["on"]))
    found += [_using(name, scope, before, part) for name in join.args.get("using") or ()]
    if not keeps:
        return found
    if not found:
        raise text.refuse("sql.join", "LEFT JOIN without a condition", at, _JOINS)
    _keep(part, found, scope)
    return []


def _using(name: exp.Expr, scope: Scope, before: list[Part], part: Part) -> Expression:
    if not isinstance(name, exp.Identifier):
        raise scope.text.refuse_node(name, "USING takes names of columns", "USING (x)")
    column = exp.Column(this=name)
    earlier, later = scope.part_of(before), scope.part_of([part])
    first, second = ColumnRef(earlier.resolve(column)), ColumnRef(later.resolve(column))
    if scope.is_unit(first.index) != scope.is_unit(second.index):
        raise scope.unit_refused(column)
    scope.merge(name.name, first.index)
    return reader_of(scope).call(name, "eq", (first, second))


def _keep(part: Part, found: list[Expression], scope: Scope) -> None:
    """Splits the condition of a LEFT JOIN: equalities of the two sides, and conditions on the right side alone."""
    own, on = list[Expression](), list[tuple[Expression, Expression]]()
    earlier = {number for each in scope.parts if each is not part for number in each.numbers}
    for condition in found:
        pair = _pair(condition, part, earlier)
        if pair is not None:  # also with a literal: with it a key can be complete
            on.append(pair)
        elif columns_in(condition) <= set(part.numbers):
            own.append(condition)
        else:
            raise _unkept(part, scope)
    relation = part.relation
    if own:
        relation = Filter(relation, placed(all_of(own), {number: number - part.first for number in part.numbers}))
    if not on:
        raise _unkept(part, scope)
    scope.settle(part, tuple(on), replace(part.source, relation=relation))


def _pair(condition: Expression, part: Part, earlier: set[int]) -> tuple[Expression, Expression] | None:
    if not isinstance(condition, Call) or condition.function != "eq":
        return None
    for outer, inner in (condition.args, condition.args[::-1]):
        if isinstance(inner, ColumnRef) and inner.index in part.numbers and columns_in(outer) <= earlier:
            return outer, inner
    return None


def _unkept(part: Part, scope: Scope) -> Invalid:
    name = part.name or "the right side"
    reason = f"ON of a LEFT JOIN compares a column of {name} with the left side by =, or concerns {name} alone"
    way_out = f"write ON a.key = {name}.key, with other conditions on {name} only; the rest into WHERE"
    return scope.text.refuse("sql.join", reason, part.at, way_out)
