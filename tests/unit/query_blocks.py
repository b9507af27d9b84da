"""The tables of tests as Parquet blocks, and what rows and pass make of a sheaf of them: what tests of rows and of sheaves share."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pyarrow as pa

from assets.physical import arrow_schema, parquet_bytes
from privacy.sql.totals import combine
from tests.unit.sql_trees import TABLES, UNITS, tables_of
from tests.unit.test_query_kernel import aggregate

QUERY = Path(__file__).resolve().parents[2] / "runtime_images" / "query"
SEED = bytes(range(16))
MEMORY = 256 << 20
SCHEMAS = {table.asset: table.schema for table in TABLES}
SEEDS = [seed for seed in range(60) if len(tables_of(seed)["clinic/visits"]) > 9][:3]

_spec = importlib.util.spec_from_file_location("query_rows", QUERY / "rows.py")
rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rows)


def written(path, table, schema):
    """A block's file, with the unit as text whatever its type."""
    fields = arrow_schema(schema)
    at = fields.get_field_index(schema.unit)
    fields = fields.set(at, pa.field(schema.unit, pa.utf8(), nullable=False))
    made = [{**row, schema.unit: str(row[schema.unit])} for row in table]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(parquet_bytes(pa.Table.from_pylist(made, fields)))
    return str(path)


def stored(folder, tables, blocks=3, shuffle=None):
    """The tables as files: public ones whole, in two parts; of private ones each block's units, in their order or in none."""
    public, private = {}, [{} for _ in range(blocks)]
    for asset, table in tables.items():
        schema = SCHEMAS[asset]
        if asset not in UNITS:
            parts = enumerate((table[:1], table[1:]))
            public[asset] = [written(folder / f"{asset}-{at}.parquet", part, schema) for at, part in parts]
            continue
        ordered = sorted(table, key=lambda row: row[schema.unit])
        if shuffle is not None:
            shuffle.shuffle(ordered)
        for at, files in enumerate(private):
            mine = [row for row in ordered if sum(row[schema.unit].encode()) % blocks == at]
            files[asset] = written(folder / f"{asset}-{at}.parquet", mine, schema)
    return public, private


def worlds_in(folder):
    """A few worlds: their tables; three blocks of them, sorted; two blocks in no order."""
    found = []
    for seed in SEEDS:
        tables = tables_of(seed)
        files = [
            stored(folder / f"{seed}", tables),
            stored(folder / f"{seed}-shuffled", tables, 2, random.Random(seed)),
        ]
        found.append((tables, *files))
    return found


def partial_of(library, stage, told, files):
    public, private = files
    reading = rows.RowStage(stage, public, private, MEMORY)
    with aggregate.Pass(library, told) as running:
        for of in private:
            texts, batches = reading.block(of)
            running.block(len(texts), texts, batches)
        return running.partial()


def cells(partials, shape):
    """What partials say of each set."""
    return tuple(
        dict(zip(part.keys, map(tuple, part.values.tolist()), strict=True)) for part in combine(partials, shape).sets
    )
