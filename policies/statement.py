"""What a person sees of the budgets: limits, spent and left, of populations and of their own share under each policy.

Spent counts what is reserved and what is committed. Figures are (ε, δ), rounded against the reader: spent up, left down.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from policies import authorizer, register
from policies.limits import balance_of, person_account, policy_account, population_account, shown_down, shown_up
from policies.model import Action, Principal
from policies.populations import Population, all_populations, population_of
from policies.register import PolicyVersion
from policies.transitions import State
from policies.usage import UsagePolicy
from privacy.accountant import Loss


def statement(connection: Connection, principal: Principal, assets: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every population, and under `yours` each active policy that the person may know of for its assets.

    `assets` says to which population each asset belongs.
    """
    authorizer.check(principal, Action.BUDGET_READ)
    known = [found for found in register.in_force_for(connection, principal) if found.state is State.ACTIVE]
    return [
        _population(connection, population)
        | {
            "yours": [
                _share(connection, found, principal)
                for found in known
                if any(assets.get(asset) == population.name for asset in found.content.assets)
            ]
        }
        for population in all_populations(connection)
    ]


def spent_by(connection: Connection, population: str) -> tuple[Fraction, Fraction]:
    """An (ε, δ) for which everything the population has taken so far, reservations included, is differentially private."""
    found = population_of(connection, population)
    return found.capacity.converted(balance_of(connection, population_account(population)).loss)


def left_after(
    connection: Connection, population: str, usage: UsagePolicy | None, principal: str, *, loss: Loss, epsilon: Fraction
) -> dict[str, Any]:
    """What one more job would leave to the population, and to the person under the policy, if there is one."""
    found = population_of(connection, population)
    spent = balance_of(connection, population_account(population)).loss
    converted, _ = found.capacity.converted(spent + loss)
    left: dict[str, Any] = {"population": _of(found.epsilon - converted, found.epsilon), "yours": None}
    if usage is not None:
        own = balance_of(connection, person_account(usage.name, principal)).loss.epsilon
        left["yours"] = _of(usage.epsilon.per_person - own - epsilon, usage.epsilon.per_person)
    return left


def _of(left: Fraction, limit: Fraction) -> dict[str, str]:
    return {"epsilon": shown_down(max(Fraction(0), left)), "of": shown_down(limit)}


def _population(connection: Connection, population: Population) -> dict[str, Any]:
    taken = balance_of(connection, population_account(population.name)).loss
    epsilon, delta = population.capacity.converted(taken)
    return {
        "population": population.name,
        "unit": population.unit,
        "accountant": population.accountant.value,
        "limit": {"epsilon": shown_down(population.epsilon), "delta": shown_down(population.delta)},
        "spent": {"epsilon": shown_up(epsilon), "delta": shown_up(delta)},
        "left": {
            "epsilon": shown_down(max(Fraction(0), population.epsilon - epsilon)),
            "delta": shown_down(max(Fraction(0), population.delta - delta)),
        },
    }


def _share(connection: Connection, found: PolicyVersion, principal: Principal) -> dict[str, Any]:
    usage = found.content
    own = balance_of(connection, person_account(usage.name, principal.id))
    everybody = balance_of(connection, policy_account(usage.name))
    limit = usage.epsilon
    own_left = min(limit.per_person - own.loss.epsilon, limit.total - everybody.loss.epsilon)
    return {
        "policy": usage.name,
        "spent": {"epsilon": shown_up(own.loss.epsilon)},
        "limit": {"epsilon": shown_down(limit.per_person)},
        "left": {"epsilon": shown_down(max(Fraction(0), own_left))},
        "per_job": {"epsilon": shown_down(limit.per_job)},
        "runs_left": None if usage.max_runs is None else max(0, usage.max_runs - everybody.runs),
    }
