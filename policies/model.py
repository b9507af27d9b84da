"""The words of an authorisation question: who asks, what for, about which thing, and what the answer was."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a person may be. A person may have several; no combination of them lifts the separation of duties."""

    RESEARCHER = "researcher"
    OPERATOR = "operator"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who asks. `id` is a random pseudonym, the only thing of a person that events state; `name` is for showing back.

    `roles` are those in force for this request: the person's roles narrowed to the scopes of the token.
    """

    id: str
    name: str = field(repr=False)
    organisation: str
    roles: frozenset[Role]


class Action(StrEnum):
    """Everything the service does for somebody: a closed set, also declared in rules/banyan.cedarschema."""

    ASSET_READ = "asset:read"
    ASSET_MOCK = "asset:mock"
    ASSET_REGISTER = "asset:register"
    ASSET_INGEST = "asset:ingest"
    REPORT_READ = "report:read"
    SEALED_READ = "sealed:read"
    POLICY_READ = "policy:read"
    POLICY_PROPOSE = "policy:propose"
    POLICY_APPROVE = "policy:approve"
    POLICY_REJECT = "policy:reject"
    POLICY_SUSPEND = "policy:suspend"
    POLICY_REVOKE = "policy:revoke"
    POLICY_USE = "policy:use"
    POLICY_CONTINUE = "policy:continue"
    JOB_PLAN = "job:plan"
    JOB_MOCK = "job:mock"
    JOB_SUBMIT = "job:submit"
    JOB_READ = "job:read"
    JOB_CANCEL = "job:cancel"
    RESULT_READ = "result:read"
    RECEIPT_READ = "receipt:read"
    BUDGET_READ = "budget:read"
    CHECKPOINT_READ = "checkpoint:read"
    LOG_READ = "log:read"
    SELF_READ = "self:read"
    PRINCIPAL_ADD = "principal:add"
    TOKEN_ISSUE = "token:issue"  # noqa: S105 - an action's name
    TOKEN_REVOKE = "token:revoke"  # noqa: S105 - an action's name


class ResourceKind(StrEnum):
    """The kinds of thing an action is about; SERVICE stands for a whole list, or for what does not exist yet."""

    SERVICE = "Service"
    ASSET = "Asset"
    POLICY = "Policy"
    JOB = "Job"
    TOKEN = "Token"  # noqa: S105 - a kind's name


@dataclass(frozen=True)
class Resource:
    """The facts about a thing that rules may look at.

    `owner` is the id of the proposer of a policy, the submitter of a job, the holder of a token. `people` and
    `organisations` say to whom a policy is open; it is open to everybody where both are empty.
    """

    kind: ResourceKind
    id: str
    owner: str | None = None
    people: frozenset[str] = frozenset()
    organisations: frozenset[str] = frozenset()


SERVICE = Resource(ResourceKind.SERVICE, "banyan")


@dataclass(frozen=True)
class Decision:
    """The answer, with the ids of the rules that gave it; no id where no rule permits.

    It has no truth value: `if decision:` would let a denial pass unread.
    """

    permit: bool
    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        raise TypeError("ask decision.permit, or use authorizer.check")
