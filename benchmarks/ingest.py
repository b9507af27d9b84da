"""How long a file takes to become a version, and how much memory, beside pyarrow with all rows in memory.

Run by `just bench-ingest`. Each turn is a process of its own; ours and the other by turns; medians. The other reads the file, sorts it by
unit and the other columns, and writes as many Parquet files of the same compression: it judges, places, encrypts and records nothing.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from assets.block_rows import in_order
from assets.blocks import block_count_for
from assets.catalogue import register
from assets.declaration import parse_declaration
from assets.declaration_model import Declaration
from assets.ingest import Ingest
from assets.keys import KeyRing
from assets.object_store import LocalObjectStore
from assets.physical import parquet_bytes
from assets.source import Format
from audit.log import Journal
from audit.signer import FileSigner
from core.clock import SystemClock
from core.database import changing, engine_for, metadata

TURNS = 3
CASES = ((Format.PARQUET, 1_000_000), (Format.PARQUET, 10_000_000), (Format.CSV, 1_000_000))
PART, MIB = 1_000_000, 1 << 20
REGIONS, KINDS = ("north", "south", "east", "west"), [f"k{index}" for index in range(50)]
DECLARED = """\
asset: finance/sales
title: {{en: Sales, zh: 销售}}
sector: finance
level: S2
population: {{name: buyers, id_namespace: buyers, unit: buyer}}
size: {{rows: {rows}, units: {units}}}
columns:
  buyer:    {{type: string, unit: true, max_length: 12}}
  region:   {{type: category, values: [north, south, east, west], public: true}}
  kind:     {{type: string, max_length: 8}}
  amount:   {{type: decimal, scale: 2, lower: 0, upper: 500}}
  quantity: {{type: int, lower: 0, upper: 100}}
  paid:     {{type: bool}}
  day:      {{type: date, lower: 2020-01-01, upper: 2026-12-31}}
  seen:     {{type: timestamp}}
budget: {{accountant: basic, epsilon: 4, delta: 1e-9}}
"""


def declared(rows: int) -> Declaration:
    """Eight columns; a unit has ten rows in the mean."""
    return parse_declaration(DECLARED.format(rows=rows, units=rows // 10), "bench.yaml")


def write(path: Path, form: Format, rows: int) -> None:
    """A file of so many rows as declared, the units in no order, in which placing them is the most work."""
    draw = np.random.default_rng(rows)
    with path.open("wb") as file:
        writer: pq.ParquetWriter | csv.CSVWriter | None = None
        for _ in range(rows // PART):
            table = _part(draw, rows // 10)
            if writer is None:
                made = pq.ParquetWriter if form is Format.PARQUET else csv.CSVWriter
                writer = made(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _part(draw: np.random.Generator, units: int) -> pa.Table:
    return pa.table(
        {
            "buyer": pa.array([f"c{number:08}" for number in draw.integers(0, units, PART)]),
            "region": pa.array(REGIONS).take(pa.array(draw.integers(0, len(REGIONS), PART))),
            "kind": pa.array(KINDS).take(pa.array(draw.integers(0, len(KINDS), PART))),
            "amount": draw.integers(0, 50_000, PART) / 100,
            "quantity": draw.integers(0, 100, PART),
            "paid": draw.integers(0, 2, PART).astype(bool),
            "day": pa.array(draw.integers(18_300, 20_000, PART).astype(np.int32)).cast(pa.date32()),
            "seen": pa.array(draw.integers(16 * 10**14, 17 * 10**14, PART)).cast(pa.timestamp("us")),
        }
    )


def ours(path: Path, form: Format, rows: int, folder: Path) -> None:
    """Everything that the server does with an upload."""
    engine = engine_for(f"sqlite:///{folder / 'banyan.db'}")
    with changing(engine) as connection:
        metadata.create_all(connection)
    FileSigner.create(folder / "signer")
    KeyRing.create(folder / "master.key")
    journal = Journal(engine, SystemClock(), FileSigner(folder / "signer", "bench/log"))
    store, keys = LocalObjectStore(folder / "blocks"), KeyRing.open(folder / "master.key")
    with journal.writing() as tx:
        asset = register(tx, declared(rows), "p-bench")
    Ingest(journal, store, keys, folder / "aside").version(asset.id, path, form, "p-bench")
    engine.dispose()


def in_memory(path: Path, form: Format, rows: int, folder: Path) -> None:
    """Read, sort, cut, compress, write."""
    table = in_order(pq.read_table(path) if form is Format.PARQUET else csv.read_csv(path), "buyer")
    count = block_count_for(rows)
    size = -(-rows // count)
    for index in range(count):
        (folder / f"{index}.parquet").write_bytes(parquet_bytes(table.slice(index * size, size)))


def one_turn(who: str, path: Path, form: Format, rows: int) -> None:
    """In a process of its own: print seconds, processor seconds, and the largest memory in bytes."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        {"ours": ours, "in memory": in_memory}[who](path, form, rows, Path(folder))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    print(json.dumps([wall, cpu, peak]))


def main() -> None:
    """Some minutes, and 2 GiB of the disk under .banyan."""
    Path(".banyan").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=".banyan") as name:
        print(f"{'':>24} {'':>10} {'seconds':>8} {'processor':>10} {'MiB':>6}")
        for form, rows in CASES:
            path = Path(name) / form.value
            write(path, form, rows)
            found: dict[str, list[list[float]]] = {"ours": [], "in memory": []}
            for _ in range(TURNS):
                for who, turns in found.items():
                    run = [sys.executable, "-m", "benchmarks.ingest", who, str(path), form.value, str(rows)]
                    turns.append(json.loads(subprocess.run(run, capture_output=True, check=True, text=True).stdout))
            for who, turns in found.items():
                wall, cpu, peak = (statistics.median(each) for each in zip(*turns, strict=True))
                print(f"{rows:>12,} rows {form.value:>7} {who:>10} {wall:>7.1f} {cpu:>10.1f} {peak / MIB:>6.0f}")
            path.unlink()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_turn(sys.argv[1], Path(sys.argv[2]), Format(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
