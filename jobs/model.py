"""A job as stored, and the view of it that its owner gets: states change at planned times only (design R9)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from core import clock
from core.canonical import digest
from core.errors import NotFound
from jobs.records import jobs
from jobs.transitions import JobState

REAL, MOCK = "real", "mock"


@dataclass(frozen=True)
class Joined:
    """An asset that a job reads, with the version that it was admitted on; a mock job needs none."""

    asset: str
    version: str | None


@dataclass(frozen=True)
class Job:
    """One row of the table, typed."""

    id: str
    sequence: int
    mode: str
    state: JobState
    principal: str
    organisation: str
    asset: str
    version: str | None
    joined: tuple[Joined, ...]
    request: dict[str, Any]
    plan: dict[str, Any]
    identity: str
    policy: dict[str, Any] | None
    reuse_of: str | None
    submitted_at: datetime
    release_at: datetime | None
    attempt: int
    seed: bytes | None
    cancel_shown_at: datetime | None
    touched: bool
    refusal: dict[str, Any] | None

    @property
    def inputs(self) -> tuple[Joined, ...]:
        """Every asset that it reads, the first one first."""
        return (Joined(self.asset, self.version), *self.joined)

    def view(self) -> dict[str, Any]:
        """What its owner sees. Nothing here depends on protected data."""
        return {
            "id": self.id,
            "state": PUBLIC_STATE[self.state],
            "mode": self.mode,
            "asset": self.asset,
            "joined": [joined.asset for joined in self.joined],
            "submitted_at": clock.text_of(self.submitted_at),
            "waiting": self._waiting(),
            "release_at": None if self.release_at is None else clock.text_of(self.release_at),
            "refusal": self.refusal,
            "epsilon": self.request["epsilon"],
            "charged": self.touched and self.mode == REAL,
            "purpose": self.request["purpose"],
            "policy": None if self.policy is None else self.policy["name"],
            "kind": self.plan["kind"],
            "query": self.request.get("query"),
            "program": self.plan.get("program"),
            "compute": self.request.get("compute"),
            "plan": self.plan,
        }

    @property
    def code(self) -> str:
        """The digest of what the researcher wrote: the query's text, the program's, or the statistics asked."""
        if "program" in self.plan:
            return str(self.plan["program"]["digest"])
        return digest(self.request["query"] if "query" in self.request else self.request["compute"])

    def _waiting(self) -> str | None:
        if self.state is JobState.QUEUED:
            if self.plan["kind"] != "encrypted" or self.reuse_of is not None or self.mode == MOCK:
                return "queued: lane"
            return "queued: its providers, key holder, lane" if self.plan["shared"] else "queued: key holder, lane"
        if self.state is JobState.RUNNING and self.release_at is not None:
            return f"running: release planned {self.release_at:%H:%M:%S}"
        if self.state is JobState.CANCELLING and self.cancel_shown_at is not None:
            return f"cancelling: shown {self.cancel_shown_at:%H:%M:%S}"
        return None


PUBLIC_STATE: dict[JobState, str] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.CANCELLING: "running",
    JobState.RELEASED: "released",
    JobState.CANCELLED: "cancelled",
    JobState.REFUSED: "refused",
    JobState.FAILED: "failed",
}


def job_of(row: Row[Any]) -> Job:
    """The typed job of a table row."""
    values = row._asdict()

    def moment(name: str) -> datetime | None:
        return None if values[name] is None else clock.moment_of(values[name])

    submitted = clock.moment_of(values["submitted_at"])
    return Job(
        **{name: values[name] for name in ("id", "sequence", "mode", "principal", "organisation", "asset", "version")},
        state=JobState(values["state"]),
        joined=tuple(Joined(**entry) for entry in json.loads(values["joined"])),
        request=json.loads(values["request"]),
        plan=json.loads(values["plan"]),
        identity=values["identity"],
        policy=None if values["policy"] is None else json.loads(values["policy"]),
        reuse_of=values["reuse_of"],
        submitted_at=submitted,
        release_at=moment("release_at"),
        attempt=values["attempt"],
        seed=values["seed"],
        cancel_shown_at=moment("cancel_shown_at"),
        touched=bool(values["touched"]),
        refusal=None if values["refusal"] is None else json.loads(values["refusal"]),
    )


def find_job(connection: Connection, job: str) -> Job | None:
    """One job; None where there is none of this id."""
    row = connection.execute(select(jobs).where(jobs.c.id == job)).first()
    return None if row is None else job_of(row)


def job_with(connection: Connection, job: str) -> Job:
    """One job. Raises NotFound (`job.unknown`)."""
    found = find_job(connection, job)
    if found is None:
        raise unknown()
    return found


def jobs_in(connection: Connection, *states: JobState, limit: int | None = None) -> list[Job]:
    """The jobs in these states, oldest first; at most `limit`."""
    rows = connection.execute(
        select(jobs).where(jobs.c.state.in_([state.value for state in states])).order_by(jobs.c.sequence).limit(limit)
    )
    return [job_of(row) for row in rows]


def jobs_by(connection: Connection, principal: str, limit: int = 200) -> list[Job]:
    """The newest jobs of one person, newest first."""
    rows = connection.execute(
        select(jobs).where(jobs.c.principal == principal).order_by(jobs.c.sequence.desc()).limit(limit)
    )
    return [job_of(row) for row in rows]


def unknown() -> NotFound:
    """The answer for a job that does not exist or is somebody else's."""
    return NotFound("job.unknown", "there is no such job of yours", way_out="banyan jobs lists yours")
