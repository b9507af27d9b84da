"""Which queries are accepted: one SELECT over one table, checked into our own tree, or refused with a position and a way out."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from core.errors import Invalid
from privacy.schema import NUMERIC, TableSchema
from privacy.sql.predicates import predicate_of
from privacy.sql.refusal import ACCEPTED, Text, quoted
from privacy.sql.scope import Scope
from privacy.sql.text import one_select
from privacy.sql.tree import Aggregate, KeyOutput, Output, Query, ValueOutput

MAX_OUTPUTS = 64
MAX_KEYS = 8
MAX_NAME = 64
_ASK = "ask for COUNT, SUM or AVG"
_CLAUSES: dict[str, tuple[str, tuple[TokenType, ...], str]] = {
    "with_": ("WITH", (TokenType.WITH,), "ask the table directly"),
    "distinct": ("SELECT DISTINCT", (TokenType.DISTINCT,), "GROUP BY the columns and add COUNT(*)"),
    "having": ("HAVING", (TokenType.HAVING,), "filter the released table instead"),
    "qualify": ("QUALIFY", (TokenType.QUALIFY,), "filter the released table instead"),
    "order": ("ORDER BY", (TokenType.ORDER_BY,), "the released table is in the order of its keys; sort it afterwards"),
    "limit": ("LIMIT", (TokenType.LIMIT, TokenType.FETCH), "cut the released table afterwards"),
    "offset": ("OFFSET", (TokenType.OFFSET,), "cut the released table afterwards"),
    "joins": ("a second table", (), "ask one table at a time"),
    "laterals": ("LATERAL", (), "ask one table at a time"),
    "windows": ("WINDOW", (TokenType.WINDOW,), _ASK),
    "into": ("INTO", (TokenType.INTO,), "the answer is released to you only"),
    "sample": ("SAMPLE", (TokenType.TABLE_SAMPLE, TokenType.USING), "ask the whole table"),
    "hint": ("a hint", (TokenType.HINT,), "delete it"),
}
_HIGH_OR_LOW = frozenset({"MAX", "MIN", "ARG_MAX", "ARG_MIN", "MODE", "FIRST", "LAST", "ANY_VALUE", "MEDIAN", "LIST"})


def parse_check(sql: str, schema: TableSchema) -> Query:
    """The checked query. Raises Invalid with line and column for everything that is not accepted."""
    text, select = one_select(sql)
    _check_clauses(text, select)
    scope = _scope(text, select, schema)
    outputs = _outputs(select, scope)
    keys = _keys(select, scope, outputs)
    _check_outputs(select, scope, outputs, keys)
    where = select.args.get("where")
    condition = None if where is None else predicate_of(where.this, scope)
    return Query(schema.name, outputs, keys, condition)


def _check_clauses(text: Text, select: exp.Select) -> None:
    for name, value in select.args.items():
        if not value or name in ("expressions", "from_", "where", "group"):
            continue
        shown, kinds, way_out = _CLAUSES.get(name, (name.upper().strip("_"), (), f"write {ACCEPTED}"))
        part = value[0] if isinstance(value, list) else value
        at = text.offset_of(part) if isinstance(part, exp.Expr) and not kinds else text.offset_of_token(*kinds)
        raise text.refuse("sql.not_allowed", f"{shown} is not accepted", at, way_out)


def _scope(text: Text, select: exp.Select, schema: TableSchema) -> Scope:
    source = select.args.get("from_")
    table = None if source is None else source.this
    asks = f"FROM {schema.name}"
    at = text.offset_after(TokenType.FROM)
    if table is None:
        raise text.refuse("sql.not_allowed", "the query names no table", at, asks)
    extras = {name for name, value in table.args.items() if value} - {"this", "alias"}
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier) or extras:
        raise text.refuse("sql.not_allowed", "only the asset's own table can be asked, by its plain name", at, asks)
    if table.name.lower() != schema.name.lower():
        raise text.refuse("sql.unknown_table", f"there is no table {quoted(table.name)} here", at, asks)
    alias = table.args.get("alias")
    if alias is not None and (alias.args.get("columns") or not isinstance(alias.this, exp.Identifier)):
        raise text.refuse_node(alias, "columns keep their declared names", asks)
    names = {table.name.lower()} if alias is None else {alias.name.lower()}
    return Scope(text, schema, frozenset(names))


def _outputs(select: exp.Select, scope: Scope) -> tuple[Output, ...]:
    expressions = select.expressions
    if len(expressions) > MAX_OUTPUTS:
        raise scope.text.refuse_node(
            expressions[MAX_OUTPUTS], f"more than {MAX_OUTPUTS} columns are asked", "ask fewer"
        )
    return tuple(_output(node, scope) for node in expressions)


def _output(node: exp.Expr, scope: Scope) -> Output:
    alias = None
    if isinstance(node, exp.Alias):
        alias, node = _alias(node, scope), node.this
    node = node.unnest()
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
        column = scope.column(node)
        if column.name == scope.schema.unit:
            reason = f"selecting {column.name} would name the units that are protected"
            way_out = f"COUNT(DISTINCT {column.name}) counts them"
            raise scope.text.refuse_node(node, reason, way_out, code="sql.unit_column")
        return KeyOutput(alias or column.name, column.name)
    return _aggregate(node, alias, scope)


def _alias(node: exp.Alias, scope: Scope) -> str:
    name = node.alias
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise scope.text.refuse_node(node, f"a name has 1 to {MAX_NAME} visible characters", "rename it")
    return name


def _aggregate(node: exp.Expr, alias: str | None, scope: Scope) -> ValueOutput:
    if isinstance(node, exp.Count):
        return _count(node, alias, scope)
    if isinstance(node, exp.Sum | exp.Avg):
        kind = Aggregate.SUM if type(node) is exp.Sum else Aggregate.AVG
        column = scope.value_column(_argument(node, scope))
        if column.type not in NUMERIC:
            reason = f"{column.name} is of type {column.type} and cannot be added up"
            raise scope.text.refuse_node(node, reason, f"COUNT({column.name})", code="sql.type_mismatch")
        if column.lower is None or column.upper is None:
            reason = (
                f"{kind.upper()}({column.name}) needs bounds: the declaration gives {column.name} no lower and upper"
            )
            way_out = f"COUNT({column.name}), or ask the data operator to declare bounds for {column.name}"
            raise scope.text.refuse_node(node, reason, way_out, code="bounds.required")
        return ValueOutput(alias or f"{kind.value}_{column.name}", kind, column.name)
    raise _refused_output(node, scope)


def _count(node: exp.Count, alias: str | None, scope: Scope) -> ValueOutput:
    if node.expressions:
        raise scope.text.refuse_node(node, "COUNT takes one column", "COUNT(*), or COUNT(column)")
    inner = node.this
    if type(inner) is exp.Star and not any(inner.args.values()):
        return ValueOutput(alias or "count", Aggregate.ROWS, None)
    unit = scope.schema.unit
    if isinstance(inner, exp.Distinct):
        columns = inner.expressions
        if len(columns) != 1 or inner.args.get("on") or not scope.is_unit(columns[0].unnest()):
            reason = "COUNT(DISTINCT …) is accepted for the protected unit only"
            raise scope.text.refuse_node(node, reason, f"COUNT(DISTINCT {unit}), or GROUP BY the column")
        return ValueOutput(alias or f"count_distinct_{unit}", Aggregate.UNITS, None)
    argument = _argument(node, scope)
    if scope.is_unit(argument):
        raise scope.text.refuse_node(
            node, f"{unit} names the unit that is protected", f"COUNT(*), or COUNT(DISTINCT {unit})", "sql.unit_column"
        )
    column = scope.value_column(argument)
    return ValueOutput(alias or f"count_{column.name}", Aggregate.NONNULL, column.name)


def _argument(node: exp.Func, scope: Scope) -> exp.Column:
    inner = node.this.unnest() if isinstance(node.this, exp.Expr) else None
    if not isinstance(inner, exp.Column) or isinstance(inner.this, exp.Star):
        reason = f"{node.sql_name()} takes one column; expressions and DISTINCT are not accepted inside it"
        raise scope.text.refuse_node(node, reason, f"{node.sql_name()}(column)")
    return inner


def _refused_output(node: exp.Expr, scope: Scope) -> Invalid:
    if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
        return scope.text.refuse_node(node, "rows are never shown", _ASK)
    if isinstance(node, exp.Func):
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).upper()
        if name in _HIGH_OR_LOW:
            return scope.text.refuse_node(node, f"{name} would show one unit's value", _ASK)
        return scope.text.refuse_node(node, f"{quoted(name)} is not accepted", _ASK)
    if isinstance(node, exp.Window):
        return scope.text.refuse_node(node, "OVER (…) is not accepted", _ASK)
    if isinstance(node, exp.Filter):
        return scope.text.refuse_node(node, "FILTER (…) is not accepted", "put the condition into WHERE")
    reason = "only group columns and aggregates can be selected, without arithmetic around them"
    return scope.text.refuse_node(node, reason, _ASK)


def _keys(select: exp.Select, scope: Scope, outputs: tuple[Output, ...]) -> tuple[str, ...]:
    group = select.args.get("group")
    if group is None:
        return ()
    if any(value for name, value in group.args.items() if name != "expressions"):
        reason = "ALL, ROLLUP, CUBE and GROUPING SETS are not accepted"
        raise scope.text.refuse_node(group, reason, "GROUP BY the columns by name")
    if len(group.expressions) > MAX_KEYS:
        raise scope.text.refuse_node(group.expressions[MAX_KEYS], f"more than {MAX_KEYS} group columns", "use fewer")
    keys = [_key(node.unnest(), scope, outputs) for node in group.expressions]
    return tuple(dict.fromkeys(keys))


def _key(node: exp.Expr, scope: Scope, outputs: tuple[Output, ...]) -> str:
    if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit():
        return _ordinal(node, scope, outputs)
    if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
        raise scope.text.refuse_node(node, "GROUP BY takes columns only", "GROUP BY a column by its name or number")
    named = [output.column for output in outputs if isinstance(output, KeyOutput) and output.name == node.name]
    declared = node.name in {column.name for column in scope.schema.columns}
    if not declared and len(named) == 1 and node.args.get("table") is None:
        return named[0]
    column = scope.column(node)
    if column.name == scope.schema.unit:
        reason = f"GROUP BY {column.name} would show every unit by itself"
        way_out = f"COUNT(DISTINCT {column.name}) counts them"
        raise scope.text.refuse_node(node, reason, way_out, code="sql.unit_column")
    return column.name


def _ordinal(node: exp.Literal, scope: Scope, outputs: tuple[Output, ...]) -> str:
    number = int(node.this) if len(node.this) <= 3 else 0
    output = outputs[number - 1] if 1 <= number <= len(outputs) else None
    if not isinstance(output, KeyOutput):
        reason = f"number {quoted(node.this)} of the select list is no group column"
        raise scope.text.refuse_node(node, reason, "GROUP BY a column by its name")
    return output.column


def _check_outputs(select: exp.Select, scope: Scope, outputs: tuple[Output, ...], keys: tuple[str, ...]) -> None:
    names = set[str]()
    for node, output in zip(select.expressions, outputs, strict=True):
        if output.name.lower() in names:
            raise scope.text.refuse_node(node, f"two columns are called {quoted(output.name)}", "rename one with AS")
        names.add(output.name.lower())
        if isinstance(output, KeyOutput) and output.column not in keys:
            reason = f"{output.column} is neither grouped by nor aggregated"
            raise scope.text.refuse_node(node, reason, f"GROUP BY {output.column}, or COUNT({output.column})")
    shown = {output.column for output in outputs if isinstance(output, KeyOutput)}
    hidden = [key for key in keys if key not in shown]
    if hidden:
        group = select.args["group"]
        raise scope.text.refuse_node(group, f"{hidden[0]} is grouped by but not selected", f"SELECT {hidden[0]}, …")
    if all(isinstance(output, KeyOutput) for output in outputs):
        raise scope.text.refuse_node(select, "nothing is aggregated", "add COUNT(*)")
