"""Drives every job to its end, one step at a time, from what the database and the world show; any step may be the last before a crash.

One reconciler works at a time (its process holds a lock). One job runs at a time, with all lanes; the next one starts only after the
release time of the one before, so that no queue tells how long a job really took (design R9).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import update

from audit.events import SYSTEM, Event, EventType
from audit.log import Journal, Transaction
from audit.signer import ROLLED_BACK
from core import clock
from core.canonical import canonical
from core.errors import BanyanError, Unavailable
from jobs.lane import LaneResult, LaneWork
from jobs.model import MOCK, Job, job_with, jobs_in
from jobs.records import jobs
from jobs.releasing import Releasing
from jobs.scheduler import Scheduler
from jobs.staging import Staging
from jobs.transitions import JobEvent, JobState, after
from policies import budget, permits
from sandbox.runtime import Runtime

MAX_ATTEMPTS = 3
LANE_ATTEMPTS = 2
SWEEP_EVERY = timedelta(seconds=10)
_log = logging.getLogger("banyan.reconciler")


@dataclass
class _Active:
    """The job whose lanes this process has started; lost when the process is, and then started again.

    `gate_at` is when the gate begins, whether or not the lanes are done: those that are not count as defaults.
    """

    job: Job
    works: tuple[LaneWork, ...]
    gate_at: datetime
    results: dict[int, LaneResult] = field(default_factory=dict)
    lane_attempts: int = 1


class Reconciler:
    """`step` does what can be done now and returns; it never waits for a container."""

    def __init__(
        self, journal: Journal, scheduler: Scheduler, runtime: Runtime, staging: Staging, releasing: Releasing
    ) -> None:
        self._journal, self._scheduler, self._runtime = journal, scheduler, runtime
        self._staging, self._releasing = staging, releasing
        self._active: _Active | None = None
        self._swept_at: datetime | None = None
        self.halted: str | None = None

    def try_sweep(self) -> bool:
        """Remove what an earlier process left: containers with our owner label, plaintext blocks. Needed before the first step.

        False, with nothing done, while the engine does not answer.
        """
        try:
            self._runtime.remove({"banyan.owner": self._staging.owner})
        except Unavailable as problem:
            self._halt(problem)
            return False
        self._staging.clear()
        return True

    def step(self) -> None:
        """One round over all unfinished jobs; then a checkpoint over what is new.

        Between the beginning of a job's gate and its release no checkpoint is published: its size would tell when the gate was done.
        """
        try:
            self._journal.check_extends()
            with self._journal.reading() as connection:
                cancelling = jobs_in(connection, JobState.CANCELLING)
                running = jobs_in(connection, JobState.RUNNING)
                queued = jobs_in(connection, JobState.QUEUED)
            for job in cancelling:
                self._cancel(job)
            for job in running:
                self._advance(job)
            if not running and not cancelling:
                self._sweep_sometimes()
                if queued:
                    self._start(queued[0])
            if not self._gating(running):
                self._journal.publish_checkpoint()
            self.halted = None
        except BanyanError as problem:
            self._halt(problem)
            if problem.code != ROLLED_BACK and not isinstance(problem, Unavailable):
                raise

    def _sweep_sometimes(self) -> None:
        """A task killed between making and starting a container leaves one that ends by nothing but removal."""
        now = self._journal.clock.now()
        if self._swept_at is None or now - self._swept_at > SWEEP_EVERY:
            self._runtime.remove({"banyan.owner": self._staging.owner})
            self._swept_at = now

    def _gating(self, running: list[Job]) -> bool:
        """Whether a gate has begun whose release is still to come. The process that began it may be gone: then the seal tells."""
        if self._active is not None:
            return self._journal.clock.now() >= self._active.gate_at
        return any(self._releasing.is_held(job) for job in running)

    def _halt(self, problem: BanyanError) -> None:
        if self.halted != problem.code:
            _log.critical("halted: %s", problem.code)
        self.halted = problem.code

    def _start(self, job: Job) -> None:
        """Check again, commit the budget, fix seed and release time; only then touch."""
        # An engine that does not answer keeps the job queued.
        self._runtime.listing({"banyan.owner": self._staging.owner})
        with self._journal.writing() as tx:
            if _moved(tx, job):
                return
            try:
                if job.policy is not None:
                    permits.still_permits(tx.connection, job.policy["name"], job.policy["version"], tx.now)
            except BanyanError as refusal:
                self._refuse(tx, job, refusal)
                return
            release_at = tx.now + timedelta(seconds=job.plan["seconds"])
            if job.mode != MOCK:
                budget.commit(tx, job.id)
            self._write(
                tx, job, JobEvent.START, release_at, EventType.JOB_STARTED, seed=secrets.token_bytes(32), touched=1
            )
        # The spend is durable; now it is made unforgettable outside the database (design R17). If that fails, nothing is touched.
        self._journal.publish_checkpoint()
        self._run(job.id)

    def _write(
        self, tx: Transaction, job: Job, event: JobEvent, release_at: datetime, logged: EventType, **values: object
    ) -> None:
        state, shown = after(job.state, event), clock.text_of(release_at)
        if state is None:
            raise RuntimeError(f"{event} cannot happen to a job that is {job.state}")
        attempt = job.attempt + 1
        tx.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(state=state.value, release_at=shown, attempt=attempt, **values)
        )
        tx.record(Event(logged, job.id, SYSTEM, {"release_at": shown, "attempt": attempt}))

    def _refuse(self, tx: Transaction, job: Job, refusal: BanyanError) -> None:
        """A policy that ended while the job waited: nothing was touched, so nothing is charged."""
        budget.release_reservation(tx, job.id)
        told = canonical(refusal.public()).decode()
        tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=JobState.REFUSED.value, refusal=told))
        tx.record(Event(EventType.JOB_REFUSED, job.id, SYSTEM, {"asset": job.asset, "code": refusal.code}))

    def _run(self, job: str) -> None:
        with self._journal.reading() as connection:
            found = next(each for each in jobs_in(connection, JobState.RUNNING) if each.id == job)
            works = () if found.reuse_of else self._staging.works(connection, found)
        if found.release_at is None:
            raise RuntimeError("a running job has a release time")
        gate_at = found.release_at - timedelta(seconds=found.plan["gate_seconds"])
        self._active = _Active(found, works, gate_at)
        if works:
            self._scheduler.start(works)

    def _advance(self, job: Job) -> None:
        now, active = self._journal.clock.now(), self._active
        if self._releasing.is_sealed(job):
            if job.release_at is not None and now >= job.release_at:
                self._releasing.issue(job)
                self._active = None
        elif active is not None and active.job.id == job.id:
            self._gather(active)
            if now >= active.gate_at:
                self._gate(active)
        else:
            self._restart(job, now)

    def _gather(self, active: _Active) -> None:
        """Collect what the lanes gave; start a lost one again while there is time.

        A lost worker says nothing about data. The release time stays, and the same seed makes the retry the same computation.
        """
        ended = self._scheduler.ended(active.job.id)
        active.results.update(ended)
        lost = tuple(work for work in active.works if work.lane in ended and ended[work.lane].end in INFRASTRUCTURE)
        if lost and active.lane_attempts < LANE_ATTEMPTS:
            active.lane_attempts += 1
            for work in lost:
                active.results.pop(work.lane)
            self._scheduler.start(lost)

    def _gate(self, active: _Active) -> None:
        """At the planned time, with what is there. `_active` stays until the release, and keeps checkpoints back."""
        if active.job.reuse_of:
            self._releasing.copy(active.job)
            return
        self._end_lanes(active.job)
        self._keep_sealed(active)
        partials = {index: data for result in active.results.values() for index, data in result.partials.items()}
        if self._sealed_from(active.job, partials):
            _log.critical("alarm: blocks of job %s counted as defaults; see its sealed log", active.job.id)

    def _sealed_from(self, job: Job, partials: Mapping[int, bytes]) -> tuple[int, ...]:
        """Gate what came; should a defect of ours trip over it, gate nothing instead: that it did must not show (design R9)."""
        try:
            return self._releasing.seal(job, partials)
        except Exception as defect:  # noqa: BLE001 - whatever it is, its cause may lie in the data
            _log.critical(
                "alarm: the gate of job %s met %s; all its blocks count as defaults", job.id, type(defect).__name__
            )
            return self._releasing.seal(job, {})

    def _keep_sealed(self, active: _Active) -> None:
        try:
            self._staging.keep_sealed(active.job, active.results)
        except OSError:
            _log.critical("alarm: the sealed log of job %s could not be kept", active.job.id)

    def _restart(self, job: Job, now: datetime) -> None:
        """A running job that no process works on: the one before was killed. Same spend, same seed, no second noise."""
        self._remove_containers(job)
        with self._journal.writing() as tx:
            if _moved(tx, job):
                return
            if job.attempt >= MAX_ATTEMPTS:
                tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=JobState.FAILED.value))
                tx.record(Event(EventType.JOB_FAILED, job.id, SYSTEM, {"code": "job.infrastructure"}))
                _log.critical("alarm: job %s failed after %d attempts", job.id, job.attempt)
                return
            release_at = now + timedelta(seconds=job.plan["seconds"])
            self._write(tx, job, JobEvent.RESTART, release_at, EventType.JOB_RESTARTED)
        self._journal.publish_checkpoint()
        self._run(job.id)

    def _cancel(self, job: Job) -> None:
        """End the lanes now, show it at the fixed time; CANCELLED is written only when the containers are gone."""
        if self._active is not None and self._active.job.id == job.id:
            self._active = None
            self._scheduler.stop(job.id)
        # A job that was never started has no container; that no engine answers must not hold up the others.
        if job.touched:
            self._remove_containers(job)
        if job.cancel_shown_at is None or self._journal.clock.now() < job.cancel_shown_at:
            return
        if job.touched and self._runtime.listing({"banyan.job": job.id}):
            return
        self._staging.clear_job(job)
        with self._journal.writing() as tx:
            if not job.touched and job.mode != MOCK:
                budget.release_reservation(tx, job.id)
            tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=JobState.CANCELLED.value))
            tx.record(Event(EventType.JOB_CANCELLED, job.id, SYSTEM, {"touched": job.touched}))

    def _end_lanes(self, job: Job) -> None:
        """Nothing of the job may run on; an engine that does not answer now is swept at the next start, and delays no release."""
        self._scheduler.stop(job.id)
        try:
            self._remove_containers(job)
        except Unavailable as problem:
            self._halt(problem)
        self._staging.clear_job(job)

    def _remove_containers(self, job: Job) -> None:
        self._runtime.remove({"banyan.job": job.id})

    def close(self) -> None:
        """End what runs; the next process takes it up again."""
        if self._active is not None:
            self._end_lanes(self._active.job)
        self._scheduler.close()
        self._staging.clear()


def _moved(tx: Transaction, job: Job) -> bool:
    """Whether somebody, who can only have cancelled it, changed the job since it was read; the next step sees what became of it."""
    return job_with(tx.connection, job.id).state is not job.state


INFRASTRUCTURE: Mapping[str, str] = {
    "lost": "the task's worker is gone",
    "engine.unreachable": "no engine answers",
    "engine.refused": "the engine would not start the container",
    "staging.failed": "the tmpfs could not take the blocks",
}
