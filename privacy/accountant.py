"""What a population has lost and may still lose: exact sums in the currency that was fixed when it was created.

BASIC adds (ε, δ). ZCDP adds (ρ, δ) as δ-approximate zero-concentrated differential privacy. A population never changes its
accountant (design R13). Proof: docs/proofs/accounting.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Self

from core.errors import Invalid
from core.units import exact, text_of
from privacy import zcdp


class Accountant(StrEnum):
    """How the losses of a population are added."""

    BASIC = "basic"
    ZCDP = "zcdp"


@dataclass(frozen=True)
class Loss:
    """A privacy loss: (ε, δ) under BASIC, (ρ, δ) under ZCDP; what does not apply is 0."""

    epsilon: Fraction = Fraction(0)
    delta: Fraction = Fraction(0)
    rho: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        for part in (self.epsilon, self.delta, self.rho):
            if not isinstance(part, Fraction) or part < 0:
                raise ValueError("a privacy loss is made of exact, non-negative numbers")

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.epsilon + other.epsilon, self.delta + other.delta, self.rho + other.rho)

    def within(self, limit: Loss) -> bool:
        """Whether no part of it is above the same part of `limit`."""
        return self.epsilon <= limit.epsilon and self.delta <= limit.delta and self.rho <= limit.rho

    def to_json(self) -> dict[str, str]:
        """A JSON object of exact texts."""
        return {"epsilon": text_of(self.epsilon), "delta": text_of(self.delta), "rho": text_of(self.rho)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The loss that `to_json` wrote; raises ValueError for anything else."""
        if set(stored) != {"epsilon", "delta", "rho"}:
            raise ValueError("not a privacy loss")
        return cls(**{name: exact(stored[name]) for name in ("epsilon", "delta", "rho")})


@dataclass(frozen=True)
class Capacity:
    """All that a population may ever lose (or in a period): `limit`, in the currency of its accountant.

    `reserved_delta` is the part of the declared δ that turns ρ into ε; under BASIC it is 0.
    """

    accountant: Accountant
    limit: Loss
    reserved_delta: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        _check_currency(self.accountant, self.limit)
        if (self.accountant is Accountant.ZCDP) != (self.reserved_delta > 0):
            raise ValueError("δ is reserved for the conversion of ρ, and only for it")

    @classmethod
    def of(cls, accountant: Accountant, epsilon: Fraction, delta: Fraction) -> Self:
        """The capacity that a declared (ε, δ) buys; under ZCDP half of δ converts and half may be spent by thresholds."""
        if accountant is Accountant.BASIC:
            return cls(accountant, Loss(epsilon=epsilon, delta=delta))
        return cls(accountant, loss_of(accountant, epsilon, delta), reserved_delta=delta / 2)

    def admits(self, spent: Loss, asked: Loss) -> bool:
        """Whether `asked` still fits beside what was `spent`. Raises ValueError for a loss in another currency."""
        _check_currency(self.accountant, spent)
        _check_currency(self.accountant, asked)
        return (spent + asked).within(self.limit)

    def left(self, spent: Loss) -> Loss:
        """What may still be lost; 0 in a part that is used up."""
        nothing = Fraction(0)
        return Loss(
            epsilon=max(nothing, self.limit.epsilon - spent.epsilon),
            delta=max(nothing, self.limit.delta - spent.delta),
            rho=max(nothing, self.limit.rho - spent.rho),
        )

    def converted(self, spent: Loss) -> tuple[Fraction, Fraction]:
        """An (ε, δ) for which all that was `spent` is (ε, δ)-differentially private, rounded up."""
        _check_currency(self.accountant, spent)
        if self.accountant is Accountant.BASIC:
            return spent.epsilon, spent.delta
        if spent.rho == 0:
            return Fraction(0), spent.delta
        return epsilon_for(spent.rho, self.reserved_delta), spent.delta + self.reserved_delta

    def largest_epsilon(self, spent: Loss, delta: Fraction) -> Fraction:
        """The largest ε (rounded down to a millionth) at which a job with this δ would still be admitted; 0 if none is."""
        left = self.left(spent)
        if self.accountant is Accountant.BASIC:
            return Fraction(math.floor(left.epsilon * 10**6), 10**6) if delta <= left.delta else Fraction(0)
        if not 0 < delta / 2 <= left.delta:
            return Fraction(0)
        # Rounded up first, so that an ε which the limit was made from is found again.
        above = math.floor(epsilon_for(left.rho, delta / 2) * 10**6) + 1
        rounded = (Fraction(above - down, 10**6) for down in range(3))
        return next((epsilon for epsilon in rounded if 0 < rho_for(epsilon, delta / 2) <= left.rho), Fraction(0))


def loss_of(accountant: Accountant, epsilon: Fraction, delta: Fraction) -> Loss:
    """What a job with the stand-alone guarantee (ε, δ) is charged.

    Under ZCDP half of δ turns the job's ρ into its ε and is no loss; the other half is for its threshold, and is. Raises
    Invalid (`epsilon.too_small`) where the ρ of the job would be rounded to 0.
    """
    if accountant is Accountant.BASIC:
        return Loss(epsilon=epsilon, delta=delta)
    rho = rho_for(epsilon, delta / 2)
    if rho == 0:
        raise Invalid(
            "epsilon.too_small",
            "this ε is too small to be accounted for in zcdp, and nothing is given away free",
            way_out="ask for a larger epsilon, such as 0.01",
        )
    return Loss(rho=rho, delta=delta / 2)


def rho_for(epsilon: Fraction, delta: Fraction) -> Fraction:
    """The largest ρ that implies (ε, δ)-DP (`zcdp.rho_for`). Raises Invalid (`delta.required`)."""
    _check_delta(delta)
    return zcdp.rho_for(epsilon, delta)


def epsilon_for(rho: Fraction, delta: Fraction) -> Fraction:
    """The ε, rounded up, that ρ implies (`zcdp.epsilon_for`). Raises Invalid (`delta.required`)."""
    _check_delta(delta)
    return zcdp.epsilon_for(rho, delta)


def _check_currency(accountant: Accountant, loss: Loss) -> None:
    if (loss.rho if accountant is Accountant.BASIC else loss.epsilon) != 0:
        raise ValueError(f"this loss is not in the currency of a {accountant} population")


def _check_delta(delta: Fraction) -> None:
    if not 0 < delta < 1:
        raise Invalid(
            "delta.required",
            "zcdp accounting turns its losses into ε with the help of a δ above 0 and below 1",
            way_out="give a delta, such as 1e-9",
        )
