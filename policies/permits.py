"""Decides whether a job may run, and under which usage policy; asked at submission, and again at start, touch and release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from core.clock import text_of as moment_text
from core.errors import BanyanError, Conflict
from core.yaml_positions import printable
from policies import authorizer, register
from policies.limits import advice, policy_rooms, population_room, shown_down, shown_up, tightest
from policies.model import Action, Principal, ResourceKind
from policies.populations import population_of
from policies.refusals import first, refusal, unknown
from policies.register import PolicyVersion
from policies.transitions import State
from policies.usage import UsagePolicy

# Who asks whether a job may go on: the service itself, which holds no role.
SERVICE_ITSELF = Principal("system", "", "", frozenset())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class JobFacts:
    """What a policy may look at in a job. `population` is the asset's; `policy` the name asked for, if any."""

    kind: str
    assets: tuple[str, ...]
    purpose: str
    epsilon: Fraction
    delta: Fraction
    population: str
    policy: str | None = None


@dataclass(frozen=True)
class Permit:
    """The version of a policy under which a job may run."""

    policy: str
    version: int
    digest: str
    usage: UsagePolicy


def check_job(connection: Connection, principal: Principal, job: JobFacts, now: datetime) -> Permit:
    """The permit for a job: of the policy it names, or of the only one that fits.

    Raises Forbidden (a role's or rule's code), NotFound (`policy.unknown`) or Conflict (`policy.ambiguous`), with a way out
    computed only from policies and limits that this person may read. Whether the budget suffices is the ledger's to say.
    """
    authorizer.check(principal, Action.JOB_SUBMIT)
    question = _Question(connection, principal, job, now)
    found = question.the_only_fitting() if job.policy is None else question.the_named(job.policy)
    return _permit(found)


def still_permits(connection: Connection, policy: str, version: int, now: datetime) -> Permit:
    """The permit of a job that was let in under this version; raises Forbidden if it is not in force any more.

    Never answers no by its return value, so that a caller who forgets to look at it is safe.
    """
    found = next((each for each in register.versions_of(connection, policy) if each.version == version), None)
    if found is None:
        raise unknown(ResourceKind.POLICY, policy)
    decision = authorizer.authorise(SERVICE_ITSELF, Action.POLICY_CONTINUE, found.resource, _standing(found, now))
    if not decision.permit:
        raise refusal(first(decision.reasons or (authorizer.RULE_FAILED,)), **_words(found, now))
    return _permit(found)


@dataclass(frozen=True)
class _Question:
    """One job of one person, held beside the policies there are."""

    connection: Connection
    principal: Principal
    job: JobFacts
    now: datetime

    def the_named(self, name: str) -> PolicyVersion:
        found = register.in_force(self.connection, name)
        if not register.may_know(self.principal, found):
            raise unknown(ResourceKind.POLICY, name)
        if reasons := self._reasons(found):
            raise self._refusal(found, reasons)
        return found

    def the_only_fitting(self) -> PolicyVersion:
        known = register.in_force_for(self.connection, self.principal)
        judged = [(found, self._reasons(found)) for found in known]
        fitting = [found for found, reasons in judged if not reasons]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            listed = ", ".join(found.content.name for found in fitting)
            raise Conflict("policy.ambiguous", f"several policies fit: {listed}", way_out=f"policy: one of {listed}")
        # Those for other assets or other people are no help to be near to.
        near = [(found, reasons) for found, reasons in judged if not {"policy.asset", "policy.person"} & set(reasons)]
        if not near:
            raise refusal("policy.none", asset=printable(", ".join(self.job.assets)))
        raise self._refusal(*min(near, key=lambda each: len(each[1])))

    def _reasons(self, found: PolicyVersion) -> tuple[str, ...]:
        """The rules by which the version does not permit the job; none if it does."""
        content, job = found.content, self.job
        context = {
            **_standing(found, self.now),
            "purposes": list(content.purposes),
            "kinds": list(content.kinds),
            "assets": list(content.assets),
            "purpose": job.purpose,
            "kind": job.kind,
            "asked_assets": list(job.assets),
            "within_job_limit": job.epsilon <= content.epsilon.per_job,
        }
        decision = authorizer.authorise(self.principal, Action.POLICY_USE, found.resource, context)
        return () if decision.permit else decision.reasons or (authorizer.RULE_FAILED,)

    def _refusal(self, found: PolicyVersion, reasons: tuple[str, ...]) -> BanyanError:
        content, job = found.content, self.job
        rooms = policy_rooms(self.connection, content, self.principal.id)
        rooms.append(population_room(self.connection, population_of(self.connection, job.population), job.delta))
        return refusal(
            first(reasons),
            **_words(found, self.now),
            kind=printable(job.kind),
            kinds=" or ".join(content.kinds),
            asset=printable(", ".join(asset for asset in job.assets if asset not in content.assets)),
            assets=", ".join(content.assets),
            purpose=printable(job.purpose),
            purposes=" or ".join(content.purposes),
            asked=f"ε {shown_up(job.epsilon)}",
            limit=shown_down(content.epsilon.per_job),
            fits=advice(tightest(rooms).left),
        )


def _standing(found: PolicyVersion, now: datetime) -> dict[str, Any]:
    return {
        "state": found.state.value,
        "valid_from": _microseconds(found.content.valid_from),
        "valid_until": _microseconds(found.content.valid_until),
        "now": _microseconds(now),
    }


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _permit(found: PolicyVersion) -> Permit:
    return Permit(found.content.name, found.version, found.digest, found.content)


def _words(found: PolicyVersion, now: datetime) -> Mapping[str, str]:
    state = found.state_at(now)
    remedies = {
        State.PROPOSED: f"approval by {found.missing} more, other than its proposer",
        State.SUSPENDED: f"approval anew by {found.missing}, other than its proposer",
        State.SUPERSEDED: "submit the job again: the newer version then decides",
    }
    return {
        "policy": found.content.name,
        "state": f"version {found.version} is {state}",
        "remedy": remedies.get(state, "propose a new version"),
        "since": moment_text(found.content.valid_from),
        "until": moment_text(found.content.valid_until),
    }
