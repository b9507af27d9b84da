"""From a running job to the work of its lanes: which blocks go where, which key opens them, and what is cleared away afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from assets import catalogue, mock, versions
from assets.blocks import Block
from assets.keys import KeyRing
from core.private_folder import private_folder
from jobs.lane import LaneResult, LaneWork
from jobs.model import MOCK, Job
from jobs.schedule import Node
from privacy.sql.plan_model import QueryPlan

SEALED_LOG = "sealed-log"
SEALED_BYTES = 160 * 1024  # a fixed size for every sealed log: its length tells nothing
MOCK_ROWS = 1000
MOCK_SEED = 1


@dataclass(frozen=True)
class Staging:
    """Everything that lies outside the database while and after a job runs. `owner` labels the containers of this server."""

    keys: KeyRing
    node: Node
    engine: str
    store: Path
    folder: Path
    sealed: Path
    owner: str

    def check_key(self, connection: Connection, job: Job) -> None:
        """Raise Unavailable (`keys.mismatch`) unless the keys of this server open the version of the job; opens no block."""
        if job.version is not None:
            self.keys.unwrap(job.version, versions.wrapped_key(connection, job.version))

    def works(self, connection: Connection, job: Job) -> tuple[LaneWork, ...]:
        """The lanes of a job; block i goes to lane i mod lanes. The version's key is unwrapped here, after the ledger's commit."""
        if job.seed is None:
            raise RuntimeError("a running job has a seed")
        private_folder(self.folder)
        plan, lanes = QueryPlan.from_json(job.plan["query"]), job.plan["lanes"]
        blocks: tuple[Block, ...] = ()
        plain: Mapping[int, bytes] = {}
        key = b""
        if job.mode == MOCK:
            declaration = catalogue.get(connection, job.asset).declaration
            plain = dict(enumerate(mock.mock_blocks(declaration, MOCK_ROWS, MOCK_SEED, job.plan["blocks"])))
        elif job.version is not None:
            blocks = versions.version_blocks(connection, job.version)
            key = self.keys.unwrap(job.version, versions.wrapped_key(connection, job.version))
        return tuple(
            LaneWork(
                job=job.id,
                attempt=job.attempt,
                lane=lane,
                owner=self.owner,
                image=job.plan["image"],
                engine=self.engine,
                staging=str(self.folder),
                plan=plan,
                seed=job.seed,
                store=str(self.store),
                version=job.version or "",
                block_count=job.plan["blocks"],
                blocks=tuple(block for block in blocks if block.index % lanes == lane),
                key=key,
                plain={index: data for index, data in plain.items() if index % lanes == lane},
                seconds=job.plan["seconds"],
                block_seconds=job.plan["block_seconds"],
                memory_bytes=self.node.lane_memory_bytes,
            )
            for lane in range(lanes)
        )

    def keep_sealed(self, job: Job, results: Mapping[int, LaneResult]) -> None:
        """Keep what the containers wrote to stderr and how they ended: encrypted, of one size, for the operator's side only."""
        content = {
            str(lane): {"end": result.end, "blocks": sorted(result.partials), "stderr": result.sealed.decode("latin-1")}
            for lane, result in results.items()
        }
        share = SEALED_BYTES // (2 * max(1, len(content)))
        for entry in content.values():
            entry["stderr"] = str(entry["stderr"])[: share // 6]  # JSON may need six characters for one byte
        private_folder(self.sealed)
        sealed = self.keys.seal(SEALED_LOG, job.id, json.dumps(content).encode(), SEALED_BYTES)
        path = self.sealed / f"{job.id}-{job.attempt}"
        path.touch(mode=0o600)
        path.write_bytes(sealed)

    def clear_job(self, job: Job) -> None:
        """Remove what a killed task of this job may have left in the clear."""
        for path in self.folder.glob(f"{job.id}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything left in the clear."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sealed_logs(keys: KeyRing, folder: Path, job: str) -> dict[str, Any]:
    """What `keep_sealed` kept of a job, by attempt; the caller records that it was read. Hostile text: show it escaped."""
    return {path.name.rpartition("-")[2]: open_sealed_log(keys, path) for path in sorted(folder.glob(f"{job}-*"))}


def open_sealed_log(keys: KeyRing, path: Path) -> dict[str, Any]:
    """One sealed log: by lane, how the container ended, which blocks it answered, and its stderr."""
    job = path.name.rpartition("-")[0]
    content: dict[str, Any] = json.loads(keys.unseal(SEALED_LOG, job, path.read_bytes()))
    return content
