"""Populations: whose privacy is protected together, with one budget whose accountant and limits are fixed at creation (R13)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, insert, select

from audit.events import Event, EventType
from audit.log import Transaction
from core.canonical import canonical
from core.clock import text_of as moment_text
from core.errors import Conflict, Invalid, NotFound
from core.ids import is_name
from core.units import delta_of, epsilon_of, exact, text_of
from core.yaml_positions import printable, shown
from policies.records import populations
from privacy.accountant import Accountant, Capacity, Loss

MAX_BLOCKS = 4096


@dataclass(frozen=True)
class Population:
    """One population. `capacity` is what its declared (ε, δ) was turned into when it was created."""

    name: str
    id_namespace: str
    unit: str
    accountant: Accountant
    epsilon: Fraction
    delta: Fraction
    capacity: Capacity
    block_count: int


def create_population(
    tx: Transaction,
    name: str,
    *,
    id_namespace: str,
    unit: str,
    accountant: Accountant,
    epsilon: Fraction,
    delta: Fraction,
    block_count: int,
    actor: str,
) -> Population:
    """Create the population, or return the one there is: assets of one population share it.

    `unit` and `block_count` are those of the first asset; later assets take them over. Raises Conflict (`population.differs`)
    where accountant, ε, δ or id namespace are not those of the population there is, Invalid for values that cannot be.
    """
    asked = _new(name, id_namespace, unit, accountant, epsilon=epsilon, delta=delta, block_count=block_count)
    found = _find(tx.connection, name)
    if found is not None:
        _check_same(found, asked)
        return found
    tx.execute(
        insert(populations).values(
            name=name,
            id_namespace=id_namespace,
            unit=unit,
            accountant=accountant.value,
            epsilon=text_of(epsilon),
            delta=text_of(delta),
            capacity=_capacity_text(asked.capacity),
            block_count=block_count,
            created_at=moment_text(tx.now),
        )
    )
    facts = {"unit": unit, "id_namespace": id_namespace, **_limits(asked)}
    tx.record(Event(EventType.POPULATION_CREATED, name, actor, facts))
    return asked


def population_of(connection: Connection, name: str) -> Population:
    """The population. Raises NotFound (`population.unknown`)."""
    found = _find(connection, name)
    if found is None:
        raise NotFound("population.unknown", f"there is no population {printable(name, 64)}")
    return found


def all_populations(connection: Connection) -> list[Population]:
    """Every population, by name."""
    names = connection.execute(select(populations.c.name).order_by(populations.c.name)).scalars().all()
    return [population_of(connection, name) for name in names]


def _new(
    name: str,
    id_namespace: str,
    unit: str,
    accountant: Accountant,
    *,
    epsilon: Fraction,
    delta: Fraction,
    block_count: int,
) -> Population:
    for field, value in (("population.name", name), ("population.id_namespace", id_namespace)):
        if not is_name(value) or "/" in value:
            raise Invalid("population.invalid", f"{shown(value)} is not a name", where={"field": field})
    if not 1 <= block_count <= MAX_BLOCKS:
        text = f"a population has 1 to {MAX_BLOCKS} blocks"
        raise Invalid("population.invalid", text, where={"field": "block_count"})
    epsilon, delta = epsilon_of(epsilon, "budget.epsilon"), delta_of(delta, "budget.delta")
    capacity = Capacity.of(accountant, epsilon, delta)
    return Population(name, id_namespace, unit, accountant, epsilon, delta, capacity, block_count)


def _limits(population: Population) -> dict[str, str]:
    return {
        "accountant": population.accountant.value,
        "epsilon": text_of(population.epsilon),
        "delta": text_of(population.delta),
    }


def _check_same(found: Population, asked: Population) -> None:
    there = {**_limits(found), "id_namespace": found.id_namespace}
    wanted = {**_limits(asked), "id_namespace": asked.id_namespace}
    different = [name for name in there if there[name] != wanted[name]]
    if different:
        raise Conflict(
            "population.differs",
            f"the population {found.name} exists with another {' and '.join(different)}",
            where={"field": different[0]},
            way_out=", ".join(f"{name}: {there[name]}" for name in different) + "; or another population's name",
        )


def _capacity_text(capacity: Capacity) -> str:
    stored = {"limit": capacity.limit.to_json(), "reserved_delta": text_of(capacity.reserved_delta)}
    return canonical(stored).decode()


def _find(connection: Connection, name: str) -> Population | None:
    row = connection.execute(select(populations).where(populations.c.name == name)).first()
    if row is None:
        return None
    stored: dict[str, Any] = json.loads(row.capacity)
    accountant = Accountant(row.accountant)
    return Population(
        name=row.name,
        id_namespace=row.id_namespace,
        unit=row.unit,
        accountant=accountant,
        epsilon=exact(row.epsilon),
        delta=exact(row.delta),
        capacity=Capacity(accountant, Loss.from_json(stored["limit"]), exact(stored["reserved_delta"])),
        block_count=row.block_count,
    )
