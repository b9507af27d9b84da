"""Draws on block answers that differ in one block prove no more loss than the price (the slow ones: a million); mutants are found.

The answers run through the real clamp and grid; of the release only the noise is drawn many times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from privacy.accountant import Accountant
from privacy.mechanisms import Noise
from privacy.programs import answers as answers_module
from privacy.programs.answers import answers_of
from privacy.programs.outputs import Aggregate, Output
from privacy.programs.plan import ProgramPlan, ProgramRequest, plan_program
from privacy.programs.release import candidates_of, release_program
from privacy.quantile import ChoiceKind, Median
from tests.statistical.loss_audit import Draws, epsilon_of, keeps_its_claim, loss_found, vector_loss
from tests.unit.program_world import Exact, vector

MILLION = 1_000_000
BLOCKS = 8
# Enough ρ for few draws to prove most of it.
EPSILON = {Accountant.BASIC: Fraction(1), Accountant.ZCDP: Fraction(6)}
TIMES = [100_000, pytest.param(MILLION, marks=pytest.mark.slow)]


def planned(accountant: Accountant, length: int | None = None, aggregate: Aggregate = Aggregate.MEAN) -> ProgramPlan:
    slope = Output("slope", length, Decimal(-3), Decimal(3), Decimal(0), aggregate)
    return plan_program(ProgramRequest((slope,), EPSILON[accountant], None, accountant, BLOCKS, (), 1000, BLOCKS))


class Recorded(Exact):
    """Keeps the sums that noise is drawn on."""

    def __init__(self) -> None:
        self.sums: list[int] = []

    def draw(self, noise: object, values: list[int]) -> list[int]:
        self.sums = values
        return values


def sums_of(plan: ProgramPlan, partials: Mapping[int, bytes]) -> list[int]:
    source = Recorded()
    release_program(answers_of(plan, partials), plan, source)
    return source.sums


def one_block_apart(plan: ProgramPlan) -> tuple[list[int], list[int]]:
    """All blocks answer 0, but for one: far above the range in one world, far below it in the other."""
    base = {block: vector(*[0.0] * plan.width) for block in range(BLOCKS)}
    above, below = (base | {3: vector(*[end] * plan.width)} for end in (1000.0, -1000.0))
    return sums_of(plan, above), sums_of(plan, below)


def noise_of(plan: ProgramPlan) -> Noise:
    assert plan.noise is not None
    return plan.noise


# --- means


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("accountant", Accountant)
def test_a_mean_loses_no_more_than_its_price(accountant, times):
    plan = planned(accountant)
    noise, pair = noise_of(plan), one_block_apart(plan)
    assert keeps_its_claim(lambda: vector_loss(noise, *pair, times), float(noise.price))


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("accountant", Accountant)
def test_a_vector_of_means_loses_no_more_than_its_price(accountant, times):
    """The joint statistic of all numbers: one block changes every one of them."""
    plan = planned(accountant, 4)
    noise, pair = noise_of(plan), one_block_apart(plan)
    assert keeps_its_claim(lambda: vector_loss(noise, *pair, times // 4), float(noise.price))


@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize("length", [None, 4])
def test_the_audit_of_means_is_sharp(accountant, length):
    plan = planned(accountant, length)
    noise, pair = noise_of(plan), one_block_apart(plan)
    assert vector_loss(noise, *pair, 30_000) > 0.6 * float(noise.price)


@pytest.mark.parametrize("accountant", Accountant)
def test_mutant_half_the_noise_is_found(accountant):
    plan = planned(accountant)
    mutant = replace(noise_of(plan), scale=noise_of(plan).scale / 2)
    assert vector_loss(mutant, *one_block_apart(plan), 30_000) > 1.3 * float(noise_of(plan).price)


@pytest.mark.parametrize("accountant", Accountant)
def test_mutant_a_vector_priced_as_one_of_its_numbers_is_found(accountant):
    claim = noise_of(planned(accountant))
    pair = one_block_apart(planned(accountant, 4))
    assert vector_loss(claim, *pair, 20_000) > 1.3 * float(claim.price)


@pytest.mark.parametrize("accountant", Accountant)
def test_mutant_answers_that_are_not_clamped_are_found(accountant, monkeypatch):
    class Unclamped:
        """NumPy whose clip does nothing."""

        def __getattr__(self, name: str) -> object:
            return (lambda values, *_: values) if name == "clip" else getattr(np, name)

    plan = planned(accountant)
    monkeypatch.setattr(answers_module, "np", Unclamped())
    assert vector_loss(noise_of(plan), *one_block_apart(plan), 20_000) > 1.3 * float(noise_of(plan).price)


# --- medians

# Changing one answer from the bottom to the top makes one rare candidate e² times as likely as the many others, as does the reverse.
RARE = (41, [0, 0, 38, 40], [0, 38, 40, 40])
# As many candidates below the middle answer as above it: the pair that tells most in ρ.
EVEN = (201, [0, 0, 100, 200], [0, 100, 200, 200])
WORST = {ChoiceKind.PERMUTE_AND_FLIP: RARE, ChoiceKind.EXPONENTIAL: EVEN}
SHARE = {ChoiceKind.PERMUTE_AND_FLIP: Fraction(2), ChoiceKind.EXPONENTIAL: Fraction(1, 2)}


def zcdp_of(more: float, less: float) -> float:
    """The ρ that two probabilities of one event prove: Rényi divergence of order α is at most ρ·α, for each α above 1."""
    if not 0 < less < more < 1:
        return 0.0
    orders = np.concatenate([np.linspace(1.01, 3, 100), np.linspace(3.1, 50, 200)])
    hit = orders * math.log(more) + (1 - orders) * math.log(less)
    missed = orders * math.log1p(-more) + (1 - orders) * math.log1p(-less)
    return max(0.0, float(np.max(np.logaddexp(hit, missed) / (orders - 1) / orders)))


PROVEN = {ChoiceKind.PERMUTE_AND_FLIP: epsilon_of, ChoiceKind.EXPONENTIAL: zcdp_of}


def distance(candidate: int, answers: Sequence[int]) -> float:
    below, above = sum(each < candidate for each in answers), sum(each > candidate for each in answers)
    return abs(below - above) / 2


def median_loss(median: Median, pair: tuple[int, list[int], list[int]], times: int) -> float:
    """The loss that draws on both worlds prove; candidates in order of how the change moves them towards the middle."""
    candidates, one, other = pair
    told = np.array([distance(candidate, other) - distance(candidate, one) for candidate in range(candidates)])

    def drawn(answers: list[int]) -> Draws:
        return np.asarray(told[[median.draw(answers) for _ in range(times)]], dtype=np.float64)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(drawn, (one, other))
    return loss_found(first, second, PROVEN[median.kind])


def fitted(kind: ChoiceKind) -> Median:
    return Median.fit(kind, WORST[kind][0], SHARE[kind])


@pytest.mark.parametrize("times", [10_000, pytest.param(MILLION, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("kind", ChoiceKind)
def test_a_median_loses_no_more_than_its_price(kind, times):
    median = fitted(kind)
    assert keeps_its_claim(lambda: median_loss(median, WORST[kind], times), float(median.price))


@pytest.mark.parametrize("kind", ChoiceKind)
def test_the_audit_of_medians_is_sharp(kind):
    median = fitted(kind)
    assert median_loss(median, WORST[kind], 10_000) > 0.55 * float(median.price)


@pytest.mark.parametrize("kind", ChoiceKind)
def test_mutant_a_median_priced_for_one_answer_added_is_found(kind):
    """OpenDP's map at 1, where a changed block is one answer less and one more (design R12)."""
    honest = fitted(kind)
    # At half the scale OpenDP's map at 1 is what its map at 2 is at the honest one.
    mutant = replace(honest, scale=honest.scale / 2)
    assert median_loss(mutant, WORST[kind], 8_000) > 1.2 * float(honest.price)


def test_a_changed_block_changes_one_answer_of_a_median_and_the_mechanism_is_the_audited_one():
    for accountant, kind in zip(Accountant, ChoiceKind, strict=True):
        plan = planned(accountant, aggregate=Aggregate.MEDIAN)
        base = {block: vector(0.5) for block in range(BLOCKS)}
        one, other = (
            candidates_of(answers_of(plan, base | {3: changed}).values[:, 0])
            for changed in (vector(1e300), b"no number")
        )
        assert [at for at in range(BLOCKS) if one[at] != other[at]] == [3]
        assert plan.median is not None
        assert plan.median.kind is kind
