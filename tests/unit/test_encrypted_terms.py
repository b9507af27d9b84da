"""What terms say that one unit can change, against every change that bounded units can make; and that only whole, plain terms are read."""

import copy
import math
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.encrypted.profiles import profile_named
from privacy.encrypted.terms import (
    GRAM,
    GRAM_BITS,
    LARGEST,
    MAX_COLUMNS,
    MAX_GROUP_BYTES,
    MAX_GROUPS,
    Bounded,
    LeastSquares,
    Sensitivity,
    Terms,
    gram_length,
    gram_norm,
    square_most,
)
from privacy.mechanisms import Noise
from privacy.tails import NoiseKind
from tests.unit.encrypted_world import terms

JUNK = (
    True,
    None,
    1.5,
    math.nan,
    -1,
    0,
    2**53,
    2**63,
    10**400,
    "",
    "two words\n",
    "\ud800",
    b"bytes",
    [],
    {},
    [[]],
    {"a": 1},
)


def measured(vector):
    """l0, l1, l2 squared and linf of a vector of changes."""
    sizes = [abs(entry) for entry in vector]
    return Sensitivity(sum(map(bool, sizes)), sum(sizes), sum(size**2 for size in sizes), max(sizes))


def within(found, bound):
    return (
        found.l0 <= bound.l0
        and found.l1 <= bound.l1
        and found.l2_squared <= bound.l2_squared
        and found.linf <= bound.linf
    )


def worst(changes):
    """The largest of each of the four over many changes."""
    found = [measured(change) for change in changes]
    return Sensitivity(*(max(getattr(each, name) for each in found) for name in ("l0", "l1", "l2_squared", "linf")))


def test_the_vectors_of_an_upload_stand_in_order_with_what_one_unit_can_change():
    told = [(vector.name, vector.length, vector.change) for vector in terms().vectors]
    entries, norm = 6, 2**20 + 3
    assert told == [
        ("units", 3, Sensitivity(2, 2, 2, 1)),
        ("sum:cost", 3, Sensitivity(2, 200_000, 2 * 100_000**2, 100_000)),
        ("sum:stay", 3, Sensitivity(2, 40, 800, 20)),
        ("square:cost", 3, Sensitivity(2, 2 * 50_000**2, 2 * 50_000**4, 50_000**2)),
        ("gram", entries, Sensitivity(entries, math.isqrt(entries * norm**2) + 1, norm**2, 2**20)),
    ]


@pytest.mark.parametrize(("lower", "upper"), [(0, 3), (-3, 0), (-2, 3), (-3, 2), (1, 4), (-4, -1), (0, 1), (-1, 0)])
@pytest.mark.parametrize(
    ("groups", "kept", "overlap"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (3, 3, 1), (3, 2, 2), (2, 1, 2)]
)
def test_no_bounded_unit_changes_more_and_some_unit_changes_as_much(lower, upper, groups, kept, overlap):
    total = Bounded("x", 0, lower, upper)
    said = terms(groups=tuple("abc"[:groups]), max_groups=kept, totals=(total,), squares=("x",), least_squares=None)
    at_one = []  # a unit's total in each group at one provider; None where it does not count
    for counted in range(1, kept + 1):
        for places in combinations(range(groups), counted):
            at_one += [
                tuple(dict(zip(places, totals, strict=True)).get(at) for at in range(groups))
                for totals in product(range(lower, upper + 1), repeat=counted)
            ]
    parts = {
        "units": lambda value: 1,
        "sum:x": lambda value: value,
        "square:x": lambda value: (value - total.centre) ** 2,
    }
    for name, part in parts.items():
        vectors = {tuple(0 if value is None else part(value) for value in unit) for unit in at_one}
        changes = [tuple(map(sum, zip(*chosen, strict=True))) for chosen in product(vectors, repeat=overlap)]
        assert worst(changes) == said.vector(name).change.times(overlap, groups), name


@given(
    st.integers(1, 8).flatmap(lambda size: st.lists(st.integers(-1000, 1000), min_size=size + 2, max_size=size + 2)),
    st.integers(1, 3),
)
def test_the_rounded_moments_of_any_unit_stay_within_their_bound(direction, overlap):
    size = len(direction)
    length = math.isqrt(sum(part**2 for part in direction)) + 1
    w = [Fraction(part, length) for part in direction]  # of norm at most 1, as close as whole numbers come
    triangle = [round(2**GRAM_BITS * w[i] * w[j]) * overlap for i in range(size) for j in range(i, size)]
    features = tuple(Bounded(f"x{number}", 0, 0, 1) for number in range(size - 2))
    said = terms(least_squares=LeastSquares(features, Bounded("y", 0, 0, 1))).vector(GRAM)
    assert said.length == len(triangle)
    assert within(measured(triangle), said.change.times(overlap, said.length))


@pytest.mark.parametrize("size", range(3, MAX_COLUMNS + 3))
def test_the_bounds_of_moments_are_whole_numbers_no_float_came_near(size):
    entries, norm = gram_length(size), gram_norm(size)
    assert (norm - 2**GRAM_BITS - 1) ** 2 < entries <= (norm - 2**GRAM_BITS) ** 2
    features = tuple(Bounded(f"x{number}", 0, 0, 1) for number in range(size - 2))
    change = terms(least_squares=LeastSquares(features, Bounded("y", 0, 0, 1))).vector(GRAM).change
    assert (change.l1 - 1) ** 2 < entries * norm**2 <= change.l1**2
    assert change.l2_squared == norm**2


@pytest.mark.parametrize("overlap", [1, 2, 3, 1000])
def test_every_sensitivity_is_one_that_noise_takes(overlap):
    for vector in terms().vectors:
        change = vector.change.times(overlap, vector.length)
        if change.l1 <= 2**62:
            Noise(NoiseKind.LAPLACE, Fraction(2**40), change.l0, change.l1, change.l2_squared, change.linf)
            assert change.l0 <= vector.length


@pytest.mark.parametrize(
    ("lower", "upper", "most", "away"),
    [(0, 10, 10, 5), (0, 11, 11, 6), (-7, 2, 7, 5), (-10, -3, 10, 4), (5, 6, 6, 1), (-1, 0, 1, 1)],
)
def test_largest_totals_and_squares(lower, upper, most, away):
    total = Bounded("x", 0, lower, upper)
    assert total.most == most == max(abs(value) for value in range(lower, upper + 1))
    assert square_most(total) == away**2 == max((value - total.centre) ** 2 for value in range(lower, upper + 1))


def test_terms_come_back_from_json():
    for said in (terms(), terms(least_squares=None, group_by=None, groups=("all",), max_groups=1)):
        assert Terms.from_json(said.to_json()) == said


def test_the_shape_is_all_but_the_provider_and_its_size():
    said = terms()
    assert replace(said, provider="hospital-b", units=7).shape_digest == said.shape_digest
    others = (
        {"unit": "person"}, {"population": "people"}, {"profile": "crt115"}, {"group_by": "town"}, {"groups": ("south", "north", "west")},
        {"max_groups": 1}, {"totals": said.totals[::-1]}, {"totals": (said.totals[0], Bounded("stay", 0, -5, 21))}, {"squares": ()},
        {"squares": ("stay",)}, {"least_squares": None}, {"totals": (Bounded("cost", 1, 0, 100_000), said.totals[1])},
    )  # fmt: skip
    digests = {replace(said, **changed).shape_digest for changed in others}
    assert len(digests | {said.shape_digest}) == len(others) + 1


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places(each, (*path, name))


def changed(value, path, put):
    if not path:
        return put
    value = copy.deepcopy(value)
    place = value
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = put
    return value


def test_junk_at_any_place_is_refused_with_a_reason():
    said = terms().to_json()
    taken, reasons = set(), set()
    for path in places(said):
        for junk in JUNK:
            try:
                Terms.from_json(changed(said, path, junk))
                taken.add((path, repr(junk)))
            except ValueError as refused:
                reasons.add(str(refused))
    scales = [("totals", at, "scale") for at in (0, 1)]
    scales += [("least_squares", *end, "scale") for end in (("features", 0), ("target",))]
    lowers = [(*path[:-1], "lower") for path in scales]
    uppers = {(("totals", 1, "upper"), "-1"), (("totals", 1, "upper"), "0")}  # above its lower end of -5
    groups = {
        (("groups", at), repr("two words\n")) for at in range(3)
    }  # what a category may be is the declaration's to say
    assert taken == {
        (("group_by",), "None"), (("least_squares",), "None"), (("squares",), "[]"), *((path, "0") for path in (*scales, *lowers)),
        *((path, "-1") for path in lowers), *uppers, *groups,
    }  # fmt: skip
    assert "" not in reasons


def test_missing_and_unknown_members_are_refused():
    said = terms().to_json()
    for path in places(said):
        value = said
        for name in path:
            value = value[name]
        if isinstance(value, dict):
            others = [{**value, "more": 1}, *({n: v for n, v in value.items() if n != name} for name in value)]
            for other in others:
                with pytest.raises(ValueError, match="exactly the members"):
                    Terms.from_json(changed(said, path, other))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provider": "Hospital-A"}, "provider"), ({"provider": "a" * 41}, "provider"), ({"provider": "a\n"}, "provider"), ({"unit": "pid "}, "unit"),
        ({"population": "Patients"}, "population"), ({"profile": "sum99"}, "profile"), ({"group_by": "a-b"}, "group column"), ({"groups": ()}, "groups"),
        ({"groups": tuple(map(str, range(MAX_GROUPS + 1)))}, "10,000 groups"), ({"groups": ("a" * 201,), "max_groups": 1}, "group's name"),
        ({"groups": ("é" * 200,) * 2, "max_groups": 1}, "twice"), ({"groups": tuple(f"{n:0200}" for n in range(1000))}, "200,000 bytes"),
        ({"groups": ("north", "north"), "max_groups": 1}, "twice"), ({"max_groups": 0}, "1 to all groups"), ({"max_groups": 4}, "1 to all groups"),
        ({"max_groups": True}, "1 to all groups"), ({"units": 0}, "units"), ({"units": True}, "units"), ({"units": 10**9 + 1}, "units"),
        ({"totals": (Bounded("cost", 0, 0, 1),) * 2}, "totalled columns"), ({"squares": ("age",)}, "totalled columns"), ({"squares": ("cost", "cost")}, "once"),
        ({"totals": tuple(Bounded(f"x{n}", 0, 0, 1) for n in range(MAX_COLUMNS + 1)), "squares": ()}, "totalled columns"),
        ({"totals": (Bounded("cost", 0, 0, 2**30),)}, "larger than its numbers"),
    ],
)  # fmt: skip
def test_terms_out_of_bounds_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        terms(**changes)


def test_groups_may_be_as_many_and_as_long_as_a_header_has_room_for():
    # Two brackets, and for each group its quotes and a comma.
    longest = (*(f"{number:017}" for number in range(MAX_GROUPS - 1)), "9" * 16)
    assert sum(len(group) + 3 for group in longest) + 1 == MAX_GROUP_BYTES
    assert terms(groups=longest).vectors[0].length == MAX_GROUPS
    with pytest.raises(ValueError, match="200,000 bytes"):
        terms(groups=(*longest[:-1], "9" * 18))


@pytest.mark.parametrize(
    ("column", "scale", "lower", "upper"),
    [("", 0, 0, 1), ("1x", 0, 0, 1), ("a b", 0, 0, 1), ("x", -1, 0, 1), ("x", 10, 0, 1), ("x", True, 0, 1), ("x", 0, 1, 1), ("x", 0, 2, 1),
     ("x", 0, False, 1), ("x", 0, 0, 1.0), ("x", 0, -LARGEST - 1, 0), ("x", 0, 0, LARGEST + 1), ("x", 0, 0, 10**400), (None, 0, 0, 1), ("x", 0, math.nan, 1)],
)  # fmt: skip
def test_bounds_are_whole_and_in_order(column, scale, lower, upper):
    with pytest.raises(ValueError, match=r"name|scale|bounds"):
        Bounded(column, scale, lower, upper)


def test_the_largest_bounds_can_still_be_signed():
    said = terms(totals=(Bounded("cost", 0, -LARGEST, LARGEST),), squares=(), profile="crt115")
    assert said.shape_digest.startswith("sha256:")


def test_one_unit_fits_into_the_numbers_of_the_profile():
    half = profile_named("sum34").span // 2
    said = {"profile": "sum34", "squares": (), "least_squares": None}
    assert terms(totals=(Bounded("cost", 0, 0, half - 1),), **said)
    with pytest.raises(ValueError, match="larger than its numbers"):
        terms(totals=(Bounded("cost", 0, 0, half),), **said)


def test_a_regression_has_features_and_each_column_once():
    column = Bounded("y", 0, 0, 1)
    for features in ((), tuple(Bounded(f"x{n}", 0, 0, 1) for n in range(MAX_COLUMNS + 1))):
        with pytest.raises(ValueError, match="1 to 16 features"):
            LeastSquares(features, column)
    with pytest.raises(ValueError, match="twice in the regression"):
        LeastSquares((Bounded("y", 0, 0, 5),), column)


def test_what_is_not_there_has_no_vector():
    with pytest.raises(KeyError):
        terms().vector("sum:age")
    with pytest.raises(KeyError):
        terms().total("age")
