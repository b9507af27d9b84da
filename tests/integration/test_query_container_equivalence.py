"""Through the real container, with noise and threshold off, the answer is plain DuckDB's on the original rows that the declaration accepts."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets import versions
from assets.blocks import Place, open_block
from assets.source import Format
from privacy.sql.combine import combine, read_partial
from privacy.sql.partials import accepted_frames
from privacy.sql.release import release
from sandbox.collect import read_frames
from sandbox.docker_runtime import DockerRuntime
from sandbox.runtime import End
from sandbox.spec import ContainerSpec, ReadOnlyMount
from tests.assets_builders import ACTOR, example, server_in
from tests.unit.sql_world import ExactGate, assert_exact, exact_answer, partial_of, plan_of, some_rows, write_block

pytestmark = pytest.mark.docker
DEMO = Path(__file__).resolve().parents[2] / ".banyan" / "demo"
ACCEPTED = {
    "traffic/flights": "tailnum IS NOT NULL",
    "medical/covid_testing": "age::DECIMAL(18, 1) <= 110 AND col_rec_tat::DECIMAL(18, 1) <= 100 AND rec_ver_tat::DECIMAL(18, 1) >= 0",
}
QUERIES = [
    ("traffic/flights", "SELECT COUNT(*), COUNT(dep_delay), COUNT(DISTINCT tailnum), SUM(distance), AVG(dep_delay), AVG(distance) FROM flights"),
    ("traffic/flights", "SELECT carrier, origin, COUNT(*), AVG(arr_delay), SUM(air_time) FROM flights WHERE month BETWEEN 6 AND 8 GROUP BY carrier, origin"),
    ("traffic/flights", "SELECT dest, hour, COUNT(*), COUNT(DISTINCT tailnum), SUM(dep_delay) FROM flights WHERE NOT (dep_delay <= 15 OR carrier IN ('AA', 'UA')) GROUP BY dest, hour"),
    ("traffic/flights", "SELECT time_hour, COUNT(*) FROM flights WHERE time_hour < TIMESTAMP '2013-01-03 00:00:00' GROUP BY time_hour"),
    ("medical/covid_testing", "SELECT gender, result, COUNT(*), COUNT(DISTINCT subject_id), AVG(age), SUM(ct_result), COUNT(ct_result) FROM covid_testing GROUP BY gender, result"),
    ("medical/covid_testing", "SELECT clinic_name, payor_group, drive_thru_ind, COUNT(*), AVG(rec_ver_tat) FROM covid_testing WHERE ct_result IS NULL OR age > 17.5 GROUP BY clinic_name, payor_group, drive_thru_ind"),
]  # fmt: skip


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """Each demo table, ingested, and its blocks decrypted into a folder, as a lane stages them."""
    folders = {}
    for asset in ACCEPTED:
        upload = DEMO / f"{asset.partition('/')[2]}.csv"
        if not upload.exists():
            pytest.skip("no demo data: run `just demo-data` first")
        folder = tmp_path_factory.mktemp("blocks")
        with server_in(tmp_path_factory.mktemp("server")) as server:
            server.register(example(f"{asset}.yaml"))
            made = server.ingest.version(asset, upload, Format.CSV, ACTOR)
            with server.journal.reading() as connection:
                blocks = versions.version_blocks(connection, made.id)
                key = server.keys.unwrap(made.id, versions.wrapped_key(connection, made.id))
            for block in blocks:
                opened = open_block(server.store.get(block.path), key, Place(made.id, block.index, len(blocks)))
                (folder / f"{block.index}.parquet").write_bytes(opened)
        folders[asset] = folder
    return folders


def run_in_container(docker_host, image, folder: Path, plan, seed: bytes = b"s" * 32):
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o755)
    indexes = sorted(int(path.stem) for path in folder.glob("*.parquet"))
    spec = ContainerSpec(
        image=image,
        command=("python3", "-I", "/banyan/runner.py"),
        labels={"banyan.owner": "test-query-equivalence"},
        mounts=(ReadOnlyMount(str(folder), "/blocks"),),
        wall_seconds=60,
    )
    instruction = plan.instruction([(index, f"/blocks/{index}.parquet") for index in indexes], seed, 20, 120)
    outcome = DockerRuntime(docker_host).run(spec, instruction, lambda: False)
    assert outcome.end is End.COMPLETED, outcome.sealed.decode()
    found = read_frames(outcome.output, indexes, plan.max_partial_bytes)
    assert read_frames(b"".join(accepted_frames(outcome.output, plan.shape)), indexes, plan.max_partial_bytes) == found
    return found, indexes


def original(asset: str) -> duckdb.DuckDBPyConnection:
    """The demo file as DuckDB reads it, in the declared types, without the rows that the declaration rejects."""
    declaration = example(f"{asset}.yaml")
    name = asset.partition("/")[2]
    types = {"int": "BIGINT", "bool": "BOOLEAN", "timestamp": "TIMESTAMPTZ", "date": "DATE"}
    columns = [
        f"{c.name}::{types.get(c.type, 'VARCHAR') if c.type != 'decimal' else f'DECIMAL(18, {c.scale})'} AS {c.name}"
        for c in declaration.columns
    ]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.read_csv(str(DEMO / f"{name}.csv"), all_varchar=True, na_values=["", "NA"]).create_view("original")
    connection.execute(f"CREATE TABLE {name} AS SELECT {', '.join(columns)} FROM original WHERE {ACCEPTED[asset]}")
    return connection


@pytest.mark.parametrize(("asset", "sql"), QUERIES, ids=[sql[:40] for _, sql in QUERIES])
def test_the_container_gives_duckdbs_answer_on_the_original_rows(docker_host, query_image, staged, asset, sql):
    plan = plan_of(sql, groups=1000, rows=10_000, epsilon="100", schema=example(f"{asset}.yaml").schema)
    partials, indexes = run_in_container(docker_host, query_image, staged[asset], plan)
    assert sorted(partials) == indexes
    table = release(combine([read_partial(p, plan) for p in partials.values()], plan), plan, ExactGate())
    with original(asset) as connection:
        assert_exact(table, exact_answer(connection, sql, plan), plan)


def test_the_container_gives_the_bytes_of_the_pass_outside_it(docker_host, query_image, tmp_path):
    """Every type of column, tight bounds, a block without rows and one that is no block."""
    plan = plan_of(
        "SELECT surname, seen, urgent, arrived, weight, COUNT(*), AVG(cost) FROM visits GROUP BY 1, 2, 3, 4, 5",
        groups=2,
        rows=2,
    )
    folder = tmp_path / "blocks"
    folder.mkdir()
    write_block(folder / "0.parquet", some_rows(200, 1))
    write_block(folder / "1.parquet", [])
    (folder / "2.parquet").write_bytes(b"no block")
    write_block(folder / "3.parquet", some_rows(50, 2))
    partials, _ = run_in_container(docker_host, query_image, folder, plan)
    assert partials == {i: partial_of(plan, folder / f"{i}.parquet", b"s" * 32) for i in (0, 1, 3)}


def test_the_blocks_of_the_flights_are_done_soon(docker_host, query_image, staged):
    plan = plan_of(
        "SELECT carrier, COUNT(*), AVG(dep_delay) FROM flights GROUP BY carrier",
        groups=2,
        rows=60,
        schema=example("traffic/flights.yaml").schema,
    )
    began = time.perf_counter()
    partials, indexes = run_in_container(docker_host, query_image, staged["traffic/flights"], plan)
    assert time.perf_counter() - began < 15
    assert sorted(partials) == indexes
    assert pa.concat_tables([pq.read_table(p) for p in staged["traffic/flights"].iterdir()]).num_rows == 334_264
