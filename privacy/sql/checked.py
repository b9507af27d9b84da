"""Which queries are accepted: a text and a catalogue become an Answer in our own tree, or a refusal with a position and a way out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from core.errors import Invalid
from privacy.sql.aggregates import Aggregate
from privacy.sql.asked import Answer, Grouping, Key, Order, Output
from privacy.sql.check_aggregates import Noisy, Over
from privacy.sql.check_expression import Reader, reader_of
from privacy.sql.check_source import check_different, check_name
from privacy.sql.check_windows import FIRST, Extended, Windows
from privacy.sql.conjuncts import placed
from privacy.sql.derived import MAX_OUTPUTS, nested, rows_of, with_names
from privacy.sql.expressions import ColumnRef, Expression, Literal, columns_in
from privacy.sql.facts import Facts
from privacy.sql.functions import Stage
from privacy.sql.grouping import Keyed, Keys, keys_of
from privacy.sql.join_order import Joined
from privacy.sql.locality import names_units
from privacy.sql.names_in_scope import Catalogue, Context, Scope
from privacy.sql.refusal import Text, quoted
from privacy.sql.relation_graph import written_out
from privacy.sql.subqueries import subquery_of
from privacy.sql.text import one_query

_CLAUSES = {
    "distinct": ("SELECT DISTINCT", "GROUP BY the columns and add COUNT(*)"),
    "qualify": ("QUALIFY", "use HAVING"),
    "windows": ("WINDOW", "ask for the aggregates alone"),
    "laterals": ("LATERAL", "join on a declared key"),
    "into": ("INTO", "the answer is released to you only"),
    "sample": ("SAMPLE", "ask the whole table"),
    "hint": ("a hint", "delete it"),
}
_UNDERSTOOD = ("with_", "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset")
MAX_RELATIONS = 1_000  # nodes, where whatever WITH names is written out each time that it is used


@dataclass(frozen=True, eq=False)
class Checked:
    """An accepted query. `places` has, for each value of the grouping, where it stands in `text`; `tips` are for who asked."""

    answer: Answer
    text: Text
    places: tuple[int, ...]
    tips: tuple[str, ...]


def checked(sql: str, catalogue: Catalogue) -> Checked:
    """The checked query. Raises Invalid with line and column for everything that is not accepted."""
    text, select = one_query(sql)
    try:
        return _checked(text, select, catalogue)
    except RecursionError:
        way_out = "name parts of it: WITH part AS (SELECT …)"
        raise text.refuse("sql.too_deep", "the query is nested too deeply to be read", 0, way_out) from None


def _checked(text: Text, select: exp.Select, catalogue: Catalogue) -> Checked:
    _check_clauses(text, select)
    _check_private(text, select, catalogue)
    context = with_names(select, Context(text, catalogue, nested, subquery_of))
    scope, joined = rows_of(select, context)
    if not joined.relation.private:
        raise _no_private_table(text)
    if written_out(joined.relation) > MAX_RELATIONS:
        reason = f"written out, the query has more than {MAX_RELATIONS} tables, joins and selections"
        raise text.refuse("sql.too_wide", reason, text.offset_after(TokenType.FROM), "name fewer parts more than once")
    keys = keys_of(select, scope)
    _check_keys(keys, scope, joined)
    return _Answering(select, scope, joined, keys).checked()


def _check_clauses(text: Text, select: exp.Select) -> None:
    for name, (shown, way_out) in _CLAUSES.items():
        value = select.args.get(name)
        if value:
            part = value[0] if isinstance(value, list) else value
            at = part if isinstance(part, exp.Expr) else select
            raise text.refuse_node(at, f"{shown} is not accepted", way_out)
    text.only(select, *_UNDERSTOOD, what="this part of the query")
    if len(select.expressions) > MAX_OUTPUTS:
        raise text.refuse_node(
            select.expressions[MAX_OUTPUTS], f"more than {MAX_OUTPUTS} columns are asked", "ask fewer"
        )


def _check_private(text: Text, select: exp.Select, catalogue: Catalogue) -> None:
    """A query that names public tables only is told so, before anything else that may be wrong with it."""
    defined = {cte.alias.lower() for cte in select.find_all(exp.CTE)}
    names = {table.name for table in select.find_all(exp.Table)} - {""}
    try:
        tables = [catalogue.named(name) for name in names if name.lower() not in defined]
    except ValueError:
        return
    if tables and all(table is not None and not table.private for table in tables):
        raise _no_private_table(text)


def _no_private_table(text: Text) -> Invalid:
    at = text.offset_after(TokenType.FROM)
    reason = "the query reads public tables only: there is nothing to protect, and no budget to spend"
    return text.refuse("sql.no_private_table", reason, at, "ask it of the public tables, which can be downloaded")


def _check_keys(keys: Keys, scope: Scope, joined: Joined) -> None:
    """Refuses keys that are, or together determine, the unit: each group would be one unit's."""
    for each in keys.sets:
        columns = dict[int, Keyed]()
        for at in each:
            expression = keys.keys[at].expression
            if isinstance(expression, ColumnRef):
                columns[joined.places[expression.index]] = keys.keys[at]
        if names_units(columns, joined.determining):
            key = next(
                (key for place, key in columns.items() if names_units([place], joined.determining)), keys.keys[each[0]]
            )
            reason = f"GROUP BY {quoted(key.node.name)} names protected units: each group would be one of them"
            way_out = "GROUP BY something that many units share; COUNT(DISTINCT …) counts units"
            raise scope.text.refuse_node(key.node, reason, way_out, code="sql.names_units")


class _Answering:
    """Reads what is made of the final grouping: select list, HAVING, ORDER BY, LIMIT."""

    def __init__(self, select: exp.Select, scope: Scope, joined: Joined, keys: Keys) -> None:
        self.select, self.scope, self.joined, self.keys = select, scope, joined, keys
        rows = reader_of(scope, subqueries=False)
        several = len(keys.sets) > 1
        facts = [_key_facts(rows.known(key.expression), missing=several) for key in keys.keys]
        self.noisy = Noisy(scope, joined, len(keys.keys), facts)
        places = {key.expression: at for at, key in enumerate(keys.keys)}
        self.over = Over(scope, places, facts, Stage.POST, self.noisy.value)
        extended = Extended(facts)
        self.windows = Windows(scope.text, facts, self.over.reader(), self._ordered, extended)
        self.windowed = self.windows.value, extended

    def checked(self) -> Checked:
        """The whole query. Raises Invalid."""
        text = self.scope.text
        outputs = self._outputs()
        having = self.select.args.get("having")
        if having is not None:
            text.only(having, "this")
        condition = None if having is None else self.over.reader().condition(having.this)
        order = self._order(outputs)
        if not self.noisy.values:
            raise text.refuse_node(self.select, "nothing is aggregated", "add COUNT(*)")
        self._check_shown(outputs)
        keys = tuple(
            Key(self._key_name(at), self.joined.placed(key.expression)) for at, key in enumerate(self.keys.keys)
        )
        grouping = Grouping(self.joined.relation, keys, self.keys.sets, tuple(self.noisy.values))
        answer = self._answer(grouping, outputs, condition, order)
        return Checked(answer, text, tuple(self.noisy.places), tuple(dict.fromkeys(self.scope.context.tips)))

    def _answer(
        self, grouping: Grouping, outputs: tuple[Output, ...], having: Expression | None, order: tuple[Order, ...]
    ) -> Answer:
        """The answer, with its windows after keys and values."""
        first = len(grouping.keys) + len(grouping.values)
        places = {number: number for number in range(first)}
        places |= {number: first + number - FIRST for number in self.windows.found.values()}
        moved = tuple(replace(output, expression=placed(output.expression, places)) for output in outputs)
        terms = tuple(replace(term, expression=placed(term.expression, places)) for term in order)
        limit, offset = self._count("limit"), self._count("offset") or 0
        return Answer(grouping, moved, having, terms, limit, offset, tuple(self.windows.found))

    def _outputs(self) -> tuple[Output, ...]:
        reader, found, names = self.over.reader(windows=self.windowed), list[Output](), list[str]()
        for at, item in enumerate(self.select.expressions):
            inner = item.this if isinstance(item, exp.Alias) else item
            expression = self._output(inner, reader)
            if isinstance(item, exp.Alias):
                name = item.alias
                check_name(item, name, self.scope.context)
                check_different([*names, name], item, self.scope.context)
            else:
                name = _unused(self._name(inner.unnest(), at, expression), names)
            names.append(name)
            found.append(Output(name, expression))
            if isinstance(item, exp.Alias):
                self.over.aliases[name.lower()] = expression
        return tuple(found)

    def _output(self, node: exp.Expr, reader: Reader) -> Expression:
        bare = node.unnest()
        if isinstance(bare, exp.Star) or (isinstance(bare, exp.Column) and isinstance(bare.this, exp.Star)):
            raise self.scope.text.refuse_node(
                node, "rows are never shown", "ask for keys and aggregates, such as COUNT(*)"
            )
        return reader.value(node)

    def _name(self, node: exp.Expr, at: int, expression: Expression) -> str:
        """What a column without AS is called: the column, or the aggregate and what it is of."""
        if isinstance(node, exp.Column):
            return self._declared(node)
        if isinstance(expression, ColumnRef) and expression.index < len(self.keys.keys):
            return self._key_name(expression.index)
        if not isinstance(expression, ColumnRef):
            return f"column_{at + 1}"
        if expression.index >= FIRST:
            return list(self.windows.found)[expression.index - FIRST].function.value
        asked = self.noisy.values[expression.index - len(self.keys.keys)]
        word = asked.aggregate.value.removesuffix("_rows").removesuffix("_values")
        if asked.aggregate is Aggregate.UNITS:
            word = "count_distinct"
        if asked.parameter is not None:
            word = f"quantile_{float(asked.parameter):g}".replace(".", "_")
        columns = list(dict.fromkeys(map(self._declared, node.find_all(exp.Column))))
        simple = isinstance(node, exp.Func) and len(columns) == 1
        return f"{word}_{columns[0]}" if simple else word

    def _declared(self, node: exp.Column) -> str:
        """A column's name as declared; of what the select list named before, as it is written."""
        try:
            return self.scope.called(self.scope.resolve(node))
        except Invalid:
            return node.name

    def _key_name(self, at: int) -> str:
        return self.keys.keys[at].name or f"key_{at + 1}"

    def _order(self, outputs: tuple[Output, ...]) -> tuple[Order, ...]:
        clause = self.select.args.get("order")
        if clause is None:
            return ()
        text = self.scope.text
        text.only(clause, "expressions", what="this form of ORDER BY", way_out="ORDER BY x DESC")
        if len(clause.expressions) > MAX_OUTPUTS:
            raise text.refuse_node(
                clause.expressions[MAX_OUTPUTS], f"more than {MAX_OUTPUTS} terms to sort by", "use fewer"
            )
        terms = [self._term(node, outputs) for node in clause.expressions]
        return tuple(term for term in terms if not isinstance(term.expression, Literal))  # a constant sorts nothing

    def _term(self, node: exp.Expr, outputs: tuple[Output, ...]) -> Order:
        """A term of the answer's ORDER BY: an expression, or a number of the select list."""
        inner = node.this.unnest() if isinstance(node, exp.Ordered) else None
        if not isinstance(inner, exp.Literal) or inner.is_string:
            return self._ordered(node, self.over.reader(aliases_first=True, windows=self.windowed))
        number = int(inner.this) if inner.this.isdigit() and len(inner.this) <= 3 else 0
        if not 1 <= number <= len(outputs):
            reason = f"the select list has no number {quoted(inner.this)}"
            raise self.scope.text.refuse_node(inner, reason, "ORDER BY a column by its name")
        return replace(self._ordered(node, self.over.reader()), expression=outputs[number - 1].expression)

    def _ordered(self, node: exp.Expr, reader: Reader) -> Order:
        text = self.scope.text
        if not isinstance(node, exp.Ordered):
            raise text.refuse_node(node, "this form of ORDER BY is not accepted", "ORDER BY x DESC")
        text.only(node, "this", "desc", "nulls_first", way_out="ORDER BY x DESC NULLS LAST")
        return Order(reader.read(node.this), bool(node.args.get("desc")), bool(node.args.get("nulls_first")))

    def _count(self, name: str) -> int | None:
        """LIMIT or OFFSET."""
        clause = self.select.args.get(name)
        if clause is None:
            return None
        text, way_out = self.scope.text, f"{name.upper()} 10"
        text.only(clause, "expression", what=f"this form of {name.upper()}", way_out=way_out)
        inner = clause.expression
        if not isinstance(inner, exp.Literal) or inner.is_string or not inner.this.isdigit() or len(inner.this) > 7:
            raise text.refuse_node(inner or clause, f"{name.upper()} takes a whole number as written", way_out)
        return int(inner.this)

    def _check_shown(self, outputs: tuple[Output, ...]) -> None:
        shown = {number for output in outputs for number in columns_in(output.expression)}
        for at, key in enumerate(self.keys.keys):
            if at not in shown:
                name = self._key_name(at)
                reason = f"{quoted(name)} is grouped by but not selected"
                raise self.scope.text.refuse_node(key.node, reason, f"SELECT {quoted(name)}, …")


def _unused(name: str, names: list[str]) -> str:
    """The name, with a number where it is taken: sum, sum_2, sum_3."""
    taken = {each.lower() for each in names}
    numbered = (name if number == 1 else f"{name}_{number}" for number in range(1, len(taken) + 2))
    return next(each for each in numbered if each.lower() not in taken)


def _key_facts(facts: Facts, *, missing: bool) -> Facts:
    """A key that is not in every grouping set is NULL in the others."""
    return replace(facts, nullable=True) if missing else facts
