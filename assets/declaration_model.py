"""What a declaration says once it has been read, and its JSON form: all that planning, price and mock data ever see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any

from core.canonical import digest
from core.clock import moment_of
from core.clock import text_of as text_of_moment
from core.units import exact
from core.units import text_of as text_of_fraction
from privacy.accountant import Accountant
from privacy.encrypted.terms import Terms
from privacy.schema import Bound, Column, ColumnType, TableSchema

SECTORS = ("ocean", "finance", "medical", "social-governance", "traffic")
SENSITIVITIES = ("direct_identifier", "quasi_identifier", "sensitive", "ordinary")
SCHEMA = "banyan.declaration/1"


@dataclass(frozen=True)
class Title:
    """The asset's name for people, in both languages of the platform."""

    en: str
    zh: str


@dataclass(frozen=True)
class Population:
    """The set of privacy units behind the asset. `unit_type` decides how a unit's text is made canonical (INT or STRING)."""

    name: str
    id_namespace: str
    unit: str
    unit_type: ColumnType


@dataclass(frozen=True)
class Budget:
    """What the population may spend in its lifetime, and by which accountant it is counted (design R13)."""

    accountant: Accountant
    epsilon: Fraction
    delta: Fraction


@dataclass(frozen=True)
class Encrypted:
    """What the asset's provider may encrypt, and the provider's Ed25519 public key in base64, which signs it.

    Where nothing is `stored`, versions hold no numbers: the provider encrypts for each job anew, with noise of its own.
    """

    terms: Terms
    signing_key: str
    stored: bool = True

    @property
    def vectors(self) -> tuple[str, ...]:
        """The names of the vectors in a version."""
        return tuple(vector.name for vector in self.terms.vectors) if self.stored else ()


@dataclass(frozen=True)
class Declaration:
    """One declared asset. `rows` and `units` are n_pub; `sensitivities` names the columns that declare a class.

    Of an asset with `encrypted` the service never holds a row: its versions are uploads of ciphertexts.
    """

    asset: str
    title: Title
    sector: str
    level: str
    population: Population
    rows: int
    units: int
    columns: tuple[Column, ...]
    budget: Budget
    sensitivities: tuple[tuple[str, str], ...] = ()
    null_values: tuple[str, ...] = ("",)
    encrypted: Encrypted | None = None

    @property
    def name(self) -> str:
        """The last part of the asset's id: the table's name in SQL."""
        return self.asset.partition("/")[2]

    @cached_property
    def schema(self) -> TableSchema:
        """What planning may know of the table."""
        return TableSchema(self.name, self.population.unit, self.columns, self.rows, self.units)

    @cached_property
    def digest(self) -> str:
        """The digest of the canonical JSON form: two texts that say the same have the same digest."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The JSON form; `Declaration.from_json` is its inverse."""
        classes = dict(self.sensitivities)
        return _encrypted_json(self.encrypted) | {
            "schema": SCHEMA,
            "asset": self.asset,
            "title": {"en": self.title.en, "zh": self.title.zh},
            "sector": self.sector,
            "level": self.level,
            "population": {
                "name": self.population.name,
                "id_namespace": self.population.id_namespace,
                "unit": self.population.unit,
                "unit_type": self.population.unit_type.value,
            },
            "size": {"rows": self.rows, "units": self.units},
            "columns": [_column_json(column, classes.get(column.name)) for column in self.columns],
            "budget": {
                "accountant": self.budget.accountant.value,
                "epsilon": text_of_fraction(self.budget.epsilon),
                "delta": text_of_fraction(self.budget.delta),
            },
            "null_values": list(self.null_values),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Declaration:
        """Rebuild what `to_json` gave. Raises ValueError or KeyError for anything else."""
        if value["schema"] != SCHEMA:
            raise ValueError("not a declaration of this version")
        population, budget = value["population"], value["budget"]
        return cls(
            asset=value["asset"],
            title=Title(**value["title"]),
            sector=value["sector"],
            level=value["level"],
            population=Population(
                population["name"], population["id_namespace"], population["unit"], ColumnType(population["unit_type"])
            ),
            rows=value["size"]["rows"],
            units=value["size"]["units"],
            columns=tuple(_column_of(entry) for entry in value["columns"]),
            budget=Budget(Accountant(budget["accountant"]), exact(budget["epsilon"]), exact(budget["delta"])),
            sensitivities=tuple((e["name"], e["sensitivity"]) for e in value["columns"] if "sensitivity" in e),
            null_values=tuple(value["null_values"]),
            encrypted=_encrypted_of(value.get("encrypted")),
        )


def _encrypted_json(encrypted: Encrypted | None) -> dict[str, Any]:
    """Left out where there is none, so that declarations from before it was a field keep their digest."""
    if encrypted is None:
        return {}
    said = {"terms": encrypted.terms.to_json(), "signing_key": encrypted.signing_key, "stored": encrypted.stored}
    return {"encrypted": said}


def _encrypted_of(value: Mapping[str, Any] | None) -> Encrypted | None:
    if value is None:
        return None
    return Encrypted(Terms.from_json(value["terms"]), value["signing_key"], value.get("stored", True))


def bound_text(bound: Bound) -> int | str:
    """A bound as JSON: an int as itself, everything else as text."""
    if isinstance(bound, int):
        return bound
    if isinstance(bound, Decimal):
        return f"{bound:f}"
    return text_of_moment(bound) if isinstance(bound, datetime) else bound.isoformat()


def _bound_of(kind: ColumnType, value: int | str | None) -> Bound | None:
    if value is None or isinstance(value, int):
        return value
    if kind is ColumnType.DECIMAL:
        return Decimal(value)
    return date.fromisoformat(value) if kind is ColumnType.DATE else moment_of(value)


def _column_json(column: Column, sensitivity: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.type.value,
        "nullable": column.nullable,
        "public": column.public,
    }
    if column.lower is not None and column.upper is not None:
        entry |= {"lower": bound_text(column.lower), "upper": bound_text(column.upper)}
    if column.type is ColumnType.DECIMAL:
        entry["scale"] = column.scale
    if column.values:
        entry["values"] = list(column.values)
    if column.max_length is not None:
        entry["max_length"] = column.max_length
    if sensitivity is not None:
        entry["sensitivity"] = sensitivity
    return entry


def _column_of(entry: Mapping[str, Any]) -> Column:
    kind = ColumnType(entry["type"])
    return Column(
        name=entry["name"],
        type=kind,
        nullable=entry["nullable"],
        public=entry["public"],
        lower=_bound_of(kind, entry.get("lower")),
        upper=_bound_of(kind, entry.get("upper")),
        scale=entry.get("scale", 0),
        values=tuple(entry.get("values", ())),
        max_length=entry.get("max_length"),
    )
