"""Brings a database to the newest schema: Alembic, driven from here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from core.database import changing, metadata, reading


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Apply every missing migration up to `revision` in one write transaction; does nothing where there is none."""
    config = _config()
    with changing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def is_current(engine: Engine) -> bool:
    """Whether the database has the newest schema."""
    with reading(engine) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == ScriptDirectory.from_config(_config()).get_current_head()


def differences(engine: Engine) -> list[object]:
    """What the migrated database lacks or has too much against the rooms' tables; empty when they agree."""
    with reading(engine) as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))
