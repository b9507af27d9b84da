"""The same lanes on one Ray node with one core, and on two such nodes: what a second node adds.

Run by `just bench-nodes`. Both nodes are on this machine, with a core each; a lane is the product's own task, from its stored blocks to
checked vectors. Lanes have fixed slots, so what is seen is what Ray, the engine and the staging of blocks add to them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

# Ray reads where its token lies when it is imported, which jobs.ray_scheduler does; only through it is Ray spoken here.
FOLDER = Path(tempfile.mkdtemp(prefix="bny-nodes-", dir="/dev/shm"))
(FOLDER / "token").write_text(secrets.token_hex(32))
(FOLDER / "token").chmod(0o600)
os.environ["RAY_AUTH_TOKEN_PATH"] = str(FOLDER / "token")

# ruff: noqa: E402, SLF001 - the token stands before the imports; the lane's task is the scheduler's own

from benchmarks.programs import CLEAR_SECONDS, CPU_SECONDS, ENGINE, FLIGHTS, IMAGES, SLOT_SECONDS, SMALL, flights
from core.tier import Tier
from jobs import ray_scheduler
from jobs.lane import LaneWork, TableShare
from jobs.program_lane import ProgramForm
from privacy.programs.outputs import Aggregate, Output

ray = ray_scheduler.ray
BLOCKS, STORED, LANES, TURNS = 200, 8, 2, 3
STAGE_SECONDS = 3.0


def works() -> list[LaneWork]:
    """Two lanes of a job of 200 blocks on flights-shaped rows."""
    outputs = tuple(Output(name, None, Decimal(-3), Decimal(3), Decimal(0), Aggregate.MEAN) for name in ("v", "late"))
    form = ProgramForm(
        name="bench.py", text=SMALL, params={}, preload=("numpy",), outputs=outputs, blocks=BLOCKS, stored_blocks=STORED,
        tier=Tier.ZYGOTE, oci_runtime=None, stage_seconds=STAGE_SECONDS, start_seconds=1.0,
        slot_seconds=SLOT_SECONDS, own_seconds=SLOT_SECONDS, clear_seconds=CLEAR_SECONDS, is_mock=False,
    )  # fmt: skip
    stored = {index: _parquet(flights(FLIGHTS * BLOCKS // 1000 // STORED, index)) for index in range(STORED)}
    return [
        LaneWork(
            job=f"bench-{secrets.token_hex(4)}", attempt=1, lane=lane, lanes=LANES, owner="benchmark",
            image=json.loads(IMAGES.read_text())["python"]["id"], engine=ENGINE, staging=str(FOLDER / "staging"),
            form=form, seed=bytes(32), store=str(FOLDER),
            tables=(
                TableShare(
                    "flights", "tailnum", "", STORED, (), b"",
                    {index: data for index, data in stored.items() if index % LANES == lane},
                ),
            ),
            seconds=120, lane_seconds=110, block_seconds=CPU_SECONDS, memory_bytes=1 << 30,
        )
        for lane in range(LANES)
    ]  # fmt: skip


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


@contextmanager
def nodes(count: int) -> Iterator[None]:
    """A Ray of so many nodes with a core each."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - after the settings that jobs.ray_scheduler makes

    Path("/tmp/ray").mkdir(exist_ok=True)  # where Ray notes the address of a cluster that it starts
    one = {"num_cpus": 1, "object_store_memory": ray_scheduler.STORE_BYTES}
    cluster = Cluster(
        initialize_head=True, head_node_args=one | {"include_dashboard": False, "temp_dir": str(FOLDER / f"r{count}")}
    )
    try:
        for _ in range(count - 1):
            cluster.add_node(**one)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def timed(count: int) -> tuple[float, float]:
    """The median seconds of both lanes, and the worst share of blocks without a vector."""
    task = ray.remote(num_cpus=1, max_retries=0)(ray_scheduler._lane_task)
    imported = ray.remote(num_cpus=1, max_retries=0)(ray_scheduler._imported)
    ray.get([imported.remote() for _ in range(4 * count)])
    seconds, missing = [], []
    for _ in range(TURNS):
        begun = time.perf_counter()
        results = ray.get([task.remote(work) for work in works()])
        seconds.append(time.perf_counter() - begun)
        missing.append(1 - sum(len(result.partials) for result in results) / BLOCKS)
    return median(seconds), max(missing)


def main() -> None:
    """About a minute."""
    try:
        found = {}
        for count in (1, 2):
            with nodes(count):
                found[count], missing = timed(count)
            print(
                f"{LANES} lanes, {BLOCKS} blocks, {count} node(s) of one core: {found[count]:.1f} s, {missing:.1%} late"
            )
        print(f"ratio: {found[1] / found[2]:.2f}")
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
