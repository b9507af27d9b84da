"""The one write path of jobs for people: plan, submit, cancel, and read one's own (design §5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, func, insert, select

from assets import versions
from assets.keys import KeyRing
from assets.levels import levels
from audit.events import Event, EventType
from audit.log import Journal, Transaction
from core import clock, ids
from core.canonical import canonical, digest
from core.errors import BanyanError, Conflict, Invalid, NotFound
from core.tier import strongest
from core.units import text_of
from jobs import receipt, request
from jobs.kind import Host
from jobs.kinds import KINDS
from jobs.model import MOCK, REAL, Job, find_job, jobs_by, unknown
from jobs.moves import move
from jobs.pinned import check_pinned
from jobs.plan import JobPlan, PublicFacts
from jobs.program_check import planned_for
from jobs.public_facts import check_form, facts_of
from jobs.records import jobs, releases
from jobs.releasing import RELEASE_SEAL
from jobs.request import JobRequest
from jobs.transitions import FINAL, JobEvent, JobState, after
from policies import authorizer, budget, permits, statement
from policies.admission import Asked, check_limits
from policies.model import Action, Principal, Resource, ResourceKind
from policies.permits import JobFacts, Permit
from privacy.accountant import Accountant, Loss

MAX_OPEN = {REAL: 50, MOCK: 5}
MAX_OPEN_SECONDS = 6 * 3600


@dataclass(frozen=True)
class JobService:
    """Everything that people do with jobs, planned for `host`."""

    journal: Journal
    keys: KeyRing
    host: Host

    def plan(self, principal: Principal, document: object) -> dict[str, Any]:
        """The plan of a job, with what it needs before it would run; charges nothing, opens no data."""
        authorizer.check(principal, Action.JOB_PLAN)
        asked = request.parsed(document)
        with planned_for(principal.id), self.journal.reading() as connection:
            plan = self._planned(connection, asked)
            standing, permit = self._standing(connection, principal, asked, plan)
            if permit is not None:
                plan = self._planned(connection, asked, permit)
            self._check_pinned(connection, plan)
            return {**plan.to_json(), **standing, "tips": list(plan.tips)}

    def submit(self, principal: Principal, document: object) -> dict[str, Any]:
        """Admit a real job: authorised, reserved, written and logged in one transaction; a refusal is logged in its own."""
        self.journal.check_extends()
        asked = request.parsed(document)
        try:
            authorizer.check(principal, Action.JOB_SUBMIT)
            # What takes its time (reading a program, trying an isolation) is done here, where nobody waits for the transaction.
            with planned_for(principal.id), self.journal.reading() as connection:
                plan = self._planned(connection, asked)
                permit = permits.check_job(connection, principal, _job_facts(asked, plan), self.journal.clock.now())
                self._check_pinned(connection, self._planned(connection, asked, permit))
            with self.journal.writing() as tx:
                job = self._admit(tx, principal, asked)
        except BanyanError as refusal:
            with self.journal.writing() as tx:
                facts = {"asset": asked.asset, "code": refusal.code}
                tx.record(Event(EventType.JOB_REFUSED, principal.id, principal.id, facts))
            raise
        return self.read(principal, job)

    def submit_mock(self, principal: Principal, document: object) -> dict[str, Any]:
        """Admit a job on mock data: the same path, no policy, no price, never a real row."""
        authorizer.check(principal, Action.JOB_MOCK)
        asked = request.parsed(document)
        with planned_for(principal.id), self.journal.reading() as connection:
            facts = facts_of(connection, asked)
            check_form(asked, facts)
            plan = KINDS[asked.kind].mock_plan(asked, facts, self._host(facts))
        with self.journal.writing() as tx:
            nothing = dict.fromkeys(asked.assets)
            job = _insert(tx, principal, asked, plan, mode=MOCK, found=nothing, permit=None, reuse_of=None)
        return self.read(principal, job)

    def read(self, principal: Principal, job: str) -> dict[str, Any]:
        """One's own job. Raises NotFound for anybody else's."""
        with self.journal.reading() as connection:
            return _own(connection, principal, job, Action.JOB_READ).view()

    def listing(self, principal: Principal) -> list[dict[str, Any]]:
        """One's own newest jobs."""
        authorizer.check(principal, Action.JOB_READ)
        with self.journal.reading() as connection:
            return [_brief(job) for job in jobs_by(connection, principal.id)]

    def cancel(self, principal: Principal, job: str) -> dict[str, Any]:
        """Ask for the end of a job; CANCELLED shows at a fixed delay, whatever runs. What was touched stays charged."""
        with self.journal.writing() as tx:
            found = _own(tx.connection, principal, job, Action.JOB_CANCEL)
            if after(found.state, JobEvent.ASK_CANCEL) is None:
                raise Conflict(
                    "job.not_cancellable", f"the job is {found.view()['state']}; it cannot be cancelled any more"
                )
            shown = clock.text_of(tx.now + timedelta(seconds=self.host.node.cancel_seconds))
            asked = Event(EventType.JOB_CANCEL_ASKED, job, principal.id, {"shown_at": shown})
            move(tx, found, JobEvent.ASK_CANCEL, asked, cancel_shown_at=shown)
        return self.read(principal, job)

    def result(self, principal: Principal, job: str) -> dict[str, Any]:
        """The released table of one's own job with its guarantee. Raises Conflict (`result.not_released`) before its time."""
        with self.journal.reading() as connection:
            found = _own(connection, principal, job, Action.RESULT_READ)
            row = connection.execute(select(releases).where(releases.c.job == job)).first()
        if found.state is not JobState.RELEASED or row is None:
            waiting = found.view()["waiting"] or found.view()["state"]
            raise Conflict("result.not_released", f"there is no result: {waiting}", way_out=f"banyan show {job}")
        content: dict[str, Any] = json.loads(self.keys.unseal(RELEASE_SEAL, row.id, row.sealed))
        told = {"job": job, "mode": found.mode, "guarantee": content["guarantee"], "reused": found.reuse_of is not None}
        if content.get("mock") is not None:  # releases from before it was a field have none
            told["mock"] = content["mock"]
        return {**content["table"], **told, "receipt": row.id if found.mode == REAL else None}

    def receipt(self, principal: Principal, job: str) -> dict[str, Any]:
        """The receipt of one's own release."""
        with self.journal.reading() as connection:
            found = _own(connection, principal, job, Action.RECEIPT_READ)
            if found.mode == MOCK:
                raise Conflict("receipt.mock", "a mock job releases nothing, so it has no receipt")
            return receipt.receipt_for(connection, found, self.journal.signer.verifier_key)

    def _planned(self, connection: Connection, asked: JobRequest, permit: Permit | None = None) -> JobPlan:
        """Planned for the isolation that the asset's level demands, or the policy where it demands more."""
        facts = facts_of(connection, asked)
        check_form(asked, facts)
        plan = KINDS[asked.kind].plan(asked, facts, self._host(facts, permit))
        # A larger δ would buy a larger ρ for the same ε, which is what limits are written in. In basic accounting δ itself is counted.
        if facts.accountant is Accountant.ZCDP and plan.delta > facts.delta:
            raise Invalid(
                "delta.too_large",
                "the δ of the job is larger than that of its population",
                where={"field": "delta"},
                way_out=f"delta: {text_of(facts.delta)}, or less",
            )
        return plan

    def _check_pinned(self, connection: Connection, plan: JobPlan) -> None:
        """Ask the key holder, outside of any transaction, whether it would open this. An earlier answer to the same needs none."""
        if plan.facts.encrypted is None or _answering(connection, plan.digest()) is not None:
            return
        pinned = self.host.key_holder.pinned()
        if pinned is not None:  # away: it is asked again before the start
            check_pinned(plan.to_json(), pinned)

    def _host(self, facts: PublicFacts, permit: Permit | None = None) -> Host:
        demanded = [levels()[facts.level].isolation]
        if permit is None:
            return replace(self.host, floor=strongest(*demanded))
        providers = permit.usage.providers
        demanded.append(permit.usage.isolation)
        return replace(
            self.host, floor=strongest(*demanded), least_providers=providers.least, overlap=providers.overlap
        )

    def _standing(
        self, connection: Connection, principal: Principal, asked: JobRequest, plan: JobPlan
    ) -> tuple[dict[str, Any], Permit | None]:
        """Which policy would let the job run and what would be left; or what it still needs."""
        needs: list[str] = []
        permit: Permit | None = None
        left: dict[str, Any] = {"population": None, "yours": None}
        try:
            permit = permits.check_job(connection, principal, _job_facts(asked, plan), self.journal.clock.now())
            check_limits(connection, _asked("", principal, plan, reused=False), permit.usage)
            left = statement.left_after(
                connection,
                plan.facts.population,
                permit.usage,
                principal.id,
                loss=plan.price,
                epsilon=asked.epsilon,
            )
        except BanyanError as refusal:
            needs.append(refusal.text + (f" ({refusal.way_out})" if refusal.way_out else ""))
        key = plan.told.get("key")
        if asked.kind == "encrypted" and key is not None and not self.host.key_holder.opens(key):
            needs.append("the key holder, who does not open sums under this key now: the job would wait")
        needs += [f"{facts.asset} has no data yet" for facts in plan.facts.all if facts.version is None]
        standing = {"policy": None if permit is None else permit.policy, "left_after": left, "needs": needs}
        return standing, permit

    def _admit(self, tx: Transaction, principal: Principal, asked: JobRequest) -> str:
        plan = self._planned(tx.connection, asked)
        found = {asset: _latest(tx.connection, asset) for asset in asked.assets}
        permit = permits.check_job(tx.connection, principal, _job_facts(asked, plan), tx.now)
        plan = self._planned(tx.connection, asked, permit)
        earlier = _answering(tx.connection, plan.digest())
        job = _insert(tx, principal, asked, plan, mode=REAL, found=found, permit=permit, reuse_of=earlier)
        budget.reserve(tx, _asked(job, principal, plan, reused=earlier is not None), permit)
        return job


def _brief(job: Job) -> dict[str, Any]:
    """A job in a list: without its plan, which may be long."""
    view = job.view()
    del view["plan"]
    return view


def _latest(connection: Connection, asset: str) -> str:
    version = versions.latest_version(connection, asset)
    if version is None:
        raise Conflict("asset.empty", f"{asset} has no data yet", way_out="banyan run FILE --mock works without")
    return version.id


def _asked(job: str, principal: Principal, plan: JobPlan, *, reused: bool) -> Asked:
    """What a job asks of the ledger; the answer of an identical one costs the population nothing (design R16)."""
    return Asked(
        job=job,
        population=plan.facts.population,
        epsilon=plan.epsilon,
        delta=plan.delta,
        loss=Loss() if reused else plan.price,
        principal=principal.id,
        organisation=principal.organisation,
        reused=reused,
    )


def _job_facts(asked: JobRequest, plan: JobPlan) -> JobFacts:
    return JobFacts(
        kind=asked.kind,
        assets=tuple(facts.asset for facts in plan.facts.protected),
        purpose=asked.purpose,
        epsilon=plan.epsilon,
        delta=plan.delta,
        population=plan.facts.population,
        policy=asked.policy,
    )


def _check_open(tx: Transaction, principal: Principal, mode: str, seconds: float) -> None:
    """One person's waiting jobs must not take the lanes from everybody else for hours."""
    open_states = [state.value for state in JobState if state not in FINAL]
    mine = (jobs.c.principal == principal.id) & (jobs.c.mode == mode) & jobs.c.state.in_(open_states)
    planned = [json.loads(plan)["seconds"] for plan in tx.connection.execute(select(jobs.c.plan).where(mine)).scalars()]
    if len(planned) >= MAX_OPEN[mode]:
        raise Conflict(
            "job.too_many_open",
            f"{len(planned)} of your {mode} jobs are waiting or running; more are not admitted",
            way_out="wait for one of them to end, or cancel one: banyan jobs",
        )
    if planned and sum(planned) + seconds > MAX_OPEN_SECONDS:
        raise Conflict(
            "job.too_long_open",
            f"your {mode} jobs that wait or run are planned to take {sum(planned):,.0f} s, and this one {seconds:,.0f} s more;"
            f" together {MAX_OPEN_SECONDS:,} s are admitted",
            way_out="wait for one of them to end, or cancel one: banyan jobs",
        )


def _insert(
    tx: Transaction,
    principal: Principal,
    asked: JobRequest,
    plan: JobPlan,
    *,
    mode: str,
    found: Mapping[str, str | None],
    permit: Permit | None,
    reuse_of: str | None,
) -> str:
    _check_open(tx, principal, mode, plan.schedule.seconds)
    job, stored = ids.new_id("job"), plan.to_json()
    policy = None if permit is None else {"name": permit.policy, "version": permit.version, "digest": permit.digest}
    top = tx.connection.execute(select(func.max(jobs.c.sequence))).scalar()
    tx.execute(
        insert(jobs).values(
            id=job,
            sequence=1 if top is None else top + 1,
            mode=mode,
            state=JobState.QUEUED.value,
            principal=principal.id,
            organisation=principal.organisation,
            asset=asked.asset,
            version=found[asked.asset],
            joined=canonical([{"asset": asset, "version": found[asset]} for asset in asked.joined]).decode(),
            request=canonical(asked.to_json()).decode(),
            plan=canonical(stored).decode(),
            identity=plan.digest(),
            policy=None if policy is None else canonical(policy).decode(),
            reuse_of=reuse_of,
            submitted_at=clock.text_of(tx.now),
            attempt=0,
            touched=0,
        )
    )
    facts = {
        "asset": asked.asset,
        "version": found[asked.asset],
        "joined": [[asset, found[asset]] for asset in asked.joined],
        "identity": plan.digest(),
        "mode": mode,
        "policy": policy,
        "plan": digest(stored),
    }
    tx.record(Event(EventType.JOB_SUBMITTED, job, principal.id, facts))
    return job


def _answering(connection: Connection, identity: str) -> str | None:
    """The job whose noised result answers all later ones with this identity (design R16): released, or on its way.

    Jobs run in the order of their submission, so one that is on its way has ended before this one starts.
    """
    own = (jobs.c.identity == identity) & (jobs.c.mode == REAL) & jobs.c.reuse_of.is_(None)
    for states in ((JobState.RELEASED,), (JobState.QUEUED, JobState.RUNNING)):
        found = connection.execute(
            select(jobs.c.id)
            .where(own, jobs.c.state.in_([state.value for state in states]))
            .order_by(jobs.c.sequence)
            .limit(1)
        ).scalar()
        if found is not None:
            return str(found)
    return None


def _own(connection: Connection, principal: Principal, job: str, action: Action) -> Job:
    """The job, if the rules let this person do `action` to it; to everybody else it does not exist, in the very same words."""
    found = find_job(connection, job) if ids.is_id("job", job) else None
    owner = "" if found is None else found.principal
    try:
        # Asked for what does not exist as well, so that a role that may not ask learns nothing from the answer either.
        authorizer.check(principal, action, Resource(ResourceKind.JOB, job, owner=owner))
    except NotFound:
        raise unknown() from None
    if found is None:
        raise unknown()
    return found
