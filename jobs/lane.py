"""What one task does: decrypt its blocks into tmpfs, run one container over them, hand back checked partials, forget.

Runs in a Ray worker or inline; both call `run_lane`. Nothing that came out of the container leaves here but partials of the fixed form
and the sealed stream.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from assets.blocks import Block, Place, check_digest, open_block
from assets.object_store import LocalObjectStore
from core.errors import BanyanError
from core.private_folder import private_folder
from privacy.sql import partials
from privacy.sql.partials import FRAME_BYTES
from privacy.sql.plan_model import QueryPlan
from sandbox.collect import read_frames
from sandbox.limited import ReaderLimits, validated
from sandbox.runtime import Runtime
from sandbox.spec import ContainerSpec, ReadOnlyMount

# What the reader of partials needs for itself, and for each byte that it holds as Python objects.
READER_MEMORY, READER_MEMORY_PER_BYTE = 256 << 20, 32
# The container ends itself this long after its wall limit, should nobody be there to end it.
GRACE_SECONDS = 2.0
RUNNER = ("python3", "-I", "/banyan/runner.py")


@dataclass(frozen=True)
class LaneWork:
    """One lane's share of a job: everything the task needs, and nothing of any other job.

    `key` opens the blocks of this version only. `plain` holds mock blocks (Parquet bytes by index) instead of sealed ones.
    `seconds` is the wall limit of the container; each block has `block_seconds` of processor time, so that one takes none from the next.
    """

    job: str
    attempt: int
    lane: int
    owner: str
    image: str
    engine: str
    staging: str
    plan: QueryPlan
    seed: bytes = field(repr=False)
    store: str
    version: str
    block_count: int
    blocks: tuple[Block, ...]
    key: bytes = field(repr=False)
    plain: Mapping[int, bytes] = field(repr=False)
    seconds: float
    block_seconds: float
    memory_bytes: int

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its container."""
        return {"banyan.owner": self.owner, "banyan.job": self.job, "banyan.lane": str(self.lane)}

    @property
    def folder(self) -> Path:
        """Where its blocks lie in the clear while it runs; inside a folder that only the server's user may enter."""
        return Path(self.staging) / f"{self.job}-{self.attempt}-{self.lane}"


@dataclass(frozen=True)
class LaneResult:
    """Partials by block index (a block that failed is absent), how the container ended, and its sealed stream."""

    partials: Mapping[int, bytes] = field(repr=False)
    end: str
    sealed: bytes = field(repr=False)


def run_lane(work: LaneWork, runtime: Runtime, cancelled: Callable[[], bool]) -> LaneResult:
    """Run the lane to its end.

    An unreachable engine, an unreadable block and the like give a result without partials: after touch there is no failure that a
    researcher could see (design R9). `end` tells the operator.
    """
    try:
        indexes = _stage(work)
        outcome = runtime.run(_specification(work), _instruction(work, indexes), cancelled)
        return LaneResult(_partials(work.plan, outcome.output, indexes), outcome.end.value, outcome.sealed)
    except BanyanError as problem:
        return LaneResult({}, problem.code, b"")
    except OSError:
        return LaneResult({}, "staging.failed", b"")
    finally:
        shutil.rmtree(work.folder, ignore_errors=True)


def _partials(plan: QueryPlan, output: bytes, indexes: list[int]) -> dict[int, bytes]:
    """What of the container's output is well-formed, as a limited process judges it (design R18); whatever the container's end."""
    limits = ReaderLimits(
        memory_bytes=READER_MEMORY + READER_MEMORY_PER_BYTE * len(output), output_bytes=len(output) + 1
    )
    accepted = validated(Path(partials.__file__), [plan.shape.text()], output, limits)
    return read_frames(accepted or b"", indexes, plan.max_partial_bytes)


def _stage(work: LaneWork) -> list[int]:
    private_folder(work.folder.parent)
    shutil.rmtree(work.folder, ignore_errors=True)  # what a killed task of this lane may have left
    work.folder.mkdir(mode=0o755)
    store = LocalObjectStore(Path(work.store))
    for block in work.blocks:
        try:
            ciphertext = store.get(block.path)
            check_digest(ciphertext, block)
            opened = open_block(ciphertext, work.key, Place(work.version, block.index, work.block_count))
        except BanyanError:
            continue  # a damaged block counts as its default, and takes no other with it
        (work.folder / f"{block.index}.parquet").write_bytes(opened)
    for index, data in work.plain.items():
        (work.folder / f"{index}.parquet").write_bytes(data)
    staged = sorted(work.folder.iterdir(), key=lambda path: int(path.stem))
    for path in staged:
        path.chmod(0o444)
    return [int(path.stem) for path in staged]


def _instruction(work: LaneWork, indexes: list[int]) -> bytes:
    blocks = [(index, f"/blocks/{index}.parquet") for index in indexes]
    return work.plan.instruction(blocks, work.seed, work.block_seconds, work.seconds + GRACE_SECONDS)


def _specification(work: LaneWork) -> ContainerSpec:
    return ContainerSpec(
        image=work.image,
        command=RUNNER,
        labels=work.labels,
        mounts=(ReadOnlyMount(str(work.folder), "/blocks"),),
        cpus=1.0,
        cpuset=str(work.lane),
        memory_bytes=work.memory_bytes,
        wall_seconds=work.seconds,
        output_bytes=len(work.blocks or work.plain) * (work.plan.max_partial_bytes + FRAME_BYTES),
    )
