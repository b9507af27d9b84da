"""How each population stands by the key holder's own account, and what of the registry cannot be meant so."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from core.errors import Conflict
from keyholder.ledger import Ledger
from keyholder.registry import Population, Registry
from privacy.accountant import Accountant, Loss


def check_accountants(registry: Registry, ledger: Ledger) -> None:
    """Raise Conflict (`registry.accountant`) where something was released under another accountant: its losses cannot be added up."""
    pinned = registry.populations
    for name, population in pinned.items():
        if not _is_of(population.accountant, ledger.spent(name)):
            raise Conflict(
                "registry.accountant",
                _other_accountant(name, population),
                where={"field": f"populations.{name}.accountant"},
                way_out="the accountant that it had: it never changes",
            )


def lines(registry: Registry, ledger: Ledger) -> list[str]:
    """For each population what is spent, of what, and what is left."""
    pinned = registry.populations
    return [_line(name, population, ledger.spent(name)) for name, population in pinned.items()]


def warnings(registry: Registry, ledger: Ledger) -> list[str]:
    """What an operator may not have meant: a budget below what is spent, and a second budget over the same people."""
    pinned = registry.populations
    found = [
        f"{name}: more is released than registry.yaml allows; nothing more will be"
        for name, population in pinned.items()
        if not ledger.spent(name).within(population.capacity.limit)
    ]
    found += [
        f"{name}: was released from, and registry.yaml names it no more; under another name it has a second budget"
        for name in ledger.populations()
        if name not in pinned
    ]
    for (name, one), (other, two) in combinations(pinned.items(), 2):
        same = _same_keys(one.providers, two.providers)
        if same:
            found.append(
                f"{name} and {other}: one signing key for {same}; whoever is in both loses what both have lost"
            )
    return found


def _line(name: str, population: Population, spent: Loss) -> str:
    capacity = population.capacity
    if not _is_of(population.accountant, spent):
        return f"spent  {_other_accountant(name, population)}"
    left = capacity.left(spent)
    currency = "epsilon" if population.accountant is Accountant.BASIC else "rho"
    rest = left.epsilon if population.accountant is Accountant.BASIC else left.rho
    (epsilon, delta), (most, most_delta) = capacity.converted(spent), capacity.converted(capacity.limit)
    return (
        f"spent  {name}: epsilon {float(epsilon):.6g}, delta {float(delta):.3g}"
        f" of epsilon {float(most):.6g}, delta {float(most_delta):.3g};"
        f" left: {currency} {float(rest):.6g}, delta {float(left.delta):.3g}"
    )


def _other_accountant(name: str, population: Population) -> str:
    return f"{name}: was released from under another accountant than {population.accountant}, which registry.yaml says"


def _is_of(accountant: Accountant, spent: Loss) -> bool:
    return (spent.rho if accountant is Accountant.BASIC else spent.epsilon) == 0


def _same_keys(one: Mapping[str, str], two: Mapping[str, str]) -> str:
    """Names in `one` of the providers whose key is in `two` as well."""
    return ", ".join(name for name, key in one.items() if key in two.values())
