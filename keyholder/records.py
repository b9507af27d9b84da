"""Tables of the key holder: rows are added, and the database itself refuses to change or remove one."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import DDL, Column, Engine, Integer, LargeBinary, MetaData, Table, Text, event

from core.database import engine_for

metadata = MetaData()
keys = Table(
    "keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("profile", Text, nullable=False),
    Column("context", LargeBinary, nullable=False),
)
# What each key is good for is what was said of it last.
key_states = Table(
    "key_states",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("said_at", Text, nullable=False),
    Column("why", Text, nullable=False),
)
# The ledger: one row a release, with the very bytes that were answered.
answers = Table(
    "answers",
    metadata,
    Column("job", Text, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("population", Text, nullable=False, index=True),
    Column("key", Text, nullable=False),
    Column("ciphertext", Text, nullable=False),
    Column("loss", Text, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("answered_at", Text, nullable=False),
)
refusals = Table(
    "refusals",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("refused_at", Text, nullable=False),
)
incidents = Table(
    "incidents",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=True),
    Column("job", Text, nullable=True),
    Column("opened_at", Text, nullable=False),
)
followed = Table(
    "followed",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("seen_at", Text, nullable=False),
)

for _table in metadata.tables.values():
    for _change in ("UPDATE", "DELETE"):
        event.listen(
            _table,
            "after_create",
            DDL(  # type: ignore[no-untyped-call]
                f"CREATE TRIGGER {_table.name}_no_{_change.lower()} BEFORE {_change} ON {_table.name} "
                "BEGIN SELECT RAISE(ABORT, 'rows of the key holder are only ever added'); END"
            ),
        )


def database_in(folder: Path) -> Engine:
    """The database in the key holder's folder."""
    return engine_for(f"sqlite:///{folder / 'keyholder.db'}")
