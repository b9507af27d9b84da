"""Which expressions are accepted: literals, columns and allowed functions, read from the parser's tree; the rest is refused in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from core.errors import Invalid
from privacy.sql.conjuncts import flattened
from privacy.sql.evaluate import value_of
from privacy.sql.expressions import MAX_DEPTH, MAX_SIZE, Call, ColumnRef, Expression, Literal, Value, depth, size
from privacy.sql.facts import Facts, Unfit, literal_facts
from privacy.sql.functions import FUNCTIONS, Stage, facts_of
from privacy.sql.held import Kind
from privacy.sql.names_in_scope import Scope
from privacy.sql.refusal import Text, listed, nearest, quoted
from privacy.sql.spellings import ALIASES, SPELLINGS, Spelling
from privacy.sql.written_calls import WrittenCall, written_call
from privacy.sql.written_values import written_day, written_moment, written_number

MAX_LIST = 1_000  # entries of IN (…)
MAX_LEVELS = 60  # operators inside each other: each takes some of the interpreter's 1,000 frames
_DATES = frozenset({exp.DType.DATE})
_MOMENTS = frozenset({exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPTZ})
_LOGIC: dict[type[exp.Expr], str] = {exp.And: "and", exp.Or: "or"}
_COMPARED = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "is_distinct", "one_of"})
_EQUALITY = frozenset({"eq", "ne", "one_of", "is_distinct"})
_SUBQUERIES = (exp.Exists, exp.Subquery, exp.Select, exp.Any, exp.All)
_FUNCTIONS_PAGE = "the functions are listed in docs/reference/sql.md"

Leaf = Callable[[exp.Expr], Expression | None]


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads expressions whose columns have the facts `facts`.

    `leaf` is asked first at every part: what it gives (a column, an aggregate, a key) is taken as it is.
    """

    text: Text
    facts: Sequence[Facts]
    stage: Stage
    leaf: Leaf
    tips: list[str] = field(default_factory=list)
    level: list[int] = field(default_factory=lambda: [0])
    _known: dict[int, tuple[Expression, Facts]] = field(default_factory=dict)
    _sets: dict[int, tuple[tuple[Value, ...], frozenset[Value]]] = field(default_factory=dict)

    def read(self, node: exp.Expr) -> Expression:
        """The checked expression. Raises Invalid with the position of what is not accepted."""
        self.level[0] += 1
        try:
            if self.level[0] > MAX_LEVELS:
                reason = f"the expression is nested more than {MAX_LEVELS} levels deep"
                raise self.text.refuse_node(
                    node, reason, "break it into parts, with WITH or a derived table", "sql.too_deep"
                )
            return self._read(node)
        finally:
            self.level[0] -= 1

    def condition(self, node: exp.Expr) -> Expression:
        """A checked expression that is true or false. Raises Invalid."""
        found = self.read(node)
        if self.known(found).kind is not Kind.TRUTH:
            reason = f"a condition is true or false; this is a {self.known(found).kind}"
            raise self.text.refuse_node(node, reason, "compare it, such as x > 0", "sql.type_mismatch")
        return found

    def value(self, node: exp.Expr) -> Expression:
        """A checked expression that has a type, which NULL as written has not. Raises Invalid."""
        found = self.read(node)
        if self.known(found).kind is Kind.NOTHING:
            raise self.text.refuse_node(node, "NULL alone has no type", "write a value, such as 0", "sql.type_mismatch")
        return found

    def known(self, expression: Expression) -> Facts:
        """Facts of an expression that was read, or of a column or literal."""
        if isinstance(expression, Literal):
            return literal_facts(expression.value)
        if isinstance(expression, ColumnRef):
            return self.facts[expression.index]
        if id(expression) not in self._known:  # made by whoever answered `leaf`
            self._known[id(expression)] = expression, facts_of(expression, self.facts)
        return self._known[id(expression)][1]

    def call(self, node: exp.Expr, name: str, args: Sequence[Expression]) -> Expression:
        """The call of an allowed function, worked out at once where all arguments are literals. Raises Invalid."""
        function = FUNCTIONS.get(name)
        if function is None or self.stage not in function.where:
            raise self.text.refuse_node(node, f"{quoted(name.upper())} is not accepted here", _FUNCTIONS_PAGE)
        fewest, most = function.arity
        if not fewest <= len(args) <= most:
            reason = f"{name.upper()} takes another number of values than {len(args)}"
            raise self.text.refuse_node(node, reason, f"write {function.example}", "sql.type_mismatch")
        made = Call(name, tuple(args))
        if size(made) > MAX_SIZE or depth(made) > MAX_DEPTH:
            reason = (
                f"written out, the expression has more than {MAX_SIZE} parts or is nested more than {MAX_DEPTH} deep"
            )
            raise self.text.refuse_node(node, reason, "ask for less in one query", "sql.too_wide")
        try:
            facts = function.facts(tuple(self.known(arg) for arg in args))
            self._known[id(made)] = made, facts
            return self._folded(made)
        except Unfit as unfit:
            raise self.text.refuse_node(node, unfit.reason, unfit.way_out, unfit.code) from None

    def _folded(self, made: Call) -> Expression:
        if not all(isinstance(arg, Literal) for arg in made.args):
            return made
        value = value_of(made, (), ())
        return made if value is None else Literal(value)  # NULL would lose its type

    def _read(self, node: exp.Expr) -> Expression:
        found = self.leaf(node)
        if found is not None:
            return self._taken(node, found)
        special = _SPECIAL.get(type(node))
        return self._called(node) if special is None else special(self, node)

    def _called(self, node: exp.Expr) -> Expression:
        dated = self._dated(node)
        if dated is not None:
            return dated
        written = written_call(node, self.text)
        if written is not None:
            return self._written(node, written)
        if type(node) in SPELLINGS:
            return self._spelled(node, SPELLINGS[type(node)])
        if type(node) is exp.Anonymous and node.name.lower() in ALIASES:
            self.text.only(node, "this", "expressions")
            return self.over(node, ALIASES[node.name.lower()], node.expressions)
        raise self.refused(node)

    def _dated(self, node: exp.Expr) -> Expression | None:
        """DATE '…' and TIMESTAMP '…' are literals; every other cast is a function of its own grammar."""
        if type(node) is not exp.Cast or type(node.this) is not exp.Literal or not node.this.is_string:
            return None
        to = node.args["to"]
        if to.this not in _DATES | _MOMENTS or to.expressions:
            return None
        self.text.only(node, "this", "to", "_type")
        self.text.only(to, "this")
        return self._as_moment(node.this, Literal(node.this.this), Kind.DAY if to.this in _DATES else Kind.MOMENT)

    def _taken(self, node: exp.Expr, found: Expression) -> Expression:
        try:
            self.known(found)
        except Unfit as unfit:
            raise self.text.refuse_node(node, unfit.reason, unfit.way_out, unfit.code) from None
        return found

    def _spelled(self, node: exp.Expr, spelling: Spelling) -> Expression:
        self.text.only(node, *spelling.args, *spelling.ignored, way_out=f"write {FUNCTIONS[spelling.function].example}")
        parts = list[exp.Expr]()
        for name in spelling.args:
            value = node.args.get(name)
            parts += value if isinstance(value, list) else [] if value is None else [value]
        found = self.over(node, spelling.function, parts)
        return self.call(node, "not", (found,)) if spelling.negated else found

    def _written(self, node: exp.Expr, written: WrittenCall) -> Expression:
        name, parts, negated = written
        args = [part if isinstance(part, Literal) else self.read(part) for part in parts]
        found = self.call(node, name, args)
        return self.call(node, "not", (found,)) if negated else found

    def over(self, node: exp.Expr, name: str, parts: Sequence[exp.Expr]) -> Expression:
        """The call of a function over parsed parts; texts beside dates are read as dates. Raises Invalid."""
        args = [self.read(part) for part in parts]
        if name in _COMPARED:
            args = self._aligned(parts, args)
        if name in _EQUALITY:
            self._check_listed(parts, args)
        return self.call(node, name, args)

    def _aligned(self, parts: Sequence[exp.Expr], args: list[Expression]) -> list[Expression]:
        """A text as written beside a date or a timestamp is read as one."""
        kinds = {self.known(arg).kind for arg in args}
        kind = Kind.DAY if Kind.DAY in kinds else Kind.MOMENT if Kind.MOMENT in kinds else None
        if kind is None:
            return args
        return [self._as_moment(part, arg, kind) for part, arg in zip(parts, args, strict=True)]

    def _as_moment(self, part: exp.Expr, arg: Expression, kind: Kind) -> Expression:
        if not isinstance(arg, Literal) or not isinstance(arg.value, str):
            return arg
        value = written_day(arg.value) if kind is Kind.DAY else written_moment(arg.value)
        if value is None:
            form = "DATE '2013-06-30'" if kind is Kind.DAY else "TIMESTAMP '2013-06-30 12:00:00'"
            raise self.text.refuse_node(part, f"this is no {kind}", f"write it as {form}", "sql.type_mismatch")
        return Literal(value)

    def _check_listed(self, parts: Sequence[exp.Expr], args: Sequence[Expression]) -> None:
        """Refuses a comparison with texts that the other side, whose values are declared, can never have."""
        listed_values = next((self.known(arg).values for arg in args if not isinstance(arg, Literal)), None)
        if listed_values is None or any(self.known(arg).kind is not Kind.TEXT for arg in args):
            return
        written = [(part, arg.value) for part, arg in zip(parts, args, strict=True) if isinstance(arg, Literal)]
        known = self._sets.get(id(listed_values))
        if known is None or known[0] is not listed_values:
            known = self._sets[id(listed_values)] = listed_values, frozenset(listed_values)
        never = [(part, value) for part, value in written if value not in known[1]]
        ways = f"the values are {listed(repr(value) for value in listed_values)}"
        if never and len(never) == len(written):
            part, value = never[0]
            close = nearest(str(value), map(str, listed_values))
            way_out = f"did you mean {close!r}? {ways}" if close is not None else ways
            raise self.text.refuse_node(part, "this value is never there", way_out, "sql.type_mismatch")
        self.tips.extend(f"{quoted(repr(value))} is never there: {ways}" for _, value in never)

    def logic(self, node: exp.Expr) -> Expression:
        """A chain of AND or of OR is one call, however long."""
        kind, parts, rest = type(node), list[exp.Expr](), [node]
        while rest:
            part = rest.pop()
            if type(part) is kind:
                self.text.only(part, "this", "expression")
                rest += (part.expression, part.this)
            elif type(part) is exp.Paren and type(part.this) is kind:
                self.text.only(part, "this")
                rest.append(part.this)
            else:
                parts.append(part)
        name = _LOGIC[kind]
        return self.call(node, name, flattened(name, [self.condition(part) for part in parts]))

    def refused(self, node: exp.Expr) -> Invalid:
        """The refusal of a part that is not accepted here."""
        for kinds, reason, way_out in _REFUSED:
            if isinstance(node, kinds):
                return self.text.refuse_node(node, reason, way_out)
        shown = (
            node.sql_name()
            if isinstance(node, exp.Func) and not isinstance(node, exp.Anonymous)
            else node.name or node.key
        )
        close = nearest(shown, FUNCTIONS)
        way_out = _FUNCTIONS_PAGE if close is None else f"did you mean {FUNCTIONS[close].example}? {_FUNCTIONS_PAGE}"
        return self.text.refuse_node(node, f"{quoted(shown.upper())} is not accepted", way_out)


_REFUSED: tuple[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], str, str], ...] = (
    (exp.Column, "a column cannot stand here", "write a literal"),
    (exp.Window, "OVER (…) is not accepted", "ask for the aggregates, and sort or limit the answer"),
    ((exp.AggFunc, exp.Filter), "an aggregate is not accepted here", "aggregate in the select list, or in HAVING"),
    ((*_SUBQUERIES, exp.In), "a subquery is not accepted here", "put it into WHERE, or join it"),
    (exp.Star, "rows are never shown", "ask for keys and aggregates"),
    ((exp.Parameter, exp.Placeholder), "a query has no parameters", "write the value"),
    (exp.Interval, "an interval stands beside a date only", "write d + INTERVAL '3' MONTH"),
    (exp.Tuple, "rows of values are not compared", "compare the values one by one: a = x AND b = y"),
    (exp.Concat, "CONCAT skips NULL", "write s || t, which is NULL where either is; COALESCE(s, '') || t skips it"),
)


def _literal(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this", "is_string")
    value = str(node.this) if node.is_string else written_number(str(node.this))
    if value is None:
        raise reader.text.refuse_node(node, "this is no number that can be held", "write it out in digits")
    return _written(reader, node, value)


def _written(reader: Reader, node: exp.Expr, value: object) -> Expression:
    made = Literal(value)  # type: ignore[arg-type]  # one of Value's types at every call
    try:
        literal_facts(made.value)
    except Unfit as unfit:
        raise reader.text.refuse_node(node, unfit.reason, unfit.way_out, unfit.code) from None
    return made


def _bracketed(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this")
    return reader.read(node.this)


def _boolean(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this")
    return Literal(bool(node.this))


def _null(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node)
    return Literal(None)


def _is(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this", "expression")
    what, inner = node.expression, reader.read(node.this)
    if type(what) is exp.Null:
        reader.text.only(what)
        return reader.call(node, "is_null", (inner,))
    if type(what) is exp.Boolean:
        reader.text.only(what, "this")
        differs = reader.call(node, "is_distinct", (inner, Literal(bool(what.this))))
        return reader.call(node, "not", (differs,))
    raise reader.text.refuse_node(what, "IS is accepted with NULL, TRUE and FALSE only", "write x IS NULL, or x = 0")


def _between(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this", "low", "high", way_out="write x BETWEEN 1 AND 5")
    low = reader.over(node, "ge", (node.this, node.args["low"]))
    high = reader.over(node, "le", (node.this, node.args["high"]))
    return reader.call(node, "and", (low, high))


def _in(reader: Reader, node: exp.Expr) -> Expression:
    if node.args.get("query") is not None:
        raise reader.refused(node)
    reader.text.only(node, "this", "expressions", what="IN without a list", way_out="write x IN (1, 2)")
    entries = node.expressions
    if not entries:
        raise reader.text.refuse_node(node, "the list of IN is empty", "write x IN (1, 2)")
    if len(entries) > MAX_LIST:
        raise reader.text.refuse_node(entries[MAX_LIST], f"an IN list has more than {MAX_LIST} entries", "shorten it")
    return reader.over(node, "one_of", (node.this, *entries))


def _case(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this", "ifs", "default")
    args = list[Expression]()
    for branch in node.args["ifs"]:
        reader.text.only(branch, "this", "true")
        asked = branch.this
        when = reader.condition(asked) if node.this is None else reader.over(asked, "eq", (node.this, asked))
        args += (when, reader.read(branch.args["true"]))
    default = node.args.get("default")
    args.append(Literal(None) if default is None else reader.read(default))
    return reader.call(node, "case", args)


def _if(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this", "true", "false", way_out="write IF(x > 0, x, 0)")
    no = node.args.get("false")
    args = (
        reader.condition(node.this),
        reader.read(node.args["true"]),
        Literal(None) if no is None else reader.read(no),
    )
    return reader.call(node, "case", args)


def _negated(reader: Reader, node: exp.Expr) -> Expression:
    reader.text.only(node, "this")
    return reader.call(node, "not", (reader.condition(node.this),))


_SPECIAL: dict[type[exp.Expr], Callable[[Reader, exp.Expr], Expression]] = {
    exp.Paren: _bracketed,
    exp.And: Reader.logic,
    exp.Or: Reader.logic,
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Null: _null,
    exp.Is: _is,
    exp.Between: _between,
    exp.In: _in,
    exp.Case: _case,
    exp.If: _if,
    exp.Not: _negated,
}


def reader_of(scope: Scope, *, subqueries: bool = True) -> Reader:
    """Reads expressions over the numbers of a scope's columns; subqueries too, unless told not to."""

    def leaf(node: exp.Expr) -> Expression | None:
        if isinstance(node, exp.Column):
            return scope.value(node)
        if type(node) is exp.EQ:
            return _units_compared(node, scope)
        if isinstance(node, _SUBQUERIES) or (isinstance(node, exp.In) and node.args.get("query") is not None):
            return scope.context.subquery(node, scope) if subqueries else None
        return None

    return Reader(scope.text, scope.context.facts, Stage.ROW, leaf, scope.context.tips, scope.context.level)


def _units_compared(node: exp.Expr, scope: Scope) -> Expression | None:
    """`a.unit = b.unit`: the one place where a unit may stand."""
    scope.text.only(node, "this", "expression")
    sides = node.this.unnest(), node.expression.unnest()
    if not all(isinstance(side, exp.Column) for side in sides):
        return None
    first, second = map(scope.resolve, sides)
    if not scope.is_unit(first) or not scope.is_unit(second):
        return None  # a unit compared with anything else is refused where it is read
    return Call("eq", (ColumnRef(first), ColumnRef(second)))
