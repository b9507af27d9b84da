"""Rows at and between the ends of what facts admit, and a DuckDB that computes an expression on them: what tests of functions share."""

from __future__ import annotations

import itertools
import random
from datetime import date
from decimal import Decimal

import duckdb
import pyarrow as pa

from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Call, ColumnRef, Literal, parts_of
from privacy.sql.facts import DAYS, GRID, MOMENTS, Facts, Unfit
from privacy.sql.functions import FUNCTIONS, facts_of, sql_of, sql_type
from privacy.sql.held import DAY_MICROSECONDS, Kind, shown

DUCKDB = duckdb.connect(config={"threads": 1})
DUCKDB.execute("SET TimeZone = 'UTC'")

ARROW = {
    "BIGINT": pa.int64(),
    "HUGEINT": pa.decimal128(38, 0),
    "VARCHAR": pa.utf8(),
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
}


def number_of(low, high, scale=0, nullable=False):
    return Facts(Kind.NUMBER, scale, low, high, nullable=nullable)


NUMBERS = [
    number_of(-GRID, GRID, nullable=True),
    number_of(-GRID, GRID, 2),
    number_of(0, 10_000, 2),
    number_of(-7, 12, nullable=True),
    number_of(-950, -3, 4),
    number_of(0, 1),
    number_of(1 - 2**63, 2**63 - 1, 6, nullable=True),
    number_of(-(2**90), 2**90, 3),
    number_of(1 - 2**126, 2**126 - 1),
    number_of(5, 2**126 - 1, 12, nullable=True),
]
TEXTS = [
    Facts(Kind.TEXT, max_bytes=1024, nullable=True),
    Facts(Kind.TEXT, max_bytes=20, nullable=False),
    Facts(Kind.TEXT, max_bytes=5, values=("north", "it's", "é"), nullable=True),
]
TRUTHS = [
    Facts(Kind.TRUTH, values=(False, True), nullable=True),
    Facts(Kind.TRUTH, values=(False, True), nullable=False),
]
DATES = [
    Facts(Kind.DAY, 0, *DAYS, nullable=True),
    Facts(Kind.DAY, 0, -400, 20_000, nullable=False),
    Facts(Kind.MOMENT, 0, *MOMENTS, nullable=True),
    Facts(Kind.MOMENT, 0, -5 * DAY_MICROSECONDS, 20_000 * DAY_MICROSECONDS, nullable=False),
]
POOL = NUMBERS + TEXTS + TRUTHS + DATES
ODD_TEXTS = [
    "",
    " ",
    "a",
    "A",
    "%",
    "_",
    "\\",
    "'",
    "İ",
    "ß",
    "é",
    "李",
    "👩‍👧",
    "aXb",
    "  two  ",
    "\u00a0",
    "e\u0301",
    "\U0010ffff",
]
ODD_TEXTS += [
    "-1",
    "+7",
    "0012.50",
    "1e5",
    " 7 ",
    "2.5",
    ".5",
    "5.",
    "999999999999999999",
    "2020-02-29",
    "2021-02-29",
    "0001-01-01",
]
ODD_TEXTS += [
    "9999-12-31",
    "true",
    "FALSE",
    "t",
    "1",
    "0",
    "2020-01-01 23:59:59.999999",
    "2020-01-01T00:00:00Z",
    "2020-13-01",
    "-",
    "²",
]
ODD_TEXTS += ["٣", "abcabcabc" * 30, "\U0010ffff" * 256, "a" * 1024, "%a_" * 100]


def extremes(facts):
    """Every special value that the facts admit, held."""
    if facts.kind is Kind.TRUTH:
        found = [False, True]
    elif facts.kind is Kind.TEXT:
        found = [text for text in ODD_TEXTS if facts.has(text)] if facts.values is None else list(facts.values)
    else:
        low, high = facts.ends
        edges = {low, low + 1, high, high - 1, -1, 0, 1, 2, 5, -5, 10, 49, 50, 51, -50, 150, -150, low // 2, high // 2}
        found = sorted(value for value in edges if low <= value <= high)
    return [*found, None] if facts.nullable else found


def some(facts, pick):
    """One value that the facts admit, held."""
    if facts.nullable and pick.random() < 0.15:
        return None
    if facts.kind is Kind.TEXT and facts.values is None:
        letters = pick.choice(("ab", "aAbB %_", "0123456789.-+ ", "éßİ李👩\u0301", "abcdefghijklmnop"))
        text = "".join(pick.choice(letters) for _ in range(pick.randrange(12)))
        return text if facts.has(text) else "a"
    if facts.kind in (Kind.TEXT, Kind.TRUTH):
        return pick.choice(facts.values)
    low, high = facts.ends
    if pick.random() < 0.5:  # small numbers meet each other; spread ones do not
        near = min(max(pick.choice((0, low, high)), low), high)
        low, high = max(low, near - 300), min(high, near + 300)
    return pick.randint(low, high)


def rows_for(columns, seed, count=100, most=400):
    """Random rows, and rows of every special value beside every other (as many as `most` allows)."""
    pick = random.Random(seed)
    special = list(itertools.product(*map(extremes, columns)))
    if len(special) > most:
        special = pick.sample(special, most)
    return [tuple(some(facts, pick) for facts in columns) for _ in range(count)] + special


def duckdb_values(text, columns, rows):
    """What DuckDB makes of an emitted expression over c0, c1, … that hold these rows."""
    types = [sql_type(facts) for facts in columns]
    arrays = [pa.array([row[at] for row in rows], ARROW[kind]) for at, kind in enumerate(types)]
    stored = pa.table(arrays or [pa.array([0] * len(rows))], [f"s{at}" for at in range(max(1, len(types)))])
    DUCKDB.register("stored", stored)
    names = ", ".join(f"CAST(s{at} AS {kind}) AS c{at}" for at, kind in enumerate(types)) or "1"
    return DUCKDB.execute(f"SELECT {text} AS v, typeof(v) FROM (SELECT {names} FROM stored)").fetchall()


def check_agreement(expression, columns, rows):
    """The value is what the facts admit and what DuckDB computes, of the type that is promised, on every row."""
    facts = facts_of(expression, columns)
    value = evaluator(expression, columns)
    names = [f"c{at}" for at in range(len(columns))]
    text = sql_of(expression, names, columns)
    expected = [value(row) for row in rows]
    for row, held in zip(rows, expected, strict=True):
        assert facts.has(shown(held, facts.kind, facts.scale)), (expression, row, held, facts)
    for row, held, (found, type_) in zip(rows, expected, duckdb_values(text, columns, rows), strict=True):
        assert (type(found), found) == (type(held), held), (expression, row, text)
        assert type_ == sql_type(facts), text
    return facts


def accepted(function, args, columns):
    """The call, where its facts accept it."""
    call = Call(function, args)
    try:
        facts_of(call, columns)
    except Unfit:
        return None
    return call


def calls_over(function, pools, literals=()):
    """Every accepted call of a function with columns of these facts, the literals at the end; with the columns it is over."""
    for columns in itertools.product(*pools):
        refs = tuple(ColumnRef(at) for at in range(len(columns)))
        call = accepted(function, (*refs, *map(Literal, literals)), columns)
        if call is not None:
            yield call, columns


UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
PARTS = ("year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "hour", "minute", "second")
ANY = object()  # where an argument is any expression
WRITTEN = {  # functions of which some arguments are written: what can stand there
    "date_part": (PARTS, ANY),
    "date_trunc": (UNITS, ANY),
    "date_diff": (UNITS, ANY, ANY),
    "date_add": (UNITS, ANY, (0, 1, -1, 12, -13, 1000, -70_000)),
    "time_bucket": (UNITS, (1, 2, 3, 7, 100, 5000), ANY),
    "like": (ANY, ("a%", "%b", "_", "%a_b%", "%%", "é%0", "- ")),
    "ilike": (ANY, ("A%", "%B", "_", "%a_B%", "%%", "é%0", "- ")),
    "replace": (ANY, ("a", "ab", "%", "0"), ("", "b", "é")),
    "substring": (ANY, (1, 2, 5), (0, 1, 3, 30)),
    "left": (ANY, (0, 1, 3, 30)),
    "right": (ANY, (0, 1, 3, 30)),
    "strpos": (ANY, ("", "a", "ab", "é", "-")),
    "contains": (ANY, ("", "a", "ab", "é", "-")),
    "to_decimal": (ANY, (1, 5, 18), (0, 1, 2, 5, 12)),
    "round": (ANY, (-3, 0, 1, 2, 6, 12)),
    "trunc": (ANY, (-3, 0, 1, 2, 6, 12)),
    "bin": (ANY, (1, 7, 10, Decimal("0.25"), 10**6)),
}
LITERALS = (
    0,
    1,
    -3,
    100,
    10**9,
    Decimal("0.05"),
    Decimal("-12.5"),
    "a",
    "%a_",
    True,
    date(2020, 2, 29),
    date(9999, 12, 31),
)


def random_expression(pick, depth, columns):
    """A random accepted expression over these columns; what is refused is drawn again."""
    if depth == 0 or pick.random() < 0.1:
        return Literal(pick.choice(LITERALS)) if pick.random() < 0.3 else ColumnRef(pick.randrange(len(columns)))
    while True:
        name = pick.choice(tuple(FUNCTIONS))
        fewest, most = FUNCTIONS[name].arity
        places = WRITTEN.get(name) or (ANY,) * min(most, fewest + pick.randrange(3))
        args = tuple(
            random_expression(pick, depth - 1, columns) if place is ANY else Literal(pick.choice(place))
            for place in places
        )
        call = accepted(name, args, columns)
        if call is not None:
            return call


def functions_in(expression):
    """The names of all functions that an expression calls."""
    return {part.function for part in parts_of(expression) if isinstance(part, Call)}
