"""Carries a usage policy from proposal over approval by other people to its end; a new version is a new row, never an edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, update

from audit.events import Event, EventType
from audit.log import Transaction
from core.canonical import canonical
from core.clock import text_of
from core.errors import Conflict, Forbidden, Invalid
from core.yaml_positions import printable
from policies import authorizer
from policies.model import Action, Principal, Role
from policies.records import policy_decisions, policy_versions
from policies.register import PolicyVersion, latest, version_with, versions_of
from policies.transitions import Change, State, after
from policies.usage import UsagePolicy

# Approvals by people other than the proposer, by level of the most sensitive asset (reference/standards.md §1.3). S5 is
# never handled here. An S0 or S1 policy is decided by somebody, too: nothing is in force because its author says so.
APPROVALS: Mapping[str, int] = {"S0": 1, "S1": 1, "S2": 2, "S3": 3, "S4": 3}


@dataclass(frozen=True)
class _Step:
    action: Action
    change: Change
    event: EventType


_REJECT = _Step(Action.POLICY_REJECT, Change.REJECT, EventType.POLICY_REJECTED)
_SUSPEND = _Step(Action.POLICY_SUSPEND, Change.SUSPEND, EventType.POLICY_SUSPENDED)
_REVOKE = _Step(Action.POLICY_REVOKE, Change.REVOKE, EventType.POLICY_REVOKED)


def approvals_needed(level: str) -> int:
    """How many other people must approve. Raises Forbidden (`policy.level`) for a level that is not handled."""
    if level not in APPROVALS:
        raise Forbidden("policy.level", f"assets of level {printable(level, 8)} are not handled here")
    return APPROVALS[level]


def propose(tx: Transaction, policy: UsagePolicy, principal: Principal, level: str) -> PolicyVersion:
    """Enter a policy as the next version of its name. `level` is the highest of its assets'.

    A proposer may replace a proposal of their own that waits. Raises Invalid (`policy.value`), Forbidden, or Conflict
    (`policy.name_taken`, `policy.pending`, `policy.unchanged`).
    """
    authorizer.check(principal, Action.POLICY_PROPOSE)
    needed = approvals_needed(level)
    if policy.valid_until <= tx.now:
        raise Invalid("policy.value", "valid.until is past", where={"field": "valid.until"})
    earlier = versions_of(tx.connection, policy.name)
    if earlier:
        _make_way(tx, policy, principal, earlier)
    version = len(earlier) + 1
    digest = policy.digest(version)
    tx.execute(
        insert(policy_versions).values(
            name=policy.name,
            version=version,
            digest=digest,
            content=canonical(policy.to_json()).decode(),
            proposer=principal.id,
            proposed_at=text_of(tx.now),
            state=State.PROPOSED.value,
            needed=needed,
            round=1,
        )
    )
    found = _read_again(tx, policy.name, digest)
    _record(tx, EventType.POLICY_PROPOSED, found, principal.id)
    return found


def _make_way(tx: Transaction, policy: UsagePolicy, principal: Principal, earlier: list[PolicyVersion]) -> None:
    if Role.OPERATOR not in principal.roles and earlier[0].proposer != principal.id:
        raise Conflict(
            "policy.name_taken",
            f"the name {policy.name} is taken",
            way_out="another name, or ask an operator to propose",
        )
    newest = earlier[-1]
    state = newest.state_at(tx.now)
    if state in {State.PROPOSED, State.ACTIVE} and newest.content == policy:
        raise Conflict("policy.unchanged", f"version {newest.version} of {policy.name} says the same and is {state}")
    if state is State.PROPOSED:
        if newest.proposer != principal.id:
            raise Conflict(
                "policy.pending",
                f"version {newest.version} of {policy.name} waits for a decision",
                way_out="have it approved or rejected first",
            )
        _move(tx, newest, Change.SUPERSEDE, EventType.POLICY_SUPERSEDED, principal.id)


def approve(tx: Transaction, name: str, digest: str, principal: Principal, level: str) -> PolicyVersion:
    """One person's approval of exactly the content that `digest` names; the last one needed puts the version in force.

    `level` is the highest of its assets' now: approvals needed only ever rise. Raises NotFound (`policy.unknown`), Forbidden
    (`self_approval`, `role.missing`) or Conflict (`policy.changed`, `policy.state`, `policy.approved_already`).
    """
    found = _addressed(tx, name, digest, principal, Action.POLICY_APPROVE)
    after(found.state_at(tx.now), Change.APPROVE)
    if principal.id in found.approvers:
        way_out = f"{found.missing} more must come from other people" if found.missing else None
        raise Conflict("policy.approved_already", "you have approved this version already", way_out=way_out)
    _decide(tx, found, Change.APPROVE, principal.id, "")
    needed = max(found.needed, approvals_needed(level))
    tx.execute(update(policy_versions).where(policy_versions.c.digest == digest).values(needed=needed))
    found = _read_again(tx, name, digest)
    counts = {"approvals": len(found.approvers), "needed": found.needed}
    _record(tx, EventType.POLICY_APPROVED, found, principal.id, counts)
    return found if found.missing else _activate(tx, found, principal.id)


def reject(tx: Transaction, name: str, digest: str, principal: Principal, reason: str) -> PolicyVersion:
    """Turn a proposal down. Raises as `approve` does."""
    return _end(tx, _REJECT, name, digest, principal=principal, reason=reason)


def suspend(tx: Transaction, name: str, digest: str, principal: Principal, reason: str) -> PolicyVersion:
    """Put a version out of force until it is approved anew. Raises as `approve` does."""
    return _end(tx, _SUSPEND, name, digest, principal=principal, reason=reason)


def revoke(tx: Transaction, name: str, digest: str, principal: Principal, reason: str) -> PolicyVersion:
    """Put a version out of force for good. Raises as `approve` does."""
    return _end(tx, _REVOKE, name, digest, principal=principal, reason=reason)


def _end(tx: Transaction, step: _Step, name: str, digest: str, *, principal: Principal, reason: str) -> PolicyVersion:
    if len(reason) > 500 or not reason.isprintable():
        raise Invalid("policy.reason", "a reason is one line of at most 500 characters", where={"field": "reason"})
    found = _addressed(tx, name, digest, principal, step.action)
    after(found.state_at(tx.now), step.change)
    _decide(tx, found, step.change, principal.id, reason)
    return _move(tx, found, step.change, step.event, principal.id)


def _addressed(tx: Transaction, name: str, digest: str, principal: Principal, action: Action) -> PolicyVersion:
    """The version with this digest, if the person may know of it and may do this to it."""
    newest = latest(tx.connection, name)
    authorizer.check(principal, Action.POLICY_READ, newest.resource)
    found = version_with(tx.connection, name, digest)
    if found is None:
        raise Conflict(
            "policy.changed",
            f"no version of {name} has the content that you name",
            where={"field": "digest", "newest": newest.version},
            way_out="read the policy again and decide about what it says now",
        )
    authorizer.check(principal, action, found.resource)
    return found


def _activate(tx: Transaction, found: PolicyVersion, actor: str) -> PolicyVersion:
    for other in versions_of(tx.connection, found.content.name):
        if other.version != found.version and other.state in {State.ACTIVE, State.SUSPENDED}:
            _move(tx, other, Change.SUPERSEDE, EventType.POLICY_SUPERSEDED, actor)
    return _move(tx, found, Change.ACTIVATE, EventType.POLICY_ACTIVATED, actor)


def _decide(tx: Transaction, found: PolicyVersion, change: Change, actor: str, reason: str) -> None:
    tx.execute(
        insert(policy_decisions).values(
            name=found.content.name,
            version=found.version,
            round=found.round,
            principal=actor,
            event=change.value,
            reason=reason,
            at=text_of(tx.now),
        )
    )


def _move(tx: Transaction, found: PolicyVersion, change: Change, event: EventType, actor: str) -> PolicyVersion:
    """Take the table's step, in the row and in the log."""
    moved = {"state": after(found.state, change).value, "round": found.round + (change is Change.SUSPEND)}
    tx.execute(update(policy_versions).where(policy_versions.c.digest == found.digest).values(moved))
    found = _read_again(tx, found.content.name, found.digest)
    _record(tx, event, found, actor)
    return found


def _read_again(tx: Transaction, name: str, digest: str) -> PolicyVersion:
    found = version_with(tx.connection, name, digest)
    if found is None:
        raise LookupError(f"the version {digest} of {name} vanished in its own transaction")
    return found


def _record(
    tx: Transaction, event: EventType, found: PolicyVersion, actor: str, more: Mapping[str, Any] | None = None
) -> None:
    facts = {"version": found.version, "digest": found.digest, **(more or {})}
    tx.record(Event(event, found.content.name, actor, facts))
