"""The real answers of the example programs: on all rows at once, and on each of the blocks that the plan would make.

Rows are accepted and placed as at ingest, and split as in a lane, under fixed keys, so that everybody gets the same blocks.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import pyarrow as pa
from banyan.jobfile import load_job
from docker.types import LogConfig, Mount

from assets.blocks import block_count_for
from assets.declaration import Declaration, parse_declaration
from assets.judge_batches import kept_rows
from assets.placement import placed
from assets.read_batches import read_batches
from assets.source import Format
from jobs.program_check import checked_imports
from jobs.program_request import ProgramAsked
from jobs.request import JobRequest, parsed
from jobs.split import ipc_bytes, merged, program_indexes, split
from privacy.programs.plan import ProgramRequest, plan_program
from privacy.programs.plan_model import ProgramPlan

CHECKOUT = Path(__file__).resolve().parent.parent
DATA = CHECKOUT / ".banyan" / "demo"
IMAGE = CHECKOUT / "runtime_images" / "python"
# Fixed here alone: a server draws both.
POPULATION_KEY, JOB_SEED = b"population of the examples".ljust(32), b"job of the examples".ljust(32)
LANES = 2
EXAMPLES = ("finance/default_model", "finance/forest", "medical/survival", "traffic/delay_regression")


@dataclass(frozen=True)
class Example:
    """One example program with all that its plan needs; no data."""

    name: str
    asked: JobRequest
    work: ProgramAsked
    declaration: Declaration
    plan: ProgramPlan

    @property
    def table(self) -> str:
        """The name of the table in the program and in the demo's folder."""
        return self.declaration.asset.partition("/")[2]

    @property
    def coordinates(self) -> list[str]:
        """A name for each number that a block answers."""
        return [
            output.name if output.length is None else f"{output.name}[{index}]"
            for output in self.plan.outputs
            for index in range(output.width)
        ]


@dataclass(frozen=True)
class BlockAnswers:
    """What the program answers on all rows, and each block's vector (none where it failed) with its processor seconds."""

    whole: tuple[float, ...]
    partials: Mapping[int, bytes]
    seconds: tuple[float, ...]


def read_example(name: str) -> Example:
    """The example `examples/<name>.yaml`, read as the client does and planned as the server does."""
    path = CHECKOUT / "examples" / f"{name}.yaml"
    asked = parsed(load_job(path).body)
    if not isinstance(asked.work, ProgramAsked):
        raise TypeError(f"{name} is no program")
    table = asked.asset.partition("/")[2]
    declared = path.parent / f"{table}.yaml"
    declaration = parse_declaration(declared.read_bytes(), declared.name)
    plan = plan_program(
        ProgramRequest(
            outputs=asked.work.outputs,
            epsilon=asked.epsilon,
            delta=asked.delta,
            accountant=declaration.budget.accountant,
            blocks=asked.work.blocks,
            accuracy=asked.work.accuracy,
            units=declaration.units,
            stored_blocks=block_count_for(declaration.rows),
        )
    )
    return Example(name, asked, asked.work, declaration, plan)


def stored_blocks(example: Example) -> list[pa.Table]:
    """The rows of the demo's file that ingest keeps, in their stored blocks."""
    declaration, upload = example.declaration, DATA / f"{example.table}.csv"
    source = read_batches(upload, Format.CSV, [column.name for column in declaration.columns])
    kept, _ = kept_rows(source.batches, declaration, declaration.null_values)
    return list(placed(kept, declaration.population.unit, POPULATION_KEY, block_count_for(declaration.rows)))


def block_answers(example: Example, stored: list[pa.Table], image: str, *, together: int = 1) -> BlockAnswers:
    """Run the program on all rows, and on every block. Several blocks `together` in one process are quicker, and tell no seconds."""
    tables = {"whole": pa.concat_tables(stored)} | {str(index): table for index, table in _blocks(example, stored)}
    answers = answers_on(example, tables, image, together=together)
    blocks = [answers[str(index)] for index in range(example.plan.blocks)]
    whole, _ = answers["whole"]
    if whole is None:
        raise RuntimeError(f"{example.name} fails on all rows")
    return BlockAnswers(
        whole=numbers_of(whole),
        partials={index: vector for index, (vector, _) in enumerate(blocks) if vector is not None},
        seconds=tuple(seconds for _, seconds in blocks),
    )


def answers_on(
    example: Example, tables: Mapping[str, pa.Table], image: str, *, together: int = 1
) -> dict[str, tuple[bytes | None, float]]:
    """The vector of each of the tables, None where there is none, and its processor seconds.

    The tables are run one after another in two containers of the `python` image without a network.
    """
    names = list(tables)
    lanes = [names[lane::LANES] for lane in range(LANES)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, table in tables.items():
            (work / name).mkdir()
            (work / name / f"{example.table}.arrow").write_bytes(ipc_bytes(table.combine_chunks()))
        for lane, own in enumerate(lanes):
            (work / f"{lane}.json").write_text(json.dumps(_instruction(example, own, together)), encoding="utf-8")
        with ThreadPoolExecutor(LANES) as pool:
            printed = list(pool.map(partial(_run, work, image), range(LANES)))
    found = {}
    for own, lines in zip(lanes, printed, strict=True):
        for name, line in zip(own, lines.splitlines(), strict=True):
            said = json.loads(line)
            found[name] = None if said["vector"] is None else bytes.fromhex(said["vector"]), float(said["seconds"])
    return found


def _instruction(example: Example, names: list[str], together: int) -> dict[str, object]:
    return {
        "name": example.work.name,
        "code": example.work.text,
        "params": dict(example.work.params),
        "preload": checked_imports(example.work.text, frozenset((IMAGE / "modules.txt").read_text().split())),
        "outputs": [{"name": output.name, "length": output.length} for output in example.plan.outputs],
        "folders": [f"/blocks/{name}" for name in names],
        "together": together,
    }


def numbers_of(vector: bytes) -> tuple[float, ...]:
    """The numbers of a block's vector."""
    return struct.unpack(f">{len(vector) // 8}d", vector)


def _blocks(example: Example, stored: list[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """Each program block with its index."""
    blocks, unit = example.plan.blocks, example.declaration.population.unit
    if blocks < len(stored):
        for index in range(blocks):
            whole = merged(dict(enumerate(stored)), list(range(index, len(stored), blocks)))
            if whole is not None:
                yield index, whole
        return
    for index, table in enumerate(stored):
        parts = split(table, unit, blocks // len(stored), JOB_SEED)
        yield from zip(program_indexes(index, blocks, len(stored)), parts, strict=True)


def _run(work: Path, image: str, lane: int) -> str:
    client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST"))
    files = {
        "/blocks": work,
        "/banyan/block_answers.py": CHECKOUT / "benchmarks" / "block_answers.py",
        "/banyan/own": IMAGE,
        "/banyan/lib/banyan/frames.py": CHECKOUT / "client" / "banyan" / "frames.py",
    }
    try:
        output: bytes = client.containers.run(
            image,
            ["python3", "-s", "/banyan/block_answers.py", f"/blocks/{lane}.json"],
            labels={"banyan.program-accuracy": "1"},
            environment={"PYTHONPATH": "/banyan/lib:/banyan/own", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "size=16m"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            user=f"{os.getuid()}:{os.getgid()}",
            mem_limit="2g",
            pids_limit=64,
            mounts=[Mount(target, str(source), type="bind", read_only=True) for target, source in files.items()],
            log_config=LogConfig(type=LogConfig.types.JSON),
            remove=True,
        )
    finally:
        client.close()
    return output.decode()
