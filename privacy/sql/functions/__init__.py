"""The allow-list: every function that an expression may call, what follows from its arguments, and what is emitted for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from privacy.sql.expressions import MAX_DEPTH, MAX_SIZE, Call, Expression, Literal, depth, parts_of, size
from privacy.sql.facts import SMALL_BITS, Facts, Unfit, literal_facts
from privacy.sql.functions.arithmetic import ARITHMETIC
from privacy.sql.functions.casts import CASTS
from privacy.sql.functions.choice import CHOICE
from privacy.sql.functions.comparison import COMPARISON
from privacy.sql.functions.cut_numbers import CUT_NUMBERS
from privacy.sql.functions.date_casts import DATE_CASTS
from privacy.sql.functions.date_shifts import DATE_SHIFTS
from privacy.sql.functions.dates import DATES
from privacy.sql.functions.patterns import PATTERNS
from privacy.sql.functions.record import EVERYWHERE, Function, Stage
from privacy.sql.functions.strings import STRINGS, quoted_text
from privacy.sql.held import Kind, held

__all__ = ["EVERYWHERE", "FUNCTIONS", "Function", "Stage", "facts_of", "facts_of_parts", "sql_of", "sql_type"]

MAX_SQL = 100_000  # characters emitted for one expression; some functions write an argument twice


def registered(*groups: Sequence[Function]) -> Mapping[str, Function]:
    """All functions by name. Raises ValueError where two have one name."""
    functions = {function.name: function for group in groups for function in group}
    if len(functions) != sum(len(group) for group in groups):
        raise ValueError("two functions have one name")
    return functions


FUNCTIONS: Mapping[str, Function] = registered(
    ARITHMETIC, CUT_NUMBERS, COMPARISON, CHOICE, STRINGS, PATTERNS, DATES, DATE_SHIFTS, CASTS, DATE_CASTS
)


def facts_of(expression: Expression, columns: Sequence[Facts]) -> Facts:
    """Facts of an expression over columns with these facts. Raises Unfit where it cannot be accepted."""
    return facts_of_parts(expression, columns)[id(expression)]


def facts_of_parts(expression: Expression, columns: Sequence[Facts]) -> dict[int, Facts]:
    """Facts of every part of the expression, by the part's `id`. Raises Unfit where one cannot be accepted."""
    if size(expression) > MAX_SIZE or depth(expression) > MAX_DEPTH:
        reason = f"written out, the expression has more than {MAX_SIZE} parts or is nested more than {MAX_DEPTH} deep"
        raise Unfit(reason, "ask for less in one query", "sql.too_wide")
    found: dict[int, Facts] = {}
    for part in parts_of(expression):
        if isinstance(part, Call):
            found[id(part)] = _call_facts(part, tuple(found[id(arg)] for arg in part.args))
        else:
            found[id(part)] = literal_facts(part.value) if isinstance(part, Literal) else columns[part.index]
    return found


def _call_facts(call: Call, args: tuple[Facts, ...]) -> Facts:
    function = FUNCTIONS.get(call.function)
    if function is None:
        raise Unfit(f"the function {call.function} is not in the list", "see the list of functions", "sql.not_allowed")
    fewest, most = function.arity
    if not fewest <= len(args) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} or more"
        raise Unfit(f"{call.function} takes {wanted} arguments, not {len(args)}", f"write {function.example}")
    return function.facts(args)


def sql_of(expression: Expression, names: Sequence[str], columns: Sequence[Facts]) -> str:
    """DuckDB's text of an expression, as one operand, in the held form; `names` are the texts of the columns.

    Raises Unfit where the expression cannot be accepted, or its text would be longer than MAX_SQL.
    """
    facts = facts_of_parts(expression, columns)
    written: dict[int, str] = {}
    for part in parts_of(expression):
        if isinstance(part, Call):
            args = tuple(written[id(arg)] for arg in part.args)
            known = tuple(facts[id(arg)] for arg in part.args)
            text = FUNCTIONS[part.function].sql(args, known, facts[id(part)])
            if len(text) > MAX_SQL:
                raise Unfit(
                    "the expression is too long when it is written out", "ask for less in one query", "sql.too_wide"
                )
        else:
            text = _literal_sql(part, facts[id(part)]) if isinstance(part, Literal) else names[part.index]
        written[id(part)] = text
    return written[id(expression)]


def _literal_sql(literal: Literal, facts: Facts) -> str:
    value = held(literal.value, facts.kind, facts.scale)
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return quoted_text(value)
    return f"CAST({value} AS {sql_type(facts)})"


def sql_type(facts: Facts) -> str:
    """DuckDB's type of the held form of a value. Raises Unfit for NULL as written, which has none."""
    if facts.kind is Kind.NOTHING:
        raise Unfit("NULL alone has no type", "give it one, such as CASE WHEN FALSE THEN 0 END")
    if facts.kind is Kind.NUMBER:
        return "BIGINT" if facts.fits(SMALL_BITS) else "HUGEINT"
    return {Kind.TEXT: "VARCHAR", Kind.TRUTH: "BOOLEAN", Kind.DAY: "INTEGER", Kind.MOMENT: "BIGINT"}[facts.kind]
