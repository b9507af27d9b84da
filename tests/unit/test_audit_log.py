"""The one write path: an event with every change, a change only with an event, and no touch after a rollback."""

import json
import shutil
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, delete, insert, select, text, update
from sqlalchemy.exc import DatabaseError, OperationalError

from audit import log, records
from audit.checkpoint import opened
from audit.events import FACTS, Event, EventType
from audit.log import Journal
from audit.signer import ROLLED_BACK, FileSigner
from core.clock import FrozenClock
from core.database import changing, engine_for
from core.errors import Conflict
from core.migrate import upgrade

THINGS = Table("things", MetaData(), Column("id", Integer, primary_key=True))
EVENT = Event(EventType.LOG_READ, "log", "p-test", {"start": 0, "limit": 1})

OTHER = Event(EventType.LOG_READ, "log", "p-test", {"start": 1, "limit": 1})


@pytest.fixture
def journal(tmp_path):
    engine = engine_for(f"sqlite:///{tmp_path / 'banyan.db'}")
    upgrade(engine)
    with changing(engine) as connection:
        THINGS.create(connection)
    FileSigner.create(tmp_path / "signer")
    yield Journal(engine, FrozenClock(datetime(2026, 11, 25, tzinfo=UTC)), FileSigner(tmp_path / "signer", "test/log"))
    engine.dispose()


def things(journal):
    with journal.reading() as connection:
        return connection.execute(select(THINGS.c.id)).scalars().all()


def test_a_change_without_an_event_is_rolled_back(journal):
    with pytest.raises(RuntimeError, match="without an audit event"), journal.writing() as tx:
        tx.execute(insert(THINGS).values(id=1))
    assert things(journal) == []


def test_a_change_that_bypasses_execute_is_noticed_as_well(journal):
    with pytest.raises(RuntimeError), journal.writing() as tx:
        tx.connection.execute(text("  insert into things values (1)"))
    assert things(journal) == []


def test_an_error_takes_the_event_back_with_the_change(journal):
    with pytest.raises(KeyError), journal.writing() as tx:
        tx.execute(insert(THINGS).values(id=1))
        tx.record(EVENT)
        raise KeyError
    with journal.reading() as connection:
        assert log.size_of(connection) == 0
    assert things(journal) == []


def test_change_and_event_are_committed_together(journal):
    with journal.writing() as tx:
        tx.execute(insert(THINGS).values(id=7))
        assert tx.record(EVENT) == 0
    with journal.reading() as connection:
        entry = log.entry_at(connection, 0)
    assert things(journal) == [7]
    assert entry.content == {
        "v": 1, "index": 0, "time": "2026-11-25T00:00:00.000000Z", "type": "log:read", "subject": "log",
        "actor": "p-test", "facts": {"start": 0, "limit": 1},
    }  # fmt: skip
    assert entry.leaf == json.dumps(entry.content, sort_keys=True, separators=(",", ":")).encode()


def test_a_reader_cannot_write(journal):
    with pytest.raises(OperationalError, match="readonly"), journal.reading() as connection:
        connection.execute(insert(THINGS).values(id=1))


@pytest.mark.parametrize("table", [records.entries, records.nodes])
@pytest.mark.parametrize("change", [lambda table: delete(table), lambda table: update(table).values(index=9)])
def test_the_database_refuses_to_change_what_was_logged(journal, table, change):
    with journal.writing() as tx:
        tx.record(EVENT)
    with pytest.raises(DatabaseError, match="append-only"), journal.writing() as tx:
        tx.record(EVENT)
        tx.execute(change(table))


def test_an_event_states_exactly_its_facts():
    with pytest.raises(ValueError, match="exactly"):
        Event(EventType.LOG_READ, "log", "p", {"start": 0})
    with pytest.raises(ValueError, match="exactly"):
        Event(EventType.LOG_READ, "log", "p", {"start": 0, "limit": 1, "name": "x"})
    assert set(FACTS) == set(EventType)


def test_a_checkpoint_signs_the_present_tree(journal):
    with journal.writing() as tx:
        tx.record(EVENT)
    head = journal.publish_checkpoint()
    with journal.reading() as connection:
        note = log.newest_note(connection)
        assert head.root == log.root_of(connection, 1)
    assert opened(note, "test/log", journal.signer._public) == head == journal.signer.newest()
    with pytest.raises(ValueError):
        opened(note.replace("\n1\n", "\n2\n"), "test/log", journal.signer._public)


def test_a_restored_database_is_found_out_before_anything_is_signed(journal, tmp_path):
    with journal.writing() as tx:
        tx.record(EVENT)
    journal.publish_checkpoint()
    with changing(journal.engine):
        shutil.copy(tmp_path / "banyan.db", tmp_path / "backup.db")
        shutil.copy(tmp_path / "banyan.db-wal", tmp_path / "backup.db-wal")
    with journal.writing() as tx:
        tx.record(EVENT)
    journal.publish_checkpoint()
    journal.check_extends()
    journal.engine.dispose()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"backup.db{suffix}", tmp_path / f"banyan.db{suffix}")
    (tmp_path / "banyan.db-shm").unlink(missing_ok=True)
    with pytest.raises(Conflict) as refusal:
        journal.check_extends()
    assert refusal.value.code == ROLLED_BACK
    for _ in range(2):  # neither a shorter log nor a fork that has grown past the old size is signed
        with pytest.raises(Conflict):
            journal.publish_checkpoint()
        with journal.writing() as tx:
            tx.record(OTHER)
            tx.record(OTHER)
    with pytest.raises(Conflict):
        journal.check_extends()
