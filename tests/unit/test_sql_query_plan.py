"""Plans: what is measured, how far a unit moves it, that OpenDP's prices add up to the charge, and the stored form."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import combinations

import pytest
import rfc8785

from core.errors import Invalid
from privacy.accountant import Accountant, Loss, rho_for
from privacy.mechanisms import NoiseKind
from privacy.sql.bounds import Adds, Bounds, Measured
from privacy.sql.clip_ends import ends_of
from privacy.sql.expressions import Call, ColumnRef
from privacy.sql.expressions_json import Parts, parts_from
from privacy.sql.instruction import pass_specification, row_stage
from privacy.sql.interpreter import cells_of
from privacy.sql.plan_json import plan_from, plan_json
from privacy.sql.query_plan import Part
from privacy.sql.sensitivities import Needs, check_shown, needs_of
from privacy.sql.shares import shares_of
from privacy.sql.totals import combine
from tests.unit.clinic_catalogue import accepted, some_tables
from tests.unit.sql_planned import AGGREGATES, planned
from tests.unit.test_query_kernel import aggregate, library

__all__ = ["library"]  # the fixture
KEYS = {"": "", "ward": " GROUP BY ward", "note": " GROUP BY note"}
CURRENCIES = [
    (Accountant.BASIC, NoiseKind.LAPLACE),
    (Accountant.BASIC, NoiseKind.GAUSSIAN),
    (Accountant.ZCDP, NoiseKind.GAUSSIAN),
]


def query(aggregates, key="ward"):
    shown = ", ".join([*([key] if key else []), *(f"{each} AS a{at}" for at, each in enumerate(aggregates))])
    return f"SELECT {shown} FROM visits{KEYS[key]}"


def spent(plan):
    """The exact sum of what OpenDP's maps say, in the currency of the mechanisms; and of their δ."""
    loss = sum((Fraction(mechanism.price) for mechanism in plan.mechanisms), Fraction(0))
    return loss, sum((each.threshold.delta for each in plan.sets if each.threshold), Fraction(0))


@pytest.mark.parametrize(("accountant", "kind"), CURRENCIES)
@pytest.mark.parametrize("key", KEYS)
def test_the_price_is_the_charge_for_every_two_aggregates(key, accountant, kind):
    """T05: no combination of aggregates costs more than what is charged, and none wastes a hundredth of it."""
    epsilon, delta = Fraction(3, 7), Fraction(1, 10**6)
    for pair in [*combinations(AGGREGATES, 2), tuple(AGGREGATES)]:
        plan = planned(query(pair, key), epsilon=epsilon, delta=delta, accountant=accountant, kind=kind)
        loss, used = spent(plan)
        most = epsilon if kind is NoiseKind.LAPLACE else rho_for(epsilon, delta / 2)
        assert Fraction(99, 100) * most < loss <= most
        assert used <= (delta if kind is NoiseKind.LAPLACE else delta / 2)
        assert (used > 0) == (key == "note")
        priced = {
            (Accountant.BASIC, NoiseKind.LAPLACE): Loss(epsilon=epsilon, delta=delta if key == "note" else Fraction(0)),
            (Accountant.BASIC, NoiseKind.GAUSSIAN): Loss(epsilon=epsilon, delta=delta),
            (Accountant.ZCDP, NoiseKind.GAUSSIAN): Loss(rho=most, delta=delta / 2 if key == "note" else Fraction(0)),
        }
        assert plan.price == priced[accountant, kind]


def test_every_aggregate_buys_as_many_mechanisms_as_it_needs():
    for aggregate_, count in AGGREGATES.items():
        assert len(planned(query([aggregate_])).mechanisms) == count
    units = ["COUNT(DISTINCT patient)"]
    assert len(planned(query(units, "note")).mechanisms) == 1, "the threshold's own count"
    assert len(planned(query(["SUM(age)"], "note")).mechanisms) == 2


def test_what_is_measured_once_is_paid_once():
    for several, count in [
        (["AVG(age)", "COUNT(*)", "COUNT(age)", "AVG(age) + 1"], 2),
        (["VAR_POP(cost)", "STDDEV_SAMP(cost)", "AVG(cost)", "COUNT(cost)"], 1),
        (["AVG(age)", "VARIANCE(age)", "COUNT(*)"], 1),
        (["MEDIAN(cost)", "MIN(cost)", "MAX(cost)", "QUANTILE_CONT(cost, 0.9)"], 1),
        (["SUM(cost)", "AVG(cost)"], 3),
        (["COUNT(cost)", "COUNT(cost) FILTER (WHERE urgent)"], 2),
    ]:
        assert len(planned(query(several)).mechanisms) == count, several


def test_no_unit_moves_a_vector_further_than_its_reach():
    """Removing each unit in turn, over random rows: measured by the interpreter, weighed and spread as the gate does."""
    seen = set()
    for seed in range(12):
        tables = some_tables(seed, people=3)
        for pair in (tuple(AGGREGATES)[at : at + 4] for at in range(0, len(AGGREGATES), 4)):
            sql = query(pair, "note" if seed % 2 else "ward")
            plan = planned(sql, groups=1 + seed % 3, cap=1 + seed % 2)
            grouping = accepted(sql).grouping
            bounds = Bounds(
                tuple(each.max_groups for each in plan.sets), plan.max_rows, plan.measures, bytes([seed]) * 16
            )
            (whole,) = cells_of(grouping, tables, bounds)
            for unit in {row["patient"] for row in tables["clinic/visits"]}:
                left = {name: [row for row in rows if unit not in row.values()] for name, rows in tables.items()}
                (without,) = cells_of(grouping, left, bounds)
                check_moved(plan, whole, without, seen)
    assert seen == {"linf", "l1", "l2"}, "somewhere each bound is met"


def check_moved(plan, whole, without, seen):
    width = sum(measure.columns for measure in plan.measures)
    nothing = (0,) * width
    starts, at = [], 0
    for measure in plan.measures:
        starts.append(at)
        at += measure.columns
    groups = [
        tuple(x - y for x, y in zip(whole.get(key, nothing), without.get(key, nothing), strict=True))
        for key in whole.keys() | without.keys()
    ]
    for vector, noise in zip(plan.vectors, plan.sets[0].noises, strict=True):
        moved = []
        for group in groups:
            entries = []
            for place, weight in zip(vector.measures, vector.weights, strict=True):
                found = group[starts[place] : starts[place] + plan.measures[place].columns]
                entries += [weight * each for each in found]
            tree = plan.tree_of(vector)
            if tree is not None and tree.levels == 2:
                entries += [sum(entries[first : first + tree.fan]) for first in range(0, tree.leaves, tree.fan)]
            moved += [abs(each) for each in entries]
        assert max(moved, default=0) <= vector.reach.linf
        if noise is not None:
            assert sum(moved) <= noise.l1
            assert sum(each**2 for each in moved) <= noise.l2_squared
            assert sum(map(bool, moved)) <= noise.l0
            met = [max(moved) == noise.linf, sum(moved) == noise.l1, sum(each**2 for each in moved) == noise.l2_squared]
            seen |= {name for name, found in zip(("linf", "l1", "l2"), met, strict=True) if found}


def test_each_grouping_set_is_a_measurement_of_its_own():
    plan = planned("SELECT ward, note, SUM(age) AS s, COUNT(*) AS n FROM visits GROUP BY ROLLUP (ward, note)", groups=5)
    assert [(each.keys, each.max_groups) for each in plan.sets] == [((0, 1), 5), ((0,), 3), ((), 1)]
    assert [each.threshold is None for each in plan.sets] == [False, True, True]
    assert [sum(noise is not None for noise in each.noises) for each in plan.sets] == [2, 2, 2]
    assert len(plan.mechanisms) == 7
    assert [noise.l1 for noise in (each.noises[0] for each in plan.sets)] == [5 * 440, 3 * 440, 440]


def test_what_could_wrap_is_refused():
    for sql in (
        "SELECT SUM(age * 100000000000000) AS s FROM visits",
        "SELECT VAR_POP(age * 100000) AS s FROM visits",
    ):
        with pytest.raises(Invalid) as error:
            planned(sql, cap=10**6)
        assert error.value.code == "plan.too_large"
        assert error.value.way_out
    assert planned("SELECT VAR_POP(age * 100000) AS s FROM visits", cap=1)


def test_a_total_may_come_to_the_last_number_that_fits():
    needs = Needs(1, 2**10)
    needs.plain(Measured(Adds.SUM, 0, 0, 2**52 - 1), 2**52 - 1)
    with pytest.raises(Invalid):
        needs.plain(Measured(Adds.SUM, 0, 0, 2**52), 2**52)
    with pytest.raises(Invalid):
        Needs(2**10, 1).plain(Measured(Adds.SUM, 0, 0, 2**52), 2**52)


def test_a_sum_that_a_table_cannot_show_is_refused():
    made = planned(query(["SUM(cost)"])).made[0]
    check_shown(made, 10**11, Fraction(1))
    for rows, scale in ((10**14, Fraction(1)), (1, Fraction(2**60))):
        with pytest.raises(Invalid) as error:
            check_shown(made, rows, scale)
        assert error.value.code == "plan.too_large"
    check_shown(planned(query(["AVG(cost)"])).made[0], 10**14, Fraction(2**60))


def test_equal_ends_have_noise_all_the_same():
    """T06: of a value that is always 5 nothing can change, and still its sum is not shown as it is."""
    plan = planned(query(["SUM(age * 0)", "AVG(age * 0)", "VAR_POP(age * 0)", "MEDIAN(age * 0)"]))
    assert min(noise.scale for noise in plan.sets[0].noises) >= 1


def test_quantiles_of_many_groups_have_fewer_bins_and_then_none():
    grouping = accepted(query(["MEDIAN(cost)", "MEDIAN(age)"])).grouping
    ends = ends_of(accepted(query(["MEDIAN(cost)", "MEDIAN(age)"])), ())
    counts = []
    for cells in (1, 1000, 10_000):
        needs = needs_of(grouping, ends, cap=1, cells=cells, thresholds=False)
        counts.append(needs.measures[0].columns)
    assert counts[0] == 932, "10,250 numbers in bins of 11"
    assert 200 < counts[1] <= 250
    assert 16 <= counts[2] <= 25
    with pytest.raises(Invalid) as error:
        needs_of(grouping, ends, cap=1, cells=20_000, thresholds=False)
    assert error.value.code == "plan.too_large"


def test_distinct_values_are_capped_by_what_there_can_be():
    for text, cap, k in (("outcome", 4, 2), ("score", 4, 4), ("score", 1000, 20), ("visit", 10**6, 1024)):
        plan = planned(query([f"COUNT(DISTINCT {text})"]), cap=cap)
        assert [measure.k for measure in plan.measures] == [k]
        assert (plan.vectors[0].reach.linf, plan.vectors[0].reach.l2_squared) == (k, k**2)


@pytest.mark.parametrize(
    ("clip", "ends"),
    [
        ((), [(-250, 9999), None, (0, 110 * 9999 * 1), (0, 110)]),
        ((("cost", Decimal(0), Decimal("50.5")),), [(0, 5050), None, None, (0, 110)]),
        ((("S", Decimal(1), Decimal(2)),), [(100, 200), None, None, (0, 110)]),
        ((("m", Decimal(10), Decimal(20)),), [(-250, 9999), None, None, (10, 20)]),
        ((("both", Decimal(0), Decimal(1)),), [(0, 100), None, None, (0, 1)]),
    ],
)
def test_ends_can_be_clipped_by_output_and_by_column(clip, ends):
    sql = "SELECT SUM(cost) AS s, COUNT(cost) AS n, SUM(cost * age) AS p, MEDIAN(age) AS m{} FROM visits"
    answer = accepted(sql.format(", SUM(cost) + MEDIAN(age) AS both" if clip and clip[0][0] == "both" else ""))
    found = ends_of(answer, clip)
    assert [found[0], found[1], found[3]] == [ends[0], ends[1], ends[3]]
    assert found[2] == (-250 * 110, 9999 * 110)


@pytest.mark.parametrize(
    "clip",
    [
        ("n", Decimal(0), Decimal(1)),
        ("nothing", Decimal(0), Decimal(1)),
        ("cost", Decimal(2), Decimal(1)),
        ("cost", Decimal(1), Decimal(1)),
        ("cost", Decimal(-3), Decimal(1)),
        ("cost", Decimal(0), Decimal(100)),
        ("cost", Decimal("0.001"), Decimal(1)),
        ("cost", Decimal("NaN"), Decimal(1)),
    ],
)
def test_a_clip_that_cannot_be_is_refused(clip):
    with pytest.raises(Invalid) as error:
        ends_of(accepted("SELECT SUM(cost) AS s, COUNT(cost) AS n FROM visits"), (clip,))
    assert error.value.code == "bounds.clip"
    assert error.value.where == {"field": f"bounds.clip.{clip[0]}"}
    assert error.value.way_out


def test_shares_add_up_and_the_worst_error_is_the_least():
    errors = [Fraction(1), Fraction(4), Fraction(1, 3)]
    for kind, power in ((NoiseKind.LAPLACE, 1), (NoiseKind.GAUSSIAN, 2)):
        shares = shares_of(kind, errors, Fraction(1, 7))
        assert sum(shares) == Fraction(1, 7)
        assert len({error**power / share for error, share in zip(errors, shares, strict=True)}) == 1
    for wrong in ([], [Fraction(0)], [Fraction(1), Fraction(-1)]):
        with pytest.raises(ValueError, match="shared"):
            shares_of(NoiseKind.LAPLACE, wrong, Fraction(1))


ODD = """
SELECT ward, urgent, seen, note, COUNT(*) AS n, 100.5 * SUM(cost) / NULLIF(COUNT(*), 0) AS c, AVG(age) AS a,
    MEDIAN(cost) AS m, STDDEV(age) AS s, COUNT(DISTINCT outcome) AS o, COALESCE(note, 'é''x') AS k
FROM visits WHERE arrived > TIMESTAMP '2020-01-01 00:00:00' GROUP BY GROUPING SETS ((ward, urgent), (seen), (ward, note), ())
HAVING COUNT(*) > 3 AND (note IS NULL OR note <> 'z') ORDER BY seen DESC NULLS FIRST, SUM(cost) / COUNT(*) LIMIT 10 OFFSET 2
"""
WINDOWED = (
    "SELECT ward, RANK() OVER (PARTITION BY ward ORDER BY COUNT(*) DESC) AS r, COUNT(*) AS n FROM visits GROUP BY ward"
)
STORED = [ODD, WINDOWED, query(AGGREGATES), query(AGGREGATES, "note"), query(AGGREGATES, "")]


@pytest.mark.parametrize("sql", STORED)
@pytest.mark.parametrize(("accountant", "kind"), CURRENCIES)
def test_the_stored_form_reads_back_as_the_plan(sql, accountant, kind):
    plan = planned(sql, accountant=accountant, kind=kind)
    data = rfc8785.dumps(plan_json(plan))
    assert plan_from(json.loads(data)) == plan
    assert rfc8785.dumps(plan_json(plan_from(json.loads(data)))) == data


def test_an_expression_is_stored_once_however_often_it_is_used():
    term = ColumnRef(0)
    for _ in range(100):  # written out, more parts than there are atoms
        term = Call("plus", (term, term))
    parts = Parts()
    assert parts.place(term) == parts.place(Call("plus", term.args)) == 100
    assert len(parts.listed) == 101
    found = parts_from(parts.listed)[-1]
    assert (found.size, found.depth) == (term.size, 100)


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": "banyan.query_plan/1"},
        {"made": []},
        {"vectors": []},
        {"accountant": "none"},
        {"epsilon": "x"},
        {"expressions": [["call", "plus", 0, 1]]},
        {"price": {"epsilon": "1/2", "delta": "0", "rho": "0"}},
        {"price": {"epsilon": "0", "delta": "0", "rho": "1"}},
    ],
)
def test_a_damaged_plan_is_not_read(damage):
    stored = plan_json(planned(query(["SUM(age)", "COUNT(*)"])))
    with pytest.raises((ValueError, KeyError, TypeError, IndexError)):
        plan_from(stored | damage)


def test_a_plan_that_hides_less_than_a_unit_changes_cannot_be_built():
    plan = planned(query(["SUM(age)"], "note"), delta=Fraction(1, 10**5))
    (only,) = plan.sets
    with pytest.raises(ValueError, match="fitted to less"):
        replace(plan, sets=(replace(only, max_groups=2, noises=planned(query(["COUNT(*)"], "note")).sets[0].noises),))
    with pytest.raises(ValueError, match="fewer groups"):
        replace(only, max_groups=4)
    with pytest.raises(ValueError, match="public, or pass"):
        replace(only, threshold=None)
    with pytest.raises(ValueError, match="cost more"):
        replace(plan, price=Loss(epsilon=plan.price.epsilon, delta=plan.price.delta / 2))
    with pytest.raises(ValueError, match="cost more"):
        replace(plan, sets=plan.sets * 2)
    gaussian = planned(query(["SUM(age)"], "note"), epsilon=Fraction(1, 20), kind=NoiseKind.GAUSSIAN)
    _, used = spent(gaussian)
    assert used > Fraction(11, 20) * gaussian.delta / 2
    with pytest.raises(ValueError, match="cost more"):  # half of δ is for the conversion
        replace(gaussian, price=Loss(epsilon=gaussian.epsilon, delta=used * Fraction(19, 10)))
    with pytest.raises(ValueError, match="distinct units"):
        replace(plan, measures=tuple(m for m in plan.measures if m.adds is not Adds.UNITS))


def test_the_pass_and_the_gate_read_what_the_plan_says(library):
    for sql in STORED:
        plan = planned(sql)
        told = pass_specification(plan, bytes(16))
        with aggregate.Pass(library, told) as running:
            totals = combine([running.partial()], plan.shape)
        assert [found.values.shape[0] for found in totals.sets] == [0] * len(plan.sets)
        assert totals.sets[0].values.shape[1] == sum(measure.columns for measure in plan.measures)
        assert [measure["kind"] for measure in told["measures"]] == [kind for kind, _ in plan.shape.measures]
        assert plan.shape.of(plan.shape.text()).max_bytes == plan.shape.max_bytes
        json.dumps(row_stage(plan))
    with pytest.raises(ValueError, match="seed"):
        pass_specification(plan, bytes(8))


def test_the_parts_of_a_variance_are_named_in_order():
    plan = planned(query(["VAR_POP(cost)"]))
    (made,) = plan.made
    assert made.parts == (Part(0, 0), Part(0, 1), Part(0, 2))
    assert [plan.measures[at].adds for at in plan.vectors[0].measures] == [Adds.NONNULL, Adds.SUM, Adds.SQUARES]
    assert plan.vectors[0].weights == (5125**2, 5125, 1)
