"""Decides whether one more spend fits under the limits of its population, its policy and its person, all at once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy import Connection

from core.units import delta_of, epsilon_of
from policies import limits
from policies.limits import Room, balance_of
from policies.populations import Population, population_of
from policies.refusals import refusal
from policies.usage import UsagePolicy
from privacy.accountant import Loss


@dataclass(frozen=True)
class Asked:
    """What a job asks of the ledger: its own (ε, δ), and the loss that its plan puts on the population.

    Where an earlier, identical release is `reused`, the loss is nothing; policy and person are charged all the same (R16).
    """

    job: str
    population: str
    epsilon: Fraction
    delta: Fraction
    loss: Loss
    principal: str
    organisation: str
    reused: bool = False

    @property
    def own_loss(self) -> Loss:
        """Its (ε, δ), as policy and person are charged."""
        return Loss(epsilon=self.epsilon, delta=self.delta)

    def __post_init__(self) -> None:
        epsilon_of(self.epsilon)
        delta_of(self.delta)
        if self.reused != (self.loss == Loss()):
            raise ValueError("a reused release costs its population nothing, and nothing else does")


def check_limits(connection: Connection, asked: Asked, usage: UsagePolicy) -> None:
    """Test every limit at once; raise the tightest refusal, with the largest ε that would pass all of them.

    Raises Forbidden (`policy.max_runs`, `policy.epsilon`) or Conflict (`budget.population`, `budget.policy`,
    `budget.person`).
    """
    population = population_of(connection, asked.population)
    runs = balance_of(connection, limits.policy_account(usage.name)).runs
    if usage.max_runs is not None and runs >= usage.max_runs:
        raise refusal("policy.max_runs", policy=usage.name, max_runs=str(usage.max_runs))
    rooms = limits.policy_rooms(connection, usage, asked.principal)
    broken = [room for room in rooms if asked.epsilon > room.left]
    if not asked.reused:
        room = limits.population_room(connection, population, asked.delta)
        rooms.insert(0, room)
        spent = balance_of(connection, limits.population_account(population.name)).loss
        if not population.capacity.admits(spent, asked.loss):
            broken.insert(0, room)
    if broken:
        room = limits.tightest(broken)
        words = _words(room, asked, population, fits=limits.tightest(rooms).left)
        raise refusal(room.code, **words, policy=usage.name, population=population.name)


def _words(room: Room, asked: Asked, population: Population, fits: Fraction) -> dict[str, str]:
    """The figures of a refusal. Where the population lacks δ rather than ε, it is δ that they speak of."""
    if room.code == "budget.population" and room.delta_left is not None and asked.delta > room.delta_left:
        left = limits.shown_down(room.delta_left)
        return {
            "asked": f"δ {limits.shown_up(asked.delta)}",
            "left": left,
            "limit": limits.shown_down(population.delta),
            "fits": f"δ ≤ {left}" if room.delta_left else "δ: 0, which groups by public columns only",
        }
    return {
        "asked": f"ε {limits.shown_up(asked.epsilon)}",
        "left": limits.shown_down(room.left),
        "limit": limits.shown_down(room.limit),
        "fits": limits.advice(fits),
    }
