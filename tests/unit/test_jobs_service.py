"""What a person may do with jobs through the service: a refusal changes nothing, a charge is what the plan said, a limit is kept."""

import json
from fractions import Fraction

import pytest
from sqlalchemy import func, select

from jobs.records import jobs
from policies.records import spends
from tests.api_world import COUNT, VISITS, ApiWorld, job, visits
from tests.policies_world import books_from_log, books_of, quick_folder

POSITIVE = "SELECT COUNT(*) AS n FROM visits WHERE result = 'positive'"
NEGATIVE = "SELECT COUNT(*) AS n FROM visits WHERE result = 'negative'"


@pytest.fixture
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        yield made.furnish()


def books(world):
    """The ledger's sums; always those that the log alone gives (design §10)."""
    found = world.read(books_of)
    assert found == books_from_log([(e["type"], e["subject"], e["facts"]) for e in world.entries()])
    return found


def spent(world, population="patients"):
    return books(world).get(f"population:{population}", (Fraction(0),))[0]


def counted(world, table):
    return world.read(lambda connection: connection.execute(select(func.count()).select_from(table)).scalar())


def last_event(world):
    entry = world.entries()[-1]
    return entry["type"], entry["actor"], entry["facts"]


def refused(world, person, document, status, code, **params):
    """A refused submission: told as such, in the log as such, and without any other trace."""
    before, ledger, rows = len(world.entries()), books(world), (counted(world, jobs), counted(world, spends))
    answer = world.post(person, "/v1/jobs", document, **params)
    assert (answer.status, answer.code) == (status, code), answer
    assert books(world) == ledger
    assert (counted(world, jobs), counted(world, spends)) == rows
    assert len(world.entries()) == before + 1
    assert last_event(world) == ("job:refused", world.ids[person], {"asset": document["asset"], "code": code})
    return answer.json


# T02: the answer of a rule is obeyed


def test_a_run_beyond_max_runs_is_refused_and_charges_nothing():
    """The very same count twice, by anybody: one run is one run, and that the second would be answered for free does not matter."""
    with quick_folder() as folder, ApiWorld(folder) as world:
        world.register()
        world.ingest(visits(range(3), rows=1))
        world.allow(max_runs="1")
        first = world.run()
        assert world.view(first)["state"] == "released"
        for person in ("rob", "rosa"):
            problem = refused(world, person, COUNT, 403, "policy.max_runs")
            assert problem["where"] == {"rule": "policy.max_runs"}
            assert "max_runs" in problem["way_out"]
        refused(world, "rob", job(epsilon="0.1"), 403, "policy.max_runs")
        assert spent(world) == Fraction("0.5")
        assert "runs" in world.post("rob", "/v1/plans", COUNT).json["needs"][0]


def test_a_run_counts_from_its_submission_on():
    """Two in the queue are two runs: the second does not slip in while the first waits."""
    with quick_folder() as folder, ApiWorld(folder) as world:
        world.furnish()
        world.allow(name="once", max_runs="1", assets="[medical/visits]", purpose="audit")
        asked = job(purpose="audit")
        waiting = world.submit(asked)
        refused(world, "rosa", asked, 403, "policy.max_runs")
        world.post("rob", f"/v1/jobs/{waiting}/cancel")
        world.finish()
        # It never touched data, so the run was not used up.
        assert world.view(world.run(asked, "rosa"), "rosa")["state"] == "released"


# T08: what is charged does not depend on the order, and only where it belongs


def second_asset(world):
    other = (
        VISITS.replace("medical/visits", "medical/stays")
        .replace("name: patients", "name: guests")
        .replace("hospital-pid", "guest-pid")
    )
    world.register(other)
    world.ingest(visits(range(500, 560)), "medical/stays")
    world.allow(assets="[medical/visits, medical/stays]")


def test_a_query_leaves_the_ledgers_of_other_populations_alone(world):
    second_asset(world)
    world.run(job(asset="medical/stays", query="SELECT COUNT(*) AS n FROM stays", epsilon="0.3"))
    assert spent(world, "guests") == Fraction("0.3")
    assert spent(world, "patients") == 0
    items = {item["population"]: item["spent"]["epsilon"] for item in world.get("rob", "/v1/budget").json["items"]}
    assert items == {"guests": "0.3", "patients": "0"}


def test_the_order_of_jobs_does_not_change_what_they_cost():
    documents = [
        job(epsilon="0.3"),
        job(query=POSITIVE, epsilon="0.11"),
        job(query="SELECT AVG(cost) AS m FROM visits", epsilon="0.07"),
    ]
    found = []
    for order in (documents, documents[::-1]):
        with quick_folder() as folder, ApiWorld(folder) as world:
            world.furnish()
            for document in order:
                world.run(document)
            sums = books(world)
            found.append([sums["population:patients"], sums["policy:visits-research"], spent(world)])
    assert found[0] == found[1]
    assert found[0][2] == Fraction("0.48")


def test_disjoint_filters_on_one_asset_still_add(world):
    """A person may be in both; that nobody is would have to be proved, and nothing is given away unproved."""
    for query in (POSITIVE, NEGATIVE):
        world.run(job(query=query, epsilon="0.4"))
    assert spent(world) == Fraction("0.8")


# R16: the same job again


def test_the_same_job_again_is_free_for_the_population_only(world):
    first, before = world.run(), books(world)
    again = world.run(COUNT, "rosa")
    after = books(world)
    assert after["population:patients"][:3] == before["population:patients"][:3]
    assert after["policy:visits-research"][0] == 2 * before["policy:visits-research"][0]
    assert after[f"person:visits-research:{world.ids['rosa']}"][0] == Fraction("0.5")
    results = [world.get(who, f"/v1/jobs/{which}/result").json for who, which in (("rob", first), ("rosa", again))]
    assert results[0]["rows"] == results[1]["rows"]
    assert results[0]["receipt"] != results[1]["receipt"]


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": "0.51"},
        {"query": COUNT["query"] + " -- with a remark"},
        {"query": COUNT["query"].replace("AS n", "AS m")},
        {"bounds": {"max_groups_per_unit": 2, "max_rows_per_group": 2}},
        {"query": COUNT["query"].replace("FROM visits", "FROM visits WHERE age > 3")},
    ],
)
def test_another_job_is_charged(world, change):
    world.run()
    before = spent(world)
    world.run(job(**change))
    remark = "remark" in change.get("query", "")
    assert spent(world) - before == (0 if remark else Fraction(change.get("epsilon", "0.5")))


def test_the_same_job_on_a_new_version_is_another_job(world):
    first = world.run()
    world.ingest(visits(range(80)))
    again = world.run()
    assert spent(world) == 1
    assert [world.view(each)["plan"]["version"] for each in (first, again)] == [1, 2]


# Refusals, each before anything is touched


def test_the_tightest_limit_refuses_and_says_what_would_fit(world):
    """Policy 9, person 8, population 10: each ends where it should, and the way out passes."""
    for epsilon in ("4", "3.9"):
        world.run(job(epsilon=epsilon))
    assert "ε ≤ 0.1" in refused(world, "rob", job(epsilon="0.2"), 409, "budget.person")["way_out"]
    assert "ε ≤ 1.1" in refused(world, "rosa", job(epsilon="3"), 409, "budget.policy")["way_out"]
    world.run(job(epsilon="1.1"), "rosa")
    world.allow(name="audits", purpose="audit", epsilon="{total: 10, per_person: 10, per_job: 10}")
    audit = job(purpose="audit", query=POSITIVE, epsilon="1.01")
    assert "ε ≤ 1" in refused(world, "rosa", audit, 409, "budget.population")["way_out"]
    world.run(audit | {"epsilon": "1"}, "rosa")
    assert spent(world) == 10
    refused(world, "rosa", audit | {"epsilon": "0.000001", "query": NEGATIVE}, 409, "budget.population")


@pytest.mark.parametrize(
    ("person", "change", "status", "code"),
    [
        ("rob", {"epsilon": "4.01"}, 403, "policy.epsilon"),
        ("rob", {"purpose": "audit"}, 403, "policy.purpose"),
        ("rob", {"policy": "other"}, 404, "policy.unknown"),
        ("rob", {"asset": "medical/none"}, 404, "asset.unknown"),
        ("rob", {"query": "SELECT MAX(age) AS a FROM visits"}, 422, "sql.not_allowed"),
        ("rob", {"query": "SELECT SUM(weight) AS a FROM visits"}, 422, "bounds.required"),
        ("rob", {"query": "SELECT COUNT(*) AS n FROM flights"}, 422, "sql.unknown_table"),
        (
            "rob",
            {"query": "SELECT clinic, COUNT(*) AS n FROM visits GROUP BY clinic", "delta": 0},
            422,
            "delta.required",
        ),
        ("olga", {}, 403, "role.missing"),
        ("ada", {}, 403, "role.missing"),
    ],
)
def test_a_refused_job_leaves_an_event_and_nothing_else(world, person, change, status, code):
    refused(world, person, job(**change), status, code)


def test_a_policy_that_has_not_begun_or_is_over_lets_nothing_run(world):
    world.allow(name="later", purpose="audit", valid="{from: 2027-01-01, until: 2028-01-01}")
    refused(world, "rob", job(purpose="audit"), 403, "policy.not_yet_valid")
    world.clock.advance(60 * 24 * 3600)
    assert world.view(world.run(job(purpose="audit")))["state"] == "released"


def test_without_data_there_is_a_plan_but_no_job():
    with quick_folder() as folder, ApiWorld(folder) as world:
        world.register()
        world.allow()
        assert "medical/visits has no data yet" in world.post("rob", "/v1/plans", COUNT).json["needs"]
        refused(world, "rob", COUNT, 409, "asset.empty")
        mock = world.run(mock="true")
        assert world.view(mock)["state"] == "released"


def test_a_mock_job_needs_no_policy_and_enters_no_ledger():
    with quick_folder() as folder, ApiWorld(folder) as world:
        world.register()
        mock = world.run(mock="true")
        assert books(world) == {}
        assert counted(world, spends) == 0
        result = world.get("rob", f"/v1/jobs/{mock}/result").json
        assert (result["mode"], result["receipt"], len(result["rows"])) == ("mock", None, 2)
        assert [e["type"] for e in world.entries() if mock in (e["subject"], e["facts"].get("job"))] == [
            "job:submitted", "job:started", "release:sealed", "release:issued",
        ]  # fmt: skip


# Cancel and read, at any time


def test_cancelled_while_queued_costs_nothing(world):
    queued = world.submit()
    assert spent(world) == Fraction("0.5")
    asked = world.post("rob", f"/v1/jobs/{queued}/cancel").json
    assert asked["state"] == "running"
    assert asked["waiting"].startswith("cancelling")
    world.finish()
    assert world.view(queued)["state"] == "cancelled"
    assert spent(world) == 0


def test_cancelled_after_touch_stays_charged(world):
    """There is no refund for a job that has seen data: it would be a free look (T04)."""
    running = world.submit()
    world.step()
    assert world.view(running)["state"] == "running"
    world.post("rob", f"/v1/jobs/{running}/cancel")
    world.finish()
    assert world.view(running)["state"] == "cancelled"
    assert spent(world) == Fraction("0.5")
    assert world.get("rob", f"/v1/jobs/{running}/result").code == "result.not_released"
    assert world.get("rob", f"/v1/jobs/{running}/receipt").code == "receipt.pending"


def test_what_is_over_is_not_cancelled(world):
    released = world.run()
    answer = world.post("rob", f"/v1/jobs/{released}/cancel")
    assert (answer.status, answer.code) == (409, "job.not_cancellable")
    assert world.view(released)["state"] == "released"


def test_before_its_time_there_is_no_result_and_the_wait_is_explained(world):
    waiting = world.submit()
    for step in range(3):
        answer = world.get("rob", f"/v1/jobs/{waiting}/result")
        assert (answer.status, answer.code) == (409, "result.not_released")
        assert answer.json["title"].split(": ", 1)[1] == world.view(waiting)["waiting"]
        world.step(0.5 if step else 0)


def test_a_job_is_shown_as_it_was_asked_and_planned(world):
    asked = world.submit(job(epsilon=0.25, delta="1e-9", policy="visits-research"))
    view = world.view(asked)
    plan = world.post("rob", "/v1/plans", job(epsilon=0.25, delta="1e-9")).json
    assert view["epsilon"] == "0.25"
    assert view["plan"] == {name: plan[name] for name in view["plan"]}
    assert json.loads(json.dumps(view)) == view


def test_a_delta_beyond_that_of_its_population_buys_nothing_under_zcdp():
    declaration = VISITS.replace("accountant: basic", "accountant: zcdp")
    with quick_folder() as folder, ApiWorld(folder) as world:
        world.furnish(declaration=declaration)
        answer = world.post("rob", "/v1/plans", job(delta="0.0009"))
        assert (answer.status, answer.code, answer.json["where"]) == (422, "delta.too_large", {"field": "delta"})
        assert answer.json["way_out"] == "delta: 0.000001, or less"
        assert world.post("rob", "/v1/plans", job(delta="0.000001")).status == 200
