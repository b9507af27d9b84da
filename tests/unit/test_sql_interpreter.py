"""The interpreter by hand: rows are what each node is defined to be, totals what docs/proofs/bounding.md says; its hash is SipHash."""

from __future__ import annotations

import struct
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest

from privacy.siphash import siphash
from privacy.sql.aggregates import Aggregate, Inner
from privacy.sql.algebra import Expand, Filter, Lookup, Project, Stacked, Summary, constant_of, facts_over
from privacy.sql.asked import Asked, Grouping, Key
from privacy.sql.bounds import Adds, Bounds, Measured
from privacy.sql.expressions import Call, ColumnRef, Literal
from privacy.sql.held import shown
from privacy.sql.interpreter import LARGEST, cells_of, chosen_groups
from privacy.sql.interpreter_rows import rows_of
from privacy.sql.relation_graph import relations_in
from tests.unit.clinic_catalogue import accepted
from tests.unit.relation_rows import of_one, units_in, without
from tests.unit.sql_trees import UNITS, Trees, accepted_grouping, scans, some_bounds, tables_of
from tests.unit.test_sql_meaning import TEXTS

# Aumasson and Bernstein's vectors for the key 00 01 … 0f and the messages of 0, 1, … 16 bytes 00 01 …
VECTORS = """
310e0edd47db6f72 fd67dc93c539f874 5a4fa9d909806c0d 2d7efbd796666785 b7877127e09427cf 8da699cd64557618 cee3fe586e46c9cb
37d1018bf50002ab 6224939a79f5f593 b0e4a90bdf82009e f3b9dd94c5bb5d7a a7ad6b22462fb3f4 fbe50e86bc8f1e75 903d84c02756ea14
eef27a8e90ca23f7 e545be4961ca29a1 db9bc2577fcc2a3f
""".split()

SCANS = scans()
PEOPLE, VISITS, DRUGS = (SCANS[f"clinic/{name}"] for name in ("people", "visits", "drugs"))
WARDS = SCANS["open/wards"]


@pytest.mark.parametrize(("size", "vector"), list(enumerate(VECTORS)))
def test_siphash_gives_the_published_vectors(size, vector):
    key = struct.unpack("<2Q", bytes(range(16)))
    assert siphash(key, bytes(range(size))).to_bytes(8, "little").hex() == vector


def column(relation, name):
    return ColumnRef(next(at for at, field in enumerate(relation.columns) if field.name == name))


def visit(number, patient, **values):
    row = dict.fromkeys(field.name for field in VISITS.columns)
    return {**row, "visit": number, "patient": patient, "ward": "north", "age": 3, **values}


def drug(visit_, holder, line, doses):
    return {"visit": visit_, "holder": holder, "line": line, "drug": "ibu", "doses": doses}


TABLES = {
    "clinic/people": [{"person": p, "born": None, "town": None, "weight": None} for p in "abc"],
    "clinic/visits": [visit(1, "a", score=5), visit(2, "a"), visit(3, "b", score=-2)],
    "clinic/drugs": [drug(1, "a", 1, 4), drug(1, "a", 2, 6), drug(3, "b", 1, 1)],
    "open/wards": [{"name": "north", "beds": 3, "town": "Ulm"}],
}


def columns_of(relation, *names):
    at = [column(relation, name).index for name in names]
    return sorted(([row[i] for i in at] for row in rows_of(relation, TABLES)), key=repr)


def test_a_lookup_finds_one_row_or_none():
    on = ((column(VISITS, "ward"), column(WARDS, "name")),)
    assert columns_of(Lookup(VISITS, WARDS, on, False, False), "visit", "beds") == [[1, 3], [2, 3], [3, 3]]
    local = Lookup(DRUGS, VISITS, ((column(DRUGS, "visit"), column(VISITS, "visit")),), False, True)
    assert columns_of(local, "holder", "line", "score") == [["a", 1, 5], ["a", 2, 5], ["b", 1, -2]]


def test_rows_of_two_units_never_meet():
    other = [{**row, "holder": "b"} for row in TABLES["clinic/drugs"]]
    on = ((column(DRUGS, "visit"), column(VISITS, "visit")),)
    rows = rows_of(Lookup(DRUGS, VISITS, on, False, True), {**TABLES, "clinic/drugs": other})
    assert [(row[0], row[1]) for row in rows] == [("b", 3)]


def test_a_kept_row_without_a_partner_is_padded():
    joined = Expand(PEOPLE, VISITS, (), True, True)
    assert columns_of(joined, "person", "visit") == [["a", 1], ["a", 2], ["b", 3], ["c", None]]


def test_a_filter_keeps_what_is_true_alone():
    positive = Filter(VISITS, Call("gt", (column(VISITS, "score"), Literal(0))))
    assert columns_of(positive, "visit") == [[1]]
    assert columns_of(Filter(VISITS, Call("not", (positive.condition,))), "visit") == [[3]]


def test_stacked_rows_are_all_there():
    one = Project(VISITS, (column(VISITS, "visit"),), ("n",))
    assert columns_of(Stacked((one, one)), "n") == [[1], [1], [2], [2], [3], [3]]


def test_a_summary_is_exact_in_each_unit():
    inner = [(each, None if each is Inner.ROWS else column(VISITS, "score")) for each in Inner]
    summary = Summary(VISITS, (), tuple(inner), tuple(map(str, Inner)))
    assert columns_of(summary, "patient", *Inner) == [
        ["a", 2, 1, 1, 5, 5_000_000, 5, 5],
        ["b", 1, 1, 1, -2, -2_000_000, -2, -2],
    ]


def test_an_average_rounds_halves_away_from_zero():
    for scores, average in (([1, 2], 1_500_000), ([-1, -1, -2], -1_333_333), ([1, 1, 3], 1_666_667)):
        visits = [visit(at, "a", score=score) for at, score in enumerate(scores)]
        summary = Summary(VISITS, (), ((Inner.AVG, column(VISITS, "score")),), ("avg",))
        assert rows_of(summary, {"clinic/visits": visits}) == [("a", average)]


def test_texts_are_compared_by_their_bytes():
    visits = [visit(1, "a", note="\U0001f600"), visit(2, "a", note="\uff5e")]
    summary = Summary(VISITS, (), ((Inner.MAX, column(VISITS, "note")),), ("max",))
    assert rows_of(summary, {"clinic/visits": visits}) == [("a", "\U0001f600")]


def test_values_stand_on_the_grid_of_their_column():
    values = constant_of(((1, Decimal("2.50")), (2, Decimal(1)), (3, None)), ("n", "x"))
    assert rows_of(values, {}) == [(1, 25), (2, 10), (3, None)]


SEED = bytes(range(16))


def cells(measures, visits, *, keys=("ward",), values=(), most=9, cap=9, ranges=()):
    grouping = Grouping(
        VISITS, tuple(Key(name, column(VISITS, name)) for name in keys), (tuple(range(len(keys))),), values
    )
    bounds = Bounds((most,), cap, measures, SEED, ranges)
    (found,) = cells_of(grouping, {"clinic/visits": visits}, bounds)
    return found


def of(text):
    return b"\x01" + len(text).to_bytes(4, "big") + text.encode()


def scored(*scores, patient="a", **values):
    return [visit(at, patient, score=score, **values) for at, score in enumerate(scores)]


SCORE = (Asked(Aggregate.SUM, column(VISITS, "score")),)


def test_counts_of_a_unit_are_capped():
    measures = (Measured(Adds.UNITS), Measured(Adds.ROWS), Measured(Adds.NONNULL, 0))
    visits = scored(1, 2, None, 3) + scored(None, patient="b")
    assert cells(measures, visits, values=SCORE, cap=2) == {of("north"): (2, 3, 2)}
    assert cells(measures, visits, values=SCORE) == {of("north"): (2, 5, 3)}
    assert cells((Measured(Adds.UNITS, 0),), visits, values=SCORE) == {of("north"): (1,)}


@pytest.mark.parametrize(("scores", "total"), [((1, 2, 4), 4), ((-1, -2, -4), -5), ((50, -50), 2), ((1, None, 1), 2)])
def test_sums_are_clamped_and_scaled_down_to_the_cap_and_floored(scores, total):
    measure = Measured(Adds.SUM, 0, low=-5, high=7)
    assert cells((measure,), scored(*scores), values=SCORE, cap=2) == {of("north"): (total,)}


def test_squares_are_of_the_distance_from_the_centre():
    measure = Measured(Adds.SQUARES, 0, low=0, high=9, centre=4)
    assert cells((measure,), scored(0, 5, 90), values=SCORE) == {of("north"): (16 + 1 + 25,)}
    assert cells((measure,), scored(0, 5, 90), values=SCORE, cap=2) == {of("north"): (28,)}


def test_bins_hold_whole_numbers_and_the_last_may_be_narrower():
    measure = Measured(Adds.BINS, 0, low=0, high=10, step=4)
    assert cells((measure,), scored(0, 3, 4, 10, 12, -7), values=SCORE) == {of("north"): (3, 1, 2)}
    assert cells((measure,), scored(0, 3, 4, 10, 12, -7), values=SCORE, cap=3) == {of("north"): (1, 0, 1)}


def test_of_a_units_distinct_values_k_count():
    visits = scored(1, 1, 2, 3, 4) + scored(3, 4, patient="b")
    assert cells((Measured(Adds.DISTINCT, 0, k=9),), visits, values=SCORE) == {of("north"): (4,)}
    (few,) = cells((Measured(Adds.DISTINCT, 0, k=2),), visits, values=SCORE)[of("north")]
    assert 2 <= few <= 4


def test_a_unit_counts_in_as_many_groups_as_it_may_and_they_do_not_depend_on_others():
    mine = [visit(at, "a", age=at) for at in range(10)]
    others = [visit(at, "b", age=at) for at in range(5, 15)]
    alone = cells((Measured(Adds.ROWS),), mine, keys=("age",), most=3)
    together = cells((Measured(Adds.ROWS),), others + mine, keys=("age",), most=3)
    rest = cells((Measured(Adds.ROWS),), others, keys=("age",), most=3)
    assert len(alone) == len(rest) == 3
    assert {key: alone.get(key, (0,))[0] + rest.get(key, (0,))[0] for key in together} == {
        key: total for key, (total,) in together.items()
    }


def test_the_choice_is_of_the_seed_the_unit_and_the_bytes():
    groups = [of(str(at)) for at in range(50)]
    chosen = {
        (seed, unit): frozenset(chosen_groups(unit, groups, 5, seed)) for seed in (SEED, SEED[::-1]) for unit in "ab"
    }
    assert len(set(chosen.values())) == 4
    assert {frozenset(chosen_groups("a", groups[::-1], 5, SEED))} == {chosen[SEED, "a"]}


def test_the_bytes_of_a_group_tell_its_values():
    visits = [visit(1, "a", urgent=True, seen=date(1969, 12, 31), note=None)]
    (key,) = cells((Measured(Adds.ROWS),), visits, keys=("urgent", "seen", "note"))
    assert key == b"\x01\0\0\0\x01\x01" + b"\x01\0\0\0\x08" + b"\xff" * 8 + b"\0"


def test_rows_with_a_key_outside_its_range_do_not_count():
    visits = [visit(at, "a", score=score) for at, score in enumerate((1, 2, 9, None))]
    found = cells((Measured(Adds.ROWS),), visits, keys=("score",), ranges=(range(1, 3),))
    assert sorted(key[-1:] for key in found) == [b"\0", b"\x01", b"\x02"]


def test_totals_stay_below_62_bits():
    visits = [visit(1, unit, score=12) for unit in "abcdef"]
    measure = Measured(Adds.SUM, 0, low=0, high=12, centre=-(2**60))
    assert cells((measure,), visits, values=SCORE) == {of("north"): (LARGEST,)}


def test_a_filter_says_which_rows_an_aggregate_sees():
    few = Call("gt", (column(VISITS, "age"), Literal(2)))
    asked = (Asked(Aggregate.ROWS, None, few), Asked(Aggregate.SUM, column(VISITS, "score"), few))
    visits = [visit(1, "a", age=1, score=7), visit(2, "a", age=5, score=6), visit(3, "b", age=0, score=1)]
    measures = (Measured(Adds.UNITS), Measured(Adds.UNITS, 0), Measured(Adds.NONNULL, 0), Measured(Adds.SUM, 1, 0, 9))
    assert cells(measures, visits, values=asked) == {of("north"): (2, 1, 1, 6)}


def test_every_set_has_cells_of_its_own():
    keys = tuple(Key(name, column(VISITS, name)) for name in ("ward", "age"))
    grouping = Grouping(VISITS, keys, ((), (0,), (0, 1)), (Asked(Aggregate.ROWS, None),))
    bounds = Bounds((1, 1, 1), 5, (Measured(Adds.ROWS),), SEED)
    visits = [visit(1, "a", age=1), visit(2, "a", age=2, ward="south"), visit(3, "a", age=3)]
    everything, by_ward, by_both = cells_of(grouping, {"clinic/visits": visits}, bounds)
    assert everything == {b"": (3,)}
    assert len(by_ward) == len(by_both) == 1
    assert cells_of(grouping, {"clinic/visits": []}, bounds) == ({}, {}, {})


# --- What a relation claims of its rows. -----------------------------------------------------------------------------


def check_claims(relation, tables):
    """Of the relation and of all that it is made of: sizes, facts, unique sets and units are as claimed."""
    for part in relations_in(relation):
        rows = rows_of(part, tables)
        assert len(rows) <= part.rows
        for at, facts in enumerate(facts_over(part)):
            held = {row[at] for row in rows}
            assert all(facts.has(shown(value, facts.kind, facts.scale)) for value in held), (part, at)
        for columns in part.unique:
            assert len({tuple(row[at] for at in columns) for row in rows}) == len(rows), (part, columns)
        assert not part.private or all(isinstance(row[0], str) for row in rows)


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_claims_of_random_trees_hold(start):
    for number in range(start, start + 20):
        for seed in (2, 9):
            check_claims(Trees(number).relation(), tables_of(seed))


@pytest.mark.parametrize("sql", TEXTS)
def test_claims_of_checked_texts_hold(sql):
    check_claims(accepted(sql).grouping.source, tables_of(9))


# --- What one unit can change. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_the_rows_of_a_unit_are_a_function_of_its_own(start):
    """For random trees: what docs/proofs/locality.md claims of every node."""
    tables = tables_of(9)
    found = 0
    for number in range(start, start + 20):
        relation = Trees(number).relation(private=True)
        rows = rows_of(relation, tables)
        parts = Counter()
        for unit in units_in(tables, UNITS):
            own = rows_of(relation, of_one(tables, UNITS, unit))
            assert {row[0] for row in own} <= {unit}
            parts += Counter(own)
        assert Counter(rows) == parts, number
        found += len(rows)
    assert found > 50


def reach_of(measure, cap):
    """How much one unit can add to one number of a measure in one group."""
    if measure.adds is Adds.UNITS:
        return 1
    if measure.adds is Adds.DISTINCT:
        return measure.k
    far = max(abs(measure.low - measure.centre), abs(measure.high - measure.centre))
    return cap * {Adds.SUM: far, Adds.SQUARES: far**2}.get(measure.adds, 1)


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_one_unit_less_changes_no_more_than_claimed(start):
    """Under a fixed seed; every unit in turn, so also the one whose group comes first."""
    tables = tables_of(9)
    changes = 0
    for number in range(start, start + 20):
        trees = Trees(number)
        grouping = accepted_grouping(trees)
        bounds = some_bounds(trees.pick, grouping)
        reach = [reach_of(m, bounds.max_rows) for m in bounds.measures for _ in range(m.columns)]
        whole = cells_of(grouping, tables, bounds)
        for unit in units_in(tables, UNITS):
            rest = cells_of(grouping, without(tables, UNITS, unit), bounds)
            for most, before, after in zip(bounds.max_groups, whole, rest, strict=True):
                zeros = (0,) * len(reach)
                moved = [
                    [abs(a - b) for a, b in zip(before.get(key, zeros), after.get(key, zeros), strict=True)]
                    for key in before.keys() | after.keys()
                ]
                assert sum(any(change) for change in moved) <= most
                assert all(change <= far for row in moved for change, far in zip(row, reach, strict=True))
                changes += sum(any(change) for change in moved)
    assert changes > 50
