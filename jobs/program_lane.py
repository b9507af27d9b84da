"""How a lane runs a program: its stored blocks split by unit into the program's, one process a block, at planned times (design R11)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.tier import Tier
from jobs import split
from jobs.lane import GRACE_SECONDS, LaneContainer, LaneWork, TableShare
from jobs.program_schedule import block_memory_bytes
from privacy.programs.outputs import Output
from sandbox.collect import FRAME_BYTES, framed_instruction, read_frames
from sandbox.spec import ContainerSpec, ReadOnlyMount
from sandbox.warm import warm_specification

RUNNER = ("python3", "-I", "/banyan/runner.py")
PIDS = 256
FLOAT_BYTES = 8


@dataclass(frozen=True)
class ProgramForm:
    """See jobs.lane.LaneForm. The times are those of jobs.program_schedule.ProgramSchedule."""

    name: str
    text: str = field(repr=False)
    params: Mapping[str, Any]
    preload: tuple[str, ...]
    outputs: tuple[Output, ...]
    blocks: int
    stored_blocks: int
    tier: Tier
    oci_runtime: str | None
    stage_seconds: float
    start_seconds: float
    slot_seconds: float
    own_seconds: float
    clear_seconds: float
    is_mock: bool

    def stage(self, work: LaneWork, opened: Iterator[tuple[str, int, bytes]]) -> list[int]:
        """A folder a program block, with one Arrow file a table; of those blocks only that have all their tables."""
        shares = {table.name: table for table in work.tables}
        kept: dict[str, dict[int, pa.Table]] = {}
        written: dict[int, int] = {}

        def write(block: int, name: str, rows: pa.Table) -> None:
            _write(work.folder / str(block) / f"{name}.arrow", rows)
            written[block] = written.get(block, 0) + 1

        for name, index, data in opened:
            table, share = split.read_block(data), shares[name]
            if share.whole or self.blocks < self.stored_blocks:
                kept.setdefault(name, {})[index] = table
                continue
            parts = split.split(table, share.unit, self.blocks // self.stored_blocks, work.seed)
            for block, part in zip(split.program_indexes(index, self.blocks, self.stored_blocks), parts, strict=True):
                write(block, name, part)
        for name, found in kept.items():
            for block in {index % self.blocks for index in found} if not shares[name].whole else ():
                joined = split.merged(found, list(range(block, self.stored_blocks, self.blocks)))
                if joined is not None:
                    write(block, name, joined)
        split_tables = sum(not table.whole for table in work.tables)
        complete = sorted(block for block, tables in written.items() if tables == split_tables)
        public = [table for table in work.tables if table.whole]
        are_laid = [_lay_whole(work.folder, table, kept.get(table.name, {}), complete) for table in public]
        return complete if all(are_laid) else []

    def containers(self, work: LaneWork, indexes: list[int]) -> Iterable[LaneContainer]:
        """One for all blocks, or one a block; each begins at a planned time, whatever came before it took.

        Before them one that warms the page cache, of which the first block must not know more than the last.
        """
        yield LaneContainer(warm_specification(work.image, work.labels, str(work.lane)), b"", ())
        if self.tier is Tier.ZYGOTE:
            yield LaneContainer(
                spec=self._spec(work, work.folder, "/blocks", work.seconds, len(indexes)),
                instruction=self._instruction(work, [(index, f"/blocks/{index}") for index in indexes]),
                indexes=tuple(indexes),
                starts_after=self.stage_seconds,
            )
            return
        lane = split.blocks_in_lane(work.lane, self.blocks, self.stored_blocks, work.lanes)
        for index in indexes:
            place = f"/blocks/{index}"
            yield LaneContainer(
                spec=self._spec(work, work.folder / str(index), place, self.start_seconds + self.own_seconds, 1),
                instruction=self._instruction(work, [(index, place)]),
                indexes=(index,),
                starts_after=self.stage_seconds + lane.index(index) * self.slot_seconds,
                never_late=index != indexes[0],
            )

    def _spec(self, work: LaneWork, source: Path, target: str, seconds: float, blocks: int) -> ContainerSpec:
        return ContainerSpec(
            image=work.image,
            command=RUNNER,
            labels=work.labels,
            mounts=(ReadOnlyMount(str(source), target),),
            cpus=1.0,
            cpuset=str(work.lane),
            memory_bytes=work.memory_bytes,
            pids=PIDS,
            wall_seconds=seconds,
            output_bytes=blocks * (self.vector_bytes + FRAME_BYTES),
            namespaces=self.tier is Tier.ZYGOTE,
            oci_runtime=self.oci_runtime,
        )

    def _instruction(self, work: LaneWork, blocks: list[tuple[int, str]]) -> bytes:
        body = {
            "kind": "program",
            "name": self.name,
            "code": self.text,
            "params": self.params,
            "preload": list(self.preload),
            "outputs": [{"name": output.name, "length": output.length} for output in self.outputs],
            "blocks": [{"index": index, "folder": folder} for index, folder in blocks],
            "isolation": "namespaces" if self.tier is Tier.ZYGOTE else "none",
            "cpu_seconds_per_block": work.block_seconds,
            "slot_seconds": self.own_seconds,
            "clear_seconds": self.clear_seconds,
            "memory_bytes_per_block": block_memory_bytes(work.memory_bytes),
            "wall_seconds": work.seconds + GRACE_SECONDS,
            "trace": self.is_mock,
        }
        return framed_instruction(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())

    @property
    def vector_bytes(self) -> int:
        """The bytes of one block's answer."""
        return FLOAT_BYTES * sum(output.width for output in self.outputs)

    def partials(self, output: bytes, indexes: tuple[int, ...]) -> dict[int, bytes]:
        """Vectors of exactly the declared length. There is nothing in them to parse, so no process of its own is needed (design R18)."""
        found = read_frames(output, indexes, self.vector_bytes)
        return {index: data for index, data in found.items() if len(data) == self.vector_bytes}


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_bytes(split.ipc_bytes(table))
    path.chmod(0o444)


def _lay_whole(folder: Path, share: TableShare, found: Mapping[int, pa.Table], blocks: Iterable[int]) -> bool:
    """Put a public table into the folder of every block, as one file under many names; False where a part of it is missing."""
    table = split.merged(found, list(range(share.block_count)))
    if table is None:
        return False
    name = f"{share.name}.arrow"
    _write(folder / "whole" / name, table)
    for block in blocks:
        (folder / str(block) / name).hardlink_to(folder / "whole" / name)
    return True
