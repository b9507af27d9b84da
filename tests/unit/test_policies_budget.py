"""No budget is overspent, nothing comes back after commit, a retry pays once, and the log alone gives the same books."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sqlalchemy import select

from core.errors import BanyanError, Conflict, Forbidden, Invalid, NotFound
from policies import budget, lifecycle, permits, register
from policies.admission import Asked, check_limits
from policies.limits import shown_down, shown_up
from policies.populations import population_of
from policies.records import balances, spends
from policies.statement import left_after, spent_by, statement
from privacy.accountant import Accountant, Loss, loss_of
from tests.policies_world import World, books_from_log, books_of, quick_folder

GENEROUS = "{total: 100, per_person: 100, per_job: 100}"


@pytest.fixture
def world():
    folder = quick_folder()
    made = World(folder.name)
    made.population()
    yield made
    made.close()
    folder.cleanup()


def books_agree(world):
    with world.journal.reading() as connection:
        assert books_of(connection) == books_from_log(world.events())


def ledger(world):
    """Every row of the ledger: what must not change when something is refused."""
    with world.journal.reading() as connection:
        rows = [tuple(row) for table in (spends, balances) for row in connection.execute(select(table))]
    return sorted(rows, key=repr), len(world.events())


def refused(world, code, principal, *arguments, error=Conflict, **named):
    before = ledger(world)
    with pytest.raises(error) as caught:
        world.reserve(principal, *arguments, **named)
    assert caught.value.code == code
    assert ledger(world) == before
    return caught.value


def outcome(function, *arguments):
    """What it returns, or the error that it raises."""
    try:
        return function(*arguments)
    except BanyanError as problem:
        return problem


# Limits


def test_three_of_0_3_fit_into_1_and_a_fourth_does_not(world):
    world.policy(epsilon=GENEROUS)
    people = [world.person() for _ in range(4)]
    for person in people[:3]:
        world.reserve(person)
    problem = refused(world, "budget.population", people[3])
    assert problem.text == "ε 0.3 asked, 0.1 left to the population aircraft of 1"
    assert problem.way_out == "ε ≤ 0.1"
    assert world.read(spent_by, "aircraft") == (Fraction("0.9"), 0)
    world.reserve(people[3], "0.1")
    assert refused(world, "budget.population", people[0], "1e-9").way_out == "nothing is left: no ε would pass"


def test_the_tightest_limit_speaks(world):
    world.population("big", epsilon="10")
    world.policy(epsilon="{total: 2, per_person: 1, per_job: 0.6}")
    one, two, three = (world.person() for _ in range(3))
    world.reserve(one, "0.6", population="big")
    problem = refused(world, "budget.person", one, "0.6", population="big")
    assert problem.text == "ε 0.6 asked, 0.4 left to you under the policy traffic-research of 1"
    assert problem.way_out == "ε ≤ 0.4"
    world.reserve(two, "0.6", population="big")
    world.reserve(three, "0.5", population="big")
    problem = refused(world, "budget.policy", two, "0.4", population="big")
    assert (problem.way_out, "0.3 left under the policy" in problem.text) == ("ε ≤ 0.3", True)
    assert refused(world, "budget.policy", world.person(), "0.7", population="big").way_out == "ε ≤ 0.3"


@given(st.lists(st.sampled_from(["0.05", "0.1", "0.25", "0.3", "1/3", "0.6", "2"]), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_a_refusal_names_passes_and_a_millionth_more_does_not(amounts):
    with quick_folder() as folder:
        world = World(folder)
        world.population()
        world.policy(epsilon="{total: 0.9, per_person: 0.7, per_job: 0.5}")
        people = [world.person(), world.person()]
        for at, amount in enumerate(amounts):
            person = people[at % 2]
            problem = outcome(world.reserve, person, amount)
            if not isinstance(problem, BanyanError) or problem.way_out == "nothing is left: no ε would pass":
                continue
            named = Fraction(problem.way_out.removeprefix("ε ≤ "))
            with pytest.raises(BanyanError):
                world.reserve(person, named + Fraction(1, 10**6))
            world.reserve(person, named)
        books_agree(world)
        world.close()


def test_delta_is_a_limit_of_its_own(world):
    world.population("patients", epsilon="10", delta="1e-7")
    world.policy(epsilon=GENEROUS)
    person = world.person()
    world.reserve(person, "1", "8e-8", population="patients")
    problem = refused(world, "budget.population", person, "1", "3e-8", population="patients")
    assert problem.text == "δ 0.00000003 asked, 0.00000002 left to the population patients of 0.0000001"
    assert problem.way_out == "δ ≤ 0.00000002"
    world.reserve(person, "1", "2e-8", population="patients")
    assert "public columns" in refused(world, "budget.population", person, "1", "1e-9", population="patients").way_out
    world.reserve(person, "1", "0", population="patients")


@pytest.mark.parametrize("runs", [1, 2])
def test_a_policy_allows_so_many_runs_and_no_more(world, runs):
    world.policy(max_runs=str(runs), epsilon=GENEROUS)
    for _ in range(runs):
        world.reserve(world.person(), "0.1")
    problem = refused(world, "policy.max_runs", world.person(), "0.1", error=Forbidden)
    assert problem.status == 403
    assert "max_runs" in problem.way_out


def test_a_run_counts_when_an_earlier_release_is_reused(world):
    world.policy(max_runs="2", epsilon=GENEROUS)
    person = world.person()
    world.reserve(person, "0.1")
    world.reserve(person, "0.1", reused=True)
    refused(world, "policy.max_runs", person, "0.1", reused=True, error=Forbidden)


def test_a_run_that_never_touched_data_does_not_count(world):
    world.policy(max_runs="1", epsilon=GENEROUS)
    spend = world.reserve(world.person(), "0.1")
    world.write(budget.release_reservation, spend.job)
    world.reserve(world.person(), "0.1")


def test_a_reused_release_is_free_for_the_population_only(world):
    """Design R16."""
    world.policy(epsilon="{total: 4, per_person: 1, per_job: 1}")
    person = world.person()
    world.reserve(person, "0.6")
    before = world.read(spent_by, "aircraft")
    refused(world, "budget.person", person, "0.6", reused=True)
    world.reserve(person, "0.4", reused=True)
    assert world.read(spent_by, "aircraft") == before
    other = world.person()
    world.reserve(other, "0.4")
    assert refused(world, "budget.person", other, "0.7", reused=True).way_out == "ε ≤ 0.6"
    world.reserve(other, "0.6", reused=True)
    books_agree(world)


def test_a_new_version_of_a_policy_does_not_forget_what_was_spent(world):
    world.population("big", epsilon="10")
    world.policy(epsilon="{total: 1, per_person: 1, per_job: 1}")
    person = world.person()
    world.reserve(person, "0.8", population="big")
    world.policy(epsilon="{total: 2, per_person: 0.9, per_job: 0.5}")
    assert refused(world, "budget.person", person, "0.3", population="big").way_out == "ε ≤ 0.1"


def test_the_next_job_obeys_the_new_version(world):
    """T19: not a limit remembered from before."""
    world.policy(epsilon=GENEROUS)
    person = world.person()
    old = world.permit(person)
    world.policy(epsilon="{total: 1, per_person: 0.2, per_job: 0.2}")
    refused(world, "policy.epsilon", person, "0.3", error=Forbidden)
    refused(world, "policy.not_active", person, "0.1", permit=old, error=Forbidden)


def test_limits_are_the_stored_ones_whatever_the_permit_says(world):
    world.policy(epsilon="{total: 1, per_person: 0.2, per_job: 0.2}")
    person = world.person()
    permit = world.permit(person, epsilon=Fraction("0.1"))
    forged = register.UsagePolicy.from_json(
        permit.usage.to_json() | {"epsilon": {"total": "9", "per_person": "9", "per_job": "9"}}
    )
    refused(
        world,
        "policy.epsilon",
        person,
        "0.3",
        permit=permits.Permit(permit.policy, 1, permit.digest, forged),
        error=Forbidden,
    )


def test_a_reservation_needs_a_policy_in_force(world):
    found = world.policy(valid="{from: 2026-01-01, until: 2026-11-25T09:00:02Z}")
    person = world.person()
    permit = world.permit(person)
    world.pass_time(seconds=2)
    refused(world, "policy.expired", person, permit=permit, error=Forbidden)
    with pytest.raises(Conflict):
        world.write(lifecycle.suspend, found.content.name, found.digest, world.person("operator"), "")


@pytest.mark.parametrize("epsilon", ["0", "-1", "101"])
def test_spends_that_cannot_be_are_refused(epsilon):
    with pytest.raises((Invalid, ValueError)):
        Asked("j-1", "aircraft", Fraction(epsilon), Fraction(0), Loss(epsilon=Fraction(1)), "p-1", "health")


@pytest.mark.parametrize("reused", [True, False])
def test_only_a_reused_release_is_free(reused):
    loss = Loss(epsilon=Fraction(1)) if reused else Loss()
    with pytest.raises(ValueError, match="reused"):
        Asked("j-1", "aircraft", Fraction(1), Fraction(0), loss, "p-1", "health", reused)


def test_a_loss_in_another_currency_is_refused(world):
    world.population("patients", Accountant.ZCDP, epsilon="2", delta="1e-7")
    world.policy(epsilon=GENEROUS)
    person = world.person()
    before = ledger(world)
    with pytest.raises(ValueError, match="currency"):
        world.reserve(person, "0.3", "1e-9", population="patients")
    assert ledger(world) == before


# Reserve, commit, release


def test_a_retry_is_not_charged_twice(world):
    world.policy()
    person = world.person()
    spend = world.reserve(person)
    assert world.reserve(person, job=spend.job) == spend
    world.write(budget.commit, spend.job)
    before = ledger(world)
    assert world.reserve(person, job=spend.job).state is budget.SpendState.COMMITTED
    world.write(budget.commit, spend.job)
    assert ledger(world) == before


@pytest.mark.parametrize(
    "change", [{"epsilon": "0.2"}, {"delta": "1e-9"}, {"population": "other"}, {"reused": True}, {"principal": None}]
)
def test_a_retry_that_asks_for_something_else_is_refused(world, change):
    world.policy()
    world.population("other", epsilon="10", delta="1e-6")
    person = world.person()
    spend = world.reserve(person)
    if "principal" in change:
        person = world.person()
        change = {}
    with pytest.raises(Conflict) as caught:
        world.reserve(person, **{"job": spend.job} | change)
    assert caught.value.code == "budget.job_differs"


def test_there_is_no_refund_after_commit(world):
    world.policy()
    spend = world.reserve(world.person())
    world.write(budget.commit, spend.job)
    before = ledger(world)
    with pytest.raises(Conflict) as caught:
        world.write(budget.release_reservation, spend.job)
    assert caught.value.code == "budget.committed"
    assert ledger(world) == before


def test_a_released_reservation_comes_back_whole_and_once(world):
    world.policy()
    person = world.person()
    spend = world.reserve(person, "1/3")
    world.write(budget.release_reservation, spend.job)
    before = ledger(world)
    world.write(budget.release_reservation, spend.job)
    assert ledger(world) == before
    assert world.read(spent_by, "aircraft") == (0, 0)
    with pytest.raises(Conflict) as caught:
        world.write(budget.commit, spend.job)
    assert caught.value.code == "budget.released"
    with pytest.raises(Conflict):
        world.reserve(person, "1/3", job=spend.job)
    world.reserve(person, "1")
    books_agree(world)


@pytest.mark.parametrize("step", [budget.commit, budget.release_reservation])
def test_an_unknown_job_has_no_entry(world, step):
    with pytest.raises(NotFound):
        world.write(step, "j-nothing")


@pytest.mark.parametrize("step", [budget.commit, budget.release_reservation])
def test_what_a_spend_says_never_changes(world, step):
    world.policy()
    spend = world.reserve(world.person(), "1/3")
    with world.journal.reading() as connection:
        before = connection.execute(select(spends)).one()
    world.write(step, spend.job)
    world.reserve(world.person(), "0.1")
    with world.journal.reading() as connection:
        after = connection.execute(select(spends).where(spends.c.job == spend.job)).one()
    assert {name for name in before._fields if getattr(before, name) != getattr(after, name)} == {"state", "settled_at"}


def test_entries_are_numbered_within_their_population(world):
    world.population("other")
    world.policy(epsilon=GENEROUS)
    person = world.person()
    first = world.reserve(person, "0.1")
    world.write(budget.release_reservation, first.job)
    positions = [
        world.reserve(person, "0.1", population=name).position for name in ("aircraft", "other", "aircraft", "other")
    ]
    assert (first.position, positions) == (1, [2, 1, 3, 2])


# T08


def test_a_spend_on_one_population_leaves_another_untouched(world):
    world.population("other")
    world.policy(epsilon=GENEROUS)
    person = world.person()
    world.reserve(person, "0.4", population="other")
    before = world.read(spent_by, "other")
    world.reserve(person, "1")
    refused(world, "budget.population", person, "1")
    assert world.read(spent_by, "other") == before == (Fraction("0.4"), 0)
    world.reserve(person, "0.6", population="other")


@given(st.permutations(["0.1", "1/7", "0.25", "1/3"]))
@settings(max_examples=8, deadline=None)
def test_the_order_of_spends_does_not_matter(amounts):
    with quick_folder() as folder:
        world = World(folder)
        world.population()
        world.policy()
        person = world.person()
        for amount in amounts:
            world.reserve(person, amount)
        assert world.read(spent_by, "aircraft") == (
            Fraction("0.1") + Fraction(1, 7) + Fraction("0.25") + Fraction(1, 3),
            0,
        )
        world.close()


# Populations


def test_creating_the_same_population_again_changes_nothing(world):
    before = ledger(world)
    again = world.population(unit="plane", block_count=16)
    assert (again.unit, again.block_count) == ("tailnum", 8)
    assert ledger(world) == before


@pytest.mark.parametrize(
    "change",
    [{"accountant": Accountant.ZCDP, "delta": "1e-7"}, {"epsilon": "2"}, {"delta": "1e-9"}, {"id_namespace": "other"}],
)
def test_a_population_never_changes_its_terms(world, change):
    """Design R13."""
    with pytest.raises(Conflict) as caught:
        world.population(**change)
    assert caught.value.code == "population.differs"
    assert world.read(population_of, "aircraft").accountant is Accountant.BASIC


@pytest.mark.parametrize(
    "change",
    [
        {"name": "A b"},
        {"id_namespace": "x/y"},
        {"block_count": 0},
        {"epsilon": "0"},
        {"delta": "1"},
        {"accountant": Accountant.ZCDP},
    ],
)
def test_a_population_that_cannot_be_is_refused(world, change):
    with pytest.raises(Invalid):
        world.population(**{"name": "new"} | change)


def test_a_population_keeps_the_capacity_it_was_created_with(world, monkeypatch):
    made = world.population("patients", Accountant.ZCDP, epsilon="2", delta="1e-7")
    monkeypatch.setattr("privacy.accountant.rho_for", lambda epsilon, delta: Fraction(9))
    assert world.read(population_of, "patients") == made


def test_zcdp_spends_add_in_rho_and_what_fits_passes(world):
    zcdp = {"population": "patients", "accountant": Accountant.ZCDP}
    world.population("patients", Accountant.ZCDP, epsilon="2", delta="1e-6")
    world.policy(epsilon=GENEROUS)
    person = world.person()
    for _ in range(3):
        world.reserve(person, "0.5", "1e-8", **zcdp)
    loss = loss_of(Accountant.ZCDP, Fraction("0.5"), Fraction("1e-8"))
    epsilon, delta = world.read(spent_by, "patients")
    assert Fraction("0.5") < epsilon < Fraction("1.5")
    assert delta == 3 * loss.delta + Fraction("5e-7")
    problem = refused(world, "budget.population", person, "50", "1e-8", **zcdp)
    assert problem.way_out.startswith("ε ≤ ")
    world.reserve(person, problem.way_out.removeprefix("ε ≤ "), "1e-8", **zcdp)
    books_agree(world)


# Statements


def test_a_statement_shows_limits_spent_left_and_ones_own(world):
    world.policy(max_runs="5")
    one, other = world.person(), world.person()
    world.reserve(one, "0.3")
    world.reserve(other, "0.2")
    (found,) = world.read(statement, one, {"traffic/flights": "aircraft"})
    assert found == {
        "population": "aircraft",
        "unit": "tailnum",
        "accountant": "basic",
        "limit": {"epsilon": "1", "delta": "0"},
        "spent": {"epsilon": "0.5", "delta": "0"},
        "left": {"epsilon": "0.5", "delta": "0"},
        "yours": [
            {
                "policy": "traffic-research",
                "spent": {"epsilon": "0.3"},
                "limit": {"epsilon": "2"},
                "left": {"epsilon": "1.7"},
                "per_job": {"epsilon": "1"},
                "runs_left": 3,
            }
        ],
    }


def test_a_statement_shows_no_policy_that_is_closed_to_the_reader(world):
    world.policy(organisations="[police]")
    (found,) = world.read(statement, world.person(), {"traffic/flights": "aircraft"})
    assert found["yours"] == []


def test_what_would_be_left_is_what_is_left_then(world):
    world.policy()
    person = world.person()
    usage = world.permit(person).usage
    loss = Loss(epsilon=Fraction("0.3"))
    foretold = world.read(left_after, "aircraft", usage, person.id, loss=loss, epsilon=Fraction("0.3"))
    assert foretold == {"population": {"epsilon": "0.7", "of": "1"}, "yours": {"epsilon": "1.7", "of": "2"}}
    world.reserve(person, "0.3")
    (found,) = world.read(statement, person, {"traffic/flights": "aircraft"})
    assert (found["left"]["epsilon"], found["yours"][0]["left"]["epsilon"]) == ("0.7", "1.7")
    assert world.read(left_after, "aircraft", None, person.id, loss=loss, epsilon=Fraction(1))["yours"] is None


def test_a_plan_hears_the_refusal_that_a_submission_would_get(world):
    world.policy(epsilon=GENEROUS)
    person = world.person()
    usage = world.permit(person).usage
    before = ledger(world)
    with pytest.raises(Conflict) as caught:
        world.read(check_limits, world.asked(person, "3"), usage)
    assert caught.value.way_out == "ε ≤ 1"
    assert ledger(world) == before


@given(st.fractions(min_value=0, max_value=1000))
def test_figures_are_rounded_against_the_reader(value):
    assert Fraction(shown_down(value)) <= value <= Fraction(shown_up(value))


# Every order of everything


class Ledger(RuleBasedStateMachine):
    """Any order of reserve, commit, release and retry, over two populations and two people."""

    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.folder = quick_folder()
        self.world = World(self.folder.name)
        self.world.population("aircraft")
        self.world.population("patients", Accountant.ZCDP, epsilon="1", delta="1e-6")
        self.limits = {"total": Fraction("1.5"), "per_person": Fraction("0.9")}
        self.world.policy(epsilon="{total: 1.5, per_person: 0.9, per_job: 0.7}", max_runs="9")
        self.people = [self.world.person(), self.world.person()]
        self.permit = self.world.permit(self.people[0])

    def teardown(self):
        self.world.close()
        self.folder.cleanup()

    def asked(self, person, amount, population, job=None, reused=False):
        accountant = Accountant.ZCDP if population == "patients" else Accountant.BASIC
        delta = "1e-7" if population == "patients" else "0"
        return self.world.asked(
            self.people[person], amount, delta, population=population, job=job, reused=reused, accountant=accountant
        )

    @rule(
        target=jobs,
        person=st.integers(0, 1),
        amount=st.sampled_from(["0.05", "0.1", "1/3", "0.3", "0.7"]),
        population=st.sampled_from(["aircraft", "patients"]),
        reused=st.booleans(),
    )
    def reserve(self, person, amount, population, reused):
        asked = self.asked(person, amount, population, reused=reused)
        problem = outcome(self.world.write, budget.reserve, asked, self.permit)
        codes = {"budget.population", "budget.policy", "budget.person", "policy.max_runs"}
        assert not isinstance(problem, BanyanError) or problem.code in codes
        return asked

    @rule(asked=jobs)
    def retry(self, asked):
        outcome(self.world.write, budget.reserve, asked, self.permit)

    @rule(asked=jobs)
    def commit(self, asked):
        outcome(self.world.write, budget.commit, asked.job)

    @rule(asked=jobs)
    def release(self, asked):
        outcome(self.world.write, budget.release_reservation, asked.job)

    @invariant()
    def nothing_is_overspent_and_the_books_agree(self):
        books = books_from_log(self.world.events())
        with self.world.journal.reading() as connection:
            assert books_of(connection) == books
            for name in ("aircraft", "patients"):
                *spent, _ = books.get(f"population:{name}", (Fraction(0),) * 4)
                assert Loss(*spent).within(population_of(connection, name).capacity.limit)
                epsilon, delta = spent_by(connection, name)
                declared = population_of(connection, name)
                assert epsilon <= declared.epsilon
                assert delta <= declared.delta
        policy = books.get("policy:traffic-research", (Fraction(0), 0, 0, 0))
        assert policy[0] <= self.limits["total"]
        assert policy[3] <= 9
        for person in self.people:
            own = books.get(f"person:traffic-research:{person.id}", (Fraction(0), 0, 0, 0))
            assert own[0] <= self.limits["per_person"]


Ledger.TestCase.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_no_order_of_steps_overspends = Ledger.TestCase
