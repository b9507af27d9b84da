"""The database: SQLAlchemy Core on SQLite (WAL, synchronous=FULL), readers that cannot write, writers one at a time.

`metadata` collects the tables that each room declares in its records.py. Writing goes through audit.log.Journal only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import make_url

from core.errors import Invalid

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
BUSY_SECONDS = 30
_CHANGES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


def engine_for(url: str) -> Engine:
    """An engine for `sqlite:///path`. Raises Invalid (`settings.database`) for any other kind."""
    if make_url(url).get_backend_name() != "sqlite":
        raise Invalid(
            "settings.database", "database_url must be of the form sqlite:///path", where={"field": "database_url"}
        )
    engine = create_engine(
        url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: object) -> None:
        # SQLAlchemy and not sqlite3 decides where a transaction begins, so that a writer can say BEGIN IMMEDIATE.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("banyan_write", False)
        connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine, "before_cursor_execute")
    def _notice(connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith(_CHANGES):
            connection.info["changed"] = True

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection inside one read transaction: a stable view, on which the database itself refuses to write."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def changing(engine: Engine) -> Iterator[Connection]:
    """A connection inside one write transaction, serialised with every other; commits on leaving, rolls back on an error.

    Only audit.log may call this: everything else writes through its Journal, which demands an event.
    `connection.info["changed"]` tells whether any row was inserted, updated or deleted.
    """
    with engine.connect().execution_options(banyan_write=True) as connection:
        connection.info.pop("changed", None)
        with connection.begin():
            yield connection
