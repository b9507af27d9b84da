"""Reads the usage policies there are: which versions, in which state, approved by whom, and who may know of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from core.clock import moment_of, text_of
from policies import authorizer
from policies.model import Action, Principal, Resource, ResourceKind
from policies.records import policy_decisions, policy_versions
from policies.refusals import unknown
from policies.transitions import Change, State, at
from policies.usage import UsagePolicy


@dataclass(frozen=True)
class InForce:
    """Which version of a policy is stored as active, and until when: what an emergency must suspend."""

    version: int
    digest: str
    valid_until: datetime


@dataclass(frozen=True)
class PolicyVersion:
    """One version of a policy as it stands. `state` is the stored one: ask `state_at`, which knows the clock."""

    content: UsagePolicy
    version: int
    digest: str
    proposer: str
    proposed_at: datetime
    state: State
    needed: int
    round: int
    approvers: tuple[str, ...]
    in_force: InForce | None

    @property
    def missing(self) -> int:
        """How many approvals are missing."""
        return max(0, self.needed - len(self.approvers))

    @property
    def resource(self) -> Resource:
        """What rules may know of it."""
        people, organisations = frozenset(self.content.people), frozenset(self.content.organisations)
        return Resource(ResourceKind.POLICY, self.content.name, self.proposer, people, organisations)

    def state_at(self, now: datetime) -> State:
        """The state at `now`: a version expires by the clock alone."""
        return at(self.state, self.content.valid_until, now)

    def to_json(self, now: datetime) -> dict[str, Any]:
        """What a person sees of it; `in_force` is the version that jobs run under now, which may be an older one."""
        deciding = self.in_force if self.in_force and now < self.in_force.valid_until else None
        return {
            "name": self.content.name,
            "version": self.version,
            "digest": self.digest,
            "state": self.state_at(now).value,
            "proposer": self.proposer,
            "proposed_at": text_of(self.proposed_at),
            "approvals": len(self.approvers),
            "needed": self.needed,
            "approvers": list(self.approvers),
            "in_force": deciding and {"version": deciding.version, "digest": deciding.digest},
            "policy": self.content.to_json(),
        }


def versions_of(connection: Connection, name: str) -> list[PolicyVersion]:
    """All versions of a name, oldest first."""
    rows = connection.execute(
        select(policy_versions).where(policy_versions.c.name == name).order_by(policy_versions.c.version)
    )
    return [_version(connection, row) for row in rows.all()]


def latest(connection: Connection, name: str) -> PolicyVersion:
    """The newest version. Raises NotFound (`policy.unknown`). Asks nobody's permission: the caller does."""
    found = versions_of(connection, name)
    if not found:
        raise unknown(ResourceKind.POLICY, name)
    return found[-1]


def version_with(connection: Connection, name: str, digest: str) -> PolicyVersion | None:
    """The version of `name` with exactly this content."""
    condition = (policy_versions.c.name == name) & (policy_versions.c.digest == digest)
    row = connection.execute(select(policy_versions).where(condition)).first()
    return None if row is None else _version(connection, row)


def in_force(connection: Connection, name: str) -> PolicyVersion:
    """The version that decides about jobs: the active one, else the newest. Raises NotFound (`policy.unknown`)."""
    found = versions_of(connection, name)
    if not found:
        raise unknown(ResourceKind.POLICY, name)
    return next((version for version in found if version.state is State.ACTIVE), found[-1])


def readable(connection: Connection, principal: Principal, name: str) -> PolicyVersion:
    """The newest version, for somebody. Raises NotFound (`policy.unknown`) also where they may not know of it."""
    found = latest(connection, name)
    authorizer.check(principal, Action.POLICY_READ, found.resource)
    return found


def listing(connection: Connection, principal: Principal) -> list[PolicyVersion]:
    """The newest version of every policy that the person may know of, by name."""
    newest = [latest(connection, name) for name in _names(connection)]
    return [found for found in newest if may_know(principal, found)]


def in_force_for(connection: Connection, principal: Principal) -> list[PolicyVersion]:
    """Of every policy that the person may know of, the version that decides about jobs; by name."""
    deciding = [in_force(connection, name) for name in _names(connection)]
    return [found for found in deciding if may_know(principal, found)]


def may_know(principal: Principal, found: PolicyVersion) -> bool:
    """Whether the person may know that this policy exists."""
    return authorizer.authorise(principal, Action.POLICY_READ, found.resource).permit


def _approvers(connection: Connection, name: str, version: int, number: int) -> tuple[str, ...]:
    """Who approved a version in the round `number`, in the order of their ids."""
    table = policy_decisions.c
    found = connection.execute(
        select(table.principal)
        .where(table.name == name, table.version == version, table.round == number, table.event == Change.APPROVE.value)
        .order_by(table.principal)
    )
    return tuple(found.scalars().all())


def _names(connection: Connection) -> Sequence[str]:
    table = policy_versions.c
    return connection.execute(select(table.name).distinct().order_by(table.name)).scalars().all()


def _version(connection: Connection, row: Row[Any]) -> PolicyVersion:
    return PolicyVersion(
        content=UsagePolicy.from_json(json.loads(row.content)),
        version=row.version,
        digest=row.digest,
        proposer=row.proposer,
        proposed_at=moment_of(row.proposed_at),
        state=State(row.state),
        needed=row.needed,
        round=row.round,
        approvers=_approvers(connection, row.name, row.version, row.round),
        in_force=_active(connection, row.name),
    )


def _active(connection: Connection, name: str) -> InForce | None:
    condition = (policy_versions.c.name == name) & (policy_versions.c.state == State.ACTIVE.value)
    row = connection.execute(select(policy_versions).where(condition)).one_or_none()
    if row is None:
        return None
    return InForce(row.version, row.digest, UsagePolicy.from_json(json.loads(row.content)).valid_until)
