"""What those who work against one provider see of it: uniform numbers, or a sum with as much noise as is paid for; mutants are found.

The attacker has everything but the signing keys of two providers: the secret key of the key holder, all ciphertexts at the service (so
every contribution in clear), both insiders' noise, and all other providers with their masks and their shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from banyan.encrypt import contribution
from banyan.encrypt import terms as clients
from banyan.encrypt.contribution import contributed
from banyan.encrypt.pair_masks import masks
from banyan.encrypt.shares import Share, partners_of
from scipy.stats import chi2

from privacy.accountant import Accountant
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedPlan, EncryptedRequest, PlannedVector
from privacy.encrypted.profiles import PROFILES, profile_named
from privacy.encrypted.request import read_compute
from privacy.mechanisms import Noise
from privacy.tails import NoiseKind
from tests.statistical.loss_audit import PROVEN, Draws, joint_statistic, keeps_its_claim, loss_found
from tests.statistical.test_encrypted_audit import neighbours, terms
from tests.unit.encrypted_world import public_line, signing

TIMES = [6_000, pytest.param(200_000, marks=pytest.mark.slow)]
# A test accuses an honest provider once in a hundred million runs.
UNLIKELY = 1e-8
JOB, VECTOR = "j-1", "units"
Values = Sequence[int]


def names(providers: int) -> list[str]:
    """The first two are honest."""
    return [f"provider-{number}" for number in range(providers)]


def share_for(scales: Mapping[str, Fraction], providers: int, job: str = JOB) -> Share:
    return Share(job, partners_of([public_line(name) for name in names(providers)]), tuple(scales.items()))


def given(name: str, totals: Mapping[str, Values], share: Share, profile: str) -> dict[str, list[int]]:
    """What a provider encrypts, as the attacker decrypts it."""
    return contributed(totals, clients.Terms.from_json(terms(name, profile=profile).to_json()), share, signing(name))


# Masks


def unlikely_to_be_uniform(values: Values, span: int, buckets: int = 16) -> bool:
    """Pearson's test of the residues, in order of size and by their last bits."""
    expected = len(values) / buckets
    for places in ([value % span * buckets // span for value in values], [value % span % buckets for value in values]):
        found = np.bincount(places, minlength=buckets)
        statistic = float(((found - expected) ** 2 / expected).sum())
        if chi2.sf(statistic, buckets - 1) < UNLIKELY / 2:
            return True
    return False


def across_jobs(slots: int, jobs: int, providers: int, profile: str) -> list[list[dict[str, list[int]]]]:
    """By job, what each provider gives of the same totals: far from 0, and far apart."""
    found = []
    for number in range(jobs):
        share = share_for({VECTOR: Fraction(2)}, providers, f"j-{number}")
        found.append(
            [
                given(name, {VECTOR: [1000 * (at + 1) + slot for slot in range(slots)]}, share, profile)
                for at, name in enumerate(names(providers))
            ]
        )
    return found


@pytest.mark.parametrize("profile", list(PROFILES))
def test_each_slot_of_an_honest_provider_is_uniform_whatever_the_others_gave(profile):
    """Over 400 jobs: alone, and beside what each of the others gave, which tells all but the sum."""
    span, slots = profile_named(profile).span, 3
    jobs = across_jobs(slots, 400, 3, profile)
    for slot in range(slots):
        first, second, other = ([job[at][VECTOR][slot] for job in jobs] for at in range(3))
        assert not unlikely_to_be_uniform(first, span)
        # Given another's number it is still uniform: so are their sum, and every other combination but that of all three.
        for one, two in ((first, second), (first, other), (second, other)):
            assert not unlikely_to_be_uniform([a + b for a, b in zip(one, two, strict=True)], span)
            assert not unlikely_to_be_uniform([a - b for a, b in zip(one, two, strict=True)], span)
        together = [sum(three) for three in zip(first, second, other, strict=True)]
        assert unlikely_to_be_uniform(together, span), "a test that never accuses would find nothing"
        assert len({value % span for value in first}) > 390


@pytest.mark.parametrize("profile", list(PROFILES))
def test_all_slots_of_one_job_are_uniform_and_none_repeats_another(profile):
    """A whole ciphertext: by itself, and between slots, vectors and jobs, where a stream that came again would show."""
    parameters = profile_named(profile)
    length, span = parameters.slots, parameters.span
    zeros = {"units": [0] * length, "sum:cost": [0] * length}
    once, again = (
        given("provider-0", zeros, share_for(dict.fromkeys(zeros, Fraction(2)), 2, job), profile)
        for job in ("j-1", "j-2")
    )
    units, sums, others = once["units"], once["sum:cost"], again["units"]
    pairs = ((units, sums), (units, others), (units[1:], units[:-1]), (units[length // 2 :], units[: length // 2]))
    for values in (units, sums, others, *([a - b for a, b in zip(*pair, strict=True)] for pair in pairs)):
        assert not unlikely_to_be_uniform(values, span, 64)


@pytest.mark.parametrize("providers", [2, 3, 4, 9])
@pytest.mark.parametrize("profile", list(PROFILES))
def test_masks_of_all_are_nothing_and_of_all_but_one_are_that_ones(providers, profile):
    span, length = profile_named(profile).span, 500
    partners = partners_of([public_line(name) for name in names(providers)])
    each = [masks(signing(name), partners, JOB, VECTOR, length, span) for name in names(providers)]
    assert {sum(entries) % span for entries in zip(*each, strict=True)} == {0}
    for left_out in range(providers):
        rest = [each[at] for at in range(providers) if at != left_out]
        remain = [sum(entries) % span for entries in zip(*rest, strict=True)]
        assert remain == [-value % span for value in each[left_out]]


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(lambda *given: [0] * given[4], id="no masks"),
        pytest.param(lambda *given: [value // 2 for value in masks(*given)], id="half the range"),
        pytest.param(lambda *given: [value - value % 16 for value in masks(*given)], id="last bits left as they were"),
        pytest.param(lambda *given: masks(*given[:2], "always", *given[3:]), id="one stream for all jobs"),
        pytest.param(lambda *given: masks(*given[:4], 1, given[5]) * given[4], id="one mask for all slots"),
    ],
)
def test_a_mutant_of_the_masks_is_found(mutant, monkeypatch):
    monkeypatch.setattr(contribution, "masks", mutant)
    span = profile_named("sum58").span
    zeros = {VECTOR: [0] * 4096}
    once, again = (given("provider-0", zeros, share_for({VECTOR: Fraction(2)}, 2, job), "sum58")[VECTOR] for job in ("j-1", "j-2"))  # fmt: skip
    seen = (
        once,
        [a - b for a, b in zip(once, again, strict=True)],
        [a - b for a, b in zip(once[1:], once[:-1], strict=True)],
    )
    assert any(unlikely_to_be_uniform(values, span) for values in seen)


# The noise that is left


def uncovered(totals: Sequence[Mapping[str, Values]], share: Share, profile: str) -> dict[str, list[int]]:
    """The sum of the two honest providers' numbers, by vector, when everybody else tells their masks and everything was decrypted."""
    span = profile_named(profile).span
    everybody = names(len(share.partners))
    honest = [given(name, mine, share, profile) for name, mine in zip(everybody[:2], totals, strict=True)]
    found = {}
    for vector, _ in share.scales:
        length = len(totals[0][vector])
        told = [masks(signing(name), share.partners, share.job, vector, length, span) for name in everybody[2:]]
        seen = [sum(entries) % span for entries in zip(*(each[vector] for each in honest), *told, strict=True)]
        found[vector] = [value - span if value > span // 2 else value for value in seen]
    return found


def variance_is_less(values: Values, planned: float) -> bool:
    """Whether draws of the planned variance would hardly ever vary so little: (n-1)·S²/σ² is chi-squared."""
    drawn = np.array(values, float)
    return bool(chi2.cdf(drawn.var() * len(drawn) / planned, len(drawn) - 1) < UNLIKELY)


def planned(compute: Mapping[str, object], epsilon: str, providers: int = 3, overlap: int = 2) -> EncryptedPlan:
    said = tuple(terms(name) for name in names(providers))
    return plan_encrypted(
        EncryptedRequest(read_compute(compute), said, overlap, Accountant.ZCDP, Fraction(epsilon), None, shared=True)
    )


def scales_of(plan: EncryptedPlan) -> dict[str, Fraction]:
    return {vector.name: vector.share for vector in plan.vectors if vector.share is not None}


def paid_for(vector: PlannedVector) -> float:
    """The variance of Gaussian noise that loses the vector's price: Δ²/2ρ."""
    return float(vector.noise.l2_squared / (2 * vector.noise.price))


def left(plan: EncryptedPlan, providers: int, length: int = 20_000) -> dict[str, list[int]]:
    """The noise in what the attacker is left with, of totals that it knows."""
    scales = scales_of(plan)
    totals = [{name: [10 * at + 7] * length for name in scales} for at in range(2)]
    seen = uncovered(totals, share_for(scales, providers), plan.profile)
    return {name: [value - 24 for value in values] for name, values in seen.items()}


@pytest.mark.parametrize("epsilon", ["0.3", "6"])
@pytest.mark.parametrize("providers", [2, 3, 4, 6])
def test_what_all_but_two_and_both_insiders_cannot_take_away_is_as_much_noise_as_planned(epsilon, providers):
    """With one provider on their side all that is paid for; with more, two of the n - 1 parts that are (docs/proofs/encrypted.md)."""
    plan = planned({"count": True, "sum": ["cost"]}, epsilon, providers)
    for name, noise in left(plan, providers).items():
        vector = plan.vector(name)
        least = paid_for(vector) * 2 / (providers - 1)
        assert not variance_is_less(noise, least), name
        assert variance_is_less(noise, 1.15 * max(least, 2 * float(vector.share or 0) ** 2)), "and hardly more"


# Mutants of the noise: what a provider draws in place of its share.
Draw = Callable[[Fraction, int], list[int]]
honest_noise: Draw = contribution._noise


def half_the_scale(scale: Fraction, length: int) -> list[int]:
    return honest_noise(scale / 2, length)


def as_if_all_were_honest(scale: Fraction, length: int) -> list[int]:
    """The scale for three honest shares, where one of three may be told."""
    return honest_noise(scale * Fraction(math.sqrt(2 / 3)), length)


def one_sided(scale: Fraction, length: int) -> list[int]:
    return [abs(value) for value in honest_noise(scale, length)]


def none_at_all(scale: Fraction, length: int) -> list[int]:
    del scale
    return [0] * length


@pytest.mark.parametrize("mutant", [half_the_scale, as_if_all_were_honest, one_sided, none_at_all])
def test_a_mutant_with_less_noise_is_found_by_its_variance(mutant, monkeypatch):
    monkeypatch.setattr(contribution, "_noise", mutant)
    plan = planned({"count": True, "sum": ["cost"]}, "0.3")
    assert all(variance_is_less(noise, paid_for(plan.vector(name))) for name, noise in left(plan, 3).items())


def loss(plan: EncryptedPlan, one: Mapping[str, list[int]], other: Mapping[str, list[int]], times: int) -> float:
    """The ρ that what the attacker is left with proves, on totals with the worst unit at both honest providers and without it."""
    share = share_for(scales_of(plan), 3)
    statistics: list[Draws] = []
    for source in (one, other):
        # Both hold the same, so each holds half; many jobs at once are one with as many entries.
        half = {name: [value // 2 for value in source[name]] * times for name, _ in share.scales}
        seen = uncovered([half, half], share, plan.profile)
        parts = []
        for vector in plan.vectors:
            draws = np.array(seen[vector.name], float).reshape(times, vector.length)
            parts.append(joint_statistic(felt(vector), draws, one[vector.name], other[vector.name]))
        statistics.append(np.sum(parts, axis=0))
    return loss_found(*statistics, PROVEN[NoiseKind.GAUSSIAN])


def felt(vector: PlannedVector) -> Noise:
    """Two shares."""
    return replace(vector.noise, scale=Fraction(float(vector.share or 0) * math.sqrt(2)))


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    ("compute", "epsilon", "least"),
    [
        ({"count": True}, "3", 0.15), ({"sum": ["cost"]}, "6", 0.5),
        ({"count": True, "mean": ["cost"], "variance": ["cost"]}, "6", 0.15), ({"least_squares": True}, "6", 0.15),
    ],
)  # fmt: skip
def test_all_others_together_learn_no_more_than_was_charged(compute, epsilon, least, times):
    plan = planned(compute, epsilon)
    one, other = neighbours()
    found: list[float] = []

    def audit() -> float:
        found.append(loss(plan, one, other, times))
        return found[-1]

    assert keeps_its_claim(audit, float(plan.price.rho))
    assert max(found) > least * float(plan.price.rho), "an audit that finds little would find no mutant either"


def overlap_forgotten(plan: EncryptedPlan) -> EncryptedPlan:
    return planned(plan.compute.to_json(), "6", overlap=1)


def as_planned(plan: EncryptedPlan) -> EncryptedPlan:
    return plan


@pytest.mark.parametrize(
    ("plan_of", "noise"),
    [
        pytest.param(as_planned, half_the_scale, id="half the scale"), pytest.param(overlap_forgotten, honest_noise, id="overlap forgotten"),
        pytest.param(as_planned, none_at_all, id="no noise"),
    ],
)  # fmt: skip
def test_a_mutant_that_loses_more_is_found(plan_of, noise, monkeypatch):
    monkeypatch.setattr(contribution, "_noise", noise)
    plan = planned({"sum": ["cost"]}, "6")
    one, other = neighbours()
    assert any(loss(plan_of(plan), one, other, 6_000) > float(plan.price.rho) for _ in range(3))
