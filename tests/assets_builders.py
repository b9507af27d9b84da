"""Declarations, sources and servers for the tests of assets."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from assets.catalogue import register
from assets.declaration import Declaration, parse_declaration
from assets.ingest import Ingest
from assets.keys import KeyRing
from assets.object_store import LocalObjectStore
from audit.log import Journal
from audit.signer import FileSigner
from core.clock import FrozenClock
from core.database import changing, engine_for, metadata

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ACTOR = "p-operator"

VISITS = """\
asset: medical/visits
title: {en: Visits, zh: 就诊}
sector: medical
level: S2
population: {name: patients, id_namespace: hospital-pid, unit: pid}
size: {rows: 100, units: 40}
columns:
  pid:    {type: string, unit: true, max_length: 8}
  age:    {type: int, lower: 0, upper: 110, nullable: true}
  cost:   {type: decimal, scale: 2, lower: 0, upper: 500}
  ward:   {type: string, max_length: 4}
  result: {type: category, values: [positive, negative, 不明], public: true}
  urgent: {type: bool}
  day:    {type: date, lower: 2020-01-01, upper: 2026-12-31, nullable: true}
  seen:   {type: timestamp}
budget: {accountant: basic, epsilon: 4, delta: 1e-7}
csv: {null_values: ["", NA]}
"""


def declared(text: str = VISITS, **changes: str) -> Declaration:
    """A declaration; `changes` replace one line's value each: declared(level="S1")."""
    lines = text.splitlines()
    for name, value in changes.items():
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
        lines[at] = lines[at][: lines[at].index(name)] + f"{name}: {value}"
    return parse_declaration("\n".join(lines), "test.yaml")


def example(path: str) -> Declaration:
    """A declaration of examples/."""
    return parse_declaration((EXAMPLES / path).read_bytes(), path)


def visit(**changes: object) -> dict[str, object]:
    """One row of VISITS that is as declared, as text."""
    row = {
        "pid": "p1", "age": "40", "cost": "12.50", "ward": "A", "result": "positive", "urgent": "true",
        "day": "2024-02-29", "seen": "2024-02-29T08:00:00Z",
    }  # fmt: skip
    return row | changes


def table(*rows: dict[str, object]) -> pa.Table:
    """Rows as a source table."""
    return pa.Table.from_pylist(list(rows))


def csv_of(*rows: dict[str, object]) -> bytes:
    """Rows as a CSV file; None is empty."""
    lines = [",".join(rows[0])]
    lines += [",".join("" if cell is None else f'"{cell}"' for cell in row.values()) for row in rows]
    return ("\n".join(lines) + "\n").encode()


@dataclass
class Server:
    """All that assets needs of a running server, in one folder."""

    folder: Path
    journal: Journal
    store: LocalObjectStore
    keys: KeyRing

    @property
    def ingest(self) -> Ingest:
        return Ingest(self.journal, self.store, self.keys, self.folder / "aside")

    def register(self, declaration: Declaration):
        with self.journal.writing() as tx:
            return register(tx, declaration, ACTOR)


@contextmanager
def server_in(folder: Path, store: Path | None = None):
    """A server with an empty database, a fresh key and a folder of blocks."""
    engine = engine_for(f"sqlite:///{folder / 'banyan.db'}")
    with changing(engine) as connection:
        metadata.create_all(connection, checkfirst=True)
    FileSigner.create(folder / "signer")
    KeyRing.create(folder / "master.key")
    journal = Journal(
        engine, FrozenClock(datetime(2026, 11, 25, tzinfo=UTC)), FileSigner(folder / "signer", "test/log")
    )
    yield Server(folder, journal, LocalObjectStore(store or folder / "store"), KeyRing.open(folder / "master.key"))
    engine.dispose()
