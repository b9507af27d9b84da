"""Nothing is in force because its author says so: proposal, approval by others of exactly this content, and an end."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from core.errors import Conflict, Forbidden, Invalid, NotFound
from policies import lifecycle, register
from policies.model import Role
from policies.records import policy_versions
from policies.transitions import FINAL, TRANSITIONS, Change, State, after, at
from tests.policies_world import NOW, POLICY, World, quick_folder


@pytest.fixture
def world():
    folder = quick_folder()
    made = World(folder.name)
    made.population()
    yield made
    made.close()
    folder.cleanup()


def decide(world, step, found, person, *more):
    return world.write(step, found.content.name, found.digest, person, *more)


def approve(world, found, person, level="S1"):
    return decide(world, lifecycle.approve, found, person, level)


def newest(world, name="traffic-research"):
    return world.read(register.latest, name)


def state(world, name="traffic-research"):
    return newest(world, name).state_at(world.clock.now())


def refused(error, code, function, *arguments):
    with pytest.raises(error) as caught:
        function(*arguments)
    assert caught.value.code == code
    return caught.value


# The table


def test_the_table_is_total():
    assert set(TRANSITIONS) == {(state, change) for state in State for change in Change}


def test_a_final_state_is_left_by_nothing():
    assert all(TRANSITIONS[state, change] is None for state in FINAL for change in Change)


def test_only_activation_puts_a_policy_in_force():
    into_force = {(state, change) for (state, change), result in TRANSITIONS.items() if result is State.ACTIVE}
    assert into_force == {(State.PROPOSED, Change.ACTIVATE), (State.SUSPENDED, Change.ACTIVATE)}


@pytest.mark.parametrize(("origin", "change"), list(TRANSITIONS))
def test_a_step_the_table_lacks_is_a_conflict(origin, change):
    if TRANSITIONS[origin, change] is None:
        refused(Conflict, "policy.state", after, origin, change)
    else:
        assert after(origin, change) is TRANSITIONS[origin, change]


@pytest.mark.parametrize("stored", [each for each in State if each is not State.EXPIRED])
def test_the_clock_alone_expires_what_is_not_final(stored):
    assert at(stored, NOW, NOW - timedelta(microseconds=1)) is stored
    assert at(stored, NOW, NOW) is (stored if stored in FINAL else State.EXPIRED)


# Proposal and approval


@pytest.mark.parametrize(("level", "needed"), [("S0", 1), ("S1", 1), ("S2", 2), ("S3", 3), ("S4", 3)])
def test_as_many_others_approve_as_the_level_asks(world, level, needed):
    found = world.propose(level=level)
    for count in range(needed):
        assert state(world) is State.PROPOSED
        found = approve(world, found, world.person("reviewer"), level)
        assert len(found.approvers) == count + 1
    assert state(world) is State.ACTIVE
    assert [kind for kind, *_ in world.events() if kind.startswith("policy:")] == [
        "policy:proposed", *["policy:approved"] * needed, "policy:activated",
    ]  # fmt: skip


@pytest.mark.parametrize("level", ["S5", "s1", "", "S1 "])
def test_a_level_that_is_not_handled_is_refused(world, level):
    refused(Forbidden, "policy.level", world.propose, POLICY, level)
    assert world.read(register.versions_of, "traffic-research") == []


def test_a_person_with_every_role_does_not_approve_their_own(world):
    author = world.person(*Role)
    found = world.propose(proposer=author)
    before = world.events()
    refused(Forbidden, "self_approval", approve, world, found, author)
    refused(Forbidden, "self_approval", decide, world, lifecycle.reject, found, author, "mine")
    assert world.events() == before
    assert state(world) is State.PROPOSED


def test_the_same_person_counts_once(world):
    found, reviewer = world.propose(level="S2"), world.person("reviewer")
    approve(world, found, reviewer, "S2")
    problem = refused(Conflict, "policy.approved_already", approve, world, found, reviewer, "S2")
    assert problem.way_out == "1 more must come from other people"
    assert state(world) is State.PROPOSED


def test_a_proposer_who_is_the_only_approver_brings_nothing_into_force(world):
    author = world.person("operator")
    found = world.propose(proposer=author)
    refused(Forbidden, "self_approval", approve, world, found, author)
    researcher = world.person()
    refused(Forbidden, "policy.not_active", world.permit, researcher)


@pytest.mark.parametrize("roles", [["researcher"], ["auditor"], ["admin"]])
def test_other_roles_do_not_approve(world, roles):
    found = world.propose()
    with pytest.raises(Forbidden) as caught:
        approve(world, found, world.person(*roles))
    assert caught.value.code == "role.missing"


def test_an_approval_is_for_the_content_that_was_read(world):
    author = world.person("operator")
    read = world.propose(proposer=author)
    world.propose(proposer=author, epsilon="{total: 40, per_person: 20, per_job: 10}")
    problem = refused(Conflict, "policy.state", approve, world, read, world.person("reviewer"))
    assert "superseded" in problem.text
    assert state(world) is State.PROPOSED


def test_a_digest_of_nothing_is_refused(world):
    found, reviewer = world.propose(), world.person("reviewer")
    for digest in ("sha256:" + "0" * 64, "", found.digest.upper(), found.content.digest(2)):
        with pytest.raises(Conflict) as caught:
            world.write(lifecycle.approve, "traffic-research", digest, reviewer, "S1")
        assert caught.value.code == "policy.changed"


def test_a_level_that_rose_meanwhile_asks_for_more_and_never_for_less(world):
    found = world.propose(level="S1")
    found = approve(world, found, world.person("reviewer"), "S3")
    assert (found.needed, found.missing, state(world)) == (3, 2, State.PROPOSED)
    found = approve(world, found, world.person("reviewer"), "S0")
    assert (found.needed, state(world)) == (3, State.PROPOSED)


def test_unknown_policies_are_not_found(world):
    for name in ("nothing", "1", "../x", "a b", "é", "x" * 255):
        with pytest.raises(NotFound) as caught:
            world.write(lifecycle.approve, name, "sha256:", world.person("operator"), "S1")
        assert caught.value.code == "policy.unknown"


def test_a_researcher_cannot_tell_a_closed_policy_from_none(world):
    world.policy(organisations="[police]")
    stranger = world.person("researcher")

    def said(name):
        with pytest.raises(NotFound) as caught:
            world.read(register.readable, stranger, name)
        return {**caught.value.public(), "title": caught.value.text.replace(name, "")}

    assert said("traffic-research") == said("nothing")
    assert world.read(register.listing, stranger) == []
    assert len(world.read(register.listing, world.person("researcher", organisation="police"))) == 1


# Versions


def test_a_new_version_is_a_new_row_and_the_old_one_stays(world):
    first = world.policy()
    with world.journal.reading() as connection:
        before = connection.execute(select(policy_versions)).one()
    second = world.policy(epsilon="{total: 2, per_person: 1, per_job: 0.5}")
    with world.journal.reading() as connection:
        rows = connection.execute(select(policy_versions).order_by(policy_versions.c.version)).all()
    changed = {name for name in before._fields if getattr(before, name) != getattr(rows[0], name)}
    assert changed == {"state"}
    assert [row.state for row in rows] == ["superseded", "active"]
    assert (first.version, second.version) == (1, 2)


def test_the_old_version_rules_until_the_new_one_is_approved(world):
    world.policy()
    world.propose(epsilon="{total: 2, per_person: 1, per_job: 0.1}")
    researcher = world.person()
    assert world.permit(researcher).version == 1
    approve(world, newest(world), world.person("reviewer"))
    assert refused(Forbidden, "policy.epsilon", world.permit, researcher).way_out == "ε ≤ 0.1"


def test_the_same_content_again_is_no_new_version(world):
    world.policy()
    refused(Conflict, "policy.unchanged", world.propose)


def test_a_proposal_that_waits_is_not_pushed_aside_by_others(world):
    world.propose()
    refused(Conflict, "policy.pending", lambda: world.propose(max_runs="3"))


def test_a_name_belongs_to_whoever_proposed_it_first(world):
    owner, stranger = world.person("researcher"), world.person("researcher")
    world.policy(proposer=owner)
    refused(Conflict, "policy.name_taken", lambda: world.propose(proposer=stranger, max_runs="3"))
    assert world.propose(proposer=owner, max_runs="3").version == 2


@pytest.mark.parametrize("roles", [["reviewer"], ["auditor"], ["admin"]])
def test_other_roles_do_not_propose(world, roles):
    with pytest.raises(Forbidden):
        world.propose(proposer=world.person(*roles))


# Ends


def test_a_rejected_policy_stays_rejected(world):
    found = world.propose()
    decide(world, lifecycle.reject, found, world.person("reviewer"), "too much")
    refused(Conflict, "policy.state", approve, world, found, world.person("reviewer"))
    assert state(world) is State.REJECTED


def test_a_suspended_policy_comes_back_by_fresh_approvals_only(world):
    found = world.policy(level="S2")
    earlier = found.approvers
    suspended = decide(world, lifecycle.suspend, found, world.person("operator"), "alarm")
    assert (suspended.state, suspended.approvers) == (State.SUSPENDED, ())
    researcher = world.person()
    assert "by 2" in refused(Forbidden, "policy.not_active", world.permit, researcher).way_out
    approve(world, found, world.person("reviewer"), "S2")
    assert state(world) is State.SUSPENDED
    approve(world, found, world.person("reviewer"), "S2")
    assert world.permit(researcher).version == 1
    assert not set(newest(world).approvers) & set(earlier)


def test_a_revoked_policy_never_comes_back(world):
    found = world.policy()
    decide(world, lifecycle.revoke, found, world.person("operator"), "done")
    refused(Conflict, "policy.state", approve, world, found, world.person("reviewer"))
    refused(Forbidden, "policy.not_active", world.permit, world.person())


def test_its_proposer_may_withdraw_what_is_in_force(world):
    author = world.person("operator")
    found = world.policy(proposer=author)
    assert decide(world, lifecycle.revoke, found, author, "mistake").state is State.REVOKED


def test_a_proposal_that_expired_cannot_be_approved(world):
    found = world.propose(valid="{from: 2026-01-01, until: 2026-11-25T09:00:02Z}")
    world.pass_time(seconds=2)
    refused(Conflict, "policy.state", approve, world, found, world.person("reviewer"))


def test_a_policy_that_ended_before_it_was_entered_is_refused(world):
    content = world.propose(valid="{from: 2026-01-01, until: 2026-11-25T09:00:02Z}").content
    world.pass_time(seconds=2)
    with pytest.raises(Invalid):
        world.write(lifecycle.propose, content, world.person("operator"), "S1")


@pytest.mark.parametrize("reason", ["x" * 501, "a\nb"])
def test_a_reason_is_one_short_line(world, reason):
    found = world.propose()
    refused(Invalid, "policy.reason", decide, world, lifecycle.reject, found, world.person("reviewer"), reason)


def test_a_view_says_what_is_missing(world):
    found = world.propose(level="S2")
    approve(world, found, world.person("reviewer"), "S2")
    view = newest(world).to_json(world.clock.now())
    assert (view["state"], view["approvals"], view["needed"]) == ("proposed", 1, 2)
    assert view["policy"]["epsilon"] == {"total": "4", "per_person": "2", "per_job": "1"}
    assert view["in_force"] is None


def test_a_view_names_the_version_in_force_so_that_it_can_be_suspended_beside_a_newer_proposal(world):
    first = world.policy()
    world.propose(max_runs="3")
    view = newest(world).to_json(world.clock.now())
    assert (view["version"], view["state"]) == (2, "proposed")
    assert view["in_force"] == {"version": 1, "digest": first.digest}
    world.write(lifecycle.suspend, "traffic-research", view["in_force"]["digest"], world.person("operator"), "alarm")
    assert newest(world).to_json(world.clock.now())["in_force"] is None
    refused(Forbidden, "policy.not_active", world.permit, world.person())


def test_an_expired_version_is_not_in_force(world):
    world.policy(valid="{from: 2026-01-01, until: 2026-11-25T09:00:02Z}")
    world.pass_time(seconds=2)
    view = newest(world).to_json(world.clock.now())
    assert (view["state"], view["in_force"]) == ("expired", None)
