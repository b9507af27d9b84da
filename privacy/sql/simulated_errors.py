"""How far an output that is no sum and no quotient strays: the whole release function, simulated at the noisy values (design R19)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from privacy.intervals import simulated_noise
from privacy.sql.answers import rows_of_set
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Expression, columns_in
from privacy.sql.functions import facts_of
from privacy.sql.held import Kind
from privacy.sql.noised import Integers, NoisySet
from privacy.sql.query_plan import QueryPlan

MOST_ROWS = 500  # of longer answers nothing is said: it would take longer than the answer
_DRAWS = 50
_SIGMA = (15.865525, 84.134475)  # between these percentiles of a normal distribution lie two standard deviations


def simulated_errors(
    expression: Expression, plan: QueryPlan, noisy: NoisySet, rows: Sequence[int], generator: np.random.Generator
) -> list[float | None]:
    """For each of these rows of the set a standard error; None where it is not worked out: no number, windows, too many rows."""
    facts = plan.post.columns
    unknown: list[float | None] = [None] * len(rows)
    if len(rows) > MOST_ROWS or max(columns_in(expression), default=0) >= len(facts):
        return unknown
    known = facts_of(expression, facts)
    if known.kind is not Kind.NUMBER:
        return unknown
    value = evaluator(expression, facts)
    some = _chosen(noisy, rows)
    drawn = [[value(row) for row in rows_of_set(_again(some, generator), plan)] for _ in range(_DRAWS)]
    found = []
    for cell in zip(*drawn, strict=True):
        numbers = [float(each) for each in cell if each is not None]
        spread = float(np.subtract(*np.percentile(numbers, _SIGMA[::-1]))) / 2 if numbers else None
        found.append(None if spread is None else spread / 10**known.scale)
    return found


def _chosen(noisy: NoisySet, rows: Sequence[int]) -> NoisySet:
    vectors = tuple(None if numbers is None else numbers[list(rows)] for numbers in noisy.vectors)
    return replace(noisy, keys=tuple(noisy.keys[at] for at in rows), vectors=vectors)


def _again(noisy: NoisySet, generator: np.random.Generator) -> NoisySet:
    """The set with noise once more."""
    vectors: list[Integers | None] = []
    for numbers, noise in zip(noisy.vectors, noisy.noises, strict=True):
        if numbers is None or noise is None:
            vectors.append(None)
            continue
        drawn = simulated_noise(noise, numbers.size, generator).reshape(numbers.shape)
        vectors.append(np.clip(numbers + drawn, -(2.0**62), 2.0**62).astype(np.int64))
    return replace(noisy, vectors=tuple(vectors))
