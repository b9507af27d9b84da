"""How a lane of an encrypted job adds ciphertexts: uploads are mounted as they lie in the store, and each lane has some of the chunks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.blocks import Block
from core.errors import Unavailable
from jobs.lane import GRACE_SECONDS, LaneContainer, LaneWork
from privacy.encrypted.plan_model import EncryptedPlan
from privacy.encrypted.profiles import Profile, profile_named
from privacy.encrypted.terms import Terms
from sandbox.collect import FRAME_BYTES, framed_instruction, read_frames
from sandbox.spec import ContainerSpec, ReadOnlyMount

RUNNER = ("python3", "-I", "/banyan/runner.py")
PLACE = "/uploads"


def expected_json(terms: Terms, vectors: Sequence[str] | None = None) -> dict[str, Any]:
    """What the reader in the container may expect of a file of these vectors, or of all (privacy.encrypted.hev.Expected)."""
    profile = profile_named(terms.profile)
    return {
        "shape": list(profile.shape),
        "moduli": list(profile.moduli),
        "vectors": [[name, terms.vector(name).length] for name in _names(terms, vectors)],
    }


def _names(terms: Terms, vectors: Sequence[str] | None) -> Sequence[str]:
    return [vector.name for vector in terms.vectors] if vectors is None else vectors


def vectors_in(plan: EncryptedPlan) -> tuple[str, ...]:
    """What a provider's file holds: all that its terms say, or what it encrypted for the one job."""
    return tuple(vector.name for vector in (plan.vectors if plan.shared else plan.terms.vectors))


def chunk_numbers(terms: Terms, vectors: Sequence[str] | None = None) -> Mapping[str, list[int]]:
    """By vector, the numbers of its chunks in the order of a file of these vectors, or of all."""
    profile, found, at = profile_named(terms.profile), {}, 0
    for name in _names(terms, vectors):
        count = profile.chunks_of(terms.vector(name).length)
        found[name] = list(range(at, at + count))
        at += count
    return found


@dataclass(frozen=True)
class EncryptedForm:
    """See jobs.lane.LaneForm. `vectors` are those of a file, `chunks` the numbers of all chunks that the job needs.

    A job on mock data adds nothing.
    """

    terms: Terms
    vectors: tuple[str, ...]
    chunks: tuple[int, ...]
    is_mock: bool

    def stage(self, work: LaneWork, opened: Iterator[tuple[str, int, bytes]]) -> list[int]:
        """Nothing is decrypted: the uploads' bytes are compared with those that the versions' roots cover."""
        del opened
        for block in [] if self.is_mock else _uploads(work):
            _check_file(Path(work.store) / block.path, block)
        return [] if self.is_mock else list(self.chunks[work.lane :: work.lanes])

    def containers(self, work: LaneWork, indexes: list[int]) -> Iterable[LaneContainer]:
        """One for all chunks of the lane."""
        if not indexes:
            return
        uploads = _uploads(work)
        places = [f"{PLACE}/{at}" for at in range(len(uploads))]
        mounts = tuple(
            ReadOnlyMount(str((Path(work.store) / block.path).resolve()), place)
            for block, place in zip(uploads, places, strict=True)
        )
        instruction = expected_json(self.terms, self.vectors) | {
            "task": "add",
            "paths": places,
            "chunks": indexes,
            "wall_seconds": work.seconds + GRACE_SECONDS,
        }
        yield LaneContainer(
            spec=ContainerSpec(
                image=work.image,
                command=RUNNER,
                labels=work.labels,
                mounts=mounts,
                cpus=1.0,
                cpuset=str(work.lane),
                memory_bytes=work.memory_bytes,
                open_files=len(uploads) + 256,
                wall_seconds=work.seconds,
                output_bytes=len(indexes) * (self._profile.chunk_bytes + FRAME_BYTES),
            ),
            instruction=framed_instruction(json.dumps(instruction, separators=(",", ":")).encode()),
            indexes=tuple(indexes),
        )

    def partials(self, output: bytes, indexes: tuple[int, ...]) -> dict[int, bytes]:
        """Chunks of exactly the right size; the gate looks at every number in them (design R18)."""
        size = self._profile.chunk_bytes
        return {index: data for index, data in read_frames(output, indexes, size).items() if len(data) == size}

    @property
    def _profile(self) -> Profile:
        return profile_named(self.terms.profile)


def _uploads(work: LaneWork) -> list[Block]:
    return [block for table in work.tables for block in table.blocks]


def _check_file(path: Path, block: Block) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise Unavailable("storage.unreachable", "an upload is not where it was put") from None
    if "sha256:" + found != block.digest:
        raise Unavailable("blocks.damaged", "an upload is not as it was written", way_out="restore it from a backup")
