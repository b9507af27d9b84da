"""Has a provider's file read where it can do no harm: in a container without network, by the strict reader, which knows no key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Invalid
from jobs.encrypted_lane import PLACE, RUNNER, expected_json
from privacy.encrypted.terms import Terms
from sandbox.collect import FRAME_BYTES, framed_instruction, read_frames
from sandbox.runtime import Runtime
from sandbox.spec import MIB, OWNER, ContainerSpec, ReadOnlyMount

HEADER_BYTES = 1 * MIB
MEMORY_BYTES = 1024 * MIB
WALL_SECONDS = 120.0
CODES = frozenset({"encrypted.format", "encrypted.digest", "encrypted.range", "encrypted.transparent"})


@dataclass(frozen=True)
class UploadReader:
    """`owner` labels the containers: another label than that of jobs, whose containers are swept at times."""

    runtime: Runtime
    image: str
    owner: str

    def read(self, path: Path, terms: Terms, vectors: Sequence[str]) -> Mapping[str, Any]:
        """The header of a file that holds exactly these vectors under these terms.

        Raises Invalid (`encrypted.format`, `.digest`, `.range`, `.transparent`) with vector and chunk, or Unavailable.
        """
        path.chmod(0o444)  # ciphertext, in a folder that nobody else may enter
        place = f"{PLACE}/0"
        instruction = expected_json(terms, vectors) | {"task": "read", "path": place, "wall_seconds": WALL_SECONDS}
        specification = ContainerSpec(
            image=self.image,
            command=RUNNER,
            labels={OWNER: self.owner},
            mounts=(ReadOnlyMount(str(path.resolve()), place),),
            memory_bytes=MEMORY_BYTES,
            wall_seconds=WALL_SECONDS,
            output_bytes=HEADER_BYTES + FRAME_BYTES,
        )
        written = framed_instruction(json.dumps(instruction, separators=(",", ":")).encode())
        outcome = self.runtime.run(specification, written, lambda: False)
        return _header(read_frames(outcome.output, [0], HEADER_BYTES).get(0))


def _header(answered: bytes | None) -> Mapping[str, Any]:
    try:
        said = json.loads(answered or b"")
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and isinstance(said.get("header"), dict):
        return dict(said["header"])
    if isinstance(said, dict) and said.get("code") in CODES:
        where = {name: said[name] for name in ("vector", "chunk") if isinstance(said.get(name), str | int)}
        raise Invalid(said["code"], str(said.get("reason"))[:200], where=where or {"field": "file"})
    raise Invalid(
        "encrypted.format",
        "the file could not be read as an upload",
        where={"field": "file"},
        way_out="make it with banyan encrypt",
    )
