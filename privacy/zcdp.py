"""Between ρ and ε, in exact arithmetic: what zero-concentrated differential privacy is as (ε, δ) (Bun, Steinke 2016, proposition 1.3).

The provider's tool has this very file, so it needs the standard library alone. Proof: docs/proofs/accounting.md.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import lru_cache

# What comes out of a conversion lies on this grid, so that it has a short decimal text.
GRID = 10**12


def rho_for(epsilon: Fraction, delta: Fraction) -> Fraction:
    """The largest ρ on a 1e-12 grid with ρ + 2·sqrt(ρ·ln(1/δ)) ≤ ε: then ρ-zCDP implies (ε, δ)-DP (Bun, Steinke 2016, 1.3).

    It is 0 for an ε below about 1e-5, for which no noise can be planned. For 0 ≤ ρ ≤ ε the condition is
    4·ρ·ln(1/δ) ≤ (ε - ρ)², which is tested in rationals with ln(1/δ) rounded up. The left side grows and the right side
    falls with ρ, so halving finds the largest; a larger logarithm only makes it smaller. Raises ValueError for a δ that converts nothing.
    """
    _check(delta)
    logarithm = _log_up(1 / delta)
    low, above = 0, math.floor(epsilon * GRID) + 1
    while above - low > 1:
        middle = (low + above) // 2
        rho = Fraction(middle, GRID)
        if 4 * rho * logarithm <= (epsilon - rho) ** 2:
            low = middle
        else:
            above = middle
    return Fraction(low, GRID)


def epsilon_for(rho: Fraction, delta: Fraction) -> Fraction:
    """The ε, rounded up to a 1e-12 grid, for which ρ-zCDP implies (ε, δ)-DP: ρ + 2·sqrt(ρ·ln(1/δ)). Raises ValueError as `rho_for`."""
    _check(delta)
    return _grid_up(rho) + _root_up(4 * rho * _log_up(1 / delta))


def _check(delta: Fraction) -> None:
    if not 0 < delta < 1:
        raise ValueError("a δ above 0 and below 1 converts ρ into ε")


def _grid_up(value: Fraction) -> Fraction:
    return Fraction(math.ceil(value * GRID), GRID)


def _root_up(square: Fraction) -> Fraction:
    """The square root rounded up to the grid: the least n with n² ≥ square·GRID², found in integers."""
    target = math.ceil(square * GRID**2)
    return Fraction(math.isqrt(target - 1) + 1 if target > 0 else 0, GRID)


@lru_cache(maxsize=256)
def _log_up(value: Fraction) -> Fraction:
    """An upper bound of the natural logarithm, within 1e-45 of it.

    The quotient is rounded up; Decimal.ln is then right to the nearest (whatever the context's rounding), so the next
    Decimal above is not below the logarithm of that quotient, which is not below that of `value`.
    """
    context = Context(prec=50, rounding=ROUND_CEILING)
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return Fraction(context.next_plus(context.ln(quotient)))
