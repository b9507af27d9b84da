"""The closed set of events. An event says who did what to which thing; it holds no personal data and no function of protected data.

`actor` is a principal's id (a random pseudonym), or `system`. FACTS says what each type must state: more or less is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SYSTEM = "system"


class EventType(StrEnum):
    """`subject:past participle`. Members are only ever added; their meaning never changes."""

    LOG_OPENED = "log:opened"
    PRINCIPAL_ADDED = "principal:added"
    TOKEN_ISSUED = "token:issued"  # noqa: S105 - an event's name
    TOKEN_REVOKED = "token:revoked"  # noqa: S105 - an event's name
    POPULATION_CREATED = "population:created"
    ASSET_REGISTERED = "asset:registered"
    VERSION_INGESTED = "version:ingested"
    VERSION_REFUSED = "version:refused"
    REPORT_READ = "report:read"
    SEALED_READ = "sealed:read"
    POLICY_PROPOSED = "policy:proposed"
    POLICY_APPROVED = "policy:approved"
    POLICY_ACTIVATED = "policy:activated"
    POLICY_REJECTED = "policy:rejected"
    POLICY_SUSPENDED = "policy:suspended"
    POLICY_REVOKED = "policy:revoked"
    BUDGET_RESERVED = "budget:reserved"
    BUDGET_COMMITTED = "budget:committed"
    BUDGET_RELEASED = "budget:released"
    JOB_SUBMITTED = "job:submitted"
    JOB_REFUSED = "job:refused"
    CONTRIBUTION_GIVEN = "contribution:given"
    JOB_STARTED = "job:started"
    JOB_RESTARTED = "job:restarted"
    JOB_DELAYED = "job:delayed"
    JOB_CANCEL_ASKED = "job:cancel-asked"
    JOB_CANCELLED = "job:cancelled"
    JOB_FAILED = "job:failed"
    RELEASE_SEALED = "release:sealed"
    RELEASE_ISSUED = "release:issued"
    LOG_READ = "log:read"
    POLICY_SUPERSEDED = "policy:superseded"
    VERSION_REPEATED = "version:repeated"


FACTS: Mapping[EventType, frozenset[str]] = {
    EventType.LOG_OPENED: frozenset({"origin", "log_key"}),
    EventType.PRINCIPAL_ADDED: frozenset({"roles", "organisation"}),
    EventType.TOKEN_ISSUED: frozenset({"principal", "scopes", "expires"}),
    EventType.TOKEN_REVOKED: frozenset({"principal"}),
    EventType.POPULATION_CREATED: frozenset({"accountant", "epsilon", "delta", "unit", "id_namespace"}),
    EventType.ASSET_REGISTERED: frozenset({"declaration", "level", "population"}),
    EventType.VERSION_INGESTED: frozenset({"version", "root", "blocks"}),
    EventType.VERSION_REFUSED: frozenset({"code"}),
    EventType.VERSION_REPEATED: frozenset({"version"}),
    EventType.REPORT_READ: frozenset({"version"}),
    EventType.SEALED_READ: frozenset({"log"}),
    EventType.POLICY_PROPOSED: frozenset({"version", "digest"}),
    EventType.POLICY_APPROVED: frozenset({"version", "digest", "approvals", "needed"}),
    EventType.POLICY_ACTIVATED: frozenset({"version", "digest"}),
    EventType.POLICY_REJECTED: frozenset({"version", "digest"}),
    EventType.POLICY_SUSPENDED: frozenset({"version", "digest"}),
    EventType.POLICY_REVOKED: frozenset({"version", "digest"}),
    EventType.BUDGET_RESERVED: frozenset({"population", "job", "policy", "principal", "organisation", "loss", "asked"}),
    EventType.BUDGET_COMMITTED: frozenset({"population", "job"}),
    EventType.BUDGET_RELEASED: frozenset({"population", "job"}),
    EventType.JOB_SUBMITTED: frozenset({"asset", "version", "joined", "identity", "mode", "policy", "plan"}),
    EventType.JOB_REFUSED: frozenset({"asset", "code"}),
    EventType.CONTRIBUTION_GIVEN: frozenset({"asset", "content", "digest"}),
    EventType.JOB_STARTED: frozenset({"release_at", "attempt"}),
    EventType.JOB_RESTARTED: frozenset({"release_at", "attempt"}),
    EventType.JOB_DELAYED: frozenset({"release_at"}),
    EventType.JOB_CANCEL_ASKED: frozenset({"shown_at"}),
    EventType.JOB_CANCELLED: frozenset({"touched"}),
    EventType.JOB_FAILED: frozenset({"code"}),
    EventType.RELEASE_SEALED: frozenset({"job", "output"}),
    EventType.RELEASE_ISSUED: frozenset({"job", "statement", "output"}),
    EventType.LOG_READ: frozenset({"start", "limit"}),
    EventType.POLICY_SUPERSEDED: frozenset({"version", "digest"}),
}


@dataclass(frozen=True)
class Event:
    """One change of state, before it has a place in the log. Raises ValueError if the facts are not those of the type."""

    type: EventType
    subject: str
    actor: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if frozenset(self.facts) != FACTS[self.type]:
            raise ValueError(f"{self.type} must state exactly {sorted(FACTS[self.type])}")
