"""Decides whether somebody may do something: the one place where Cedar is asked, and deny is the answer to any doubt.

Cedar by itself skips a rule that raises, so a broken `forbid` would permit. Here any error in any rule denies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cedarpy

from policies.model import SERVICE, Action, Decision, Principal, Resource, ResourceKind, Role
from policies.refusals import first, refusal, unknown

RULE_FAILED = "rule.failed"
RULES = Path(__file__).parent / "rules"
Authorise = Callable[[Principal, Action, Resource, Mapping[str, Any]], Decision]


class Authorizer:
    """Rules and schema, parsed once. Raises ValueError where they do not fit each other or a rule has no id of its own."""

    def __init__(self, rules: str, schema: str) -> None:
        checked = cedarpy.validate_policies(rules, schema)
        if not checked.validation_passed:
            raise ValueError("; ".join(str(error) for error in checked.errors))
        self._rules = cedarpy.PolicySet.from_str(rules)
        self._schema = cedarpy.Schema.from_str(schema)
        self._ids = [rule.annotations.get("id") for rule in cedarpy.policies_to_pst(rules).static_policies.values()]
        if None in self._ids or len(set(self._ids)) != len(self._ids):
            raise ValueError("every rule needs an @id of its own")

    def authorise(
        self, principal: Principal, action: Action, resource: Resource, context: Mapping[str, Any]
    ) -> Decision:
        """Permit only if a rule permits, none forbids, and every rule could be evaluated."""
        answer = cedarpy.is_authorized(
            {
                "principal": _uid("Principal", principal.id),
                "action": _uid("Action", action.value),
                "resource": _uid(resource.kind.value, resource.id),
                "context": dict(context),
            },
            self._rules,
            _entities(principal, resource),
            schema=self._schema,
        )
        found = answer.diagnostics
        reasons = tuple(sorted(found.id_annotations_by_reason[reason] for reason in found.reasons))
        if found.errors or answer.decision not in {cedarpy.Decision.Allow, cedarpy.Decision.Deny}:
            return Decision(permit=False, reasons=(RULE_FAILED,))
        return Decision(permit=answer.decision is cedarpy.Decision.Allow, reasons=reasons)


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _entities(principal: Principal, resource: Resource) -> list[dict[str, Any]]:
    attributes: dict[str, Any] = {}
    if resource.owner is not None:
        attributes["owner"] = {"__entity": _uid("Principal", resource.owner)}
    if resource.kind is ResourceKind.POLICY:
        attributes["people"] = sorted(resource.people)
        attributes["organisations"] = sorted(resource.organisations)
    person = {"id": principal.id, "organisation": principal.organisation, "roles": sorted(principal.roles)}
    return [
        {"uid": _uid("Principal", principal.id), "attrs": person, "parents": []},
        {"uid": _uid(resource.kind.value, resource.id), "attrs": attributes, "parents": []},
    ]


@functools.cache
def _default() -> Authorizer:
    rules = "\n".join(path.read_text(encoding="utf-8") for path in sorted(RULES.glob("*.cedar")))
    return Authorizer(rules, (RULES / "banyan.cedarschema").read_text(encoding="utf-8"))


def authorise(
    principal: Principal, action: Action, resource: Resource = SERVICE, context: Mapping[str, Any] | None = None
) -> Decision:
    """The decision by the rules of this installation."""
    return _default().authorise(principal, action, resource, context or {})


def check(
    principal: Principal, action: Action, resource: Resource = SERVICE, context: Mapping[str, Any] | None = None
) -> None:
    """Raise the refusal, with its way out, unless the rules permit.

    What one could do to a thing of one's own, but not to this one, is as if it did not exist: NotFound.
    """
    decision = authorise(principal, action, resource, context)
    if decision.permit:
        return
    if decision.reasons:
        raise refusal(first(decision.reasons))
    if resource.owner is not None and authorise(principal, action, replace(resource, owner=principal.id)).permit:
        raise unknown(resource.kind, resource.id)
    needed = roles_that_may(action, resource)
    raise refusal(
        "role.missing",
        action=action.value,
        roles=", ".join(sorted(principal.roles)) or "none",
        needed=", ".join(needed) or "none; it cannot be granted",
    )


def roles_that_may(action: Action, resource: Resource) -> list[str]:
    """The roles with which a stranger to the thing, or failing that its owner, may do this: found by asking the rules."""
    for owner in (resource.owner, "p-asker"):
        thing = replace(resource, owner=owner) if resource.owner is not None else resource
        people = {role: Principal("p-asker", "", "", frozenset({role})) for role in Role}
        found = [role.value for role, person in people.items() if authorise(person, action, thing).permit]
        if found:
            return found
    return []
