"""Which queries may stand inside another one, in FROM and after WITH: each is worked out unit by unit, or over public tables alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from privacy.sql.algebra import UNIT, Filter, Project, Relation, Stacked, Summary
from privacy.sql.check_aggregates import Exact, Over, has_aggregate
from privacy.sql.check_expression import reader_of
from privacy.sql.check_source import alias_of, check_different, check_name, scope_of
from privacy.sql.conjuncts import conjuncts
from privacy.sql.expressions import ColumnRef, Expression
from privacy.sql.facts import Unfit
from privacy.sql.functions import Stage
from privacy.sql.grouping import keys_of
from privacy.sql.join_order import MAX_PARTS, Joined, Joiner
from privacy.sql.locality import Determining, moved, names_units
from privacy.sql.names_in_scope import Context, Scope, Source
from privacy.sql.refusal import quoted

MAX_OUTPUTS = 64
_CLAUSES = {
    "order": ("ORDER BY", "sort the answer, not a part of it"),
    "limit": ("LIMIT", "limit the answer, not a part of it"),
    "offset": ("OFFSET", "limit the answer, not a part of it"),
    "qualify": ("QUALIFY", "use WHERE, HAVING or a summary for each unit"),
    "windows": ("WINDOW", "use a summary for each unit: GROUP BY the unit"),
}


def nested(node: exp.Expr, context: Context) -> Source:
    """What a query inside another one gives. Raises Invalid."""
    if isinstance(node, exp.Subquery):
        context.text.only(node, "this")
        return nested(node.this, context)
    if isinstance(node, exp.Union):
        return _stacked(node, context)
    if isinstance(node, exp.Table):
        reason = "brackets in FROM hold a SELECT"
        raise context.text.refuse_node(node, reason, "leave the brackets out; joins are read from left to right")
    if not isinstance(node, exp.Select):
        raise context.text.refuse_node(node, f"{quoted(node.key.upper())} is not accepted here", "write a SELECT")
    context = with_names(node, context)
    scope, joined = rows_of(node, context)
    _check_clauses(node, scope)
    if select_is_grouped(node):
        return _grouped(node, scope, joined)
    return _plain(node, scope, joined)


def with_names(node: exp.Expr, context: Context) -> Context:
    """The context with what WITH names in this query. Raises Invalid."""
    clause = node.args.get("with_")
    if clause is None:
        return context
    context.text.only(clause, "expressions", what="WITH RECURSIVE", way_out="write WITH without RECURSIVE")
    check_different([each.alias for each in clause.expressions], clause, context, what="queries")
    for each in clause.expressions:
        context.text.only(
            each, "this", "alias", "materialized", what="this form of WITH", way_out="WITH name AS (SELECT …)"
        )
        name, source = alias_of(each.args["alias"], nested(each.this, context), context)
        context = context.knowing(name, source)
    return context


def rows_of(select: exp.Select, context: Context, outer: Scope | None = None) -> tuple[Scope, Joined]:
    """FROM and WHERE of a query: the joined and filtered rows. Raises Invalid."""
    scope, conditions = scope_of(select, context, outer)
    where = select.args.get("where")
    if where is not None:
        context.text.only(where, "this")
        conditions += conjuncts(reader_of(scope).condition(where.this))
    return scope, Joiner(scope, tuple(conditions)).joined()


def select_is_grouped(select: exp.Select) -> bool:
    """Whether a SELECT groups its rows."""
    asked = (*select.expressions, *filter(None, (select.args.get("having"),)))
    return bool(select.args.get("group") or select.args.get("distinct")) or any(map(has_aggregate, asked))


def _check_clauses(select: exp.Select, scope: Scope) -> None:
    for name, (shown, way_out) in _CLAUSES.items():
        if select.args.get(name):
            part = select.args[name]
            at = part[0] if isinstance(part, list) else part
            raise scope.text.refuse_node(at, f"{shown} inside FROM or WITH is not accepted", way_out)
    names = ("with_", "expressions", "from_", "joins", "where", "group", "having", "distinct")
    scope.text.only(select, *names, what="a part of this SELECT")


@dataclass(frozen=True)
class Item:
    """A column of a select list: its name, the part of the text, and of a `*` the number of the column."""

    name: str
    node: exp.Expr
    number: int | None = None


def items_of(select: exp.Select, scope: Scope) -> list[Item]:
    """The columns of a select list inside another query, `*` written out. Raises Invalid."""
    found = list[Item]()
    for node in select.expressions:
        bare = node.this if isinstance(node, exp.Alias) else node
        if isinstance(bare, exp.Star) or (isinstance(bare, exp.Column) and isinstance(bare.this, exp.Star)):
            found += _starred(bare, scope)
            continue
        name = node.alias_or_name if isinstance(node, exp.Alias | exp.Column) else f"col{len(found)}"
        check_name(node, name, scope.context)
        found.append(Item(name, bare))
    if len(found) > MAX_OUTPUTS:
        reason = f"more than {MAX_OUTPUTS} columns are asked"
        raise scope.text.refuse_node(found[MAX_OUTPUTS].node, reason, "ask fewer")
    check_different([item.name for item in found], select, scope.context)
    return found


def _starred(node: exp.Expr, scope: Scope) -> list[Item]:
    table = node.args.get("table")
    scope.text.only(
        node, *(("this", "table") if isinstance(node, exp.Column) else ()), way_out="write *, or name the columns"
    )
    if isinstance(node, exp.Column):
        scope.text.only(node.this, way_out="write *, or name the columns")
    parts = [part for part in scope.parts if table is None or part.name.lower() == table.name.lower()]
    names = [(word, part.first + at) for part in parts for word, at in part.source.names]
    merged = [each for each in names if table is not None or scope.shown(*each)]
    if not merged:
        raise scope.text.refuse_node(node, "* stands for no column", "name the columns")
    return [Item(word, node, number) for word, number in merged]


def _unit_number(item: Item, scope: Scope) -> bool:
    """Whether an item is the unit itself, which a relation has anyway."""
    bare = item.node.unnest()
    number = item.number
    if number is None and isinstance(bare, exp.Column):
        number = scope.resolve(bare)
    return number is not None and scope.is_unit(number)


def _plain(select: exp.Select, scope: Scope, joined: Joined) -> Source:
    reader = reader_of(scope, subqueries=False)

    def read(item: Item) -> Expression:
        found = reader.value(item.node) if item.number is None else ColumnRef(item.number)
        return joined.placed(found)

    return _projected(select, scope, joined.relation, joined.determining, read)


def _projected(
    select: exp.Select,
    scope: Scope,
    relation: Relation,
    determining: tuple[Determining, ...],
    read: Callable[[Item], Expression],
) -> Source:
    """The columns of the select list over a relation; the unit stays in front, under the name that the list gives it."""
    names, made, called = list[tuple[str, int]](), list[Expression](), list[str]()
    first = int(relation.private)
    for item in items_of(select, scope):
        if _unit_number(item, scope):
            names.append((item.name, UNIT))
            continue
        names.append((item.name, first + len(made)))
        made.append(read(item))
        called.append(item.name)
    places = {e.index: first + at for at, e in enumerate(made) if isinstance(e, ColumnRef)}
    if relation.private:
        places[UNIT] = UNIT
    return Source(Project(relation, tuple(made), tuple(called)), tuple(names), moved(determining, places))


def _grouped(select: exp.Select, scope: Scope, joined: Joined) -> Source:
    keys = _keys(select, scope)
    by = [key for key in keys if not _is_unit(key, scope)]
    relation = joined.relation
    _check_local(select, keys, scope, joined)
    first = int(relation.private)
    facts = [relation.columns[UNIT].facts] * first
    facts += [reader_of(scope).known(key) for key in by]
    exact = Exact(scope, joined, first + len(by), facts)
    over = Over(scope, {key: first + at for at, key in enumerate(by)}, facts, Stage.ROW, exact.value)
    reader = over.reader()

    def read(item: Item) -> Expression:
        at = None if item.number is None else over.keys.get(ColumnRef(item.number))
        if item.number is not None and at is None:
            reason = f"{quoted(item.name)} is neither grouped by nor aggregated"
            raise scope.text.refuse_node(item.node, reason, "name the columns in place of *")
        found = reader.value(item.node) if at is None else ColumnRef(at)
        over.aliases[item.name.lower()] = found
        return found

    # All aggregates are collected before there is a relation that has them.
    items = [item for item in items_of(select, scope) if not _unit_number(item, scope)]
    found = {item.name: read(item) for item in items}
    having = select.args.get("having")
    condition = None if having is None else over.reader().condition(having.this)
    names = tuple(f"k{at}" for at in range(len(by))) + tuple(f"v{at}" for at in range(len(exact.values)))
    summary: Relation = Summary(relation, tuple(map(joined.placed, by)), tuple(exact.values), names)
    places = {e.index: first + at for at, e in enumerate(map(joined.placed, by)) if isinstance(e, ColumnRef)}
    if relation.private:
        places[UNIT] = UNIT
    if condition is not None:
        summary = Filter(summary, condition)
    return _projected(select, scope, summary, moved(joined.determining, places), lambda item: found[item.name])


def _keys(select: exp.Select, scope: Scope) -> list[Expression]:
    distinct = select.args.get("distinct")
    if distinct is None:
        found = keys_of(select, scope)
        if found.sets != (tuple(range(len(found.keys))),):
            reason = "grouping sets inside FROM or WITH are not accepted"
            raise scope.text.refuse_node(select.args["group"], reason, "GROUP BY the columns by name")
        return [key.expression for key in found.keys]
    scope.text.only(distinct, what="DISTINCT ON", way_out="GROUP BY the columns")
    if select.args.get("group") or any(map(has_aggregate, select.expressions)):
        raise scope.text.refuse_node(distinct, "DISTINCT beside aggregates is not accepted", "leave DISTINCT out")
    reader = reader_of(scope, subqueries=False)
    keys = list[Expression]()
    for item in items_of(select, scope):
        if _unit_number(item, scope):
            number = item.number if item.number is not None else scope.resolve(item.node.unnest())
            keys.append(ColumnRef(number))
        else:
            keys.append(reader.value(item.node) if item.number is None else ColumnRef(item.number))
    return list(dict.fromkeys(keys))


def _is_unit(key: Expression, scope: Scope) -> bool:
    return isinstance(key, ColumnRef) and scope.is_unit(key.index)


def _check_local(select: exp.Select, keys: list[Expression], scope: Scope, joined: Joined) -> None:
    """Inside a query a private table is grouped unit by unit, or each group would depend on everybody's rows."""
    at = select.args.get("group") or select.args.get("distinct") or select.expressions[0]
    if not joined.relation.private:
        if not keys:
            raise scope.text.refuse_node(
                at, "a query in FROM or WITH gives one row for each group", "GROUP BY a column"
            )
        return
    columns = [joined.places[key.index] for key in keys if isinstance(key, ColumnRef)]
    if not names_units(columns, joined.determining):
        reason = "a query inside another one groups private rows of several protected units together"
        way_out = "GROUP BY its unit too, or make it the outer query"
        raise scope.text.refuse_node(at, reason, way_out, code="sql.not_local")


def _stacked(node: exp.Union, context: Context) -> Source:
    text = context.text
    context = with_names(node, context)
    branches, rest = list[exp.Expr](), list[exp.Expr]((node,))
    while rest:
        part = rest.pop()
        if isinstance(part, exp.Union):
            if part.args.get("distinct"):
                raise text.refuse_node(
                    part, "UNION drops rows that are equal", "write UNION ALL, or SELECT DISTINCT around it"
                )
            text.only(
                part,
                "this",
                "expression",
                "with_",
                what="this form of UNION ALL",
                way_out="SELECT … UNION ALL SELECT …",
            )
            rest += (part.expression, part.this)
        else:
            branches.append(part)
    if len(branches) > MAX_PARTS:
        raise text.refuse_node(
            branches[MAX_PARTS], f"more than {MAX_PARTS} queries are put together", "put fewer together"
        )
    sources = [nested(branch, context) for branch in branches]
    first = sources[0]
    for branch, source in zip(branches, sources, strict=True):
        _check_alike(branch, first, source, context)
    laid = [_in_order(source) for source in sources]
    try:
        stacked = Stacked(tuple(each.relation for each in laid))
        _ = stacked.columns
    except (Unfit, ValueError):
        raise text.refuse_node(
            node, "the columns of the queries differ in type", "CAST them to one type", "sql.type_mismatch"
        ) from None
    context.check_rows(stacked, text.offset_of(node))
    common = [each for each in laid[0].determining if all(each in other.determining for other in laid)]
    return Source(stacked, laid[0].names, tuple(common))


def _check_alike(node: exp.Expr, first: Source, source: Source, context: Context) -> None:
    text = context.text
    if first.relation.private != source.relation.private:
        reason = "rows of a public table belong to no protected unit and cannot be put under private ones"
        raise text.refuse_node(node, reason, "put together tables of one population", "sql.not_local")
    if len(first.names) != len(source.names):
        raise text.refuse_node(node, "the queries have different numbers of columns", "select the same columns in each")
    for (_, one), (_, other), (name, _) in zip(first.names, source.names, first.names, strict=True):
        mine, theirs = first.relation.columns[one].facts, source.relation.columns[other].facts
        units = source.relation.private and UNIT in (one, other)
        if (units and one != other) or (not units and (mine.kind, mine.scale) != (theirs.kind, theirs.scale)):
            reason = f"{quoted(name)} is not of the same type in all of the queries"
            raise text.refuse_node(node, reason, "CAST it to one type, such as DECIMAL(18, 2)", "sql.type_mismatch")


def _in_order(source: Source) -> Source:
    """The source with exactly its named columns, in order."""
    relation, first = source.relation, int(source.relation.private)
    wanted = [at for _, at in source.names if not (relation.private and at == UNIT)]
    called = [name for name, at in source.names if not (relation.private and at == UNIT)]
    places = {at: first + new for new, at in enumerate(wanted)}
    if relation.private:
        places[UNIT] = UNIT
    project = Project(relation, tuple(map(ColumnRef, wanted)), tuple(called))
    names = tuple((name, places[at]) for name, at in source.names)
    return Source(project, names, moved(source.determining, places))
