"""How a lane runs a query: its stored blocks as they are, one container, one partial a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.lane import GRACE_SECONDS, LaneContainer, LaneWork
from privacy.sql import partials
from privacy.sql.plan_model import QueryPlan
from sandbox.collect import FRAME_BYTES, read_frames
from sandbox.limited import ReaderLimits, validated
from sandbox.spec import ContainerSpec, ReadOnlyMount

# What the reader of partials needs for itself, and for each byte that it holds as Python objects.
READER_MEMORY, READER_MEMORY_PER_BYTE = 256 << 20, 32
RUNNER = ("python3", "-I", "/banyan/runner.py")


@dataclass(frozen=True)
class QueryForm:
    """See jobs.lane.LaneForm."""

    plan: QueryPlan

    def stage(self, work: LaneWork, opened: Iterator[tuple[str, int, bytes]]) -> list[int]:
        """A file a block."""
        staged = []
        for _, index, data in opened:
            path = work.folder / f"{index}.parquet"
            path.write_bytes(data)
            path.chmod(0o444)
            staged.append(index)
        return sorted(staged)

    def containers(self, work: LaneWork, indexes: list[int]) -> Iterable[LaneContainer]:
        """One for all blocks."""
        paths = [(index, f"/blocks/{index}.parquet") for index in indexes]
        yield LaneContainer(
            spec=ContainerSpec(
                image=work.image,
                command=RUNNER,
                labels=work.labels,
                mounts=(ReadOnlyMount(str(work.folder), "/blocks"),),
                cpus=1.0,
                cpuset=str(work.lane),
                memory_bytes=work.memory_bytes,
                wall_seconds=work.seconds,
                output_bytes=len(indexes) * (self.plan.max_partial_bytes + FRAME_BYTES),
            ),
            instruction=self.plan.instruction(paths, work.seed, work.block_seconds, work.seconds + GRACE_SECONDS),
            indexes=tuple(indexes),
        )

    def partials(self, output: bytes, indexes: tuple[int, ...]) -> dict[int, bytes]:
        """What is well-formed, as a limited process judges it (design R18); whatever the container's end."""
        limits = ReaderLimits(
            memory_bytes=READER_MEMORY + READER_MEMORY_PER_BYTE * len(output), output_bytes=len(output) + 1
        )
        accepted = validated(Path(partials.__file__), [self.plan.shape.text()], output, limits)
        return read_frames(accepted or b"", indexes, self.plan.max_partial_bytes)
