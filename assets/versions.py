"""Which versions an asset has, and what belongs to each: blocks, wrapped key, sealed report. A version is only ever seen whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, insert, select

from assets.blocks import Block
from assets.records import asset_versions, blocks
from audit.events import Event, EventType
from audit.log import Transaction
from core.clock import text_of
from core.errors import NotFound


class VersionState(StrEnum):
    """Where a version is in its life. A version is only ever seen whole."""

    READY = "ready"


@dataclass(frozen=True)
class Version:
    """One immutable version of an asset. `root` covers the ciphertext of all its blocks (design R15)."""

    id: str
    asset: str
    number: int
    state: VersionState
    root: str


def latest_version(connection: Connection, asset: str) -> Version | None:
    """The newest version that is ready; None before the first."""
    rows = select(asset_versions).where(asset_versions.c.asset == asset).order_by(asset_versions.c.number.desc())
    return _version_of(connection.execute(rows.limit(1)).first())


def version(connection: Connection, asset: str, number: int) -> Version:
    """One version of an asset. Raises NotFound (`version.unknown`)."""
    wanted = (asset_versions.c.asset == asset) & (asset_versions.c.number == number)
    found = _version_of(connection.execute(select(asset_versions).where(wanted)).first())
    if found is None:
        raise NotFound("version.unknown", f"{asset} has no version {number}", where={"field": "version"})
    return found


def _version_of(row: Any) -> Version | None:
    return None if row is None else Version(row.id, row.asset, row.number, VersionState(row.state), row.root)


def next_number(connection: Connection, asset: str) -> int:
    """The number that the next version will have."""
    highest = connection.execute(
        select(func.max(asset_versions.c.number)).where(asset_versions.c.asset == asset)
    ).scalar()
    return (highest or 0) + 1


@dataclass(frozen=True)
class NewVersion:
    """A version whose blocks are all in the store, with what is kept beside it."""

    version: Version
    wrapped_key: str
    report: bytes
    blocks: Sequence[Block]


def add_version(tx: Transaction, added: NewVersion, actor: str) -> None:
    """Add a version, and say so in the log."""
    made = added.version
    tx.execute(
        insert(asset_versions).values(
            id=made.id,
            asset=made.asset,
            number=made.number,
            state=made.state.value,
            root=made.root,
            wrapped_key=added.wrapped_key,
            report=added.report,
            ingested_at=text_of(tx.now),
            ingested_by=actor,
        )
    )
    for block in added.blocks:
        tx.execute(
            insert(blocks).values(
                version=made.id,
                position=block.index,
                path=block.path,
                size_bytes=block.size_bytes,
                digest=block.digest,
            )
        )
    facts = {"version": made.id, "root": made.root, "blocks": len(added.blocks)}
    tx.record(Event(EventType.VERSION_INGESTED, made.asset, actor, facts))


def version_blocks(connection: Connection, version_id: str) -> tuple[Block, ...]:
    """The blocks of a version, in order."""
    rows = connection.execute(select(blocks).where(blocks.c.version == version_id).order_by(blocks.c.position))
    return tuple(Block(row.position, row.path, row.size_bytes, row.digest) for row in rows)


def wrapped_key(connection: Connection, version_id: str) -> str:
    """The version's key as KeyRing.unwrap takes it. Ask for it after the ledger's commit. Raises LookupError."""
    found = connection.execute(select(asset_versions.c.wrapped_key).where(asset_versions.c.id == version_id)).scalar()
    if found is None:
        raise LookupError("no such version")
    return str(found)


def sealed_report(connection: Connection, version_id: str) -> bytes:
    """The version's sealed report, as KeyRing.unseal takes it. Raises LookupError."""
    found = connection.execute(select(asset_versions.c.report).where(asset_versions.c.id == version_id)).scalar()
    if found is None:
        raise LookupError("no such version")
    return bytes(found)


def known_ids(connection: Connection) -> frozenset[str]:
    """The ids of all versions."""
    return frozenset(connection.execute(select(asset_versions.c.id)).scalars())
