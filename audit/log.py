"""The one write path: a change of state and its event are in one transaction, or neither is (design G4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, CursorResult, Delete, Engine, Insert, Update, func, insert, select

from audit import merkle
from audit.checkpoint import TreeHead
from audit.events import Event, EventType
from audit.records import checkpoints, entries, nodes
from audit.signer import Signer, rolled_back
from core import clock as clocks
from core.canonical import canonical
from core.clock import Clock
from core.database import changing, reading


@dataclass(frozen=True)
class Entry:
    """One entry of the log: its place, and the canonical bytes that are the tree's leaf."""

    index: int
    leaf: bytes

    @property
    def content(self) -> dict[str, Any]:
        """The entry as JSON."""
        parsed: dict[str, Any] = json.loads(self.leaf)
        return parsed


class Transaction:
    """One write transaction. `connection` is for the reading functions of the rooms; changes go through `execute`."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection, self.now = connection, now
        self.recorded = 0
        self.last_index: int | None = None

    def execute(self, statement: Insert | Update | Delete) -> CursorResult[Any]:
        """Change rows. The transaction commits only if an event is recorded as well."""
        return self.connection.execute(statement)

    def record(self, event: Event) -> int:
        """Append `event` to the log in this transaction; returns its index."""
        index = size_of(self.connection)
        leaf = canonical(
            {
                "v": 1,
                "index": index,
                "time": clocks.text_of(self.now),
                "type": event.type.value,
                "subject": event.subject,
                "actor": event.actor,
                "facts": dict(event.facts),
            }
        )
        self.connection.execute(
            insert(entries).values(index=index, entry=leaf, type=event.type.value, subject=event.subject)
        )
        made = merkle.completed_by(index, merkle.leaf_hash(leaf), _reader(self.connection))
        self.connection.execute(
            insert(nodes), [{"level": level, "index": at, "hash": found} for level, at, found in made]
        )
        self.recorded += 1
        self.last_index = index
        return index


class Journal:
    """Opens transactions, and publishes checkpoints through the signer."""

    def __init__(self, engine: Engine, clock: Clock, signer: Signer) -> None:
        self.engine, self.clock, self.signer = engine, clock, signer

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """One transaction, serialised with every other writer. Leaving it commits durably; an exception rolls it back.

        Raises RuntimeError, and rolls back, if rows were changed and no event was recorded.
        """
        with changing(self.engine) as connection:
            transaction = Transaction(connection, self.clock.now())
            yield transaction
            if connection.info.get("changed") and not transaction.recorded:
                raise RuntimeError("a change of state without an audit event was rolled back")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read transaction."""
        with reading(self.engine) as connection:
            yield connection

    def publish_checkpoint(self) -> TreeHead:
        """Sign the present tree head and keep its note beside the log; returns the head.

        Raises Conflict (`log.rolled_back`) if the log does not extend the newest checkpoint outside the database.
        """
        head, note = self.signer.sign(self._growth)
        with self.reading() as connection:
            known = _note_at(connection, head.size) is not None
        if not known:
            with changing(self.engine) as connection:
                if _note_at(connection, head.size) is None:
                    connection.execute(insert(checkpoints).values(size=head.size, note=note))
        return head

    def check_extends(self) -> None:
        """Raise Conflict (`log.rolled_back`) unless the log extends the newest checkpoint outside the database (design R17)."""
        newest = self.signer.newest()
        with self.reading() as connection:
            if newest is None:
                # A log that was signed before has a signer that remembers it, or it is not to be trusted.
                if newest_note(connection) is not None:
                    raise rolled_back()
                return
            if size_of(connection) < newest.size or root_of(connection, newest.size) != newest.root:
                raise rolled_back()

    def _growth(self, newest: TreeHead | None) -> tuple[TreeHead, list[bytes]]:
        with self.reading() as connection:
            size = size_of(connection)
            head = TreeHead(size, root_of(connection, size))
            if newest is None and newest_note(connection) is not None:
                raise rolled_back()
            if newest is None or newest.size >= size:
                return head, []
            return head, growth_proof(connection, newest.size, size)


def size_of(connection: Connection) -> int:
    """How many entries the log has."""
    top = connection.execute(select(func.max(entries.c.index))).scalar()
    return 0 if top is None else top + 1


def entry_at(connection: Connection, index: int) -> Entry:
    """One entry. Raises LookupError if there is none at `index`."""
    leaf = connection.execute(select(entries.c.entry).where(entries.c.index == index)).scalar()
    if leaf is None:
        raise LookupError(f"no entry {index}")
    return Entry(index, leaf)


def entries_from(connection: Connection, start: int, limit: int) -> list[Entry]:
    """Up to `limit` entries from index `start` on."""
    found = connection.execute(
        select(entries.c.index, entries.c.entry).where(entries.c.index >= start).order_by(entries.c.index).limit(limit)
    )
    return [Entry(index, bytes(leaf)) for index, leaf in found]


def newest_note(connection: Connection) -> str | None:
    """The newest published checkpoint's note."""
    return connection.execute(select(checkpoints.c.note).order_by(checkpoints.c.size.desc()).limit(1)).scalar()


def _note_at(connection: Connection, size: int) -> str | None:
    return connection.execute(select(checkpoints.c.note).where(checkpoints.c.size == size)).scalar()


def first_note_after(connection: Connection, index: int) -> tuple[int, str] | None:
    """Size and note of the first checkpoint that covers entry `index`; None while there is none."""
    row = connection.execute(
        select(checkpoints.c.size, checkpoints.c.note)
        .where(checkpoints.c.size > index)
        .order_by(checkpoints.c.size)
        .limit(1)
    ).first()
    return None if row is None else (row.size, row.note)


def newest_note_after(connection: Connection, index: int) -> tuple[int, str] | None:
    """Size and note of the newest checkpoint, if it covers entry `index`."""
    row = connection.execute(
        select(checkpoints.c.size, checkpoints.c.note)
        .where(checkpoints.c.size > index)
        .order_by(checkpoints.c.size.desc())
        .limit(1)
    ).first()
    return None if row is None else (row.size, row.note)


def index_of(connection: Connection, kind: EventType, subject: str) -> int:
    """The place of the newest entry of this type about this subject. Raises LookupError."""
    found = connection.execute(
        select(func.max(entries.c.index)).where(entries.c.type == kind.value, entries.c.subject == subject)
    ).scalar()
    if found is None:
        raise LookupError(f"no {kind} about {subject}")
    return int(found)


def growth_proof(connection: Connection, old: int, new: int) -> list[bytes]:
    """The proof that the tree of `new` entries extends that of `old`; empty where there is nothing to prove."""
    return merkle.consistency_proof(old, new, _reader(connection)) if 0 < old < new else []


def inclusion_proof(connection: Connection, index: int, size: int) -> list[bytes]:
    """The proof that entry `index` is in the tree of `size` entries."""
    return merkle.inclusion_proof(index, size, _reader(connection))


def root_of(connection: Connection, size: int) -> bytes:
    """The root of the first `size` entries."""
    return merkle.root(size, _reader(connection))


def _reader(connection: Connection) -> merkle.NodeReader:
    def node(level: int, index: int) -> bytes:
        found = connection.execute(select(nodes.c.hash).where(nodes.c.level == level, nodes.c.index == index)).scalar()
        if found is None:
            raise LookupError(f"the log lacks node {level}/{index}")
        return bytes(found)

    return node
