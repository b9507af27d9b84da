"""How the loss of a query is shared out among its mechanisms: exactly, so that the worst relative error is the least there can be."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from privacy.tails import NoiseKind


def shares_of(kind: NoiseKind, errors: Sequence[Fraction], total: Fraction) -> tuple[Fraction, ...]:
    """Parts of `total` (ε of Laplace, ρ of Gaussian noise) that add up to it exactly.

    `errors` are what each mechanism's relative error would be at a share of 1, all above 0. With Laplace noise an error is a/ε, so all are
    equal, and the worst is the least, where shares are as the errors; with Gaussian noise it is a/√ρ, and shares are as their squares.
    """
    if not errors or min(errors) <= 0 or total <= 0:
        raise ValueError("a loss is shared out among errors above 0")
    weights = [error if kind is NoiseKind.LAPLACE else error**2 for error in errors]
    return tuple(total * weight / sum(weights) for weight in weights)
