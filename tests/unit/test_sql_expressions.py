"""Which expressions are accepted and what they are read as; what the parser reads and we do not understand is refused."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlglot import exp

from core.errors import Invalid
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.check_expression import reader_of
from privacy.sql.checked import checked
from privacy.sql.derived import nested
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.functions import FUNCTIONS
from privacy.sql.names_in_scope import Catalogue, Context, Scope, Table
from privacy.sql.spellings import SPELLINGS
from privacy.sql.subqueries import subquery_of
from privacy.sql.text import one_query

SCHEMA = TableSchema(
    "rows",
    "person",
    (
        Column("person", ColumnType.STRING, max_length=20),
        Column("x", ColumnType.INT, nullable=True, lower=-50, upper=50),
        Column("y", ColumnType.DECIMAL, scale=2, lower=Decimal(-9), upper=Decimal(9)),
        Column("s", ColumnType.STRING, nullable=True, max_length=20),
        Column("d", ColumnType.DATE, lower=date(2000, 1, 1), upper=date(2020, 12, 31)),
        Column("t", ColumnType.TIMESTAMP),
        Column("b", ColumnType.BOOL, nullable=True),
        Column("c", ColumnType.CATEGORY, values=("north", "south", "it's")),
    ),
    rows=100,
    units=10,
)
CATALOGUE = Catalogue((Table("test/rows", SCHEMA, private=True),))
X, Y, S, D, T, B, C = (ColumnRef(at) for at in range(1, 8))


def parsed(words: str):
    """The text, the parsed expression and a scope for it."""
    text, select = one_query(f"SELECT COUNT(*) FROM rows WHERE\n{words}")
    context = Context(text, CATALOGUE, nested, subquery_of)
    scope = Scope(context)
    scope.enter("rows", context.stored(CATALOGUE.tables[0]), 0)
    return select.args["where"].this, scope


def read(words: str):
    node, scope = parsed(words)
    return reader_of(scope).read(node)


def call(function, *args):
    return Call(function, tuple(arg if isinstance(arg, Call | ColumnRef | Literal) else Literal(arg) for arg in args))


READ = [
    ("x", X),
    ("(((x)))", X),
    ("rows.X", X),
    ("3", Literal(3)),
    ("-3", Literal(-3)),
    ("- - 3", Literal(3)),
    ("+3", Literal(3)),
    ("1.50", Literal(Decimal("1.5"))),
    ("2.0", Literal(2)),
    ("1e3", Literal(1000)),
    ("12e-1", Literal(Decimal("1.2"))),
    ("'it''s'", Literal("it's")),
    ("TRUE", Literal(True)),
    ("NULL", Literal(None)),
    ("DATE '2013-06-30'", Literal(date(2013, 6, 30))),
    ("CAST('2013-06-30' AS DATE)", Literal(date(2013, 6, 30))),
    ("TIMESTAMP '2013-06-30 12:00:00'", Literal(datetime(2013, 6, 30, 12, tzinfo=UTC))),
    ("TIMESTAMPTZ '2013-06-30 12:00:00+02'", Literal(datetime(2013, 6, 30, 10, tzinfo=UTC))),
    ("x + y * 2", call("plus", X, call("times", Y, 2))),
    ("x - y - 1", call("minus", call("minus", X, Y), 1)),
    ("x / y", call("divide", X, Y)),
    ("x // 2", call("whole_quotient", X, 2)),
    ("x % 2", call("remainder", X, 2)),
    ("MOD(x, 2)", call("remainder", X, 2)),
    ("-x", call("negate", X)),
    ("0.06 - 0.01", Literal(Decimal("0.05"))),
    ("1 + 10", Literal(11)),
    ("1 / 3", Literal(Decimal("0.333333"))),
    ("LOWER('ABC') || 'd'", Literal("abcd")),
    ("NOT TRUE", Literal(False)),
    ("DATE '1993-07-01' + INTERVAL '3' MONTH", Literal(date(1993, 10, 1))),
    ("INTERVAL 3 MONTHS + DATE '1993-07-01'", Literal(date(1993, 10, 1))),
    ("DATE '1998-12-01' - INTERVAL '90' DAY (3)", Literal(date(1998, 9, 2))),
    ("d + INTERVAL '-3' DAY", call("date_add", "day", D, -3)),
    ("d - INTERVAL (3) YEAR", call("date_add", "year", D, -3)),
    ("DATE_ADD(d, INTERVAL 1 WEEK)", call("date_add", "week", D, 1)),
    ("x = 3", call("eq", X, 3)),
    ("x != 3", call("ne", X, 3)),
    ("x <> 3", call("ne", X, 3)),
    ("3 < x", call("lt", 3, X)),
    ("x IS DISTINCT FROM y", call("is_distinct", X, Y)),
    ("x IS NOT DISTINCT FROM y", call("not", call("is_distinct", X, Y))),
    ("d >= '2013-06-30'", call("ge", D, date(2013, 6, 30))),
    ("'2013-06-30' >= d", call("ge", date(2013, 6, 30), D)),
    ("t < '2013-06-30 12:00'", call("lt", T, datetime(2013, 6, 30, 12, tzinfo=UTC))),
    ("d BETWEEN '2013-06-30' AND '2014-06-30'", call("and", call("ge", D, date(2013, 6, 30)), call("le", D, date(2014, 6, 30)))),
    ("d IN ('2013-06-30', DATE '2014-06-30')", call("one_of", D, date(2013, 6, 30), date(2014, 6, 30))),
    ("x BETWEEN 1 AND 1 + 1", call("and", call("ge", X, 1), call("le", X, 2))),
    ("x NOT BETWEEN 1 AND 2", call("not", call("and", call("ge", X, 1), call("le", X, 2)))),
    ("x IN (1, 2.5)", call("one_of", X, 1, Decimal("2.5"))),
    ("x NOT IN (1)", call("not", call("one_of", X, 1))),
    ("x IS NULL", call("is_null", X)),
    ("x IS NOT NULL", call("not", call("is_null", X))),
    ("b IS TRUE", call("not", call("is_distinct", B, True))),
    ("b IS NOT FALSE", call("not", call("not", call("is_distinct", B, False)))),
    ("b AND x = 1 AND (y = 2 AND b)", call("and", B, call("eq", X, 1), call("eq", Y, 2), B)),
    ("b OR x = 1 AND y = 2", call("or", B, call("and", call("eq", X, 1), call("eq", Y, 2)))),
    ("CASE WHEN b THEN x END", call("case", B, X, None)),
    ("CASE x WHEN 1 THEN 'a' ELSE s END", call("case", call("eq", X, 1), "a", S)),
    ("CASE d WHEN '2013-06-30' THEN 1 ELSE 0 END", call("case", call("eq", D, date(2013, 6, 30)), 1, 0)),
    ("IF(b, x, 0)", call("case", B, X, 0)),
    ("COALESCE(x, y, 0)", call("coalesce", X, Y, 0)),
    ("IFNULL(x, 0)", call("coalesce", X, 0)),
    ("NULLIF(x, 0)", call("null_if", X, 0)),
    ("GREATEST(x, y)", call("greatest", X, Y)),
    ("ROUND(y, 1)", call("round", Y, 1)),
    ("CEILING(y)", call("ceil", Y)),
    ("BIN(x, 10)", call("bin", X, 10)),
    ("EXTRACT(year FROM d)", call("date_part", "year", D)),
    ("YEAR(d)", call("date_part", "year", D)),
    ("DATE_PART('month', t)", call("date_part", "month", T)),
    ("DAYOFWEEK(d)", call("date_part", "dow", D)),
    ("HOUR(t)", call("date_part", "hour", T)),
    ("DATE_TRUNC('month', d)", call("date_trunc", "month", D)),
    ("DATE_TRUNC('week', t)", call("date_trunc", "week", T)),
    ("DATE_DIFF('day', d, DATE '2020-01-01')", call("date_diff", "day", D, date(2020, 1, 1))),
    ("DATEDIFF('month', t, d)", call("date_diff", "month", T, D)),
    ("TIME_BUCKET(INTERVAL '7 days', d)", call("time_bucket", "day", 7, D)),
    ("s LIKE 'a%'", call("like", S, "a%")),
    ("s NOT ILIKE 'a%'", call("not", call("ilike", S, "a%"))),
    ("s LIKE 'a!%%' ESCAPE '!'", call("like", S, "a!%%", "!")),
    ("s || 'a' || s", call("concat", call("concat", S, "a"), S)),
    ("SUBSTRING(s FROM 2 FOR 3)", call("substring", S, 2, 3)),
    ("SUBSTR(s, 2)", call("substring", S, 2)),
    ("POSITION('a' IN s)", call("strpos", S, "a")),
    ("TRIM(LEADING FROM s)", call("ltrim", S)),
    ("RTRIM(s)", call("rtrim", S)),
    ("PREFIX(s, 'a')", call("starts_with", S, "a")),
    ("ENDS_WITH(s, 'a')", call("ends_with", S, "a")),
    ("CAST(s AS BIGINT)", call("to_integer", S)),
    ("s::INT", call("to_integer", S)),
    ("TRY_CAST(s AS DECIMAL(10, 2))", call("to_decimal", S, 10, 2)),
    ("x::DECIMAL", call("to_decimal", X, 18, 3)),
    ("CAST(x AS DECIMAL(5))", call("to_decimal", X, 5, 0)),
    ("CAST(d AS VARCHAR)", call("to_text", D)),
    ("CAST(s AS BOOLEAN)", call("to_truth", S)),
    ("CAST(t AS DATE)", call("to_date", T)),
    ("CAST(d AS TIMESTAMP)", call("to_timestamp", D)),
    ("c IN ('north', 'nirth')", call("one_of", C, "north", "nirth")),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), READ)
def test_it_is_read_as(words, expected):
    assert read(words) == expected


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_every_function_is_read_as_its_call(name):
    found = read(FUNCTIONS[name].example)
    inner = found.args[0] if isinstance(found, Call) and found.function == "not" and name != "not" else found
    assert isinstance(inner, Call)
    assert inner.function == name


def test_every_spelling_is_of_a_function():
    assert {spelling.function for spelling in SPELLINGS.values()} <= FUNCTIONS.keys()


NAMES = exp.Identifier | exp.Var | exp.DataTypeParam  # what the parts above them understand
EXAMPLES = [words for words, _ in READ] + [function.example for function in FUNCTIONS.values()]


@pytest.mark.parametrize("words", sorted(set(EXAMPLES)))
def test_a_part_that_the_parser_read_and_we_do_not_understand_is_refused(words):
    count = sum(1 for _ in parsed(words)[0].walk())
    for at in range(count):
        node, scope = parsed(words)
        part = list(node.walk())[at]
        if isinstance(part, NAMES) or _says_nothing(part):
            continue
        part.set("spurious", exp.Literal.number(1))
        with pytest.raises(Invalid):
            reader_of(scope).read(node)


def _says_nothing(part: exp.Expr) -> bool:
    """Digits of a unit and counts of intervals: read as texts, with nothing else looked at."""
    above = part.parent
    while above is not None and not isinstance(above, exp.Interval | exp.DataType):
        above = above.parent
    return above is not None or (isinstance(part, exp.Literal) and isinstance(part.parent, exp.Anonymous | exp.Cast))


REFUSED = [
    ("^foo(x)", "sql.not_allowed", "FOO is not accepted", "listed"),
    ("^lowr(s)", "sql.not_allowed", "LOWR is not accepted", "LOWER(s)"),
    ("^random() > 1", "sql.not_allowed", "RAND", "listed"),
    ("^now() > t", "sql.not_allowed", "NOW", "listed"),
    ("d > ^current_date", "sql.not_allowed", "CURRENT_DATE", "listed"),
    ("^regexp_matches(s, 'a')", "sql.not_allowed", "REGEXP_LIKE", "listed"),
    ("^s SIMILAR TO 'a'", "sql.not_allowed", "SIMILARTO", "listed"),
    ("^SQRT(x) > 1", "sql.not_allowed", "SQRT", "listed"),
    ("^concat(s, 'a') = 'b'", "sql.not_allowed", "CONCAT skips NULL", "s || t"),
    ("^x", "sql.type_mismatch", "this is a number", "x > 0"),
    ("x = 1 AND ^s", "sql.type_mismatch", "this is a text", "x > 0"),
    ("NOT ^x", "sql.type_mismatch", "this is a number", "x > 0"),
    ("^x = '3'", "sql.type_mismatch", "does not go with", "CAST"),
    ("^x = s", "sql.type_mismatch", "does not go with", "CAST"),
    ("^x = NULL", "sql.type_mismatch", "NULL equals nothing", "IS NULL"),
    ("^b < TRUE", "sql.type_mismatch", "no order", "="),
    ("d = ^'yesterday'", "sql.type_mismatch", "this is no date", "DATE '"),
    ("d IN ('2020-01-01', ^'2020-02-30')", "sql.type_mismatch", "this is no date", "DATE '"),
    ("t = ^'soon'", "sql.type_mismatch", "this is no timestamp", "TIMESTAMP '"),
    ("d > DATE ^'2020-02-30'", "sql.type_mismatch", "this is no date", "DATE '"),
    ("c = ^'North'", "sql.type_mismatch", "never there", "did you mean 'north'"),
    ("^'East' = c", "sql.type_mismatch", "never there", "'north', 'south'"),
    ("c <> ^'East'", "sql.type_mismatch", "never there", "'north', 'south'"),
    ("c IN (^'East', 'West')", "sql.type_mismatch", "never there", "'north', 'south'"),
    ("x IS (^1 = 1)", "sql.not_allowed", "NULL, TRUE and FALSE", "IS NULL"),
    ("^x BETWEEN SYMMETRIC 1 AND 2", "sql.not_allowed", "SYMMETRIC", "BETWEEN 1 AND 5"),
    ("^x IN ()", "sql.not_allowed", "empty", "IN (1, 2)"),
    ("^s LIKE x", "sql.type_mismatch", "LIKE", "in quotes"),
    ("^s LIKE s", "sql.type_mismatch", "LIKE", "'"),
    ("^CAST(x AS DOUBLE) > 1", "sql.not_allowed", "binary float", "DECIMAL(18, 6)"),
    ("^CAST(s AS BLOB) = s", "sql.not_allowed", "CAST to", "BIGINT"),
    ("^d + x > d", "sql.type_mismatch", "takes numbers", ""),
    ("d + INTERVAL (^x) DAY > d", "sql.not_allowed", "whole number of one unit", "INTERVAL '3' MONTH"),
    ("d + INTERVAL '^1 day 2 hours' > d", None, "", ""),
    ("EXTRACT(century FROM ^d) > 1", "sql.type_mismatch", "", ""),
    ("EXTRACT(hour FROM ^d) > 1", "sql.type_mismatch", "", ""),
    ("x + ^1000000000000000000000 * 1000000000000000000000 > 1", "sql.too_wide", "126 bits", "LEAST"),
    ("x > ^1e40", "sql.too_wide", "", ""),
    ("x > ^1e99", "sql.too_wide", "", ""),
    ("y > ^0.0000000000001", "sql.too_wide", "12", "12"),
    ("^COUNT(*) > 3", "sql.not_allowed", "aggregate is not accepted here", "HAVING"),
    ("^SUM(x) OVER () > 3", "sql.not_allowed", "OVER", "sort or limit"),
    ("x > ^$1", "sql.not_allowed", "parameters", "write the value"),
    ("x > ^?", "sql.not_allowed", "parameters", "write the value"),
    ("x IN ([^1, 2])", "sql.not_allowed", "ARRAY", "listed"),
    ("^s[1] = 'a'", "sql.not_allowed", "BRACKET", "listed"),
    ("^s -> 'a' = 'b'", "sql.not_allowed", "", ""),
    ("(^x, y) = (1, 2)", "sql.not_allowed", "rows of values", "one by one"),
    ("TRIM(BOTH ^'x' FROM s) = 'a'", "sql.not_allowed", "TRIM of anything but blanks", "TRIM(s)"),
    ("ROUND(x, 1, ^2) > 1", "sql.not_allowed", "ROUND", "ROUND(x, 1)"),
    ("^BIN(x) > 1", "sql.type_mismatch", "another number of values", "BIN(x, 10)"),
    ("x > (^SELECT 1)", None, "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "reason", "way_out"), REFUSED)
def test_it_is_refused_where_it_stands(words, code, reason, way_out):
    if code is None:
        with pytest.raises(Invalid):
            condition(words.replace("^", ""))
        return
    with pytest.raises(Invalid) as caught:
        condition(words.replace("^", "", 1))
    found = caught.value
    assert (found.code, found.where["line"]) == (code, 2), found.text
    assert found.where["column"] == words.index("^") + 1
    assert reason in found.text
    assert way_out in found.way_out


def condition(words: str):
    node, scope = parsed(words)
    return reader_of(scope).condition(node)


def test_a_value_that_is_never_there_among_others_is_a_tip():
    node, scope = parsed("c IN ('north', 'nirth')")
    reader_of(scope).read(node)
    (tip,) = scope.context.tips
    assert "'nirth' is never there" in tip


def test_a_long_chain_is_one_call_and_a_deep_one_is_refused():
    found = read(" OR ".join(f"x = {at}" for at in range(1500)))
    assert len(found.args) == 1500
    with pytest.raises(Invalid) as caught:
        read("s" + " || 'a'" * 100 + " = 'b'")
    assert caught.value.code == "sql.too_deep"


def test_depth_counts_through_subqueries():
    words = "1"
    for at in range(6):
        words = f"(SELECT MAX(x) FROM rows r{at} WHERE r{at}.person = r{at + 1}.person AND x > {words} {'+ 1 ' * 15})"
    with pytest.raises(Invalid) as caught:
        checked(f"SELECT COUNT(*) FROM rows r6 WHERE x > {words}", CATALOGUE)
    assert caught.value.code == "sql.too_deep"


def test_a_list_of_in_has_a_limit():
    with pytest.raises(Invalid) as caught:
        read(f"x IN ({', '.join(map(str, range(1001)))})")
    assert "1000 entries" in caught.value.text


def test_with_may_begin_a_query_and_two_queries_may_not():
    text, select = one_query("WITH w AS (SELECT 1) SELECT COUNT(*) FROM rows")
    assert isinstance(select, exp.Select)
    assert text.tokens[0].text == "WITH"
    for sql, at in (
        ("SELECT 1 ^UNION ALL SELECT 2", "sql.not_allowed"),
        ("^INSERT INTO rows VALUES (1)", "sql.not_allowed"),
        ("^VALUES (1)", "sql.not_allowed"),
        ("SELECT 1; ^SELECT 2", "sql.not_allowed"),
        ("^SELECT 1 EXCEPT SELECT 2", "sql.not_allowed"),
        ("^", "sql.syntax"),
    ):
        with pytest.raises(Invalid) as caught:
            one_query(sql.replace("^", ""))
        assert caught.value.code == at
        assert caught.value.where["column"] == sql.index("^") + 1
        assert re.search(r"SELECT|semicolon", caught.value.way_out)
