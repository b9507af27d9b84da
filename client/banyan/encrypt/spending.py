"""What a provider's answers have cost the units of a population, and what they may cost: the provider's own account, beside the service's.

It adds up the ρ by which each answer's noise was checked, exactly, and never what the service says a job costs. ε is computed from it as
the service's accountant does (docs/proofs/encrypted.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Self

from banyan.encrypt.zcdp import epsilon_for, rho_for
from banyan.errors import Refused

# As the service takes them in declarations.
LARGEST_EPSILON, ABOVE_DELTA = Fraction(100), Fraction(1, 1000)
_AMOUNT = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?([eE]-[0-9]{1,2})?|[0-9]{1,40}/[1-9][0-9]{0,39}")
_SHOWN = 10**9


@dataclass(frozen=True)
class Budget:
    """All that may be lost, as (ε, δ). Raises ValueError unless 0 < ε ≤ 100 and 0 < δ < 1/1000."""

    epsilon: Fraction
    delta: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= LARGEST_EPSILON or not 0 < self.delta < ABOVE_DELTA:
            raise ValueError("a budget is an ε above 0, at most 100, and a δ above 0, below 0.001")

    @cached_property
    def limit(self) -> Fraction:
        """The ρ that it buys: half of δ converts, as in the service's ledger."""
        return rho_for(self.epsilon, self.delta / 2)

    def epsilon_of(self, rho: Fraction) -> Fraction:
        """The ε of a loss of ρ, rounded up."""
        return epsilon_for(rho, self.delta / 2) if rho else Fraction(0)

    def __str__(self) -> str:
        delta = f"{float(self.delta):.6g}".replace("e-0", "e-")  # shown only
        return f"ε {down(self.epsilon)} at δ {delta}"

    def to_json(self) -> dict[str, str]:
        """A JSON object of exact texts."""
        return {"epsilon": str(self.epsilon), "delta": str(self.delta)}

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`, which takes decimals too. Raises ValueError for anything else."""
        if not isinstance(stored, Mapping) or set(stored) != {"epsilon", "delta"}:
            raise ValueError("a budget has an ε and a δ")
        return cls(_amount(stored["epsilon"]), _amount(stored["delta"]))


@dataclass(frozen=True)
class Account:
    """What the units of a population may lose by a provider's answers, and the ρ that they have lost."""

    population: str
    budget: Budget
    spent: Fraction

    @property
    def left(self) -> Fraction:
        """The ρ that may still be lost."""
        return max(Fraction(0), self.budget.limit - self.spent)

    def after(self, asked: Fraction) -> Account:
        """The account when a call for ρ `asked` is answered. Raises Refused (`call.over_budget`)."""
        if asked <= self.left:
            return Account(self.population, self.budget, self.spent + asked)
        raise Refused(
            "call.over_budget",
            f"the job asks for {self.cost_told(asked)} of {self.population}; spent is {self.cost_told(self.spent)} of your budget of"
            f" {self.budget} (ρ {down(self.budget.limit)}); left for one more job is {self._left_told()}",
            way_out="a job that asks for less; or, if you decide so, a larger budget with --budget EPSILON",
        )

    def cost_told(self, rho: Fraction) -> str:
        """A loss for a person, rounded up."""
        return f"ε {up(self.budget.epsilon_of(rho), 4)} (ρ {up(rho)})"

    def told(self) -> str:
        """Spent and left, for a person. What is spent adds up in ρ; ε does not add up."""
        spent, limit = self.budget.epsilon_of(self.spent), down(self.budget.limit)
        said = f"spent of {self.population}: ε {up(spent, 4)} of {self.budget} (ρ {up(self.spent)} of {limit})"
        return f"{said}; left for one more job: {self._left_told()}"

    def _left_told(self) -> str:
        return f"ε {down(self.budget.epsilon_of(self.left), 4)} (ρ {down(self.left)})"

    def to_json(self) -> dict[str, Any]:
        """A JSON object of decimal texts, rounded to 12 places: up what is spent, down what is left."""
        epsilon = self.budget.epsilon_of
        return {
            "population": self.population,
            "budget": {"epsilon": down(self.budget.epsilon, 12), "delta": str(self.budget.delta)},
            "spent": {"rho": up(self.spent, 12), "epsilon": up(epsilon(self.spent), 12)},
            "left": {"rho": down(self.left, 12), "epsilon": down(epsilon(self.left), 12)},
        }


def said_budget(said: str, present: Budget | None) -> Budget:
    """The budget of the option: EPSILON, or EPSILON:DELTA, else with the δ of the present one. Raises Refused (`option.budget`)."""
    epsilon, colon, delta = said.partition(":")
    try:
        return Budget(_amount(epsilon), _amount(delta) if colon else present.delta if present else Fraction(0))
    except ValueError:
        text = f"{said} is no budget: an ε above 0, at most 100, and a δ above 0, below 0.001"
        raise Refused("option.budget", text, way_out="--budget 4:1e-6, or --budget 4 with the δ as it is") from None


def up(amount: Fraction, places: int = 6) -> str:
    """A decimal text, rounded up."""
    return _decimal(math.ceil(amount * 10**places), places)


def down(amount: Fraction, places: int = 6) -> str:
    """A decimal text, rounded down."""
    return _decimal(math.floor(amount * 10**places), places)


def _decimal(units: int, places: int) -> str:
    whole, rest = divmod(units, 10**places)
    if whole >= _SHOWN:
        return f"more than {_SHOWN}"
    return f"{whole}.{rest:0{places}d}".rstrip("0").rstrip(".")


def _amount(text: object) -> Fraction:
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
        raise ValueError("an amount is a decimal text, or two whole numbers with a line between")
    return Fraction(text)
