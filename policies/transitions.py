"""Which state a usage policy is in after which event: one table, total over states and events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from core.errors import Conflict


class State(StrEnum):
    """Where one version of a policy stands. A job runs under an ACTIVE one only. EXPIRED is never stored: the clock says it."""

    PROPOSED = "proposed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REJECTED = "rejected"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class Change(StrEnum):
    """What can happen to a version. APPROVE is one approval of several, ACTIVATE the last that is needed."""

    APPROVE = "approve"
    ACTIVATE = "activate"
    REJECT = "reject"
    SUSPEND = "suspend"
    REVOKE = "revoke"
    SUPERSEDE = "supersede"
    EXPIRE = "expire"


FINAL = frozenset({State.REJECTED, State.REVOKED, State.SUPERSEDED, State.EXPIRED})
_FROM: Mapping[State, Mapping[Change, State]] = {
    State.PROPOSED: {
        Change.APPROVE: State.PROPOSED,
        Change.ACTIVATE: State.ACTIVE,
        Change.REJECT: State.REJECTED,
        Change.REVOKE: State.REVOKED,
        Change.SUPERSEDE: State.SUPERSEDED,
        Change.EXPIRE: State.EXPIRED,
    },
    State.ACTIVE: {
        Change.SUSPEND: State.SUSPENDED,
        Change.REVOKE: State.REVOKED,
        Change.SUPERSEDE: State.SUPERSEDED,
        Change.EXPIRE: State.EXPIRED,
    },
    # A suspended policy comes back as it came into force: by approvals, counted anew.
    State.SUSPENDED: {
        Change.APPROVE: State.SUSPENDED,
        Change.ACTIVATE: State.ACTIVE,
        Change.REVOKE: State.REVOKED,
        Change.SUPERSEDE: State.SUPERSEDED,
        Change.EXPIRE: State.EXPIRED,
    },
}
# None: refused. A final state stays what it is, and does not expire.
TRANSITIONS: Mapping[tuple[State, Change], State | None] = {
    (state, change): _FROM.get(state, {}).get(change) for state in State for change in Change
}


def after(state: State, change: Change) -> State:
    """The state that follows. Raises Conflict (`policy.state`) where the table has none."""
    found = TRANSITIONS[state, change]
    if found is None:
        way_out = "propose a new version" if state in FINAL else None
        raise Conflict(
            "policy.state", f"the policy is {state}: it is too late, or too early, to {change} it", way_out=way_out
        )
    return found


def at(stored: State, valid_until: datetime, now: datetime) -> State:
    """The state that the stored one amounts to at `now`."""
    return TRANSITIONS[stored, Change.EXPIRE] or stored if now >= valid_until else stored
