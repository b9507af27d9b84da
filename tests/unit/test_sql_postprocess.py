"""What is made of a noisy table, against DuckDB over the same table."""

from __future__ import annotations

import random
import time

import pyarrow as pa
import pytest

from privacy.sql.aggregates import Aggregate
from privacy.sql.algebra import Field, Scan
from privacy.sql.asked import Answer, Asked, Frame, Grouping, Key, Order, Output, Window, WindowFunction
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.facts import Facts, Unfit
from privacy.sql.functions import facts_of, sql_of, sql_type
from privacy.sql.functions.rounding import quotient_sql
from privacy.sql.held import Kind
from privacy.sql.postprocess import PostProcessing, post_processing
from privacy.sql.windows import window_facts
from tests.unit.sql_functions_world import ARROW, DUCKDB, number_of, random_expression, some

TOTAL = 2**62 - 1
KEY = number_of(
    0, 10**6
)  # tells rows apart: what is not decided by the terms of an ORDER BY would be decided by DuckDB's mood
COLUMNS = (
    KEY,
    Facts(Kind.TEXT, max_bytes=8, values=("north", "south", "é", "Z"), nullable=True),
    Facts(Kind.DAY, 0, 10_000, 20_000, nullable=True),
    Facts(Kind.TRUTH, values=(False, True), nullable=True),
    number_of(0, TOTAL),
    number_of(-TOTAL, TOTAL, 2),
    number_of(-(10**9), 10**9, 6, nullable=True),
)
COUNT, SUM, MEAN = ColumnRef(4), ColumnRef(5), ColumnRef(6)
TERMS = {WindowFunction.ROW_NUMBER, WindowFunction.LAG, WindowFunction.LEAD}  # they depend on the order of ties


def table(pick, size):
    rows = [(key, *(some(facts, pick) for facts in COLUMNS[1:])) for key in range(size)]
    near = pick.random() < 0.5  # values that meet each other
    return [(*row[:4], row[4] % 5, row[5] % 7, row[6]) if near else row for row in rows]


def expression(pick, depth=2, columns=COLUMNS, kinds=None):
    while True:
        found = random_expression(pick, depth, columns)
        kind = facts_of(found, columns).kind
        if kind is not Kind.NOTHING and (kinds is None or kind in kinds):
            return found


def terms(pick, columns, *, total):
    found = [
        Order(expression(pick, 1, columns), descending=pick.random() < 0.5, nulls_first=pick.random() < 0.5)
        for _ in range(pick.randrange(3))
    ]
    return (*found, Order(ColumnRef(0))) if total else tuple(found)


def window(pick):
    while True:
        function = pick.choice(tuple(WindowFunction))
        frame = None
        if pick.random() < 0.5:
            ends = sorted(pick.choice((-3, -1, 0, 0, 1, 2, 5)) for _ in range(2))
            before = None if pick.random() < 0.2 else -ends[0]
            frame = Frame(before, None if pick.random() < 0.2 else ends[1])
        found = Window(
            function,
            expression(pick, 1),
            tuple(expression(pick, 1) for _ in range(pick.randrange(2))),
            terms(pick, COLUMNS, total=frame is not None or function in TERMS),
            frame,
            pick.choice((0, 1, 2, 7)),
        )
        try:
            window_facts(found, COLUMNS)
        except Unfit:
            continue
        return found


def post_query(pick):
    windows = tuple(window(pick) for _ in range(pick.randrange(3)))
    columns = PostProcessing(COLUMNS, (), windows).extended
    outputs = tuple(Output(f"o{at}", expression(pick, 2, columns)) for at in range(1 + pick.randrange(3)))
    outputs += tuple(Output(f"w{at}", ColumnRef(len(COLUMNS) + at)) for at in range(len(windows)))
    having = expression(pick, 3, kinds={Kind.TRUTH}) if pick.random() < 0.5 else None
    limit = pick.choice((None, None, 0, 3, 10**7))
    return PostProcessing(
        COLUMNS, outputs, windows, having, terms(pick, columns, total=True), limit, pick.choice((0, 0, 2))
    )


def ordered_sql(orders, names, columns):
    return ", ".join(
        f"CAST({sql_of(term.expression, names, columns)} AS {sql_type(facts_of(term.expression, columns))})"
        f" {'DESC' if term.descending else 'ASC'}"
        f" NULLS {'FIRST' if term.nulls_first else 'LAST'}"
        for term in orders
    )


def window_sql(found, names):
    over = []
    if found.partition:
        over.append("PARTITION BY " + ", ".join(sql_of(each, names, COLUMNS) for each in found.partition))
    if found.order:
        over.append("ORDER BY " + ordered_sql(found.order, names, COLUMNS))
    if found.frame is not None and found.function not in {*TERMS, WindowFunction.RANK, WindowFunction.DENSE_RANK}:
        ends = []
        for end, sign in ((found.frame.before, -1), (found.frame.after, 1)):
            word = "PRECEDING" if sign * (end or 0) < 0 or (end in (0, None) and sign < 0) else "FOLLOWING"
            ends.append("UNBOUNDED " + word if end is None else f"{abs(end)} {word}")
        over.append(f"ROWS BETWEEN {ends[0]} AND {ends[1]}")
    over = f"OVER ({' '.join(over)})"
    argument = sql_of(found.argument, names, COLUMNS)
    name = found.function.value
    if found.function in (WindowFunction.LAG, WindowFunction.LEAD):
        return f"{name}({argument}, {found.offset}) {over}"
    if found.function is WindowFunction.ROWS:
        return f"count(*) {over}"
    if found.function is WindowFunction.NONNULL:
        return f"count({argument}) {over}"
    if found.function is WindowFunction.AVG:
        known, facts = facts_of(found.argument, COLUMNS), window_facts(found, COLUMNS)
        total = f"(sum(CAST({argument} AS HUGEINT) * {10 ** (facts.scale - known.scale)}) {over})"
        return quotient_sql(total, f"(count({argument}) {over})", (-1, 1), (0, 1))
    if found.function in (WindowFunction.SUM, WindowFunction.MIN, WindowFunction.MAX):
        return f"{name}({argument}) {over}"
    return f"{name}() {over}"


def duckdb_answer(post, rows):
    names = [f"c{at}" for at in range(len(COLUMNS))]
    types = [sql_type(facts) for facts in COLUMNS]
    stored = pa.table({name: pa.array([row[at] for row in rows], ARROW[types[at]]) for at, name in enumerate(names)})
    DUCKDB.register("noisy", stored)
    having = "" if post.having is None else f" WHERE {sql_of(post.having, names, COLUMNS)}"
    added = [
        f"CAST({window_sql(found, names)} AS {sql_type(facts)}) AS c{len(COLUMNS) + at}"
        for at, (found, facts) in enumerate(zip(post.windows, post.extended[len(COLUMNS) :], strict=True))
    ]
    names += [f"c{len(COLUMNS) + at}" for at in range(len(added))]
    table_sql = f"SELECT {', '.join(['*', *added])} FROM (SELECT * FROM noisy{having})"
    outputs = ", ".join(f"{sql_of(output.expression, names, post.extended)}" for output in post.outputs)
    limit = f" LIMIT {post.limit}" if post.limit is not None else ""
    order = ordered_sql(post.order, names, post.extended)
    text = f"SELECT {outputs}, c0 FROM ({table_sql}) ORDER BY {order}{limit} OFFSET {post.offset}"
    return DUCKDB.execute(text).fetchall()


@pytest.mark.parametrize("seed", range(20))
def test_random_post_queries_equal_duckdbs_over_the_same_table(seed):
    pick = random.Random(seed)
    for _ in range(25):
        post, rows = post_query(pick), table(pick, pick.choice((0, 1, 2, 30)))
        found = post.shown(rows)
        assert [(*row, rows[at][0]) for row, at in zip(found.rows, found.origins, strict=True)] == duckdb_answer(
            post, rows
        ), post


def test_ties_keep_the_order_of_the_table_in_either_direction():
    rows = [(key, None, None, None, key % 2, 0, None) for key in range(10)]
    for descending, first in ((False, [0, 2, 4, 6, 8]), (True, [1, 3, 5, 7, 9])):
        post = PostProcessing(COLUMNS, (Output("k", ColumnRef(0)),), order=(Order(COUNT, descending=descending),))
        assert [row[0] for row in post.shown(rows).rows][:5] == first


def test_a_division_by_a_noisy_zero_is_null_and_unknown_is_not_had():
    share = Call("divide", (SUM, COUNT))
    post = PostProcessing(COLUMNS, (Output("share", share),), having=Call("gt", (MEAN, Literal(0))))
    rows = [
        (0, None, None, None, 0, 5, 1),
        (1, None, None, None, 2, 5, None),
        (2, None, None, None, 2, 5, 1),
    ]
    assert post.shown(rows).rows == [(None,), (25_000,)]
    assert post.shown(rows).origins == [0, 2]


def test_what_cannot_work_is_refused_before_there_is_a_table():
    wide = Window(WindowFunction.SUM, Call("times", (SUM, SUM)))
    for post in (
        PostProcessing(COLUMNS, (Output("w", ColumnRef(7)),), windows=(wide,)),
        PostProcessing(COLUMNS, (Output("w", ColumnRef(7)),), windows=(Window(WindowFunction.SUM, ColumnRef(1)),)),
        PostProcessing(COLUMNS, (Output("w", ColumnRef(7)),), windows=(Window(WindowFunction.MIN, ColumnRef(3)),)),
        PostProcessing(COLUMNS, (Output("w", ColumnRef(7)),), windows=(Window(WindowFunction.LAG),)),
        PostProcessing(COLUMNS, (Output("o", Call("plus", (COUNT, ColumnRef(1)))),)),
        PostProcessing(COLUMNS, (Output("o", COUNT),), having=COUNT),
        PostProcessing(COLUMNS, (Output("o", COUNT),), order=(Order(Call("lt", (COUNT, ColumnRef(1)))),)),
    ):
        with pytest.raises(Unfit):
            post.check()


def test_the_noisy_table_of_grouping_sets_can_have_null_keys():
    region = Facts(Kind.TEXT, max_bytes=5, values=("north", "south"), nullable=False, is_public=True)
    unit = Facts(Kind.TEXT, max_bytes=9, nullable=False)
    source = Scan(
        0, "a", (Field("u", unit), Field("region", region), Field("x", number_of(0, 9))), frozenset(), 100, private=True
    )
    values = (Asked(Aggregate.ROWS, None), Asked(Aggregate.AVG, ColumnRef(2)))
    for sets, nullable in ((((0,),), False), (((0,), ()), True)):
        grouping = Grouping(source, (Key("region", ColumnRef(1)),), sets, values)
        outputs = (Output("region", ColumnRef(0)), Output("twice", Call("times", (ColumnRef(1), Literal(2)))))
        post = post_processing(Answer(grouping, outputs, Call("lt", (ColumnRef(2), Literal(5)))))
        assert post.columns[0].nullable is nullable
        assert [facts.scale for facts in post.columns] == [0, 0, 6]
        assert post.shown([("north", 3, 10**6), ("south", 4, 6 * 10**6)]).rows == [("north", 6)]


@pytest.mark.parametrize(
    ("function", "frame"),
    [
        (WindowFunction.MAX, Frame(40_000, 40_000)),
        (WindowFunction.MIN, None),
        (WindowFunction.SUM, Frame(None, 10**9)),
        (WindowFunction.AVG, Frame(30_000, -7)),
        (WindowFunction.DENSE_RANK, None),
        (WindowFunction.LAG, None),
    ],
)
def test_windows_take_no_longer_for_wide_frames_and_sorted_rows(function, frame):
    """The same rows four times: a quadratic way would take sixteen times as long."""
    found = Window(function, COUNT, (), (Order(COUNT),), frame, 10**9)
    post = PostProcessing(COLUMNS, (Output("w", ColumnRef(7)),), (found,))
    seconds = []
    for size in (20_000, 80_000):
        rows = [(at, None, None, None, at, -at, None) for at in range(size)]
        start = time.process_time()
        assert len(post.shown(rows).rows) == size
        seconds.append(time.process_time() - start)
    assert seconds[1] < 10 * seconds[0]
