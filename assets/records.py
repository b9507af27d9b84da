"""Tables of the catalogue. Rows are added and never changed: declarations and versions are immutable."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, Table, Text, UniqueConstraint

from core.database import metadata

assets = Table(
    "assets",
    metadata,
    Column("asset", Text, primary_key=True),
    Column("declaration", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("population", Text, nullable=False, index=True),
    Column("block_count", Integer, nullable=False),
    Column("registered_at", Text, nullable=False),
    Column("registered_by", Text, nullable=False),
)
asset_versions = Table(
    "asset_versions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("asset", Text, ForeignKey("assets.asset"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("wrapped_key", Text, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Column("ingested_at", Text, nullable=False),
    Column("ingested_by", Text, nullable=False),
    UniqueConstraint("asset", "number"),
)
blocks = Table(
    "asset_blocks",
    metadata,
    Column("version", Text, ForeignKey("asset_versions.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("digest", Text, nullable=False),
)
# What planning and the key holder need of a provider's upload: the key it is under, and the header that the provider signed.
encrypted_uploads = Table(
    "encrypted_uploads",
    metadata,
    Column("version", Text, ForeignKey("asset_versions.id"), primary_key=True),
    Column("key", Text, nullable=False),
    Column("header", Text, nullable=False),
)
