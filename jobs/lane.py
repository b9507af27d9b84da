"""What one task does: decrypt its blocks into tmpfs, run its containers over them, hand back checked partials, forget.

Runs in a Ray worker or inline; both call `run_lane`. Nothing that came out of a container leaves here but partials of the fixed form
and the sealed stream.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from assets.blocks import Block, Place, check_digest, open_block
from assets.object_store import LocalObjectStore
from core.errors import BanyanError
from core.private_folder import private_folder
from sandbox.runtime import POLL_SECONDS, SEALED_BYTES, Runtime
from sandbox.spec import ContainerSpec

# The container ends itself this long after its wall limit, should nobody be there to end it.
GRACE_SECONDS = 2.0
# With less than this left no container is begun.
LEAST_WALL_SECONDS = 0.2
# What came before must be gone so long before a container that is never late begins: half of what the plan allows for its removal.
QUIET_SECONDS = 0.5
NOT_RUN = b"a block was not run: what was before it was not gone in time\n"


@dataclass(frozen=True)
class TableShare:
    """One lane's blocks of one version of an asset. `key` opens the blocks of this version only.

    `plain` holds mock blocks (Parquet bytes by index) instead of sealed ones. Of a public table each lane has all blocks, and each block
    of a program gets the `whole`.
    """

    name: str
    unit: str
    version: str
    block_count: int
    blocks: tuple[Block, ...]
    key: bytes = field(repr=False)
    plain: Mapping[int, bytes] = field(repr=False)
    whole: bool = False


@dataclass(frozen=True)
class LaneContainer:
    """One container of a lane: the blocks it answers for, and the seconds after the lane's start before which it may not begin.

    `never_late`: it rather does not begin at all than later, when what came before it would have made it so (design R11).
    """

    spec: ContainerSpec
    instruction: bytes = field(repr=False)
    indexes: tuple[int, ...]
    starts_after: float = 0.0
    never_late: bool = False


class LaneForm(Protocol):
    """The part of a lane that the kind of job decides. Picklable: it travels to the worker."""

    def stage(self, work: LaneWork, opened: Iterator[tuple[str, int, bytes]]) -> list[int]:
        """Lay the blocks (table, index, Parquet bytes) out in `work.folder`; the indexes of the blocks to be answered."""
        ...

    def containers(self, work: LaneWork, indexes: list[int]) -> Iterable[LaneContainer]:
        """The containers to run, one after the other."""
        ...

    def partials(self, output: bytes, indexes: tuple[int, ...]) -> dict[int, bytes]:
        """What of a container's hostile output is well-formed, by block (design R18)."""
        ...


@dataclass(frozen=True)
class LaneWork:
    """One lane's share of a job: everything the task needs, and nothing of any other job.

    `seconds` is what the job is planned to take; after `lane_seconds` from its start the lane ends with what it has. Each block has
    `block_seconds` of processor time, so that one takes none from the next.
    """

    job: str
    attempt: int
    lane: int
    lanes: int
    owner: str
    image: str
    engine: str
    staging: str
    form: LaneForm
    seed: bytes = field(repr=False)
    store: str
    tables: tuple[TableShare, ...]
    seconds: float
    lane_seconds: float
    block_seconds: float
    memory_bytes: int

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its containers."""
        return {"banyan.owner": self.owner, "banyan.job": self.job, "banyan.lane": str(self.lane)}

    @property
    def folder(self) -> Path:
        """Where its blocks lie in the clear while it runs; inside a folder that only the server's user may enter."""
        return Path(self.staging) / f"{self.job}-{self.attempt}-{self.lane}"


@dataclass(frozen=True)
class LaneResult:
    """Partials by block index (a block that failed is absent), how the last container ended, and the sealed stream of all."""

    partials: Mapping[int, bytes] = field(repr=False)
    end: str
    sealed: bytes = field(repr=False)


class _Cancelled(Exception):
    """The lane was told to end while it waited for a container's time."""


def run_lane(work: LaneWork, runtime: Runtime, cancelled: Callable[[], bool]) -> LaneResult:
    """Run the lane to its end.

    What it has by `lane_seconds` counts: a block that is late takes no other one with it. An unreachable engine, an unreadable block and
    the like leave the blocks that they touch without partials: after touch there is no failure that a researcher could see (design R9).
    `end` tells the operator.
    """
    began = time.monotonic()
    partials: dict[int, bytes] = {}
    end, sealed = "no blocks", b""
    try:
        private_folder(work.folder.parent)
        shutil.rmtree(work.folder, ignore_errors=True)  # what a killed task of this lane may have left
        work.folder.mkdir(mode=0o755)
        indexes = work.form.stage(work, _opened(work))
        for container in work.form.containers(work, indexes):
            if container.never_late and time.monotonic() > began + container.starts_after - QUIET_SECONDS:
                sealed = (sealed + NOT_RUN)[:SEALED_BYTES]
                end = "a block was late"
                continue
            _wait_until(began + container.starts_after, cancelled)
            late = time.monotonic() - began - container.starts_after
            left = work.lane_seconds - container.starts_after - (late if late > POLL_SECONDS else 0.0)
            if left < LEAST_WALL_SECONDS:
                end = "out of time"
                break
            for mount in container.spec.mounts:
                if Path(mount.source).is_relative_to(work.folder):
                    _forget_times(Path(mount.source))
            spec = replace(container.spec, wall_seconds=min(container.spec.wall_seconds, left))
            outcome = runtime.run(spec, container.instruction, cancelled)
            partials |= work.form.partials(outcome.output, container.indexes)
            end, sealed = outcome.end.value, (sealed + outcome.sealed)[:SEALED_BYTES]
        return LaneResult(partials, end, sealed)
    except BanyanError as problem:
        return LaneResult(partials, problem.code, sealed)
    except OSError:
        return LaneResult(partials, "staging.failed", sealed)
    except _Cancelled:
        return LaneResult(partials, "cancelled", sealed)
    finally:
        shutil.rmtree(work.folder, ignore_errors=True)


def _forget_times(folder: Path) -> None:
    """Give all files the same times, those that cannot be chosen that of now, which is planned.

    They would tell a program when each was written, hence how long the rows of other blocks took.
    """
    for path in (*sorted(folder.rglob("*")), folder):
        os.utime(path, ns=(0, 0))


def _wait_until(moment: float, cancelled: Callable[[], bool]) -> None:
    while (left := moment - time.monotonic()) > 0:
        if cancelled():
            raise _Cancelled
        time.sleep(min(left, POLL_SECONDS))


def _opened(work: LaneWork) -> Iterator[tuple[str, int, bytes]]:
    """Table, index and Parquet bytes of each block. A damaged block is left out, counts as its default, and takes no other with it."""
    store = LocalObjectStore(Path(work.store))
    for table in work.tables:
        for block in table.blocks:
            try:
                ciphertext = store.get(block.path)
                check_digest(ciphertext, block)
                opened = open_block(ciphertext, table.key, Place(table.version, block.index, table.block_count))
            except BanyanError:
                continue
            yield table.name, block.index, opened
        for index, data in table.plain.items():
            yield table.name, index, data
