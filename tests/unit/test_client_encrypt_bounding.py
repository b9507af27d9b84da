"""What is encrypted is bounded a unit: totals, groups and regression, exactly, and removing a unit changes no more than the terms say."""

from __future__ import annotations

import csv
import math
import tempfile
from collections import defaultdict
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from banyan.encrypt import exact_sums
from banyan.encrypt import rows as reading
from banyan.encrypt.bounding import bounded
from banyan.encrypt.declared import Declared
from banyan.encrypt.rows import read_rows
from banyan.encrypt.terms import GRAM, GRAM_BITS, Bounded, LeastSquares, Terms, gram_norm
from banyan.errors import Refused
from hypothesis import example, given, settings
from hypothesis import strategies as st

GROUPS = tuple(f"g{at}" for at in range(40))


def terms(**changed):
    given = {
        "provider": "hospital-a", "unit": "pid", "population": "patients", "profile": "crt115", "group_by": "region",
        "groups": GROUPS, "max_groups": 2, "totals": (Bounded("cost", 2, 0, 100_000),), "squares": ("cost",),
        "least_squares": None, "units": 1000,
    }  # fmt: skip
    return Terms(**(given | changed))


def parts_of(rows, declared):
    """`rows` are texts: unit, group, and the columns in the order of their names."""
    regression = declared.least_squares
    more = [] if regression is None else [*regression.features, regression.target]
    names = sorted({each.column for each in (*declared.totals, *more)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["pid", "region", *names], *rows])
        return bounded(read_rows(path, Declared(declared), drop_nulls=False), declared)


def changed_by(whole, less, name):
    difference = [one - other for one, other in zip(whole.vectors[name], less.vectors[name], strict=True)]
    return (
        sum(value != 0 for value in difference),
        sum(abs(value) for value in difference),
        sum(value**2 for value in difference),
        max(abs(value) for value in difference),
    )


def test_five_hundred_rows_of_a_unit_move_a_sum_by_no_more_than_one_clip():
    others = [(f"p{at}", "g0", "10.00") for at in range(50)]
    one = [("rich", "g0", "999.99")] * 500
    whole, less = parts_of([*others, *one], terms()), parts_of(others, terms())
    assert changed_by(whole, less, "units") == (1, 1, 1, 1)
    assert changed_by(whole, less, "sum:cost") == (1, 100_000, 100_000**2, 100_000)
    assert changed_by(whole, less, "square:cost") == (1, 50_000**2, 50_000**4, 50_000**2)
    assert whole.clamped == {"cost": 1}
    assert less.clamped == {"cost": 0}


def test_a_clip_is_of_the_total_never_of_a_row():
    rows = [("p1", "g0", "999.99"), ("p1", "g0", "-999.98"), ("p2", "g0", "5000"), ("p2", "g0", "-4999")]
    found = parts_of(rows, terms())
    assert found.vectors["sum:cost"][0] == 1 + 100
    assert found.clamped == {"cost": 0}


def test_a_unit_in_forty_groups_counts_in_exactly_as_many_as_it_may():
    others = [(f"p{at}", GROUPS[at % 40], "1") for at in range(80)]
    one = [("everywhere", group, "70000") for group in GROUPS]
    whole, less = parts_of([*others, *one], terms()), parts_of(others, terms())
    assert changed_by(whole, less, "units") == (2, 2, 2, 1)
    assert changed_by(whole, less, "sum:cost") == (2, 200_000, 2 * 100_000**2, 100_000)
    assert whole.groups_left_out == 38
    shuffled = parts_of([*one[::-1], *others[::-1]], terms())
    assert shuffled == whole


def test_negative_totals_keep_their_sign_and_their_bound():
    declared = terms(totals=(Bounded("cost", 2, -300, 200),), max_groups=1)
    rows = [("debtor", "g3", "-1.25")] * 4 + [("creditor", "g3", "1.50"), ("small", "g3", "-0.01")]
    found = parts_of(rows, declared)
    assert found.vectors["sum:cost"][3] == -300 + 150 - 1
    assert found.vectors["square:cost"][3] == (-300 + 50) ** 2 + (150 + 50) ** 2 + (-1 + 50) ** 2
    assert found.clamped == {"cost": 1}


def test_an_empty_group_is_zero_and_a_unit_without_totals_still_counts():
    found = parts_of([("p1", "g7")], terms(totals=(), squares=()))
    assert found.vectors == {"units": [0] * 7 + [1] + [0] * 32}


def test_more_than_twice_the_declared_units_are_refused():
    rows = [(f"p{at}", "g0", "1") for at in range(21)]
    with pytest.raises(Refused, match=r"data\.too_many_units"):
        parts_of(rows, terms(units=10))
    assert sum(parts_of(rows, terms(units=11)).vectors["units"]) == 21


# The same in plain Python with fractions, a unit after the other.
def slowly(rows, declared):
    names = sorted({each.column for each in declared.totals})
    by_unit = defaultdict(lambda: defaultdict(list))
    for unit, group, *cells in rows:
        by_unit[unit][group].append([Fraction(cell) for cell in cells])
    vectors = {vector.name: [0] * vector.length for vector in declared.vectors}
    for unit, groups in by_unit.items():
        chosen = sorted(groups, key=lambda group: _hash(unit, group))[: declared.max_groups]
        for group in chosen:
            at = declared.groups.index(group)
            vectors["units"][at] += 1
            for total in declared.totals:
                sums = sum(row[names.index(total.column)] for row in groups[group]) * 10**total.scale
                inside = min(max(sums, total.lower), total.upper)
                vectors[f"sum:{total.column}"][at] += inside
                if total.column in declared.squares:
                    vectors[f"square:{total.column}"][at] += (inside - total.centre) ** 2
    return vectors


def _hash(unit, group):
    said = unit.encode()
    return blake2b(len(said).to_bytes(8, "big") + said + group.encode(), digest_size=16).digest()


@st.composite
def worlds(draw):
    most = draw(st.integers(1, 5))
    groups = GROUPS[: draw(st.integers(most, 8))]
    scale = draw(st.integers(0, 4))
    reach = 10 ** draw(st.integers(0, 16 - scale))
    lower = draw(st.integers(-reach, reach - 1))
    upper = draw(st.integers(lower + 1, reach))
    cost, days = Bounded("cost", scale, lower, upper), Bounded("days", 0, -3, 10)
    squares = [name for name in ("cost", "days") if draw(st.booleans())]
    declared = terms(groups=groups, max_groups=most, totals=(cost, days), squares=tuple(squares))
    grid = st.integers(-2 * reach, 2 * reach).map(lambda value: f"{value}e-{scale}")
    days_cells = st.integers(-20, 20).map(str)
    row = st.tuples(st.sampled_from([f"p{at}" for at in range(6)]), st.sampled_from(groups), grid, days_cells)
    rows = draw(st.lists(row, min_size=1, max_size=60))
    return declared, rows


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_the_vectors_are_those_of_a_slow_reference(world):
    declared, rows = world
    assert parts_of(rows, declared).vectors == slowly(rows, declared)


@settings(max_examples=150, deadline=None)
@given(worlds(), st.data())
def test_removing_a_unit_changes_every_vector_within_the_sensitivity_of_the_terms(world, data):
    declared, rows = world
    gone = data.draw(st.sampled_from(sorted({row[0] for row in rows})))
    rest = [row for row in rows if row[0] != gone]
    whole = parts_of(rows, declared)
    anchor = [("anchor", declared.groups[0], "0", "0")]
    if not rest:
        whole, rest = parts_of([*rows, *anchor], declared), anchor
    less = parts_of(rest, declared)
    for vector in declared.vectors:
        l0, l1, l2_squared, linf = changed_by(whole, less, vector.name)
        change = vector.change
        assert l0 <= change.l0
        assert l1 <= change.l1
        assert l2_squared <= change.l2_squared
        assert linf <= change.linf


AGE, STAY, COST = Bounded("age", 0, 0, 110), Bounded("stay", 1, -5, 50), Bounded("cost", 2, -(2**52), 2**52)
REGRESSION = LeastSquares((AGE, STAY), COST)
# Cells of age, cost and stay, as they stand in the file, ordered by name.
WILD = st.tuples(
    st.one_of(st.integers(-(10**9), 10**9), st.sampled_from([0, 55, 110, 10**15])).map(str),
    st.one_of(st.integers(-(2**53), 2**53), st.sampled_from([2**52, -(2**52), 0])).map(lambda value: f"{value}e-2"),
    st.integers(-(10**6), 10**6).map(lambda value: f"{value}e-1"),
)


def regression_terms(regression=REGRESSION):
    return terms(totals=(), squares=(), least_squares=regression, groups=GROUPS[:3])


@settings(max_examples=200, deadline=None)
@given(st.lists(WILD, min_size=1, max_size=8), st.lists(st.sampled_from(GROUPS[:3]), min_size=8, max_size=8))
@example([("110", f"{2**52}e-2", "50e-1")], list(GROUPS[:1] * 8))
@example([("0", f"{-(2**52)}e-2", "-5e-1")] * 8, list(GROUPS[:3] * 3)[:8])
def test_a_unit_gives_a_matrix_within_its_norm_whatever_its_rows_hold(cells, groups):
    rows = [("p1", group, *cell) for cell, group in zip(cells, groups, strict=False)]
    others = [("p2", "g0", "7", "8", "9"), ("p3", "g1", "70", "1e6", "2")]
    declared = regression_terms()
    alone = parts_of(rows, declared).vectors[GRAM]
    assert sum(value**2 for value in alone) <= gram_norm(4) ** 2
    whole, less = parts_of([*others, *rows], declared), parts_of(others, declared)
    assert [one - other for one, other in zip(whole.vectors[GRAM], less.vectors[GRAM], strict=True)] == alone
    l0, l1, l2_squared, linf = changed_by(whole, less, GRAM)
    change = declared.vector(GRAM).change
    assert l0 <= change.l0
    assert l1 <= change.l1
    assert l2_squared <= change.l2_squared
    assert linf <= change.linf


def test_the_corner_of_the_bounds_fills_the_norm():
    corner = parts_of([("p1", "g0", "110", f"{2**52}e-2", "5")], regression_terms()).vectors[GRAM]
    assert corner == [2**GRAM_BITS // 4] * 10


def test_a_mean_of_many_enormous_values_is_no_smaller_one():
    widest = LeastSquares((Bounded("age", 0, -(2**53 - 1), 2**53 - 1),), COST)
    rows = [("p1", "g0", str(2**53), f"{2**52}e-2")] * 50
    assert parts_of(rows, regression_terms(widest)).vectors[GRAM] == [round(2**GRAM_BITS / 3)] * 6


def test_moments_are_of_the_units_means_and_of_all_their_groups():
    rows = [("p1", "g0", "20", "3e6", "1"), ("p1", "g1", "40", "-1e6", "2"), ("p1", "g2", "900", "7e6", "4"), ("p2", "g0", "5", "2", "1.5")]  # fmt: skip
    found = parts_of(rows, regression_terms()).vectors[GRAM]
    expected = [0] * 10
    for unit in (rows[:3], rows[3:]):
        mapped = [Fraction(1)]
        for each, at in ((AGE, 2), (STAY, 4), (COST, 3)):
            grid = [Fraction(row[at]) * 10**each.scale for row in unit]
            mean = sum(min(max(value, each.lower), each.upper) for value in grid) / len(unit)
            mapped.append(2 * (mean - each.lower) / (each.upper - each.lower) - 1)
        entries = [mapped[i] * mapped[j] * 2**GRAM_BITS / 4 for i in range(4) for j in range(i, 4)]
        expected = [total + round(entry) for total, entry in zip(expected, entries, strict=True)]
    assert found == expected
    assert parts_of(rows[::-1], regression_terms()).vectors[GRAM] == found


def test_many_units_in_many_parts_add_up(monkeypatch):
    generator = np.random.default_rng(11)
    rows = [
        (f"p{at % 50}", GROUPS[at % 3], str(generator.integers(0, 111)), str(generator.integers(0, 10**6)), "2.5")
        for at in range(200)
    ]
    declared = terms(
        least_squares=LeastSquares((AGE, STAY), COST), totals=(COST, STAY), squares=("stay",), groups=GROUPS[:3]
    )
    whole = parts_of(rows, declared)
    each = [parts_of([row for row in rows if row[0] == f"p{at}"], declared) for at in range(50)]
    for name, values in whole.vectors.items():
        assert values == [sum(entries) for entries in zip(*(one.vectors[name] for one in each), strict=True)]
    monkeypatch.setattr(reading, "PART_BITS", 1)
    assert parts_of(rows, declared) == whole


BIG = st.integers(-(2**62), 2**62 - 1)


@given(st.lists(st.tuples(BIG, st.integers(0, 3)), min_size=1, max_size=40))
@example([(2**62 - 1, 0), (-(2**62), 1)] * 20)
def test_sums_are_exact_beyond_64_bits(pairs):
    ordered = sorted(pairs, key=lambda pair: pair[1])
    values, place = (np.array(column, np.int64) for column in zip(*ordered, strict=True))
    expected = [sum(value for value, at in pairs if at == one) for one in range(4)]
    assert exact_sums.by_place(values, place, 4) == expected
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    high, low = exact_sums.runs(values, starts)
    assert ((low >= 0) & (low < 2**31)).all()
    present = sorted({at for _, at in pairs})
    assert [(int(more) << 31) + int(less) for more, less in zip(high, low, strict=True)] == [
        expected[at] for at in present
    ]
    clipped = np.clip(exact_sums.saturated(high, low), -(2**60), 2**60).tolist()
    assert clipped == [min(max(expected[at], -(2**60)), 2**60) for at in present]


@given(st.lists(st.tuples(st.integers(-(2**60), 2**60), st.integers(0, 2)), min_size=1, max_size=40))
def test_squares_are_exact_beyond_64_bits(pairs):
    values, place = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    expected = [sum(value**2 for value, at in pairs if at == one) for one in range(3)]
    assert exact_sums.squares_by_place(values, place, 3) == expected


def test_gram_norm_covers_the_rounding_of_every_entry():
    for size in range(3, 19):
        assert gram_norm(size) >= 2**GRAM_BITS + math.sqrt(size * (size + 1) / 2) / 2
