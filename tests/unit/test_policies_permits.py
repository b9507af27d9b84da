"""A job is let in under exactly one policy in force, asked again later, and a denial says the smallest change that passes."""

from fractions import Fraction

import pytest

from core.errors import Conflict, Forbidden, NotFound
from policies import lifecycle, permits, register
from tests.policies_world import World, quick_folder


@pytest.fixture
def world():
    folder = quick_folder()
    made = World(folder.name)
    made.population()
    yield made
    made.close()
    folder.cleanup()


def refused(world, principal, error=Forbidden, **facts):
    with pytest.raises(error) as caught:
        world.permit(principal, **facts)
    return caught.value


def still(world, permit):
    return world.read(permits.still_permits, permit.policy, permit.version, world.clock.now())


def test_the_only_fitting_policy_is_chosen(world):
    found = world.policy()
    permit = world.permit(world.person())
    assert (permit.policy, permit.version, permit.digest) == ("traffic-research", 1, found.digest)


def test_of_several_fitting_ones_one_must_be_named(world):
    world.policy()
    world.policy(name="other")
    problem = refused(world, world.person(), Conflict)
    assert (problem.code, problem.way_out) == ("policy.ambiguous", "policy: one of other, traffic-research")
    assert world.permit(world.person(), policy="other").policy == "other"


def test_one_that_fits_is_chosen_beside_one_that_does_not(world):
    world.policy()
    world.policy(name="audits", purpose="audit")
    assert world.permit(world.person()).policy == "traffic-research"


def test_without_any_policy_the_way_out_is_to_propose_one(world):
    problem = refused(world, world.person())
    assert problem.code == "policy.none"
    assert "traffic/flights" in problem.way_out


@pytest.mark.parametrize(
    ("facts", "code", "way_out"),
    [
        ({"purpose": "governance"}, "policy.purpose", "purpose: research"),
        ({"kind": "program"}, "policy.kind", "a job of kind query"),
        ({"epsilon": Fraction(3)}, "policy.epsilon", "ε ≤ 1"),
    ],
)
def test_a_denial_names_its_rule_and_the_smallest_change(world, facts, code, way_out):
    world.policy()
    world.population("big", epsilon="10")
    problem = refused(world, world.person(), population="big", **facts)
    assert (problem.code, problem.where, problem.way_out) == (code, {"rule": code}, way_out)


def test_a_named_policy_that_does_not_cover_the_asset_says_what_it_covers(world):
    world.policy()
    problem = refused(world, world.person(), assets=("medical/covid_testing",), policy="traffic-research")
    assert problem.code == "policy.asset"
    assert "it covers traffic/flights" in problem.text


def test_the_epsilon_that_a_denial_names_passes_and_a_little_more_does_not(world):
    """Less is left to the population than the policy allows for one job: the advice looks at all limits."""
    world.policy()
    researcher = world.person()
    world.reserve(world.person(), "0.7")
    problem = refused(world, researcher, epsilon=Fraction(3))
    assert (problem.code, problem.way_out) == ("policy.epsilon", "ε ≤ 0.3")
    world.permit(researcher, epsilon=Fraction("0.3"))
    world.reserve(researcher, "0.3")


def test_several_faults_are_told_one_at_a_time_and_each_way_out_leads_on(world):
    world.policy()
    problem = refused(world, world.person(), purpose="audit", epsilon=Fraction(3), kind="program")
    assert problem.code == "policy.kind"
    problem = refused(world, world.person(), purpose="audit", epsilon=Fraction(3))
    assert problem.code == "policy.purpose"


def test_of_several_denials_the_nearest_policy_speaks(world):
    world.policy(name="audits", purpose="audit")
    world.policy()
    problem = refused(world, world.person(), epsilon=Fraction(3))
    assert (problem.code, "traffic-research" in problem.text) == ("policy.epsilon", True)


def test_a_closed_policy_is_unknown_and_is_never_mentioned(world):
    world.policy(people="[p-2222222222222222]")
    stranger = world.person()
    assert refused(world, stranger, NotFound, policy="traffic-research").code == "policy.unknown"
    assert refused(world, stranger).code == "policy.none"
    unknown = refused(world, stranger, NotFound, policy="nothing")
    assert (
        unknown.text.replace("nothing", "traffic-research")
        == refused(world, stranger, NotFound, policy="traffic-research").text
    )


def test_a_closed_policy_lets_its_people_in(world):
    member, organisation = world.person(), world.person(organisation="police")
    world.policy(people=f"[{member.id}]", organisations="[police]")
    assert world.permit(member).policy == world.permit(organisation).policy == "traffic-research"


def test_who_may_read_a_closed_policy_is_told_that_it_is_closed(world):
    world.policy(people="[p-2222222222222222]")
    assert refused(world, world.person("researcher", "operator"), policy="traffic-research").code == "policy.person"


@pytest.mark.parametrize("role", ["operator", "reviewer", "auditor", "admin"])
def test_only_researchers_submit(world, role):
    world.policy()
    assert refused(world, world.person(role)).code == "role.missing"


def test_a_proposal_that_waits_says_who_must_act(world):
    world.propose(level="S2")
    problem = refused(world, world.person())
    assert problem.code == "policy.not_active"
    assert problem.text == "the policy traffic-research is not in force: version 1 is proposed"
    assert problem.way_out == "approval by 2 more, other than its proposer"


# T21: valid at one gate, not at the next


def test_a_grant_that_ends_between_submission_and_start_does_not_start(world):
    world.policy(valid="{from: 2026-01-01, until: 2026-11-25T09:00:02Z}")
    world.pass_time(seconds=1)
    permit = world.permit(world.person())
    assert still(world, permit) == permit
    world.pass_time(seconds=2)
    with pytest.raises(Forbidden) as caught:
        still(world, permit)
    assert caught.value.code == "policy.expired"
    assert refused(world, world.person()).code == "policy.expired"


def test_a_grant_ends_at_its_very_moment(world):
    world.policy(valid="{from: 2026-11-25T09:00:01Z, until: 2026-11-25T09:00:02Z}")
    assert refused(world, world.person()).code == "policy.not_yet_valid"
    world.pass_time(seconds=1)
    permit = world.permit(world.person())
    world.pass_time(seconds=1)
    with pytest.raises(Forbidden):
        still(world, permit)


@pytest.mark.parametrize("step", [lifecycle.suspend, lifecycle.revoke])
def test_a_policy_that_ends_stops_what_was_let_in(world, step):
    found = world.policy()
    permit = world.permit(world.person())
    world.write(step, "traffic-research", found.digest, world.person("operator"), "alarm")
    with pytest.raises(Forbidden) as caught:
        still(world, permit)
    assert caught.value.code == "policy.not_active"


def test_a_newer_version_stops_what_the_older_one_let_in(world):
    world.policy()
    permit = world.permit(world.person())
    world.policy(epsilon="{total: 4, per_person: 2, per_job: 0.1}")
    with pytest.raises(Forbidden) as caught:
        still(world, permit)
    assert caught.value.way_out == "submit the job again: the newer version then decides"


def test_an_unknown_version_never_permits(world):
    world.policy()
    for name, version in (("traffic-research", 2), ("traffic-research", 0), ("nothing", 1)):
        with pytest.raises(NotFound):
            world.read(permits.still_permits, name, version, world.clock.now())


def test_the_answer_is_yes_only_as_a_permit(world):
    world.policy()
    assert isinstance(still(world, world.permit(world.person())), permits.Permit)
    assert world.read(register.in_force, "traffic-research").version == 1
