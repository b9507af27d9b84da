"""A million draws on neighbouring inputs prove no more loss than the price; and they do of noise that is too small."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from privacy.mechanisms import Noise, NoiseKind
from tests.statistical.loss_audit import keeps_its_claim, vector_loss

MILLION = 1_000_000
SHARE = {NoiseKind.LAPLACE: Fraction(1), NoiseKind.GAUSSIAN: Fraction(1, 2)}


def fitted(kind: NoiseKind, l0: int, linf: int) -> Noise:
    return Noise.fit(kind, l0=l0, l1=l0 * linf, l2_squared=l0 * linf**2, linf=linf, share=SHARE[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", NoiseKind)
def test_a_count_with_and_without_a_unit_loses_no_more_than_its_price(kind):
    noise = fitted(kind, 1, 30)
    assert keeps_its_claim(lambda: vector_loss(noise, [100], [70], MILLION), float(noise.price))


@pytest.mark.parametrize("kind", NoiseKind)
def test_the_audit_is_sharp(kind):
    """It proves most of the true loss: an audit that finds nothing anywhere would pass any mechanism."""
    noise = fitted(kind, 1, 30)
    assert vector_loss(noise, [100], [70], 60_000) > 0.7 * float(noise.price)


@pytest.mark.parametrize("kind", NoiseKind)
def test_a_unit_in_all_its_groups_loses_no_more_than_the_price_of_the_vector(kind):
    noise = fitted(kind, 3, 20)
    audit = lambda: vector_loss(noise, [10, 10, -40], [-10, 30, -60], 30_000)  # noqa: E731 - the audit is repeated
    assert keeps_its_claim(audit, float(noise.price))


@pytest.mark.parametrize("kind", NoiseKind)
def test_values_at_the_clamp_lose_no_more_than_others(kind):
    noise = fitted(kind, 1, 30)
    assert keeps_its_claim(lambda: vector_loss(noise, [2**62 + 20], [2**62 - 10], 50_000), float(noise.price))


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_half_the_noise_is_found(kind):
    honest = fitted(kind, 1, 30)
    mutant = replace(honest, scale=honest.scale / 2)
    assert vector_loss(mutant, [100], [70], 50_000) > float(honest.price) * 1.5


@pytest.mark.parametrize("kind", NoiseKind)
def test_mutant_noise_fitted_for_one_group_fewer_is_found(kind):
    """L0 + 1 groups kept: the noise pays for one group and the unit is in two. Only the joint statistic sees it."""
    noise = fitted(kind, 1, 20)
    assert vector_loss(noise, [30, 30], [10, 10], 20_000) > 1.3 * float(noise.price)
    assert vector_loss(noise, [30], [10], 20_000) < 1.3 * float(noise.price)
