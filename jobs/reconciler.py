"""Drives every job to its end, one step at a time, from what the database and the world show; any step may be the last before a crash.

One reconciler works at a time (its process holds a lock). One job runs at a time, with all lanes; the next one starts only after the
release time of the one before, so that no queue tells how long a job really took (design R9).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from audit.events import SYSTEM, Event, EventType
from audit.log import Journal, Transaction
from audit.signer import ROLLED_BACK
from core import clock
from core.canonical import canonical
from core.errors import BanyanError, Unavailable
from jobs.contributions import check_in_time, is_overdue
from jobs.key_holder import ReleaseRefused
from jobs.lane import LaneResult, LaneWork
from jobs.model import MOCK, Job, jobs_in
from jobs.moves import move
from jobs.releasing import Noised, Releasing, refuse
from jobs.schedule import RETURN_SECONDS, SEAL_SECONDS
from jobs.scheduler import Scheduler
from jobs.staging import Staging
from jobs.transitions import JobEvent, JobState
from policies import budget, permits
from sandbox.failure import image_missing
from sandbox.runtime import Runtime

MAX_ATTEMPTS = 3
LANE_ATTEMPTS = 2
# Where the first queued job waits for a key holder or for providers, so many others are looked at, this often.
LOOKED_AT, LOOK_EVERY = 1000, timedelta(seconds=0.5)
SEAL_BEFORE = timedelta(seconds=SEAL_SECONDS)
SWEEP_EVERY = timedelta(seconds=10)
HELD = timedelta(seconds=60)
_log = logging.getLogger("banyan.reconciler")


@dataclass
class _Active:
    """The job that this process works on; lost when the process is, and then started again.

    `gate_at` is when the gate begins, whether or not the lanes are done: what they have not given counts as default. `kept` is what lanes
    had given before they were started again.
    """

    job: Job
    works: tuple[LaneWork, ...]
    gate_at: datetime
    results: dict[int, LaneResult] = field(default_factory=dict)
    kept: dict[int, Mapping[int, bytes]] = field(default_factory=dict)
    lane_attempts: int = 1
    noised: Future[Noised] | None = None


class Reconciler:
    """`step` does what can be done now and returns; it waits for no container and no gate.

    `gating` is where gates compute: beside the steps, so that no state, event or checkpoint tells how long one takes. There, too,
    the containers of a job are removed: one that is slow to end delays no release. The next job waits until they are gone.
    """

    def __init__(
        self,
        journal: Journal,
        scheduler: Scheduler,
        runtime: Runtime,
        staging: Staging,
        releasing: Releasing,
        gating: Executor,
    ) -> None:
        self._journal, self._scheduler, self._runtime = journal, scheduler, runtime
        self._staging, self._releasing, self._gating = staging, releasing, gating
        self._active: _Active | None = None
        self._ended: Future[None] | None = None
        self._held_until: datetime | None = None
        self._swept_at: datetime | None = None
        self._looked_at: datetime | None = None
        self.halted: str | None = None

    def try_sweep(self) -> bool:
        """Remove what an earlier process left: containers with our owner label, plaintext blocks. Needed before the first step.

        False, with nothing done, while the engine does not answer.
        """
        try:
            self._sweep()
        except Unavailable as problem:
            self._halt(problem)
            return False
        self._staging.clear()
        return True

    def step(self) -> None:
        """One round over all unfinished jobs, and a checkpoint over what is new."""
        try:
            self._journal.check_extends()
            with self._journal.reading() as connection:
                cancelling = jobs_in(connection, JobState.CANCELLING)
                running = jobs_in(connection, JobState.RUNNING)
                queued = jobs_in(connection, JobState.QUEUED, limit=1)
            for job in cancelling:
                self._cancel(job)
            for job in running:
                self._advance(job)
            self._journal.publish_checkpoint()
            if not running and not cancelling and self._is_clear():
                self._sweep_sometimes()
                if queued and (ready := self._ready(queued[0])) is not None:
                    self._start(ready)
            self.halted = None
        except BanyanError as problem:
            self._halt(problem)
            if problem.code != ROLLED_BACK and not isinstance(problem, Unavailable):
                raise

    def _is_clear(self) -> bool:
        """Whether the containers of the last job are gone; those that an engine could not remove are swept before anything starts."""
        ended, now = self._ended, self._journal.clock.now()
        if ended is None:
            return True
        if self._held_until is not None and now < self._held_until:
            return False
        if not ended.done():
            # When they go is a block's doing, and the next job's start is seen by its owner: so it is late by whole steps.
            self._held_until = (self._held_until or now) + HELD
            _log.critical("alarm: the containers of the last job are slow to end; the next one waits")
            return False
        self._ended, self._held_until = None, None
        if (problem := ended.exception()) is not None:
            if not isinstance(problem, Unavailable):
                raise problem
            self._halt(problem)
            self._swept_at = None
        return True

    def _ready(self, first: Job) -> Job | None:
        """The first queued job that has all it needs: what waits for a key holder or for providers holds up nothing else."""
        if self._may_start(first):
            return first
        now = self._journal.clock.now()
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY:
            return None
        self._looked_at = now
        with self._journal.reading() as connection:
            others = jobs_in(connection, JobState.QUEUED, limit=LOOKED_AT)
        return next((job for job in others if self._may_start(job)), None)

    def _may_start(self, job: Job) -> bool:
        return self._releasing.can_open(job) or is_overdue(self._journal, job)

    def _sweep_sometimes(self) -> None:
        """A task killed between making and starting a container leaves one that ends by nothing but removal."""
        now = self._journal.clock.now()
        if self._swept_at is None or now - self._swept_at > SWEEP_EVERY:
            self._sweep()

    def _sweep(self) -> None:
        """Remove every container of ours; for moments at which there should be none."""
        self._runtime.remove({"banyan.owner": self._staging.owner})
        self._swept_at = self._journal.clock.now()

    def _halt(self, problem: BanyanError) -> None:
        if self.halted != problem.code:
            _log.critical("halted: %s", problem.code)
        self.halted = problem.code

    def _start(self, job: Job) -> None:
        """Check again, commit the budget, fix seed and release time; only then touch."""
        # An engine that does not answer, or a key that does not fit, keeps the job queued.
        self._sweep()
        image_is_there = self._runtime.image_id(job.plan["image"]) is not None
        outside = self._refused_outside(job)
        with self._journal.writing() as tx:
            self._staging.check_key(tx.connection, job)
            refusal = outside or self._refusal(tx, job, image_is_there=image_is_there)
            if refusal is not None:
                # Its policy ended or its image went while the job waited: nothing was touched, so nothing is charged.
                if refuse(tx, job, refusal) and job.mode != MOCK:
                    budget.release_reservation(tx, job.id)
            else:
                values = {"seed": secrets.token_bytes(32), "touched": 1}
                if not self._schedule(tx, job, JobEvent.START, EventType.JOB_STARTED, **values):
                    return
                if job.mode != MOCK:
                    budget.commit(tx, job.id)
        if refusal is not None:
            self._releasing.forget(job)
            return
        # The spend is durable; now it is made unforgettable outside the database (design R17). If that fails, nothing is touched.
        self._journal.publish_checkpoint()
        self._run(job.id)

    def _refused_outside(self, job: Job) -> BanyanError | None:
        """Why a queued job may not start any more, as far as it is known without the database. Raises Unavailable: then it waits."""
        try:
            self._staging.check_plan(job)
            if not is_overdue(self._journal, job):
                self._releasing.check_pinned(job)
        except Unavailable:
            raise
        except BanyanError as refusal:
            return refusal
        return None

    def _refusal(self, tx: Transaction, job: Job, *, image_is_there: bool) -> BanyanError | None:
        """Why a queued job may not start any more, as the database says."""
        try:
            if not image_is_there:
                raise image_missing(job.plan["image"])
            self._releasing.check_reuse(tx.connection, job)
            check_in_time(tx.connection, job, tx.now)
            if job.policy is not None:
                permits.still_permits(tx.connection, job.policy["name"], job.policy["version"], tx.now)
        except BanyanError as refusal:
            return refusal
        return None

    def _schedule(self, tx: Transaction, job: Job, happened: JobEvent, logged: EventType, **values: object) -> bool:
        """Set the release time of one more attempt."""
        shown, attempt = clock.text_of(tx.now + timedelta(seconds=job.plan["seconds"])), job.attempt + 1
        event = Event(logged, job.id, SYSTEM, {"release_at": shown, "attempt": attempt})
        return move(tx, job, happened, event, release_at=shown, attempt=attempt, **values)

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
        if job.release_at is None:
            raise RuntimeError("a running job has a release time")
        if not self._releasing.is_sealed(job):
            if active is None or active.job.id != job.id:
                self._restart(job)
                return
            if active.noised is None:
                self._gather(active)
            if active.noised is None and now >= active.gate_at:
                self._begin_gate(active)
            if active.noised is not None and now >= job.release_at - SEAL_BEFORE:
                self._end_gate(job, job.release_at, active.noised)
        if now >= job.release_at and self._releasing.is_sealed(job):
            self._releasing.issue(job)
            self._releasing.forget(job)
            self._active = None

    def _gather(self, active: _Active) -> None:
        """Collect what the lanes gave; start a lost one again while there is time.

        A lost worker says nothing about data. The release time stays, and the same seed makes the retry the same computation.
        """
        ended = self._scheduler.ended(active.job.id)
        for lane, result in ended.items():
            earlier = active.kept.get(lane, {})
            active.results[lane] = replace(result, partials={**earlier, **result.partials})
        lost = tuple(work for work in active.works if work.lane in ended and ended[work.lane].end in INFRASTRUCTURE)
        left = (active.gate_at - self._journal.clock.now()).total_seconds() - RETURN_SECONDS
        if lost and active.lane_attempts < LANE_ATTEMPTS and left > 0:
            active.lane_attempts += 1
            for work in lost:
                active.kept[work.lane] = active.results.pop(work.lane).partials
            self._scheduler.start(tuple(replace(work, lane_seconds=left) for work in lost))

    def _begin_gate(self, active: _Active) -> None:
        """At the planned time, with what is there."""
        if active.job.reuse_of:
            active.noised = self._gating.submit(self._releasing.earlier, active.job)
            return
        active.noised = self._gating.submit(self._releasing.noised, active.job, dict(active.results))
        self._scheduler.stop(active.job.id)
        self._ended = self._gating.submit(self._end_lanes, active)

    def _end_gate(self, job: Job, release_at: datetime, noised: Future[Noised]) -> None:
        """Seal at the planned time, whenever the gate was done; if it is not done by the release, release a whole plan later."""
        if noised.done():
            if isinstance(refused := noised.exception(), ReleaseRefused):
                self._fail(job, refused)
                return
            if noised.result().defaulted and job.mode != MOCK:
                _log.critical("alarm: blocks of job %s counted as defaults; see its sealed log", job.id)
            self._releasing.seal(job, noised.result())
        elif self._journal.clock.now() >= release_at:
            shown = clock.text_of(release_at + timedelta(seconds=job.plan["seconds"]))
            delayed = Event(EventType.JOB_DELAYED, job.id, SYSTEM, {"release_at": shown})
            with self._journal.writing() as tx:
                move(tx, job, JobEvent.DELAY, delayed, release_at=shown)
            _log.critical("alarm: the gate of job %s took longer than planned", job.id)

    def _fail(self, job: Job, refused: ReleaseRefused) -> None:
        """The key holder will not open the sum: of what is signed, never because of data. What was spent stays spent."""
        self._active = None
        failed = Event(EventType.JOB_FAILED, job.id, SYSTEM, {"code": refused.code})
        with self._journal.writing() as tx:
            move(tx, job, JobEvent.FAIL, failed, refusal=canonical(refused.public()).decode())
        self._releasing.forget(job)
        _log.critical("alarm: the key holder refused job %s", job.id)

    def _keep_sealed(self, active: _Active) -> None:
        try:
            self._staging.keep_sealed(active.job, active.results)
        except (OSError, BanyanError, ValueError):
            _log.critical("alarm: the sealed log of job %s could not be kept", active.job.id)

    def _restart(self, job: Job) -> None:
        """A running job that no process works on: the one before was killed. Same spend, same seed, no noise that anybody saw."""
        self._journal.publish_checkpoint()  # a signer that is away must not use up attempts
        self._remove_containers(job)
        if job.attempt >= MAX_ATTEMPTS:
            failed = Event(EventType.JOB_FAILED, job.id, SYSTEM, {"code": "job.infrastructure"})
            with self._journal.writing() as tx:
                if move(tx, job, JobEvent.FAIL, failed):
                    _log.critical("alarm: job %s failed after %d attempts", job.id, job.attempt)
            self._releasing.forget(job)
            return
        with self._journal.writing() as tx:
            if not self._schedule(tx, job, JobEvent.RESTART, EventType.JOB_RESTARTED):
                return
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
            cancelled = Event(EventType.JOB_CANCELLED, job.id, SYSTEM, {"touched": job.touched})
            if move(tx, job, JobEvent.CANCEL, cancelled) and not job.touched and job.mode != MOCK:
                budget.release_reservation(tx, job.id)
        self._releasing.forget(job)

    def _end_lanes(self, active: _Active) -> None:
        """Nothing of the job may run on. Raises Unavailable where no engine answers; it is swept when it does, and delays no release."""
        try:
            self._remove_containers(active.job)
        finally:
            self._staging.clear_job(active.job)
            self._keep_sealed(active)

    def _remove_containers(self, job: Job) -> None:
        self._runtime.remove({"banyan.job": job.id})

    def close(self) -> None:
        """End what runs; the next process takes it up again."""
        if self._active is not None:
            self._scheduler.stop(self._active.job.id)
        self._gating.shutdown(wait=False, cancel_futures=True)
        self._scheduler.close()
        with suppress(Unavailable):
            self._sweep()
        self._staging.clear()


INFRASTRUCTURE: Mapping[str, str] = {
    "lost": "the task's worker is gone",
    "engine.unreachable": "no engine answers",
    "engine.refused": "the engine would not start the container",
    "staging.failed": "the tmpfs could not take the blocks",
}
