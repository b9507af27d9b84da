"""Every refusal has one form, tells what the person needs, and nothing that the server keeps to itself."""

import logging

import pytest

from core.errors import Conflict
from jobs.service import JobService
from tests.api_world import COUNT, POLICY, ApiWorld, job
from tests.policies_world import quick_folder

MARK = "ZQX-778"


@pytest.fixture(scope="module")
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        yield made.furnish()


def check_problem(answer, status, code):
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["code"] == code
    assert problem["type"] == f"urn:banyan:error:{code}"
    assert problem["status"] == status
    assert problem["title"].strip()
    assert set(problem) <= {"type", "title", "status", "code", "where", "way_out"}
    return problem


@pytest.mark.parametrize(
    ("person", "method", "path", "status", "code"),
    [
        ("rob", "GET", "/", 404, "request.no_such_address"),
        ("rob", "GET", "/v1/nothing", 404, "request.no_such_address"),
        ("rob", "GET", "/v1/jobs/", 404, "request.no_such_address"),
        ("rob", "GET", "/docs", 404, "request.no_such_address"),
        ("rob", "DELETE", "/v1/jobs", 405, "request.method"),
        ("rob", "TRACE", "/v1/whoami", 405, "request.method"),
        (None, "GET", "/v1/whoami", 401, "token.invalid"),
        ("rob", "POST", "/v1/assets", 403, "role.missing"),
        ("rob", "GET", "/v1/log/entries", 403, "role.missing"),
        ("rob", "GET", "/v1/assets/medical/none", 404, "asset.unknown"),
        ("rob", "GET", "/v1/policies/none", 404, "policy.unknown"),
        ("rob", "GET", "/v1/jobs/j-2222222222222222", 404, "job.unknown"),
        ("olga", "GET", "/v1/assets/medical/visits/versions/9/report", 404, "version.unknown"),
        ("olga", "POST", "/v1/assets/medical/visits/versions?format=csv", 422, "ingest.unreadable"),
        ("rob", "GET", "/v1/assets/medical/visits/mock?rows=0", 422, "request.malformed"),
    ],
)
def test_a_refusal_is_a_problem_document(world, person, method, path, status, code):
    check_problem(world.call(person, method, path), status, code)


def test_a_policy_on_several_assets_is_told_which_of_them_does_not_exist(world):
    text = POLICY.replace("[medical/visits]", "[medical/visits, medical/none]").replace("visits-research", "both")
    problem = check_problem(world.call("olga", "POST", "/v1/policies", content=text), 404, "asset.unknown")
    assert problem["where"] == {"field": "assets"}
    assert problem["title"] == "there is no asset medical/none in the catalogue"


def test_a_method_that_is_not_served_names_those_that_are(world):
    assert world.call("rob", "PUT", "/v1/whoami").headers["allow"] == "GET"


def test_a_malformed_parameter_is_named(world):
    problem = check_problem(world.get("rob", "/v1/assets/medical/visits/mock", rows="many"), 422, "request.malformed")
    assert problem["where"] == {"field": "query.rows"}


def test_a_refused_job_says_where_and_what_would_pass(world):
    query = "SELECT result,\n       MAX(age) AS oldest\nFROM visits GROUP BY result"
    problem = check_problem(world.post("rob", "/v1/plans", job(query=query)), 422, "sql.not_allowed")
    assert problem["where"] == {"field": "query", "line": 2, "column": 8}
    assert problem["way_out"]


def test_a_defect_of_ours_tells_nobody_what_it_met(world, monkeypatch, caplog):
    """The text of an unexpected exception may hold anything; neither the person nor the operator's log gets it."""

    def defect(*_):
        raise ValueError(f"cannot read the row {MARK}")

    monkeypatch.setattr(JobService, "plan", defect)
    with caplog.at_level(logging.DEBUG):
        answer = world.post("rob", "/v1/plans", COUNT)
    problem = check_problem(answer, 500, "server.internal")
    assert MARK not in answer.text + caplog.text
    assert "ValueError" not in answer.text
    assert "ValueError" in caplog.text
    assert __file__ in caplog.text, "the operator learns where it was"
    assert set(problem) == {"type", "title", "status", "code"}


def test_private_detail_goes_to_the_operator_only(world, monkeypatch, caplog):
    def refuse(*_):
        raise Conflict("budget.population", "nothing is left", detail="connection lost to 10.1.2.3")

    monkeypatch.setattr(JobService, "plan", refuse)
    with caplog.at_level(logging.WARNING):
        answer = world.post("rob", "/v1/plans", COUNT)
    check_problem(answer, 409, "budget.population")
    assert "10.1.2.3" not in answer.text
    assert "10.1.2.3" in caplog.text


def test_every_answer_is_what_it_says_it_is(world):
    """No page of HTML, whatever the client would like to have."""
    for path in ("/v1/whoami", "/v1/assets", "/v1/nothing", "/v1/jobs", "/v1/budget"):
        answer = world.call("rob", "GET", path, headers={"Accept": "text/html"})
        assert answer.headers["content-type"] in {"application/json", "application/problem+json"}
        assert isinstance(answer.json, dict)


def test_a_refused_request_changes_nothing_but_a_refused_job_is_in_the_log(world):
    before = world.entries()
    world.get("rob", "/v1/jobs/j-2222222222222222")
    world.post("rob", "/v1/plans", job(epsilon="50"))
    world.post("rob", "/v1/jobs", job(query="SELECT 1"))
    world.post("rob", "/v1/jobs", {})
    # A query that is not accepted was a submission all the same, and is recorded as one.
    added = world.entries()[len(before) :]
    assert [(entry["type"], entry["facts"]["code"]) for entry in added] == [("job:refused", "sql.not_allowed")]
