"""A job, its result and its receipt are its submitter's; to any other researcher they do not exist, in the very same words (T24)."""

import re

import pytest

from tests.api_world import COUNT, ApiWorld, job
from tests.policies_world import quick_folder

NOBODYS = "j-2222222222222222"
PLACES = [("GET", ""), ("GET", "/result"), ("GET", "/result?format=csv"), ("GET", "/receipt"), ("POST", "/cancel")]


@pytest.fixture(scope="module")
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        made.furnish()
        made.released = made.run(COUNT)
        made.queued = made.submit(job(epsilon="0.25"))
        yield made


# What of a researcher's released job each person gets: 404 is as if there were none, 403 does not depend on whether there is one.
MATRIX = {
    ("GET", ""): {"rob": 200, "rosa": 404, "rita": 403, "ada": 403, "olga": 200},
    ("GET", "/result"): {"rob": 200, "rosa": 404, "rita": 403, "ada": 403, "olga": 403},
    ("GET", "/result?format=csv"): {"rob": 200, "rosa": 404, "rita": 403, "ada": 403, "olga": 403},
    ("GET", "/result?format=parquet"): {"rob": 200, "rosa": 404, "rita": 403, "ada": 403, "olga": 403},
    ("GET", "/receipt"): {"rob": 200, "rosa": 404, "rita": 403, "ada": 200, "olga": 200},
    ("GET", "/sealed"): {"rob": 403, "rosa": 403, "rita": 403, "ada": 403, "olga": 200},
    ("POST", "/cancel"): {"rob": 409, "rosa": 404, "rita": 403, "ada": 403, "olga": 409},
}


def test_the_matrix_has_every_place_of_a_job(world):
    paths = {
        (method.upper(), path.removeprefix("/v1/jobs/{job}"))
        for path, methods in world.app.openapi()["paths"].items()
        for method in methods
        if path.startswith("/v1/jobs/{job}")
    }
    assert paths == {(method, place.partition("?")[0]) for method, place in MATRIX}


@pytest.mark.parametrize(("method", "place"), MATRIX)
def test_everybody_gets_exactly_what_the_matrix_says(world, method, place):
    found = {name: world.call(name, method, f"/v1/jobs/{world.released}{place}") for name in MATRIX[method, place]}
    assert {name: answer.status for name, answer in found.items()} == MATRIX[method, place]
    for name, answer in found.items():
        if answer.status in {403, 404}:
            none = world.call(name, method, f"/v1/jobs/{NOBODYS}{place}")
            assert (answer.code, answer.body) == (none.code, none.body)
            assert answer.code == ("job.unknown" if answer.status == 404 else "role.missing")


@pytest.mark.parametrize("which", ["released", "queued"])
@pytest.mark.parametrize(("method", "place"), PLACES)
def test_another_researcher_cannot_tell_a_job_from_none(world, which, method, place):
    theirs = world.call("rosa", method, f"/v1/jobs/{getattr(world, which)}{place}")
    none = world.call("rosa", method, f"/v1/jobs/{NOBODYS}{place}")
    assert (theirs.status, theirs.code) == (404, "job.unknown")
    assert theirs.body == none.body
    assert dict(theirs.headers) == dict(none.headers)


def test_the_submitter_has_all_of_it(world):
    for place in ("", "/result", "/result?format=csv", "/result?format=parquet", "/receipt"):
        assert world.get("rob", f"/v1/jobs/{world.released}{place}").status == 200


def test_an_attempt_to_cancel_changes_nothing(world):
    before = world.entries()
    assert world.post("rosa", f"/v1/jobs/{world.queued}/cancel").status == 404
    assert world.post("ada", f"/v1/jobs/{world.queued}/cancel").status == 403
    assert world.view(world.queued)["state"] == "queued"
    assert world.entries() == before


def test_everybody_lists_their_own(world):
    listed = {
        name: [each["id"] for each in world.get(name, "/v1/jobs").json["items"]] for name in ("rob", "rosa", "olga")
    }
    assert listed == {"rob": [world.queued, world.released], "rosa": [], "olga": []}


def test_the_operator_sees_that_a_job_runs_but_not_what_it_gave(world):
    assert world.get("olga", f"/v1/jobs/{world.released}").status == 200
    assert world.get("olga", f"/v1/jobs/{world.released}/result").code == "role.missing"


def test_the_auditor_gets_the_receipt_and_nothing_else(world):
    assert world.get("ada", f"/v1/jobs/{world.released}/receipt").status == 200
    for place in ("", "/result"):
        assert world.get("ada", f"/v1/jobs/{world.released}{place}").code == "role.missing"


def test_nothing_of_a_job_is_in_what_others_may_read(world):
    """Names of jobs and people, and what was asked, are not in the catalogue, the budget, the checkpoint, or a plan of the same."""
    answers = [
        world.get("rosa", path)
        for path in ("/v1/assets", "/v1/budget", "/v1/policies", "/v1/log/checkpoint", "/v1/whoami")
    ]
    answers.append(world.post("rosa", "/v1/plans", COUNT))
    text = "".join(answer.text for answer in answers)
    assert re.findall(r"\b[jr]-[2-9a-hjkmnp-z]{16}\b", text) == []
    assert world.ids["rob"] not in text


def test_the_same_job_of_another_person_says_nothing_of_the_first(world):
    """It is answered by the earlier release (R16), at the same delay, in the same form, under names of its own."""
    rosas = world.run(COUNT, "rosa")
    mine, hers = (
        world.get(who, f"/v1/jobs/{which}/result") for who, which in (("rob", world.released), ("rosa", rosas))
    )
    assert mine.json["rows"] == hers.json["rows"]
    assert set(mine.json) == set(hers.json)
    view, first = world.view(rosas, "rosa"), world.view(world.released)
    assert set(view) == set(first)
    assert view["plan"] == first["plan"]
    told = hers.text + world.get("rosa", f"/v1/jobs/{rosas}").text + world.get("rosa", f"/v1/jobs/{rosas}/receipt").text
    for name in (world.released, mine.json["receipt"], world.ids["rob"]):
        assert name not in told


def test_a_policy_for_others_is_like_none(world):
    hidden = world.allow(name="hospital-only", organisations="[hospital]")
    asked = [world.post("rob", "/v1/jobs", job(policy=name)) for name in (hidden, "no-such-policy")]
    assert [(answer.status, answer.code) for answer in asked] == [(404, "policy.unknown")] * 2
    assert asked[0].text.replace(hidden, "P") == asked[1].text.replace("no-such-policy", "P")
    theirs, none = (world.get("rob", f"/v1/policies/{name}") for name in (hidden, "no-such-policy"))
    assert theirs.status == none.status == 404
    assert theirs.text.replace(hidden, "P") == none.text.replace("no-such-policy", "P")
    assert hidden not in world.get("rob", "/v1/policies").text
    assert hidden in world.get("rosa", "/v1/policies").text
