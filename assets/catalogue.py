"""What is registered: assets with their declarations. What anybody is shown depends on declarations only.

Populations live in policies.budget; whoever registers an asset creates its population in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from assets.blocks import MAX_BLOCK_BYTES, block_count_for, padded_bytes
from assets.declaration_model import Declaration
from assets.mock import mock_minimum
from assets.records import assets
from assets.versions import Version
from audit.events import Event, EventType
from audit.log import Transaction
from core.canonical import canonical
from core.clock import text_of
from core.errors import Conflict, Invalid, NotFound
from core.yaml_positions import printable
from privacy.schema import TableSchema


@dataclass(frozen=True)
class Asset:
    """A registered table. `block_count` is that of its population."""

    declaration: Declaration
    block_count: int

    @property
    def id(self) -> str:
        """`sector/name`."""
        return self.declaration.asset

    @property
    def schema(self) -> TableSchema:
        """What planning may know of it."""
        return self.declaration.schema


def register(tx: Transaction, declaration: Declaration, actor: str) -> Asset:
    """Add an asset. Registering the same declaration again changes nothing and returns what is there.

    Raises Conflict (`asset.registered`) if the name is taken by another declaration, or (`asset.population`) if the population
    is known with another kind of unit; Invalid (`asset.too_large`) if its blocks would be too large to open in memory.
    """
    taken = _found(tx.connection, declaration.asset)
    if taken is not None:
        if taken.declaration.digest != declaration.digest:
            raise Conflict(
                "asset.registered",
                f"{declaration.asset} is registered with another declaration, and declarations do not change",
                where={"field": "asset"},
                way_out="register this one under another name, in the same population",
            )
        return taken
    asset = Asset(declaration, _block_count(tx.connection, declaration))
    _check_size(asset)
    tx.execute(
        insert(assets).values(
            asset=declaration.asset,
            declaration=canonical(declaration.to_json()).decode(),
            digest=declaration.digest,
            population=declaration.population.name,
            block_count=asset.block_count,
            registered_at=text_of(tx.now),
            registered_by=actor,
        )
    )
    facts = {
        "declaration": declaration.digest,
        "level": declaration.level,
        "population": declaration.population.name,
    }
    tx.record(Event(EventType.ASSET_REGISTERED, declaration.asset, actor, facts))
    return asset


def _check_size(asset: Asset) -> None:
    if padded_bytes(asset.schema, asset.block_count) > MAX_BLOCK_BYTES:
        raise Invalid(
            "asset.too_large",
            f"the declared rows and columns need blocks above {MAX_BLOCK_BYTES >> 20} MiB in this population",
            where={"field": "size"},
            way_out="declare shorter texts (max_length) and fewer columns, or begin the population with its largest asset",
        )


def _block_count(connection: Connection, declaration: Declaration) -> int:
    """All assets of a population share block count and kind of unit, so that equal units meet in equal blocks (design §6)."""
    first = connection.execute(
        select(assets.c.declaration, assets.c.block_count)
        .where(assets.c.population == declaration.population.name)
        .order_by(assets.c.registered_at)
        .limit(1)
    ).first()
    if first is None:
        return block_count_for(declaration.rows)
    known = Declaration.from_json(json.loads(first.declaration)).population
    for field in ("id_namespace", "unit_type"):
        if getattr(known, field) != getattr(declaration.population, field):
            raise Conflict(
                "asset.population",
                f"the population {known.name} is known with {field} {getattr(known, field)}",
                where={
                    "field": "population" if field == "id_namespace" else f"columns.{declaration.population.unit}.type"
                },
                way_out=f"declare {field} {getattr(known, field)}, or name another population",
            )
    return int(first.block_count)


def get(connection: Connection, asset: str, field: str = "asset") -> Asset:
    """The asset of this id, which stands in that `field` of what was asked. Raises NotFound (`asset.unknown`) naming it."""
    found = _found(connection, asset)
    if found is None:
        raise NotFound(
            "asset.unknown",
            f"there is no asset {printable(asset, 100)} in the catalogue",
            where={"field": field},
            way_out="banyan assets lists them; an id looks like traffic/flights",
        )
    return found


def _found(connection: Connection, asset: str) -> Asset | None:
    row = connection.execute(select(assets.c.declaration, assets.c.block_count).where(assets.c.asset == asset)).first()
    return None if row is None else asset_of(row.declaration, row.block_count)


def asset_of(declaration: str, block_count: int) -> Asset:
    """The asset of a row of the table."""
    return Asset(Declaration.from_json(json.loads(declaration)), block_count)


def listing(connection: Connection, search: str = "") -> list[Asset]:
    """The assets, by id, whose id, title, sector, population or column names hold every word of `search`."""
    rows = connection.execute(select(assets.c.declaration, assets.c.block_count).order_by(assets.c.asset))
    words = search.casefold().split()
    found = [asset_of(row.declaration, row.block_count) for row in rows]
    return [asset for asset in found if all(word in _searched(asset.declaration) for word in words)]


def _searched(declaration: Declaration) -> str:
    names = [column.name for column in declaration.columns]
    texts = [
        declaration.asset,
        declaration.title.en,
        declaration.title.zh,
        declaration.sector,
        declaration.population.name,
    ]
    return "\n".join([*texts, *names]).casefold()


def entry(asset: Asset, latest: Version | None) -> Mapping[str, Any]:
    """The asset as anybody may see it: its declaration and the number of its latest version, nothing of its data (design R10, R14)."""
    said = asset.declaration.to_json()
    del said["schema"]
    if asset.declaration.encrypted is None:  # a provider who encrypts reads the file at home, and must know
        del said["null_values"]
    return said | {
        "mock_minimum": mock_minimum(asset.declaration),
        "version": latest.number if latest else None,
        "state": latest.state.value if latest else None,
    }
