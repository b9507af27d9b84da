"""Tables of the key holder: rows are added, and the database itself refuses to change or remove one."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
)

from core.database import engine_for

DATABASE = "keyholder.db"
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
# What was about to be decrypted, kept before it is: a job has one ciphertext for ever, also where no answer came of it.
intents = Table(
    "intents",
    metadata,
    Column("job", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("ciphertext", Text, nullable=False),
    Column("meant_at", Text, nullable=False),
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
    Column("about", Text, nullable=True),
)
# Requests that the service has not signed: anybody can send them, so a row stands for all of a minute.
strangers = Table(
    "strangers",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("newest", Text, nullable=False),
    Column("counted_at", Text, nullable=False),
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


def prepare(connection: Connection) -> None:
    """Make the tables and columns that are missing, and what keeps rows: nothing changes, removes or replaces one."""
    metadata.create_all(connection)
    if "about" not in {column["name"] for column in inspect(connection).get_columns(incidents.name)}:
        connection.exec_driver_sql(f"ALTER TABLE {incidents.name} ADD COLUMN about TEXT")
    for table in metadata.tables.values():
        for change in ("UPDATE", "DELETE"):
            _forbid(connection, table, change, "")
        # REPLACE removes the row before without firing the trigger on DELETE.
        taken = f"WHEN EXISTS (SELECT 1 FROM {table.name} WHERE {_taken(table)}) "  # noqa: S608 - our own names
        _forbid(connection, table, "INSERT", taken)


def _forbid(connection: Connection, table: Table, change: str, when: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TRIGGER IF NOT EXISTS {table.name}_no_{change.lower()} BEFORE {change} ON {table.name} {when}"
        "BEGIN SELECT RAISE(ABORT, 'rows of the key holder are only ever added'); END"
    )


def _taken(table: Table) -> str:
    """Whether a new row has a value that another row has and that only one may have."""
    unique = [column.name for column in table.primary_key.columns]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            unique += [column.name for column in constraint.columns]
    return " OR ".join(f"{name} = NEW.{name}" for name in unique)


def database_in(folder: Path) -> Engine:
    """The database in the key holder's folder."""
    return engine_for(f"sqlite:///{folder / DATABASE}")
