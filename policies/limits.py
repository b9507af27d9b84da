"""How much of every limit is left, and the largest ε that fits under all of them: what refusals, plans and budgets show.

Only limits that the asking person may read are looked at: of the population, of the policy, of that person.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from sqlalchemy import Connection, select

from core.units import text_of
from policies.populations import Population
from policies.records import balances
from policies.usage import UsagePolicy
from privacy.accountant import Accountant, Loss


@dataclass(frozen=True)
class Balance:
    """What an account has taken so far: reserved and committed together."""

    loss: Loss
    runs: int
    entries: int


@dataclass(frozen=True)
class Room:
    """What one limit leaves: the refusal it would give, and the largest ε that it would still let pass.

    `delta_left` is the largest δ of a job that a population has left; None where δ is not limited.
    """

    code: str
    limit: Fraction
    left: Fraction
    delta_left: Fraction | None = None


def population_account(population: str) -> str:
    """The account of a population, in the currency of its accountant."""
    return f"population:{population}"


def policy_account(policy: str) -> str:
    """The account of a policy's name, over all its versions, in ε and δ as asked."""
    return f"policy:{policy}"


def person_account(policy: str, principal: str) -> str:
    """The account of one person under a policy's name, in ε and δ as asked."""
    return f"person:{policy}:{principal}"


def balance_of(connection: Connection, account: str) -> Balance:
    """The balance of an account; nothing for one that was never used."""
    row = connection.execute(select(balances).where(balances.c.account == account)).first()
    return (
        Balance(Loss(), 0, 0) if row is None else Balance(Loss.from_json(json.loads(row.loss)), row.runs, row.entries)
    )


def population_room(connection: Connection, population: Population, delta: Fraction) -> Room:
    """What a population leaves for one more job with this δ."""
    capacity, spent = population.capacity, balance_of(connection, population_account(population.name)).loss
    # Under zCDP half of a job's δ is charged, the other half converts (privacy.accountant.loss_of).
    share = 2 if capacity.accountant is Accountant.ZCDP else 1
    return Room(
        code="budget.population",
        limit=population.epsilon,
        left=capacity.largest_epsilon(spent, delta),
        delta_left=capacity.left(spent).delta * share,
    )


def policy_rooms(connection: Connection, policy: UsagePolicy, principal: str) -> list[Room]:
    """What a policy leaves for one more job of this person."""
    total = balance_of(connection, policy_account(policy.name)).loss.epsilon
    own = balance_of(connection, person_account(policy.name, principal)).loss.epsilon
    limits = policy.epsilon
    return [
        Room("policy.epsilon", limits.per_job, limits.per_job),
        Room("budget.policy", limits.total, max(Fraction(0), limits.total - total)),
        Room("budget.person", limits.per_person, max(Fraction(0), limits.per_person - own)),
    ]


def tightest(rooms: list[Room]) -> Room:
    """The limit that decides; of several equal ones the first."""
    return min(rooms, key=lambda room: room.left)


def advice(fits: Fraction) -> str:
    """The way out of a refusal for ε: the largest amount that passes all limits, or that there is none."""
    if fits <= 0:
        return "nothing is left: no ε would pass"
    return f"ε ≤ {shown_down(fits)}"


def shown_down(value: Fraction) -> str:
    """For people: at most six significant digits, rounded down; never shows more than there is."""
    return _shown(value, ROUND_FLOOR)


def shown_up(value: Fraction) -> str:
    """For people: at most six significant digits, rounded up; never shows less than there is."""
    return _shown(value, ROUND_CEILING)


def _shown(value: Fraction, rounding: str) -> str:
    rounded = Context(prec=6, rounding=rounding).divide(Decimal(value.numerator), Decimal(value.denominator))
    return text_of(Fraction(rounded))
