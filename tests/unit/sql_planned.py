"""Plans of queries over the clinic, put together from the parts that planning has: what tests of plans and releases share."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from privacy.accountant import Accountant
from privacy.mechanisms import NoiseKind
from privacy.sql.block_sql import block_sql, views_read
from privacy.sql.canonical import canonical_text
from privacy.sql.clip_ends import ends_of
from privacy.sql.facts import WHOLE
from privacy.sql.fitting import SetNeed, charge_of, delta_of, fitted
from privacy.sql.held import held
from privacy.sql.postprocess import post_processing
from privacy.sql.query_plan import PlannedKey, QueryPlan
from privacy.sql.row_columns import KeyKind, key_columns, value_columns
from privacy.sql.sensitivities import needs_of
from tests.unit.clinic_catalogue import accepted


def domain_of(facts):
    """The values of a key in the order shown, NULL last where it can be; None where they are not public, or too many."""
    if not facts.is_public:
        return None
    if facts.values is not None:
        values = [held(value, facts.kind, facts.scale) for value in facts.values]
    elif facts.kind in WHOLE and facts.ends[1] - facts.ends[0] < 400:
        values = list(range(facts.ends[0], facts.ends[1] + 1))
    else:
        return None
    return [*values, None] if facts.nullable else values


def planned(
    sql,
    *,
    epsilon=Fraction(1),
    delta=None,
    accountant=Accountant.BASIC,
    kind=NoiseKind.LAPLACE,
    groups=3,
    cap=4,
    clip=(),
    units=1000,
):
    """The plan of a query over the clinic."""
    answer = accepted(sql)
    grouping = answer.grouping
    domains = [domain_of(facts) for facts in grouping.key_facts]
    needs_sets = []
    for chosen in grouping.sets:
        parts = [domains[at] for at in chosen]
        listed = None if None in parts else tuple(product(*parts))
        most = groups if listed is None else min(groups, len(listed))
        needs_sets.append(SetNeed(chosen, most, listed, 10_000 if listed is None else len(listed), 10_000))
    thresholds = any(each.domain is None for each in needs_sets)
    cells = sum(100 if each.domain is None else len(each.domain) for each in needs_sets)
    needs = needs_of(grouping, ends_of(answer, clip), cap=cap, cells=cells, thresholds=thresholds)
    delta = delta_of(delta, units, needed=thresholds or kind is NoiseKind.GAUSSIAN)
    charge = charge_of(accountant, kind, epsilon, delta, thresholds=thresholds)
    keys = []
    for column, domain in zip(key_columns(grouping), domains, strict=True):
        numbers = [value for value in domain or () if value is not None]
        ranged = column.kind is KeyKind.INTEGER and bool(numbers)
        keys.append(PlannedKey(column, min(numbers), max(numbers) - min(numbers) + 1) if ranged else PlannedKey(column))
    return QueryPlan(
        canonical_sql=canonical_text(answer),
        block_sql=block_sql(grouping),
        views=views_read(grouping),
        keys=tuple(keys),
        values=len(value_columns(grouping)),
        measures=tuple(needs.measures),
        max_rows=cap,
        vectors=tuple(needs.vectors),
        sets=fitted(needs, needs_sets, charge),
        made=tuple(needs.made),
        post=post_processing(answer),
        accountant=accountant,
        price=charge.price,
        epsilon=epsilon,
        delta=delta,
        tips=("a tip",),
    )


AGGREGATES = {
    "COUNT(*)": 1,
    "COUNT(score)": 1,
    "COUNT(*) FILTER (WHERE urgent)": 1,
    "COUNT(DISTINCT patient)": 1,
    "COUNT(DISTINCT patient) FILTER (WHERE age > 3)": 1,
    "COUNT(DISTINCT score)": 1,
    "COUNT(DISTINCT outcome)": 1,
    "SUM(cost)": 1,
    "SUM(age * cost)": 1,
    "AVG(score)": 2,
    "AVG(age)": 2,
    "VAR_POP(cost)": 1,
    "STDDEV_SAMP(age)": 1,
    "MEDIAN(cost)": 1,
    "QUANTILE_CONT(age, 0.9)": 1,
    "MIN(score)": 1,
}
