"""Which WHERE conditions are accepted: three-valued logic over columns and literals, and nothing that could fail on a row."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from core.errors import Invalid
from privacy.schema import TEXTUAL, Column, ColumnType
from privacy.sql.literals import is_literal, value_for
from privacy.sql.refusal import quoted
from privacy.sql.scope import Scope
from privacy.sql.tree import (
    Both,
    ColumnsCompared,
    Compared,
    Either,
    Missing,
    Negation,
    OneOf,
    Operator,
    Predicate,
    Truth,
    Value,
)

MAX_LIST = 1_000
_OPERATORS: dict[type[exp.Expr], Operator] = {
    exp.EQ: Operator.EQUAL,
    exp.NEQ: Operator.UNEQUAL,
    exp.LT: Operator.LESS,
    exp.LTE: Operator.AT_MOST,
    exp.GT: Operator.MORE,
    exp.GTE: Operator.AT_LEAST,
}
_MIRRORED = {
    Operator.EQUAL: Operator.EQUAL,
    Operator.UNEQUAL: Operator.UNEQUAL,
    Operator.LESS: Operator.MORE,
    Operator.AT_MOST: Operator.AT_LEAST,
    Operator.MORE: Operator.LESS,
    Operator.AT_LEAST: Operator.AT_MOST,
}
_EQUALITY = frozenset({Operator.EQUAL, Operator.UNEQUAL})
_UNORDERED = frozenset({ColumnType.CATEGORY, ColumnType.BOOL})
CONDITIONS = "conditions are =, <>, <, <=, >, >=, BETWEEN, IN (…), IS NULL, AND, OR and NOT over columns and literals"


def predicate_of(node: exp.Expr, scope: Scope) -> Predicate:
    """The checked form of a parsed condition. The depth of the text was limited before it was parsed."""
    node = node.unnest()
    if isinstance(node, exp.And):
        return Both(tuple(predicate_of(part, scope) for part in _chain(node, exp.And)))
    if isinstance(node, exp.Or):
        return Either(tuple(predicate_of(part, scope) for part in _chain(node, exp.Or)))
    if isinstance(node, exp.Not):
        return Negation(predicate_of(node.this, scope))
    check = _CONDITIONS.get(type(node))
    if check is None:
        raise _refused(node, scope)
    return check(node, scope)


def _chain(node: exp.Expr, kind: type[exp.Connector]) -> list[exp.Expr]:
    """The parts of `a AND b AND …`, which the parser nests to the left as deep as the text is long."""
    parts: list[exp.Expr] = []
    rest = [node]
    while rest:
        part = rest.pop()
        if isinstance(part, kind):
            rest.extend((part.expression, part.this))
        else:
            parts.append(part)
    return parts


def _refused(node: exp.Expr, scope: Scope) -> Invalid:
    if isinstance(node, exp.Func):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        return scope.text.refuse_node(node, f"the function {quoted(name)} is not accepted in WHERE", CONDITIONS)
    if node.find(exp.Query) is not None:
        return scope.text.refuse_node(node, "a query inside a query is not accepted", CONDITIONS)
    if isinstance(node, exp.Binary):
        return scope.text.refuse_node(node, f"{node.key.upper()} is not accepted in WHERE", CONDITIONS)
    return scope.text.refuse_node(node, "this condition is not accepted", CONDITIONS)


def _truth(node: exp.Expr, scope: Scope) -> Predicate:
    del scope
    return Truth(bool(node.this))


def _flag(node: exp.Expr, scope: Scope) -> Predicate:
    column = scope.value_column(node)
    if column.type is not ColumnType.BOOL:
        raise scope.text.refuse_node(node, f"{column.name} is not true or false by itself", f"compare {column.name}")
    return Compared(column.name, Operator.EQUAL, value=True)


def _comparison(node: exp.Expr, scope: Scope) -> Predicate:
    operator = _OPERATORS[type(node)]
    left, right = node.this.unnest(), node.expression.unnest()
    if isinstance(left, exp.Column) and isinstance(right, exp.Column):
        return _columns(left, operator, right, scope)
    if isinstance(right, exp.Column) and is_literal(left):
        left, right, operator = right, left, _MIRRORED[operator]
    if not isinstance(left, exp.Column):
        raise _not_a_column(left, scope)
    if not is_literal(right):
        raise _not_a_literal(right, scope)
    column = _ordered(left, operator, scope)
    return Compared(column.name, operator, value_for(column, right, scope.text))


def _columns(left: exp.Column, operator: Operator, right: exp.Column, scope: Scope) -> Predicate:
    first, second = _ordered(left, operator, scope), _ordered(right, operator, scope)
    textual = first.type in TEXTUAL and second.type in TEXTUAL
    if not textual and (first.type, first.scale) != (second.type, second.scale):
        reason = f"{first.name} is of type {first.type} and {second.name} of type {second.type}"
        raise scope.text.refuse_node(right, reason, "compare columns of one type", code="sql.type_mismatch")
    return ColumnsCompared(first.name, operator, second.name)


def _ordered(node: exp.Column, operator: Operator, scope: Scope) -> Column:
    column = scope.value_column(node)
    if column.type in _UNORDERED and operator not in _EQUALITY:
        reason = f"{column.name} is of type {column.type}, which has no order"
        raise scope.text.refuse_node(node, reason, "use =, <> or IN (…)", code="sql.type_mismatch")
    return column


def _between(node: exp.Expr, scope: Scope) -> Predicate:
    bare = node.this.unnest()
    if not isinstance(bare, exp.Column):
        raise _not_a_column(bare, scope)
    column = _ordered(bare, Operator.AT_LEAST, scope)
    if any(value for name, value in node.args.items() if name not in ("this", "low", "high")):
        raise scope.text.refuse_node(node, "only BETWEEN … AND … is accepted", CONDITIONS)
    ends = []
    for part in ("low", "high"):
        end = node.args[part]
        if not is_literal(end):
            raise _not_a_literal(end, scope)
        ends.append(value_for(column, end, scope.text))
    return Both((Compared(column.name, Operator.AT_LEAST, ends[0]), Compared(column.name, Operator.AT_MOST, ends[1])))


def _one_of(node: exp.Expr, scope: Scope) -> Predicate:
    bare = node.this.unnest()
    if not isinstance(bare, exp.Column):
        raise _not_a_column(bare, scope)
    column = scope.value_column(bare)
    entries = node.expressions
    other = next(
        (node.args[part] for part in node.args if part not in ("this", "expressions") and node.args[part]), None
    )
    if other is not None or not entries:
        at = other if isinstance(other, exp.Expr) else node
        raise scope.text.refuse_node(at, "IN takes a list of literals", f"{column.name} IN (…, …)")
    if len(entries) > MAX_LIST:
        raise scope.text.refuse_node(entries[MAX_LIST], f"an IN list has more than {MAX_LIST} entries", "shorten it")
    values = set[Value]()
    for entry in entries:
        if not is_literal(entry):
            raise _not_a_literal(entry, scope)
        values.add(value_for(column, entry, scope.text))
    return OneOf(column.name, tuple(sorted(values)))


def _missing(node: exp.Expr, scope: Scope) -> Predicate:
    bare, what = node.this.unnest(), node.expression.unnest()
    if not isinstance(bare, exp.Column):
        raise _not_a_column(bare, scope)
    column = scope.value_column(bare)
    if not isinstance(what, exp.Null):
        raise scope.text.refuse_node(
            node, "IS is accepted with NULL only", f"{column.name} IS NULL, or {column.name} = …"
        )
    return Missing(column.name)


def _not_a_column(node: exp.Expr, scope: Scope) -> Invalid:
    if is_literal(node):
        reason = "a condition needs a column"
    elif isinstance(node, exp.Func):
        return _refused(node, scope)
    else:
        reason = "an expression is not accepted here"
    return scope.text.refuse_node(node, reason, "compare a column with a literal, such as month = 6")


def _not_a_literal(node: exp.Expr, scope: Scope) -> Invalid:
    if isinstance(node, exp.Func) or node.find(exp.Query) is not None:
        return _refused(node, scope)
    reason = "a column is compared with a literal or another column; arithmetic and casts are not accepted"
    return scope.text.refuse_node(node, reason, "work the value out and write it, such as month = 6")


_CONDITIONS: dict[type[exp.Expr], Callable[[exp.Expr, Scope], Predicate]] = {
    exp.Boolean: _truth,
    exp.Column: _flag,
    exp.Between: _between,
    exp.In: _one_of,
    exp.Is: _missing,
    **dict.fromkeys(_OPERATORS, _comparison),
}
