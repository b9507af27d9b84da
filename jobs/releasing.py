"""From partials to a release: gated once, stored sealed at a planned time before anybody can see it, and issued at its time.

A process that is killed before the seal leaves nothing of its noise; one that takes over after it reads what is there (design G3,
proof_obligations B19).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from assets import versions
from assets.keys import KeyRing
from audit.events import SYSTEM, Event, EventType
from audit.log import Journal, Transaction
from core import ids
from core.canonical import canonical, digest
from core.errors import BanyanError, Conflict, Unavailable
from jobs.contributions import Contributions, are_complete
from jobs.key_holder import ReleaseRefused, unreachable
from jobs.kinds import KINDS
from jobs.lane import LaneResult
from jobs.masking import Masking
from jobs.model import MOCK, Job, job_with
from jobs.moves import move
from jobs.pinned import check_pinned
from jobs.receipt import new_salt, output_digest, statement_of
from jobs.records import releases
from jobs.transitions import FINAL, JobEvent, JobState
from policies import budget, permits

RELEASE_SEAL = "release"
MOCK_LOG_LENGTH = 64 << 10
_log = logging.getLogger("banyan.reconciler")


@dataclass(frozen=True)
class Noised:
    """A noised table with its guarantee, not seen by anybody yet; `defaulted` blocks are for the operator's alarm only.

    `mock` is what a job on mock data tells beside.
    """

    table: dict[str, Any]
    guarantee: dict[str, Any]
    mock: dict[str, Any] | None = None
    defaulted: tuple[int, ...] = ()


@dataclass(frozen=True)
class Releasing:
    """The last steps of every job."""

    journal: Journal
    keys: KeyRing
    masking: Masking | None = None
    contributions: Contributions | None = None

    def can_open(self, job: Job) -> bool:
        """Whether what the job needs is there. A copy of an earlier release needs that one's job to have ended, and nothing else."""
        if job.reuse_of is not None:
            with self.journal.reading() as connection:
                return job_with(connection, job.reuse_of).state in FINAL
        if job.plan["kind"] != "encrypted" or job.mode == MOCK:
            return True
        if self.masking is None or not self.masking.key_holder.opens(job.plan["key"]):
            return False
        if not job.plan["shared"]:
            return True
        with self.journal.reading() as connection:
            return are_complete(connection, job)

    def check_pinned(self, job: Job) -> None:
        """Raise Invalid (`encrypted.key_holder_refuses`) where the key holder believes other things than the plan needs; Unavailable."""
        if job.plan["kind"] != "encrypted" or job.mode == MOCK or job.reuse_of is not None or self.masking is None:
            return
        pinned = self.masking.key_holder.pinned()
        if pinned is None:  # it went away since it was asked whether it opens: the job waits, uncharged
            raise unreachable()
        check_pinned(job.plan, pinned)

    def forget(self, job: Job) -> None:
        """Remove what was kept for the key holder and by the providers, of a job that is over."""
        if self.masking is not None:
            self.masking.forget(job)
        if self.contributions is not None:
            self.contributions.forget(job)

    def noised(self, job: Job, results: Mapping[int, LaneResult]) -> Noised:
        """Gate what came. Should a defect of ours trip over it, gate nothing instead: that it did must not show (design R9).

        Raises ReleaseRefused, which the key holder says of what is signed, never of data.
        """
        kind = KINDS[job.plan["kind"]]
        partials = {index: data for result in results.values() for index, data in result.partials.items()}
        try:
            gated = kind.gate(job, partials, self.masking)
        except (ReleaseRefused, Unavailable):
            raise
        except Exception as defect:  # noqa: BLE001 - whatever it is, its cause may lie in the data
            _log.critical("alarm: the gate of job %s met %s", job.id, type(defect).__name__)
            gated = kind.gate(job, {}, self.masking)
        guarantee = kind.guarantee(job.plan)
        told = {**guarantee.to_json(), "sentence": guarantee.sentence()}
        mock = None
        if job.mode == MOCK:  # only ever then: what a container writes about real rows is sealed (design G1)
            log = "\n".join(results[lane].sealed.decode("utf-8", "replace") for lane in sorted(results))
            mock = kind.mock_report(job.plan, partials, log[:MOCK_LOG_LENGTH])
        return Noised(gated.table.to_json(), told, mock, gated.defaulted)

    def earlier(self, job: Job) -> Noised:
        """The release of the identical job before: no data, no noise, no charge to the population (design R16)."""
        with self.journal.reading() as connection:
            row = _release_row(connection, str(job.reuse_of))
        if row is None:
            raise RuntimeError("a reused job was released")
        content = json.loads(self.keys.unseal(RELEASE_SEAL, row.id, row.sealed))
        return Noised(content["table"], content["guarantee"])

    def check_reuse(self, connection: Connection, job: Job) -> None:
        """Raise Conflict (`job.reuse_gone`) if the identical job whose release this one was to get has ended without one."""
        if job.reuse_of is not None and job_with(connection, job.reuse_of).state is not JobState.RELEASED:
            raise Conflict(
                "job.reuse_gone",
                "the identical job before this one ended without a release; nothing was charged for this one",
                way_out="submit it again",
            )

    def is_sealed(self, job: Job) -> bool:
        """Whether the noised result is stored."""
        with self.journal.reading() as connection:
            return _release_row(connection, job.id) is not None

    def seal(self, job: Job, noised: Noised) -> None:
        """Store the noised result, encrypted; nothing if there is one, or if the job does not run any more."""
        release, salt = ids.new_id("release"), new_salt()
        content = canonical({"table": noised.table, "guarantee": noised.guarantee, "mock": noised.mock})
        output = output_digest(salt, noised.table)
        sealed = self.keys.seal(RELEASE_SEAL, release, content, _padded(len(content)))
        with self.journal.writing() as tx:
            running = job_with(tx.connection, job.id).state is JobState.RUNNING
            if not running or _release_row(tx.connection, job.id) is not None:
                return
            statement = self._statement(tx.connection, job, release, noised.guarantee)
            tx.execute(
                insert(releases).values(
                    id=release,
                    job=job.id,
                    sealed=sealed,
                    salt=salt,
                    output=output,
                    statement=canonical(statement).decode(),
                )
            )
            tx.record(Event(EventType.RELEASE_SEALED, release, SYSTEM, {"job": job.id, "output": output}))

    def _statement(self, connection: Connection, job: Job, release: str, guarantee: dict[str, Any]) -> dict[str, Any]:
        if job.mode == MOCK or job.version is None:
            return {"schema": "banyan.mock/1", "job": job.id}
        numbered = [
            (job.asset, job.plan["version"]),
            *((each["asset"], each["version"]) for each in job.plan["joined"]),
        ]
        roots = {asset: versions.version(connection, asset, number).root for asset, number in numbered}
        return statement_of(job, release, guarantee, roots, budget.spend_of(connection, job.id))

    def issue(self, job: Job) -> None:
        """Release, job state and event in one transaction; the policy is asked a last time.

        A policy that ended after touch leaves the job unreleased: what was spent stays spent.
        """
        with self.journal.writing() as tx:
            refusal = _refusal(tx, job)
            if refusal is not None:
                refuse(tx, job, refusal)
                return
            row = _release_row(tx.connection, job.id)
            if row is None:
                raise RuntimeError("only a sealed result is issued")
            facts = {"job": job.id, "statement": digest(json.loads(row.statement)), "output": row.output}
            if move(tx, job, JobEvent.ISSUE, Event(EventType.RELEASE_ISSUED, row.id, SYSTEM, facts)):
                tx.execute(update(releases).where(releases.c.id == row.id).values(entry=tx.last_index))


def refuse(tx: Transaction, job: Job, refusal: BanyanError) -> bool:
    """End a job that may not go on, with what its owner is told."""
    logged = Event(EventType.JOB_REFUSED, job.id, SYSTEM, {"asset": job.asset, "code": refusal.code})
    return move(tx, job, JobEvent.REFUSE, logged, refusal=canonical(refusal.public()).decode())


def _refusal(tx: Transaction, job: Job) -> BanyanError | None:
    if job.policy is None:
        return None
    try:
        permits.still_permits(tx.connection, job.policy["name"], job.policy["version"], tx.now)
    except BanyanError as refusal:
        return refusal
    return None


def _release_row(connection: Connection, job: str) -> Any:
    return connection.execute(select(releases).where(releases.c.job == job)).first()


def _padded(size: int) -> int:
    """The next power of two with room for the padding's own header."""
    return 1 << (size + 64).bit_length()
