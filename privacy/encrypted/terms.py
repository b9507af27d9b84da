"""What a provider may encrypt, and how much one privacy unit can change in it: the terms that the declaration fixes and the provider signs.

A vector runs over public groups (docs/proofs/encrypted.md has the sensitivities). All numbers are integers on a column's fixed-point grid.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import rfc8785

from .profiles import PROFILES

SCHEMA = "banyan.terms/1"
UNITS, SUM, SQUARE, GRAM = "units", "sum:", "square:", "gram"
# Fractional bits of the entries of a unit's moment matrix.
GRAM_BITS = 20
MAX_GROUPS, MAX_COLUMNS, MAX_SCALE = 10_000, 16, 9
# The groups as JSON. A header with more would not fit into what the reader of uploads takes for one.
MAX_GROUP_BYTES = 200_000
# Signatures and digests are over canonical JSON (RFC 8785), which has no larger integers.
LARGEST = 2**53 - 1
PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,39}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
POPULATION = re.compile(r"[a-z][a-z0-9-]{0,60}")
# What names may be, in words.
_PROVIDER_FORM = "1 to 40 letters a-z, digits and hyphens, a letter first, such as hospital-a"
_POPULATION_FORM = "1 to 61 letters a-z, digits and hyphens, a letter first, such as city-patients"
_COLUMN_FORM = "1 to 63 letters A-Z and a-z, digits and underscores, a letter first"


@dataclass(frozen=True)
class Bounded:
    """A column with the ends of what counts of it, as integers on its grid of `scale` decimal digits."""

    column: str
    scale: int
    lower: int
    upper: int

    def __post_init__(self) -> None:
        _demand(
            isinstance(self.column, str) and _NAME.fullmatch(self.column) is not None,
            f"a column's name is {_COLUMN_FORM}",
        )
        _demand(type(self.scale) is int and 0 <= self.scale <= MAX_SCALE, "a scale is a number of decimal digits")
        _demand(type(self.lower) is int and type(self.upper) is int, "bounds are whole numbers on the grid")
        _demand(-LARGEST <= self.lower < self.upper <= LARGEST, "bounds are in order, and within ±(2^53 - 1)")

    @property
    def most(self) -> int:
        """The largest absolute value."""
        return max(abs(self.lower), abs(self.upper))

    @property
    def centre(self) -> int:
        """What squares are taken around."""
        return (self.lower + self.upper) // 2

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"column": self.column, "scale": self.scale, "lower": self.lower, "upper": self.upper}

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        return cls(**_members(stored, {"column", "scale", "lower", "upper"}))


@dataclass(frozen=True)
class LeastSquares:
    """The columns of a regression; their bounds map values to [-1, 1]."""

    features: tuple[Bounded, ...]
    target: Bounded

    def __post_init__(self) -> None:
        names = [column.column for column in (*self.features, self.target)]
        _demand(1 <= len(self.features) <= MAX_COLUMNS, f"a regression has 1 to {MAX_COLUMNS} features")
        _demand(len(set(names)) == len(names), "a column stands twice in the regression")

    @property
    def size(self) -> int:
        """d: one, the features and the target."""
        return len(self.features) + 2

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"features": [column.to_json() for column in self.features], "target": self.target.to_json()}

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        said = _members(stored, {"features", "target"})
        return cls(
            tuple(Bounded.from_json(each) for each in _list(said["features"])), Bounded.from_json(said["target"])
        )


@dataclass(frozen=True)
class Sensitivity:
    """What one unit can change in a vector: entries, absolute sum, sum of squares, and each entry."""

    l0: int
    l1: int
    l2_squared: int
    linf: int

    def times(self, overlap: int, length: int) -> Sensitivity:
        """Of a unit that is in the data of `overlap` providers, whose changes may add up or lie in different entries."""
        return Sensitivity(
            min(length, self.l0 * overlap), self.l1 * overlap, self.l2_squared * overlap**2, self.linf * overlap
        )


@dataclass(frozen=True)
class Vector:
    """One vector of an upload: its name, its entries, and what one unit can change in it at one provider."""

    name: str
    length: int
    change: Sensitivity


@dataclass(frozen=True)
class Terms:
    """See the module. `group_by` None means one group for all; `max_groups` is how many groups a unit counts in.

    `units` is n_pub, the declared number of the provider's units; a provider with more than EXCESS times as many encrypts nothing.
    """

    provider: str
    unit: str
    population: str
    profile: str
    group_by: str | None
    groups: tuple[str, ...]
    max_groups: int
    totals: tuple[Bounded, ...]
    squares: tuple[str, ...]
    least_squares: LeastSquares | None
    units: int

    def __post_init__(self) -> None:
        _demand(type(self.units) is int and 1 <= self.units <= 10**9, "units are 1 to a thousand million")
        _demand(
            isinstance(self.provider, str) and PROVIDER.fullmatch(self.provider) is not None,
            f"a provider's name is {_PROVIDER_FORM}",
        )
        _demand(
            isinstance(self.unit, str) and _NAME.fullmatch(self.unit) is not None,
            f"the unit column's name is {_COLUMN_FORM}",
        )
        _demand(
            isinstance(self.population, str) and POPULATION.fullmatch(self.population) is not None,
            f"a population's name is {_POPULATION_FORM}",
        )
        _demand(
            isinstance(self.profile, str) and self.profile in PROFILES, f"the profile is one of {', '.join(PROFILES)}"
        )
        _demand(
            self.group_by is None or (isinstance(self.group_by, str) and _NAME.fullmatch(self.group_by) is not None),
            f"the group column's name is {_COLUMN_FORM}",
        )
        _demand(1 <= len(self.groups) <= MAX_GROUPS, f"there are 1 to {MAX_GROUPS:,} groups")
        _demand(
            all(isinstance(group, str) and 0 < len(group) <= 200 for group in self.groups),
            "a group's name has 1 to 200 letters",
        )
        _demand(len(set(self.groups)) == len(self.groups), "a group stands twice")
        _demand(
            len(rfc8785.dumps(list(self.groups))) <= MAX_GROUP_BYTES,
            f"the names of all groups together are at most {MAX_GROUP_BYTES:,} bytes",
        )
        _demand(
            type(self.max_groups) is int and 1 <= self.max_groups <= len(self.groups),
            "a unit counts in 1 to all groups",
        )
        names = [total.column for total in self.totals]
        _demand(
            len(names) <= MAX_COLUMNS and len(set(names)) == len(names),
            f"the totalled columns are at most {MAX_COLUMNS}, each once",
        )
        _demand(
            set(self.squares) <= set(names) and len(set(self.squares)) == len(self.squares),
            "squares are of totalled columns, each once",
        )
        span = PROFILES[self.profile].span // 2
        _demand(
            all(vector.change.linf < span for vector in self.vectors),
            "what one unit may contribute is already larger than its numbers can be",
        )

    @cached_property
    def vectors(self) -> tuple[Vector, ...]:
        """The vectors of an upload, in the order in which they are encrypted."""
        groups, most = len(self.groups), self.max_groups
        found = [Vector(UNITS, groups, _by_group(most, 1))]
        found += [Vector(SUM + total.column, groups, _by_group(most, total.most)) for total in self.totals]
        found += [
            Vector(SQUARE + name, groups, _by_group(most, square_most(self.total(name)))) for name in self.squares
        ]
        if self.least_squares is not None:
            found.append(Vector(GRAM, *_gram(self.least_squares.size)))
        return tuple(found)

    def total(self, column: str) -> Bounded:
        """The bounds of a totalled column. Raises KeyError."""
        for total in self.totals:
            if total.column == column:
                return total
        raise KeyError(column)

    def vector(self, name: str) -> Vector:
        """The vector of this name. Raises KeyError."""
        for vector in self.vectors:
            if vector.name == name:
                return vector
        raise KeyError(name)

    @cached_property
    def shape_digest(self) -> str:
        """Of all but the provider and its size: uploads can be added only where it is the same."""
        own = ("provider", "units")
        said = rfc8785.dumps({name: value for name, value in self.to_json().items() if name not in own})
        return "sha256:" + hashlib.sha256(said).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "schema": SCHEMA,
            "provider": self.provider,
            "unit": self.unit,
            "population": self.population,
            "profile": self.profile,
            "group_by": self.group_by,
            "groups": list(self.groups),
            "max_groups": self.max_groups,
            "totals": [total.to_json() for total in self.totals],
            "squares": list(self.squares),
            "least_squares": None if self.least_squares is None else self.least_squares.to_json(),
            "units": self.units,
        }

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        names = {"provider", "unit", "population", "profile", "group_by", "groups", "max_groups", "units"}
        said = _members(stored, names | {"schema", "totals", "squares", "least_squares"})
        _demand(said["schema"] == SCHEMA, "these are not terms of this version")
        squares = _list(said["squares"])
        _demand(all(isinstance(name, str) for name in squares), "squares are names")
        regression = said["least_squares"]
        return cls(
            **{name: said[name] for name in names if name != "groups"},
            groups=tuple(_list(said["groups"])),
            totals=tuple(Bounded.from_json(each) for each in _list(said["totals"])),
            squares=tuple(squares),
            least_squares=None if regression is None else LeastSquares.from_json(regression),
        )


def square_most(total: Bounded) -> int:
    """The largest square of a clamped total around its centre."""
    away: int = max(total.upper - total.centre, total.centre - total.lower)
    return away * away


def gram_length(size: int) -> int:
    """Entries of the upper triangle of a d-by-d matrix."""
    return size * (size + 1) // 2


def gram_norm(size: int) -> int:
    """B₂: an integer bound on the L2 norm of a unit's rounded triangle.

    A unit's vector w has norm at most 1, so that of w·wᵀ is at most 1 (Frobenius), of its triangle at most 2^F on the grid, and rounding
    moves each of its entries by at most ½: √(entries)/2 in all.
    """
    entries = gram_length(size)
    return (1 << GRAM_BITS) + math.isqrt(entries - 1) + 1  # ⌈√entries⌉, more than half of which is not needed


def _gram(size: int) -> tuple[int, Sensitivity]:
    """By Cauchy and Schwarz the absolute sum is at most √entries times the norm."""
    entries, norm = gram_length(size), gram_norm(size)
    return entries, Sensitivity(entries, math.isqrt(entries * norm**2 - 1) + 1, norm**2, 1 << GRAM_BITS)


def _by_group(groups: int, most: int) -> Sensitivity:
    """Of a unit that adds at most `most` to each of `groups` entries."""
    return Sensitivity(groups, groups * most, groups * most**2, most)


def _members(stored: object, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(stored, Mapping) or set(stored) != names:
        raise ValueError(f"exactly the members {', '.join(sorted(names))} are expected")
    return stored


def _list(stored: object) -> list[Any]:
    if isinstance(stored, list):
        return stored
    raise ValueError("a list is expected")


def _demand(holds: bool, said: str) -> None:
    if not holds:
        raise ValueError(said)
