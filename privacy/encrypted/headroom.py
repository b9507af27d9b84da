"""Whether totals and noise can reach the end of a profile's numbers: a static bound, so that an honest job can never wrap.

Beyond ±T/2 numbers wrap modulo T. That would cost use, never privacy; but a wrapped sum is also what an attacker's ciphertext
looks like to the key holder, so it must not happen to anybody honest (proof_obligations B14).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from privacy.encrypted.profiles import Profile
from privacy.encrypted.terms import Terms
from privacy.mechanisms import Noise
from privacy.schema import EXCESS
from privacy.tails import NoiseKind

# The noise of no entry of a vector goes beyond its tail, except with probability 2^-64.
TAIL_BITS = 64


def tail(noise: Noise, length: int) -> int:
    """A width that no entry of the noise exceeds, except with probability 2^-64 for the whole vector.

    Laplace: P(|X| > w) ≤ 2·e^(-w/b). Gaussian: P(|X| > w) ≤ 2·e^(-w²/2σ²), which holds for the discrete one too
    (Canonne, Kamath, Steinke 2020, corollary 17).
    """
    nats = TAIL_BITS * math.log(2) + math.log(2 * length)
    width = float(noise.scale)
    return math.ceil(width * (nats if noise.kind is NoiseKind.LAPLACE else math.sqrt(2 * nats))) + 1


def shares_tail(share: Fraction | None, providers: int, length: int) -> int:
    """As `tail`, for the sum of the providers' shares: subgaussian as one of √providers times the scale is. 0 where there are none."""
    if share is None:
        return 0
    nats = TAIL_BITS * math.log(2) + math.log(2 * length)
    return math.ceil(float(share) * math.sqrt(providers) * math.sqrt(2 * nats)) + 1


def largest_total(terms: Sequence[Terms], vector: str) -> int:
    """The largest absolute value of an entry of the sum: every unit of every provider in one group."""
    return sum(EXCESS * each.units * each.vector(vector).change.linf for each in terms)


def guard(terms: Sequence[Terms], vector: str, noise: Noise, share: Fraction | None = None) -> int:
    """The largest absolute value that an honest masked sum shows the key holder: totals, the service's noise and the providers'."""
    length = terms[0].vector(vector).length
    return largest_total(terms, vector) + tail(noise, length) + shares_tail(share, len(terms), length)


def fits(profile: Profile, terms: Sequence[Terms], vector: str, noise: Noise, share: Fraction | None = None) -> bool:
    """Whether totals and all noises stay within ±T/2."""
    return guard(terms, vector, noise, share) + tail(noise, terms[0].vector(vector).length) < profile.span // 2
