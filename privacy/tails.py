"""How far discrete noise strays: information for people (error bars, forecasts), never part of a guarantee."""

from __future__ import annotations

import math
from enum import StrEnum
from fractions import Fraction
from statistics import NormalDist


class NoiseKind(StrEnum):
    """The two families of integer noise: Laplace is priced in ε, Gaussian in ρ (zCDP)."""

    LAPLACE = "laplace"
    GAUSSIAN = "gaussian"


class ChoiceKind(StrEnum):
    """The two ways of choosing a candidate: permute-and-flip is priced in ε, the exponential mechanism in ρ (zCDP)."""

    PERMUTE_AND_FLIP = "permute_and_flip"
    EXPONENTIAL = "exponential"


class MechanismKind(StrEnum):
    """All that may stand between protected rows and a release."""

    LAPLACE = "laplace"
    GAUSSIAN = "gaussian"
    PERMUTE_AND_FLIP = "permute_and_flip"
    EXPONENTIAL = "exponential"


def standard_error_of(kind: NoiseKind, scale: Fraction) -> float:
    """The standard deviation of the noise (for Gaussian noise an upper bound, off by less than 1e-6 from scale 1 up).

    Discrete Laplace: P(X = x) ∝ a^|x| with a = e^(-1/scale), variance 2a / (1-a)². Discrete Gaussian: the variance is at
    most scale² (Canonne, Kamath, Steinke 2020, corollary 9).
    """
    width = float(scale)
    if kind is NoiseKind.GAUSSIAN:
        return width
    return math.sqrt(2 * math.exp(-1 / width)) / -math.expm1(-1 / width)


def half_width_of_two(kind: NoiseKind, scale: Fraction, probability: float) -> int:
    """As `half_width_of`, for the sum of two independent draws; at most two too large.

    Two Laplace draws: P(|X + Y| > w) = (1 + w/2b)·e^(-w/b) for continuous ones, which those on integers are within 1 of each. Gaussian
    draws add up to one of √2 times the scale.
    """
    if not 0 < probability < 1:
        raise ValueError("a probability lies between 0 and 1")
    width = float(scale)
    if kind is NoiseKind.GAUSSIAN:
        return math.ceil(math.sqrt(2) * width * NormalDist().inv_cdf((1 + probability) / 2)) + 1
    low, high = 0.0, 1.0
    while (1 + high / 2) * math.exp(-high) > 1 - probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + middle / 2) * math.exp(-middle) > 1 - probability else (low, middle)
    return math.ceil(width * high) + 1


def half_width_of(kind: NoiseKind, scale: Fraction, probability: float) -> int:
    """An integer w with P(|noise| ≤ w) ≥ probability: the smallest for Laplace, at most one too large for Gaussian.

    Discrete Laplace: P(|X| > w) = 2 a^(w+1) / (1+a). Discrete Gaussian: P(X ≥ m) ≤ P(N(0, scale²) ≥ m-1) for integers m ≥ 1
    (Canonne, Kamath, Steinke 2020, proposition 25), hence P(|X| > w) ≤ 2 P(N ≥ w).
    """
    if not 0 < probability < 1:
        raise ValueError("a probability lies between 0 and 1")
    width = float(scale)
    if kind is NoiseKind.GAUSSIAN:
        return math.ceil(width * NormalDist().inv_cdf((1 + probability) / 2))
    beyond = width * math.log(2 / ((1 - probability) * (1 + math.exp(-1 / width))))
    return max(0, math.ceil(beyond) - 1)
