"""A key held by one unit alone is shown with probability at most δ (audited at δ = 1/1000), and mutants show it more often.

One side of the pair has no such key, so every draw here is on the side that may be given away.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from privacy.mechanisms import NoiseKind
from privacy.thresholds import KeyThreshold, _threshold_measurement
from tests.statistical.loss_audit import PROVEN, Draws, at_least, keeps_its_claim, loss_found

LONE_UNITS = 500_000
DELTA = Fraction(1, 1000)
SHARE = {NoiseKind.LAPLACE: Fraction(1), NoiseKind.GAUSSIAN: Fraction(1, 2)}


def shown(rule: KeyThreshold, keys: int, units: int) -> dict[bytes, int]:
    """One selection over many keys with the same number of units: as many independent draws."""
    halves = [range(keys // 2), range(keys // 2, keys)]
    with ThreadPoolExecutor(2) as pool:
        parts = pool.map(lambda half: rule.select({key.to_bytes(4, "big"): units for key in half}), halves)
        return {key: count for part in parts for key, count in part.items()}


def failure_found(rule: KeyThreshold, times: int) -> float:
    """How often, at least, a unit alone in its l0 keys is given away by any of them."""
    found = {int.from_bytes(key, "big") // rule.l0 for key in shown(rule, times * rule.l0, 1)}
    return at_least(len(found), times)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NoiseKind)
def test_a_lone_unit_is_shown_no_more_often_than_delta(kind):
    rule = KeyThreshold.fit(kind, 1, SHARE[kind] / 8, DELTA)
    assert keeps_its_claim(lambda: failure_found(rule, LONE_UNITS), float(rule.delta))


@pytest.mark.parametrize("kind", NoiseKind)
def test_a_unit_alone_in_all_its_groups_is_given_away_no_more_often_than_delta(kind):
    rule = KeyThreshold.fit(kind, 4, SHARE[kind], DELTA)
    assert keeps_its_claim(lambda: failure_found(rule, 25_000), float(rule.delta))


def counts_of(rule: KeyThreshold, keys: int, units: int) -> Draws:
    """Noisy counts of keys with many units; a key not shown counts 0."""
    found = shown(rule, keys, units)
    return np.array([found.get(key.to_bytes(4, "big"), 0) for key in range(keys)], dtype=np.float64)


@pytest.mark.parametrize("kind", NoiseKind)
def test_the_noisy_count_of_a_key_near_the_threshold_loses_no_more_than_its_price(kind):
    rule = KeyThreshold.fit(kind, 1, SHARE[kind] / 50, DELTA)
    many = rule.threshold + 1

    def audit() -> float:
        return loss_found(counts_of(rule, 50_000, many), counts_of(rule, 50_000, many - 1), PROVEN[kind])

    assert keeps_its_claim(audit, float(rule.price))


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize("l0", [1, 4])
def test_mutant_a_threshold_a_fifth_lower_is_found(kind, l0):
    honest = KeyThreshold.fit(kind, l0, SHARE[kind] / 8, DELTA)
    mutant = replace(honest, threshold=honest.threshold * 4 // 5)
    assert failure_found(mutant, 50_000 // l0) > float(honest.delta)


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_a_quarter_of_the_noise_under_the_same_threshold_is_found(kind):
    honest = KeyThreshold.fit(kind, 1, SHARE[kind] / 50, DELTA)
    mutant = replace(honest, scale=honest.scale / 4)
    many = 10 * honest.threshold
    found = loss_found(counts_of(mutant, 50_000, many), counts_of(mutant, 50_000, many - 1), PROVEN[kind])
    assert found > float(honest.price)


def test_mutant_the_threshold_itself_passes_is_found():
    """OpenDP 0.16 does this (its issue 2922), which is why `select` keeps only what lies strictly above."""
    rule = KeyThreshold.fit(NoiseKind.LAPLACE, 1, Fraction(1), DELTA)
    measurement = _threshold_measurement(rule.kind, rule.scale, rule.threshold)
    passed = measurement({str(key): 1 for key in range(100_000)})
    assert at_least(len(passed), 100_000) > 1.5 * float(rule.delta)
