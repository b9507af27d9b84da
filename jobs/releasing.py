"""From partials to a release: noise is drawn once, the result is persisted sealed before anybody can see it, and issued at its time.

A retry before the seal draws for the first time; a retry after it reads what is there (design G3, proof_obligations B19).
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
from core.errors import BanyanError
from jobs.gate import gate
from jobs.model import MOCK, Job, job_with
from jobs.receipt import new_salt, output_digest, statement_of
from jobs.records import jobs, releases
from jobs.transitions import JobEvent, JobState, after
from policies import budget, permits
from privacy.guarantee import Guarantee
from privacy.sql.plan_model import QueryPlan

RELEASE_SEAL = "release"
_log = logging.getLogger("banyan.reconciler")


@dataclass(frozen=True)
class Releasing:
    """The last steps of every job."""

    journal: Journal
    keys: KeyRing

    def is_sealed(self, job: Job) -> bool:
        """Whether the noised result is persisted."""
        with self.journal.reading() as connection:
            return _release_row(connection, job.id) is not None

    def is_held(self, job: Job) -> bool:
        """Whether the noised result is persisted and waits for its time."""
        with self.journal.reading() as connection:
            running = job_with(connection, job.id).state is JobState.RUNNING
            return running and _release_row(connection, job.id) is not None

    def seal(self, job: Job, partials: Mapping[int, bytes]) -> tuple[int, ...]:
        """Gate, noise, persist. Returns the blocks that counted as defaults: for the operator's alarm only."""
        plan = QueryPlan.from_json(job.plan["query"])
        gated = gate(plan, job.plan["blocks"], partials)
        self._persist(job, gated.table.to_json(), _guarantee(job, plan))
        return gated.defaulted

    def copy(self, job: Job) -> None:
        """Seal the earlier release of an identical job as this job's result: no data, no noise, no charge to the population."""
        with self.journal.reading() as connection:
            row = _release_row(connection, str(job.reuse_of))
            if row is None:
                raise RuntimeError("a reused job was released")
        content = json.loads(self.keys.unseal(RELEASE_SEAL, row.id, row.sealed))
        self._persist(job, content["table"], content["guarantee"])

    def _persist(self, job: Job, table: dict[str, Any], guarantee: dict[str, Any]) -> None:
        release, salt = ids.new_id("release"), new_salt()
        content = canonical({"table": table, "guarantee": guarantee})
        output = output_digest(salt, table)
        sealed = self.keys.seal(RELEASE_SEAL, release, content, _padded(len(content)))
        with self.journal.writing() as tx:
            if _release_row(tx.connection, job.id) is not None:
                return
            statement = self._statement(tx.connection, job, release, guarantee)
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
        root = versions.version(connection, job.asset, job.plan["version"]).root
        return statement_of(job, release, guarantee, root, budget.spend_of(connection, job.id))

    def issue(self, job: Job) -> None:
        """Release, job state and event in one transaction, at the planned time; the policy is asked a last time."""
        with self.journal.writing() as tx:
            row = _release_row(tx.connection, job.id)
            state = after(job.state, JobEvent.ISSUE)
            if row is None or state is None:
                raise RuntimeError("only a sealed result of a running job is issued")
            cancelled = job_with(tx.connection, job.id).state is not job.state
            if cancelled or not self._still_permitted(tx, job):
                return
            statement = json.loads(row.statement)
            facts = {"job": job.id, "statement": digest(statement), "output": row.output}
            entry = tx.record(Event(EventType.RELEASE_ISSUED, row.id, SYSTEM, facts))
            tx.execute(update(releases).where(releases.c.id == row.id).values(entry=entry))
            tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=state.value))

    def _still_permitted(self, tx: Transaction, job: Job) -> bool:
        """A policy revoked or suspended after touch ends the job unreleased: what was spent stays spent."""
        if job.policy is None:
            return True
        try:
            permits.still_permits(tx.connection, job.policy["name"], job.policy["version"], tx.now)
        except BanyanError as refusal:
            told = canonical(refusal.public()).decode()
            tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=JobState.REFUSED.value, refusal=told))
            tx.record(Event(EventType.JOB_REFUSED, job.id, SYSTEM, {"asset": job.asset, "code": refusal.code}))
            return False
        return True


def _release_row(connection: Connection, job: str) -> Any:
    return connection.execute(select(releases).where(releases.c.job == job)).first()


def _padded(size: int) -> int:
    """The next power of two with room for the padding's own header."""
    return 1 << (size + 64).bit_length()


def _guarantee(job: Job, plan: QueryPlan) -> dict[str, Any]:
    guarantee = Guarantee(
        epsilon=plan.epsilon,
        delta=plan.delta,
        rho=plan.price.rho or None,
        unit=job.plan["unit"],
        rows=job.asset.partition("/")[2],
        population=job.plan["population"],
        accountant=plan.accountant,
        mechanisms=tuple(dict.fromkeys(mechanism.kind for mechanism in plan.mechanisms)),
    )
    return {**guarantee.to_json(), "sentence": guarantee.sentence()}
