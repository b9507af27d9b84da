"""The two real tables: what is kept of them is what DuckDB finds in the original files, and what is not is counted."""

import io
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets import versions
from assets.blocks import Place, open_block
from assets.report import read_report
from assets.source import Format
from tests.assets_builders import ACTOR, example, server_in

DEMO = Path(__file__).resolve().parents[2] / ".banyan" / "demo"


def ingested(folder, asset):
    """The version's rows as one table, its report, and the seconds that the ingest took."""
    upload = DEMO / f"{asset.partition('/')[2]}.csv"
    if not upload.exists():
        pytest.skip("no demo data: run `just demo-data` first")
    with server_in(folder) as server:
        server.register(example(f"{asset}.yaml"))
        start = time.perf_counter()
        made = server.ingest.version(asset, upload, Format.CSV, ACTOR)
        seconds = time.perf_counter() - start
        with server.journal.writing() as tx:
            report = read_report(tx, server.keys, made, ACTOR)
        with server.journal.reading() as connection:
            blocks = versions.version_blocks(connection, made.id)
            key = server.keys.unwrap(made.id, versions.wrapped_key(connection, made.id))
        parts = [open_block(server.store.get(b.path), key, Place(made.id, b.index, len(blocks))) for b in blocks]
    return pa.concat_tables([pq.read_table(io.BytesIO(part)) for part in parts]), report, seconds


def missing(name, accepted, expressions, kept):
    """How many rows that DuckDB reads from the file and accepts are not among those kept, and how many it accepts."""
    with duckdb.connect() as connection:
        connection.read_csv(str(DEMO / name), all_varchar=True, na_values=["", "NA"]).create_view("original")
        connection.register("kept", kept)
        wanted = f"SELECT {', '.join(expressions.values())} FROM original WHERE {accepted}"
        found = f"SELECT {', '.join(expressions)} FROM kept"
        lost = connection.sql(f"SELECT count(*) FROM ({wanted} EXCEPT ALL {found})").fetchall()
        return lost[0][0], connection.sql(f"SELECT count(*) FROM ({wanted})").fetchall()[0][0]


def as_duckdb_reads(table):
    """For each column of the version, the expression over the file's text that must give the same."""
    types = {pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN", pa.utf8(): "VARCHAR"}
    found = {}
    for field in table.schema:
        kind = f"DECIMAL(18, {field.type.scale})" if pa.types.is_decimal(field.type) else types.get(field.type)
        found[field.name] = f"{field.name}::{kind or 'TIMESTAMPTZ'}"
    return found


def test_flights(tmp_path):
    kept, report, seconds = ingested(tmp_path, "traffic/flights")
    assert seconds < 5
    assert (report["rows_read"], report["rows_kept"], report["units"]) == (336_776, 334_264, 4043)
    assert report["rejected"] == [{"column": "tailnum", "reason": "unit_missing", "rows": 2512}]
    assert report["columns_ignored"] == ["dep_time", "arr_time", "sched_arr_time", "minute"]
    assert report["advice"] == []
    assert missing("flights.csv", "tailnum IS NOT NULL", as_duckdb_reads(kept), kept) == (0, kept.num_rows)


def test_covid_testing(tmp_path):
    kept, report, _ = ingested(tmp_path, "medical/covid_testing")
    assert (report["rows_read"], report["rows_kept"], report["units"]) == (15_524, 15_511, 12_334)
    assert {(each["column"], each["reason"]): each["rows"] for each in report["rejected"]} == {
        ("age", "above_upper"): 5,
        ("col_rec_tat", "above_upper"): 7,
        ("rec_ver_tat", "below_lower"): 1,
    }
    assert report["columns_ignored"] == report["advice"] == []
    accepted = "age::DECIMAL(18, 1) <= 110 AND col_rec_tat::DECIMAL(18, 1) <= 100 AND rec_ver_tat::DECIMAL(18, 1) >= 0"
    assert missing("covid_testing.csv", accepted, as_duckdb_reads(kept), kept) == (0, kept.num_rows)
