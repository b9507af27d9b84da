"""Tables of the log. Triggers (in the first migration) refuse UPDATE and DELETE on entries and nodes."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, Table, Text

from core.database import metadata

entries = Table(
    "log_entries",
    metadata,
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("type", Text, nullable=False, index=True),
    Column("subject", Text, nullable=False, index=True),
)
nodes = Table(
    "log_nodes",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)
checkpoints = Table(
    "log_checkpoints",
    metadata,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)
