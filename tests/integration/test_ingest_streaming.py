"""A file goes through memory in batches: the same blocks as from all rows at once, nothing left wherever it ends, memory by the block."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from assets import ingest, read_batches, spill, versions
from assets.blocks import Place, open_block
from assets.catalogue import get
from assets.judge_batches import kept_rows
from assets.overlap import PURPOSE, Sketch, sketch_of, sketch_path
from assets.placement import placed
from assets.records import asset_versions
from assets.source import Format
from core.errors import Conflict, Invalid, Unavailable
from tests.assets_builders import ACTOR, csv_of, declared, server_in, visit

ASSET = "medical/visits"
ROWS = [visit(pid=f"p{i * 7919 % 43}", age=str(i * 31 % 120), cost=f"{i}.005", ward="ABCDE"[i % 5]) for i in range(180)]


@pytest.fixture
def server(tmp_path):
    with server_in(tmp_path) as server:
        server.register(declared())
        yield server


@pytest.fixture
def little_memory(monkeypatch):
    """So little that a few rows are a batch, and everything is set aside on the disk."""
    monkeypatch.setattr(read_batches, "SLICE", 7)
    monkeypatch.setattr(read_batches, "ROWS", 20)
    monkeypatch.setattr(read_batches, "_CSV_BLOCK", 500)
    monkeypatch.setattr(spill, "PENDING_BYTES", 1000)


def files():
    typed = pa.Table.from_pylist(ROWS)
    stream, file, parquet = pa.BufferOutputStream(), pa.BufferOutputStream(), pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, typed.schema) as writer:
        writer.write_table(typed)
    with pa.ipc.new_file(file, typed.schema) as writer:
        writer.write_table(typed, max_chunksize=1)
    pq.write_table(typed, parquet, row_group_size=50)
    yield Format.CSV, csv_of(*ROWS)
    yield from ((Format.ARROW, sink.getvalue().to_pybytes()) for sink in (stream, file))
    yield Format.PARQUET, parquet.getvalue().to_pybytes()


def tables(server, version):
    with server.journal.reading() as connection:
        found = versions.version_blocks(connection, version.id)
        key = server.keys.unwrap(version.id, versions.wrapped_key(connection, version.id))
    parts = [open_block(server.store.get(b.path), key, Place(version.id, b.index, len(found))) for b in found]
    return [pq.read_table(io.BytesIO(part)) for part in parts]


def test_blocks_and_sketch_are_those_of_all_rows_at_once(server, little_memory):
    population = declared().population
    key = server.keys.placement_key(population.name, population.id_namespace)
    kept, _ = kept_rows(pa.Table.from_pylist(ROWS).to_batches(), declared(), ("", "NA"))
    wanted = list(placed(kept, "pid", key, 8))
    assert 100 < kept.num_rows < 180
    for form, content in files():
        made = server.ingest.version(ASSET, content, form, ACTOR)
        assert all(found.equals(block) for found, block in zip(tables(server, made), wanted, strict=True))
        sealed = server.keys.unseal(PURPOSE, made.id, server.store.get(sketch_path(made.id)))
        with server.journal.reading() as connection:
            asset = get(connection, ASSET)
        units = [unit.encode() for unit in set(kept.column("pid").to_pylist())]
        assert sealed == sketch_of(asset, server.keys, units).to_bytes()
        assert Sketch.from_bytes(sealed).horizon == 2**64 - 1


def test_what_cannot_be_read_late_in_a_file_leaves_nothing(server, little_memory, tmp_path):
    lines = csv_of(*ROWS).splitlines(keepends=True)
    lines[-1] = b'"p1","1\n'
    for content, place in ((b"".join(lines), {"row": 181}), (csv_of(*ROWS) + b"\xff\xfe,1\n", {"line": 182})):
        with pytest.raises(Invalid) as caught:
            server.ingest.version(ASSET, content, Format.CSV, ACTOR)
        assert (caught.value.code, caught.value.where) == ("ingest.unreadable", place)
        assert not server.store.folders("blocks")
        assert not list((tmp_path / "aside").iterdir())


def test_more_rows_than_twice_the_declared_are_refused_before_all_are_set_aside(server, little_memory, monkeypatch):
    added = []
    monkeypatch.setattr(spill.Spill, "add", lambda self, part, rows: added.append(rows.num_rows))
    rows = [visit(pid=f"p{i % 43}") for i in range(5000)]
    with pytest.raises(Conflict) as caught:
        server.ingest.version(ASSET, csv_of(*rows), Format.CSV, ACTOR)
    assert caught.value.code == "ingest.too_large"
    assert sum(added) <= 2 * 100


def test_more_units_than_twice_the_declared_are_refused(server, little_memory):
    assert server.ingest.version(ASSET, csv_of(*(visit(pid=f"p{i}") for i in range(80))), Format.CSV, ACTOR).number == 1
    with pytest.raises(Conflict) as caught:
        server.ingest.version(ASSET, csv_of(*(visit(pid=f"p{i}") for i in range(81))), Format.CSV, ACTOR)
    assert caught.value.code == "ingest.too_large"
    assert len(server.store.folders("blocks")) == 1


def test_a_block_that_memory_should_not_hold_is_refused_before_it_is_read(server, monkeypatch):
    rows = [visit(pid="p1", age=str(i)) for i in range(90)]
    monkeypatch.setattr(ingest, "_MAX_ROWS_BYTES", 90 * 40)
    with pytest.raises(Conflict) as caught:
        server.ingest.version(ASSET, csv_of(*rows), Format.CSV, ACTOR)
    assert caught.value.code == "ingest.too_large"
    assert server.ingest.version(ASSET, csv_of(*rows[:30]), Format.CSV, ACTOR).number == 1


CRASHING = """
import os, signal, sys
from pathlib import Path
from assets import ingest, read_batches, spill
from assets.object_store import LocalObjectStore
from assets.source import Format
from tests.assets_builders import ACTOR, server_in

where, left, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
read_batches.SLICE, read_batches.ROWS, spill.PENDING_BYTES = 7, 20, 1000


def counting(call):
    def counted(*args, **more):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **more)
    return counted


owner, name = {
    "set aside": (spill.Spill, "_write"),
    "read back": (spill.Spill, "_read"),
    "stored": (LocalObjectStore, "put"),
    "added": (ingest, "add_version"),
}[where]
setattr(owner, name, counting(getattr(owner, name)))
with server_in(folder) as server:
    server.ingest.version("medical/visits", folder / "upload", Format.CSV, ACTOR)
print("whole")
"""


@pytest.mark.parametrize(
    ("where", "after"),
    [
        ("set aside", 0),
        ("set aside", 9),
        ("read back", 0),
        ("read back", 20),
        ("stored", 0),
        ("stored", 8),
        ("added", 0),
    ],
)
def test_a_process_that_dies_at_any_point_leaves_the_earlier_version_and_nothing_else(server, tmp_path, where, after):
    (tmp_path / "upload").write_bytes(csv_of(*ROWS))
    first = server.ingest.version(ASSET, tmp_path / "upload", Format.CSV, ACTOR)
    before = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    died = subprocess.run(
        [sys.executable, "-c", CRASHING, where, str(after), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (died.returncode, died.stdout) == (-9, ""), died.stderr
    assert list((tmp_path / "aside").iterdir()) == []
    with server.journal.reading() as connection:
        assert list(connection.execute(select(asset_versions.c.id)).scalars()) == [first.id]
    days_ago = (datetime(2026, 11, 25, tzinfo=UTC) - timedelta(days=2)).timestamp()
    for name in server.store.folders("blocks"):
        os.utime(tmp_path / "store" / "blocks" / name, (days_ago, days_ago))
    server.ingest.remove_orphans()
    assert {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()} == before
    assert server.ingest.version(ASSET, tmp_path / "upload", Format.CSV, ACTOR).number == 2


def test_a_disk_that_fails_while_rows_are_set_aside_refuses_the_file(server, little_memory, monkeypatch, tmp_path):
    write, left = spill.Spill._write, [5]

    def failing(self, part, batches):
        left[0] -= 1
        if left[0] < 0:
            raise Unavailable("ingest.storage_full", "full")
        write(self, part, batches)

    monkeypatch.setattr(spill.Spill, "_write", failing)
    with pytest.raises(Unavailable):
        server.ingest.version(ASSET, csv_of(*ROWS), Format.CSV, ACTOR)
    assert left[0] < 0
    assert not server.store.folders("blocks")
    assert not list((tmp_path / "aside").iterdir())


MEASURED = """
import sys
from pathlib import Path
from assets.source import Format
from tests.assets_builders import ACTOR, server_in
from tests.integration.test_ingest_streaming import sales

rows, folder = int(sys.argv[1]), Path(sys.argv[2])
with server_in(folder) as server:
    server.register(sales(rows))
    server.ingest.version("finance/sales", folder / "upload", Format.PARQUET, ACTOR)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def sales(rows):
    return declared(f"""\
asset: finance/sales
title: {{en: Sales, zh: 销售}}
sector: finance
level: S2
population: {{name: buyers, id_namespace: buyers, unit: buyer}}
size: {{rows: {rows}, units: {rows // 10}}}
columns:
  buyer:  {{type: int, unit: true}}
  region: {{type: category, values: [north, south, east, west], public: true}}
  amount: {{type: decimal, scale: 2, lower: 0, upper: 500}}
  seen:   {{type: timestamp}}
budget: {{accountant: basic, epsilon: 4, delta: 1e-9}}
""")


def peak_of(folder, rows):
    """The largest memory, in bytes, of a process that ingests so many rows."""
    folder.mkdir()
    draw, part = np.random.default_rng(rows), 1_000_000
    regions = pa.array(["north", "south", "east", "west"])
    writer = None
    for _ in range(rows // part):
        table = pa.table(
            {
                "buyer": draw.integers(0, rows // 10, part),
                "region": regions.take(pa.array(draw.integers(0, 4, part))),
                "amount": draw.integers(0, 50_000, part) / 100,
                "seen": pa.array(draw.integers(16 * 10**14, 17 * 10**14, part)).cast(pa.timestamp("us")),
            }
        )
        writer = writer or pq.ParquetWriter(folder / "upload", table.schema)
        writer.write_table(table)
    writer.close()
    run = [sys.executable, "-c", MEASURED, str(rows), str(folder)]
    return 1024 * int(subprocess.run(run, capture_output=True, check=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = (peak_of(tmp_path / str(rows), rows) for rows in (1_000_000, 10_000_000))
    assert large < 1.15 * small
    assert large < 600 << 20
