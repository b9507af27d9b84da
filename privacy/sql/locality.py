"""Which conditions bring together only rows of one unit, and what a key says of that: the argument is docs/proofs/locality.md."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from privacy.schema import TableSchema
from privacy.sql.algebra import UNIT

Pairs = Collection[tuple[int, int]]  # columns that a condition makes equal, left and right


@dataclass(frozen=True)
class Determining:
    """Columns that say which unit a row belongs to: they hold, in the order of `key`, a key of an asset. The unit has no asset."""

    asset: str
    key: tuple[str, ...]
    columns: tuple[int, ...]

    def moved(self, places: Mapping[int, int]) -> Determining | None:
        """The same where the columns stand at `places`; None where one of them is not kept."""
        if not places.keys() >= set(self.columns):
            return None
        return Determining(self.asset, self.key, tuple(places[column] for column in self.columns))


THE_UNIT = Determining("", (), (UNIT,))


def determining_of(asset: str, schema: TableSchema) -> tuple[Determining, ...]:
    """What determines the unit in a stored private table: the unit, each of its keys, each key that it refers to.

    Columns are counted as `algebra.scan_of` lays them.
    """
    names = [schema.unit, *(column.name for column in schema.columns if column.name != schema.unit)]
    places = {name: at for at, name in enumerate(names)}
    found = [THE_UNIT]
    keys = [(asset, key, key) for key in schema.keys]
    keys += [(reference.asset, reference.key, reference.columns) for reference in schema.references]
    for of, key, columns in keys:
        paired = sorted(zip(key, columns, strict=True))  # two declarations may list a key's columns in two orders
        found.append(Determining(of, tuple(k for k, _ in paired), tuple(places[column] for _, column in paired)))
    return tuple(found)


def moved(several: Iterable[Determining], places: Mapping[int, int]) -> tuple[Determining, ...]:
    """All of `several` that are still there, once each, where the columns stand at `places`."""
    found = (each.moved(places) for each in several)
    return tuple(dict.fromkeys(each for each in found if each is not None))


def implies_unit(equal: Pairs, left: Iterable[Determining], right: Iterable[Determining]) -> bool:
    """Whether rows that agree in the pairs `equal` are of one unit: they then have the same unit, or the same value of the same key."""
    found = {(each.asset, each.key, each.columns) for each in right}
    others = dict[int, set[int]]()
    for mine, other in equal:
        others.setdefault(mine, set()).add(other)
    return any(_agrees(each, others, found) for each in left)


def _agrees(
    mine: Determining, others: Mapping[int, set[int]], found: set[tuple[str, tuple[str, ...], tuple[int, ...]]]
) -> bool:
    columns = [others.get(column, set()) for column in mine.columns]
    return any(
        (asset, key) == (mine.asset, mine.key) and all(other in has for other, has in zip(at, columns, strict=True))
        for asset, key, at in found
    )


def names_units(columns: Collection[int], determining: Iterable[Determining]) -> bool:
    """Whether values of these columns, together, tell which unit a row belongs to."""
    return any(set(each.columns) <= set(columns) for each in determining)
