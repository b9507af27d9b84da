"""What every planned job has, whatever its kind: facts, price, schedule; from public facts only, never from data (design R10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from assets.declaration_model import Encrypted
from core.canonical import digest
from core.units import text_of
from jobs.schedule import Schedule
from privacy.accountant import Accountant, Loss
from privacy.schema import TableSchema


@dataclass(frozen=True)
class PublicFacts:
    """All that planning may know of an asset: its declaration's facts, the population's block count and δ, the newest version's number.

    `joined` are the facts of further assets: of the same population, split like the first, or public tables, of which every block of a
    program gets the `whole`. `level` is then the highest of all. Of an asset that its provider encrypts there is what is declared of that,
    and the id of the `key` that its newest version is under.
    """

    asset: str
    level: str
    population: str
    accountant: Accountant
    delta: Fraction
    schema: TableSchema
    block_count: int
    version: int | None
    joined: tuple[PublicFacts, ...] = ()
    whole: bool = False
    encrypted: Encrypted | None = None
    key: str | None = None

    @property
    def all(self) -> tuple[PublicFacts, ...]:
        """Of every asset that the job reads."""
        return (self, *self.joined)

    @property
    def protected(self) -> tuple[PublicFacts, ...]:
        """Of those whose rows belong to privacy units: all but the public tables."""
        return tuple(facts for facts in self.all if not facts.whole)


@dataclass(frozen=True)
class JobPlan:
    """A planned job; its schedule holds whatever the data (design R9).

    `told` is what its kind adds to the stored form; `identity` what makes two jobs of the kind the same, beside what all have.
    """

    kind: str
    facts: PublicFacts
    epsilon: Fraction
    delta: Fraction
    price: Loss
    image: str
    lanes: int
    schedule: Schedule
    memory_bytes: int
    told: Mapping[str, Any]
    identity: Mapping[str, Any]
    tips: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is also what a researcher sees: the kind's own plan and the price of it."""
        facts = self.facts
        return {
            "kind": self.kind,
            "asset": facts.asset,
            "version": facts.version,
            "level": facts.level,
            "joined": [
                {"asset": other.asset, "version": other.version, "whole": other.whole} for other in facts.joined
            ],
            "rows": facts.schema.rows,
            "units": facts.schema.units,
            "unit": facts.schema.unit,
            "population": facts.population,
            "price": {"epsilon": text_of(self.epsilon), "delta": text_of(self.delta)},
            "image": self.image,
            "stored_blocks": facts.block_count,
            "lanes": self.lanes,
            "tasks": self.lanes,
            "seconds": self.schedule.seconds,
            "gate_seconds": self.schedule.gate_seconds,
            "block_seconds": self.schedule.block_seconds,
            "memory_bytes": self.memory_bytes,
            **self.told,
        }

    def digest(self) -> str:
        """What makes two jobs *identical* (design R16): code and bounds, price, accountant, image, asset version."""
        return digest(
            {
                "kind": self.kind,
                "asset": self.facts.asset,
                "version": self.facts.version,
                "joined": [[other.asset, other.version] for other in self.facts.joined],
                "epsilon": text_of(self.epsilon),
                "delta": text_of(self.delta),
                "accountant": self.facts.accountant.value,
                "image": self.image,
                **self.identity,
            }
        )
