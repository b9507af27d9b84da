"""Deny is the default, the answer to every broken rule, and stronger than any permit; each role may exactly what is listed."""

import functools
import re
from dataclasses import replace

import cedarpy
import pytest

from core.errors import Forbidden, NotFound
from policies import authorizer
from policies.authorizer import RULE_FAILED, RULES, Authorizer, authorise, check, roles_that_may
from policies.model import SERVICE, Action, Principal, Resource, ResourceKind, Role
from policies.refusals import REFUSALS

SCHEMA = (RULES / "banyan.cedarschema").read_text(encoding="utf-8")
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(RULES.glob("*.cedar")))
# One rule: from its @id to the semicolon that ends it (no rule has one inside).
BLOCKS = dict(re.findall(r'(?ms)^@id\("([^"]+)"\)\n(.*?;)', TEXT))
PERMITS = [name for name, rule in BLOCKS.items() if rule.startswith("permit")]
FORBIDS = [name for name, rule in BLOCKS.items() if rule.startswith("forbid")]

ME, OTHER = "p-me", "p-other"
IN_FORCE = {"state": "active", "valid_from": 0, "valid_until": 10, "now": 5}
FITTING = IN_FORCE | {
    "purposes": ["research"], "kinds": ["query"], "assets": ["traffic/flights"],
    "purpose": "research", "kind": "query", "asked_assets": ["traffic/flights"], "within_job_limit": True,
}  # fmt: skip


def person(*roles):
    return Principal(ME, "", "health", frozenset(Role(role) for role in roles))


def policy(owner=OTHER, **more):
    return Resource(ResourceKind.POLICY, "traffic-research", owner, **more)


def job(owner):
    return Resource(ResourceKind.JOB, "j-1", owner)


def resource_for(action, owner):
    """A resource that the action is about."""
    if action in {Action.JOB_READ, Action.JOB_CANCEL, Action.RESULT_READ, Action.RECEIPT_READ, Action.SEALED_READ}:
        return job(owner)
    if action is Action.TOKEN_REVOKE:
        return Resource(ResourceKind.TOKEN, "t-1", owner)
    if action.value.startswith("policy:") and action is not Action.POLICY_PROPOSE:
        return policy(owner)
    return SERVICE


def context_for(action):
    return {Action.POLICY_USE: FITTING, Action.POLICY_CONTINUE: IN_FORCE}.get(action, {})


# Who may do what to what belongs to somebody else ("other"), and to their own ("own"). R O V A D: researcher, operator,
# reviewer, auditor, admin.
LETTERS = dict(zip("ROVAD", Role, strict=True))
MATRIX = {
    Action.ASSET_READ: ("ROVA", "ROVA"),
    Action.ASSET_MOCK: ("RO", "RO"),
    Action.ASSET_REGISTER: ("O", "O"),
    Action.ASSET_INGEST: ("O", "O"),
    Action.REPORT_READ: ("O", "O"),
    Action.SEALED_READ: ("O", "O"),
    Action.POLICY_READ: ("ROVA", "ROVA"),
    Action.POLICY_PROPOSE: ("RO", "RO"),
    Action.POLICY_APPROVE: ("OV", ""),
    Action.POLICY_REJECT: ("OV", ""),
    Action.POLICY_SUSPEND: ("O", "O"),
    Action.POLICY_REVOKE: ("O", "O"),
    Action.POLICY_USE: ("R", "R"),
    Action.POLICY_CONTINUE: ("", ""),
    Action.JOB_PLAN: ("RO", "RO"),
    Action.JOB_MOCK: ("RO", "RO"),
    Action.JOB_SUBMIT: ("R", "R"),
    Action.JOB_READ: ("O", "RO"),
    Action.JOB_CANCEL: ("O", "RO"),
    Action.RESULT_READ: ("", "R"),
    Action.RECEIPT_READ: ("OA", "ROA"),
    Action.BUDGET_READ: ("ROVA", "ROVA"),
    Action.CHECKPOINT_READ: ("ROVAD", "ROVAD"),
    Action.LOG_READ: ("A", "A"),
    Action.SELF_READ: ("ROVAD", "ROVAD"),
    Action.PRINCIPAL_ADD: ("D", "D"),
    Action.TOKEN_ISSUE: ("D", "D"),
    Action.TOKEN_REVOKE: ("D", "ROVAD"),
}


def test_the_matrix_names_every_action():
    assert set(MATRIX) == set(Action)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", Role)
def test_each_role_may_exactly_what_is_listed(role, action):
    for owner, letters in zip((OTHER, ME), MATRIX[action], strict=True):
        decision = authorise(person(role), action, resource_for(action, owner), context_for(action))
        assert decision.permit is (role in {LETTERS[letter] for letter in letters}), (owner, decision)


@pytest.mark.parametrize("action", Action)
def test_a_person_without_a_role_may_see_who_they_are_and_nothing_else(action):
    allowed = {Action.SELF_READ, Action.CHECKPOINT_READ}
    decision = authorise(person(), action, resource_for(action, OTHER), context_for(action))
    assert decision.permit is (action in allowed)


@pytest.mark.parametrize("action", [Action.POLICY_APPROVE, Action.POLICY_REJECT])
def test_a_person_with_every_role_does_not_decide_about_their_own_policy(action):
    assert authorise(person(*Role), action, policy(OTHER)).permit
    decision = authorise(person(*Role), action, policy(ME))
    assert (decision.permit, decision.reasons) == (False, ("self_approval",))


def test_the_rules_were_all_found():
    assert TEXT.count("@id(") == len(BLOCKS) == len(PERMITS) + len(FORBIDS)
    assert len(FORBIDS) >= 9


def test_every_forbidding_rule_has_its_words_in_the_table():
    assert set(FORBIDS) <= set(REFUSALS)


def test_the_schema_declares_the_actions_of_the_model_and_no_others():
    declared = {
        name for line in re.findall(r"(?ms)^action (.*?)appliesTo", SCHEMA) for name in re.findall(r'"([^"]+)"', line)
    }
    assert declared == {action.value for action in Action}


@functools.cache
def everything_permitted():
    """The permitted questions of somebody with every role about others' things, their own, and lists; and the service's own."""
    asked = [
        (asker, action, resource, context_for(action))
        for action in Action
        for resource in (resource_for(action, OTHER), resource_for(action, ME), SERVICE)
        for asker in (person(*Role), Principal("system", "", "", frozenset()))
    ]
    return [question for question in asked if authorise(*question).permit]


def with_rule(name, rule):
    text = TEXT.replace(BLOCKS[name], rule)
    assert text != TEXT
    return Authorizer(text, SCHEMA)


def scope(name):
    """The rule's effect and scope, without its conditions."""
    return re.split(r"(?m)^(?:when|unless)", BLOCKS[name].rstrip(";"))[0].rstrip()


def reached_by(name):
    """The permitted questions for which Cedar comes to the rule's condition."""
    always = Authorizer(f'@id("x")\n{scope(name).replace("forbid", "permit")};', SCHEMA)
    return [question for question in everything_permitted() if always.authorise(*question).permit]


@pytest.mark.parametrize("name", FORBIDS)
def test_every_forbidding_rule_that_says_deny_denies(name):
    changed = with_rule(name, scope(name) + ";")
    reached = reached_by(name)
    assert reached
    for question in reached:
        decision = changed.authorise(*question)
        assert (decision.permit, name in decision.reasons) == (False, True)


@pytest.mark.parametrize("name", PERMITS)
def test_a_question_that_only_this_rule_permits_is_denied_without_it(name):
    changed = with_rule(name, scope(name) + "\nwhen { false };")
    for question in everything_permitted():
        before = authorise(*question)
        after = changed.authorise(*question)
        assert after.permit is (set(before.reasons) != {name})


RAISING = "\nwhen { 9223372036854775807 + 1 > 0 };"


@pytest.mark.parametrize("name", list(BLOCKS))
def test_every_rule_that_raises_denies(name):
    changed = with_rule(name, scope(name) + RAISING)
    reached = reached_by(name)
    assert reached
    for question in reached:
        decision = changed.authorise(*question)
        assert (decision.permit, decision.reasons) == (False, (RULE_FAILED,))


def test_cedar_alone_would_have_let_a_raising_rule_pass():
    """Why the authorizer looks at errors: if this fails, Cedar has changed and its documentation must be read again."""
    rules = '@id("a") permit (principal, action, resource); @id("b") forbid (principal, action, resource)' + RAISING
    question = {"principal": 'P::"p"', "action": 'Action::"a"', "resource": 'R::"r"', "context": {}}
    assert cedarpy.is_authorized(question, rules, []).decision is cedarpy.Decision.Allow


@pytest.mark.parametrize(
    "context",
    [
        {},
        FITTING | {"now": "5"},
        FITTING | {"state": None},
        FITTING | {"more": 1},
        {k: v for k, v in FITTING.items() if k != "kinds"},
    ],
)
def test_a_question_that_does_not_fit_the_schema_is_denied(context):
    assert authorise(person("researcher"), Action.POLICY_USE, policy(), context).reasons == (RULE_FAILED,)


@pytest.mark.parametrize("owner", [None, ""])
def test_a_resource_of_the_wrong_kind_or_without_owner_is_denied(owner):
    assert not authorise(person(*Role), Action.RESULT_READ, job(owner)).permit
    assert not authorise(person(*Role), Action.RESULT_READ, SERVICE).permit


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "suspended"}, "policy.not_active"),
        ({"state": "proposed"}, "policy.not_active"),
        ({"now": 10}, "policy.expired"),
        ({"now": -1}, "policy.not_yet_valid"),
        ({"purpose": "audit"}, "policy.purpose"),
        ({"kind": "program"}, "policy.kind"),
        ({"asked_assets": ["traffic/flights", "traffic/buses"]}, "policy.asset"),
        ({"within_job_limit": False}, "policy.epsilon"),
    ],
)
def test_a_policy_holds_a_job_to_what_it_says(change, reason):
    decision = authorise(person(*Role), Action.POLICY_USE, policy(), FITTING | change)
    assert (decision.permit, decision.reasons) == (False, (reason,))


@pytest.mark.parametrize(
    ("audience", "knows"),
    [
        ({}, True),
        ({"people": frozenset({OTHER})}, False),
        ({"people": frozenset({ME})}, True),
        ({"organisations": frozenset({"police"})}, False),
        ({"organisations": frozenset({"health"})}, True),
        ({"people": frozenset({OTHER}), "organisations": frozenset({"health"})}, True),
        ({"people": frozenset({OTHER}), "owner": ME}, True),
    ],
)
def test_a_researcher_knows_of_the_policies_open_to_them(audience, knows):
    assert authorise(person("researcher"), Action.POLICY_READ, policy(**audience)).permit is knows


def test_a_policy_that_is_not_open_to_a_person_denies_even_one_who_may_read_it():
    closed = policy(people=frozenset({OTHER}))
    decision = authorise(person(*Role), Action.POLICY_USE, closed, FITTING)
    assert decision.reasons == ("policy.person",)


def test_another_persons_job_looks_like_none():
    with pytest.raises(NotFound) as caught:
        check(person("researcher"), Action.RESULT_READ, job(OTHER))
    assert caught.value.code == "job.unknown"


def test_a_missing_role_is_named_with_the_roles_that_would_do():
    with pytest.raises(Forbidden) as caught:
        check(person("researcher"), Action.ASSET_REGISTER)
    assert (caught.value.code, caught.value.where) == ("role.missing", {"rule": "role.missing"})
    assert caught.value.text == "your roles (researcher) do not allow asset:register"
    assert caught.value.way_out == "ask an administrator for one of: operator"


def test_the_roles_that_would_do_are_those_of_the_rules():
    assert roles_that_may(Action.POLICY_APPROVE, policy()) == ["operator", "reviewer"]
    assert roles_that_may(Action.RESULT_READ, job(OTHER)) == ["researcher"]
    assert roles_that_may(Action.POLICY_CONTINUE, policy()) == []


def test_a_decision_cannot_be_mistaken_for_a_yes():
    with pytest.raises(TypeError):
        bool(authorise(person(), Action.LOG_READ))


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("permit (principal, action, resource);", "id of its own"),
        (
            '@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);',
            "id of its own",
        ),
        ('@id("a") permit (principal, action, resource) when { context.absent };', "absent"),
        ('@id("a") permit (principal, action == Action::"nothing", resource);', "nothing"),
        ("permit (", "unexpected"),
    ],
)
def test_broken_rules_do_not_load(rules, why):
    with pytest.raises(ValueError, match=why):
        Authorizer(rules, SCHEMA)


def test_an_owner_cannot_be_smuggled_through_an_id():
    hostile = replace(person("researcher"), id='p-me" || true || "')
    assert not authorise(hostile, Action.RESULT_READ, job(ME)).permit
    assert authorise(hostile, Action.RESULT_READ, job(hostile.id)).permit


def test_the_rules_are_read_once():
    assert authorizer._default() is authorizer._default()
