"""Whether a file holds people who are already in another population: then each would be spent twice, and it is refused.

Every version keeps a sealed sketch: the smallest keyed hashes of its units. Populations of one id_namespace share the key, so
equal units have equal hashes (proof_obligations.md I17).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from assets.blocks import folder_of
from assets.catalogue import Asset, asset_of
from assets.keyed_hash import keyed_hashes
from assets.keys import KeyRing
from assets.object_store import ObjectStore
from assets.records import asset_versions, assets
from core.errors import Conflict

PURPOSE = "unit-sketch"
SKETCH_UNITS = 1 << 16
LIMIT = Fraction(1, 100)
_EVERYTHING = 2**64 - 1


@dataclass(frozen=True)
class Sketch:
    """The smallest hashes of a version's units, ascending. Below `horizon` none is missing."""

    hashes: npt.NDArray[np.uint64]
    horizon: int

    @classmethod
    def of(cls, units: list[bytes], key: bytes, most: int) -> Sketch:
        """The sketch of these units, with at most `most` hashes."""
        return cls(keyed_hashes(units, key), _EVERYTHING).smallest(most)

    def smallest(self, most: int) -> Sketch:
        """The sketch of the same units with at most `most` hashes."""
        hashes = np.sort(self.hashes)
        return Sketch(hashes[:most], self.horizon if len(hashes) <= most else int(hashes[most - 1]))

    def joined(self, other: Sketch, most: int) -> Sketch:
        """The sketch of the units of both, which have none in common: what `of` would give for all of them."""
        horizon = min(self.horizon, other.horizon)
        hashes = np.concatenate([self.hashes, other.hashes])
        return Sketch(hashes[hashes <= np.uint64(horizon)], horizon).smallest(most)

    def to_bytes(self) -> bytes:
        """Horizon and hashes, big-endian."""
        return self.horizon.to_bytes(8, "big") + self.hashes.astype(">u8").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> Sketch:
        """The inverse of `to_bytes`."""
        return cls(np.frombuffer(content[8:], dtype=">u8").astype(np.uint64), int.from_bytes(content[:8], "big"))

    def overlap(self, other: Sketch) -> Fraction:
        """The share of the smaller one's units that are in both, over the part of the hash range that both cover."""
        horizon = np.uint64(min(self.horizon, other.horizon))
        mine, theirs = (each.hashes[each.hashes <= horizon] for each in (self, other))
        smaller = min(len(mine), len(theirs))
        return Fraction(len(np.intersect1d(mine, theirs)), smaller) if smaller else Fraction(0)


def sketch_of(asset: Asset, keys: KeyRing, units: list[bytes]) -> Sketch:
    """The sketch of these units of a version, with at most `most_hashes`."""
    return Sketch.of(units, keys.sketch_key(asset.declaration.population.id_namespace), most_hashes(asset))


def seal_sketch(asset: Asset, keys: KeyRing, version: str, sketch: Sketch) -> bytes:
    """The sketch, encrypted and padded to a size that the declaration gives."""
    return keys.seal(PURPOSE, version, sketch.to_bytes(), 8 * (most_hashes(asset) + 2))


def sketch_path(version: str) -> str:
    """Where the sketch of a version lies in the store."""
    return f"{folder_of(version)}/units.sketch"


def check_apart(connection: Connection, store: ObjectStore, keys: KeyRing, asset: Asset, sketch: Sketch) -> None:
    """Raise Conflict (`ingest.population_overlap`) if more than 1 % of the units are in another population of the namespace.

    Call it in the transaction that adds the version, so that of two ingests at the same time the later one sees the earlier.
    """
    for other, version in _others(connection, asset):
        sealed = store.get(sketch_path(version))
        if sketch.overlap(Sketch.from_bytes(keys.unseal(PURPOSE, version, sealed))) > LIMIT:
            name = other.declaration.population.name
            raise Conflict(
                "ingest.population_overlap",
                f"the file holds units of the population {name}: in two populations, each of them would be spent twice",
                where={"field": "population"},
                way_out=f"declare the population {name} for this asset, under another asset name",
            )


def _others(connection: Connection, asset: Asset) -> Iterator[tuple[Asset, str]]:
    population = asset.declaration.population
    rows = connection.execute(
        select(assets.c.declaration, assets.c.block_count, asset_versions.c.id)
        .join(asset_versions, asset_versions.c.asset == assets.c.asset)
        .where(assets.c.population != population.name)
    )
    for row in rows:
        other = asset_of(row.declaration, row.block_count)
        # Of what providers encrypted, no unit is known here (docs/known-limitations.md).
        if other.declaration.encrypted is None and other.declaration.population.id_namespace == population.id_namespace:
            yield other, row.id


def most_hashes(asset: Asset) -> int:
    """How many hashes the sketch of a version holds at most: from the declared number of units."""
    return min(SKETCH_UNITS, 2 * asset.declaration.units)
