"""From a running job to the work of its lanes: which blocks go where, which key opens them, and what is cleared away afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from assets import catalogue, mock, versions
from assets.keys import KeyRing
from core.errors import Conflict
from core.private_folder import private_folder
from jobs import contributions
from jobs.kinds import KINDS
from jobs.lane import LaneResult, LaneWork, TableShare
from jobs.model import MOCK, Job, Joined
from jobs.schedule import RETURN_SECONDS, Node
from jobs.split import lane_of

SEALED_LOG = "sealed-log"
SEALED_BYTES = 160 * 1024  # a fixed size for every sealed log: its length tells nothing
MOCK_SEED = 1
RUNS_LENGTH = 2000

# What is read of a plan beside the form of its lanes.
NEEDED = {"encrypted": ("signing_keys", "shared", "key")}


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
        for read in job.inputs:
            if read.version is not None:
                self._key(connection, read.version)

    def _key(self, connection: Connection, version: str) -> bytes:
        """Of what a provider encrypted there is none here: its blocks go to the lanes as they are."""
        wrapped = versions.wrapped_key(connection, version)
        return self.keys.unwrap(version, wrapped) if wrapped else b""

    def works(self, connection: Connection, job: Job) -> tuple[LaneWork, ...]:
        """The lanes of a job; block i goes to lane i mod lanes. The version's key is unwrapped here, after the ledger's commit."""
        if job.seed is None:
            raise RuntimeError("a running job has a seed")
        private_folder(self.folder)
        plan, kind = job.plan, KINDS[job.plan["kind"]]
        lanes, form = plan["lanes"], kind.form(job.request, plan, is_mock=job.mode == MOCK)
        rows = {each.asset: kind.mock_rows(plan, each.asset) if job.mode == MOCK else 0 for each in job.inputs}
        public = {each["asset"] for each in plan["joined"] if each["whole"]}
        tables = tuple(
            replace(table, whole=table.whole or each.asset in public)
            for each in job.inputs
            for table in (self._table(connection, job, each, rows[each.asset]),)
        )
        return tuple(
            LaneWork(
                job=job.id,
                attempt=job.attempt,
                lane=lane,
                lanes=lanes,
                owner=self.owner,
                image=plan["image"],
                engine=self.engine,
                staging=str(self.folder),
                form=form,
                seed=job.seed,
                store=str(self.store),
                tables=tuple(_share(table, lane, plan) for table in tables),
                seconds=plan["seconds"],
                lane_seconds=plan["seconds"] - plan["gate_seconds"] - RETURN_SECONDS,
                block_seconds=plan["block_seconds"],
                memory_bytes=self.node.lane_memory_bytes,
            )
            for lane in range(lanes)
        )

    def _table(self, connection: Connection, job: Job, read: Joined, mock_rows: int) -> TableShare:
        """All blocks of one asset of the job: sealed ones with their key, or mock ones."""
        asset = catalogue.get(connection, read.asset)
        declaration, count = asset.declaration, asset.block_count
        name, unit = read.asset.partition("/")[2], declaration.population.unit
        if job.mode == MOCK or read.version is None:
            count = job.plan["stored_blocks"]
            if declaration.encrypted is not None:
                return TableShare(name, unit, "", count, (), b"", {})
            plain = dict(enumerate(mock.mock_blocks(declaration, mock_rows, MOCK_SEED, count)))
            return TableShare(name, unit, "", count, (), b"", plain)
        if job.plan.get("shared"):
            return TableShare(
                name, unit, read.version, 1, (contributions.block_of(connection, job.id, read.asset),), b"", {}, True
            )
        key, blocks = self._key(connection, read.version), versions.version_blocks(connection, read.version)
        is_whole = declaration.encrypted is not None  # each lane adds its own chunks of every upload
        return TableShare(name, unit, read.version, count, blocks, key, {}, is_whole)

    def keep_sealed(self, job: Job, results: Mapping[int, LaneResult]) -> None:
        """Keep what the containers wrote to stderr and how they ended: encrypted, of one size, for the operator's side only."""
        share = SEALED_BYTES // (2 * max(1, len(results)))
        runs_length = min(RUNS_LENGTH, share - 128)  # with all else there is, whatever was answered, on 64 lanes too
        content = {
            str(lane): {
                "end": result.end,
                "blocks": _runs(result.partials, runs_length),
                "stderr": result.sealed.decode("latin-1"),
            }
            for lane, result in results.items()
        }
        for entry in content.values():
            entry["stderr"] = str(entry["stderr"])[: share // 6]  # JSON may need six characters for one byte
        private_folder(self.sealed)
        sealed = self.keys.seal(SEALED_LOG, job.id, json.dumps(content).encode(), SEALED_BYTES)
        path = self.sealed / f"{job.id}-{job.attempt}"
        path.touch(mode=0o600)
        path.write_bytes(sealed)

    def check_plan(self, job: Job) -> None:
        """Raise Conflict (`job.plan_outdated`) for a plan that was stored by an earlier version and lacks what is needed now."""
        try:
            kind = job.plan["kind"]
            KINDS[kind].form(job.request, job.plan, is_mock=job.mode == MOCK)
            is_whole = all(name in job.plan for name in NEEDED.get(kind, ()))
        except (KeyError, TypeError, ValueError):
            is_whole = False
        if not is_whole:
            text = "the job was planned by an earlier version of this server; nothing was charged"
            raise Conflict("job.plan_outdated", text, way_out="submit it again")

    def clear_job(self, job: Job) -> None:
        """Remove what a killed task of this job may have left in the clear."""
        for path in self.folder.glob(f"{job.id}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything left in the clear."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _share(table: TableShare, lane: int, plan: Mapping[str, Any]) -> TableShare:
    """The lane's part: all of a stored block goes to one lane."""
    if table.whole:
        return table

    def is_ours(index: int) -> bool:
        return lane_of(index, plan["blocks"], plan["stored_blocks"], plan["lanes"]) == lane

    return replace(
        table,
        blocks=tuple(block for block in table.blocks if is_ours(block.index)),
        plain={index: data for index, data in table.plain.items() if is_ours(index)},
    )


def _runs(indexes: Iterable[int], most: int) -> str:
    """Block numbers as people read them, in about `most` characters: 0-3, 7."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    text = ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs)
    return text if len(text) <= most else text[:most] + " …"


def sealed_logs(keys: KeyRing, folder: Path, job: str) -> dict[str, Any]:
    """What `keep_sealed` kept of a job, by attempt; the caller records that it was read. Hostile text: show it escaped."""
    return {path.name.rpartition("-")[2]: open_sealed_log(keys, path) for path in sorted(folder.glob(f"{job}-*"))}


def open_sealed_log(keys: KeyRing, path: Path) -> dict[str, Any]:
    """One sealed log: by lane, how the container ended, which blocks it answered, and its stderr."""
    job = path.name.rpartition("-")[0]
    content: dict[str, Any] = json.loads(keys.unseal(SEALED_LOG, job, path.read_bytes()))
    return content
