"""Rules that programs must keep on the way from request to release: policy, isolation, reuse, tables, and what is only for mock data."""

import json
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from api import wiring
from jobs import lane
from tests.api_world import POLICY, VISITS, ApiWorld, frame, visits
from tests.policies_world import quick_folder
from tests.unit.test_client_program_jobs import Everything

TEXT = "def analyse(tables, params):\n    return {'age': 1.0}\n"
STAYS = VISITS.replace("medical/visits", "medical/stays").replace("title: {en: Visits", "title: {en: Stays")
WARDS = (
    STAYS.replace("medical/stays", "medical/wards")
    .replace("level: S1", "level: S0")
    .replace("name: patients", "name: wards")
)
FIRMS = STAYS.replace("medical/stays", "medical/firms").replace("name: patients", "name: firms")
SEEN = []
UNITS = set()


def program(spec, instruction):
    """In place of the image: answers 0.5, and remembers what it was asked."""
    if not instruction:
        return b""
    body = json.loads(instruction[4:])
    tables = [
        pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in Path(spec.mounts[0].source).rglob("*.arrow")
    ]
    UNITS.update(unit for table in tables for unit in table["pid"].to_pylist())
    SEEN.append((spec, body))
    return b"".join(frame(block["index"], struct.pack(">d", 0.5)) for block in body["blocks"])


def job(**changes):
    return {
        "asset": "medical/visits",
        "purpose": "research",
        "program": {"name": "a.py", "text": TEXT},
        "outputs": {"age": {"lower": 0, "upper": 1, "default": 0}},
        "blocks": 8,
        "seconds_per_block": "0.2",
        "epsilon": "0.5",
    } | changes


def several(*assets):
    return {
        name: value for name, value in job(assets=[f"medical/{asset}" for asset in assets]).items() if name != "asset"
    }


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(wiring, "Isolation", Everything)
    monkeypatch.setattr(
        lane, "_wait_until", lambda moment, cancelled: None
    )  # containers need not begin at their times here
    SEEN.clear()
    UNITS.clear()
    with quick_folder() as folder, ApiWorld(folder, program) as made:
        made.furnish()
        yield made


def permit(world, **lines):
    text = POLICY.replace("kinds: [query]", "kinds: [program]").replace("visits-research", "programs")
    for name, line in lines.items():
        text = text.replace("assets: [medical/visits]", line) if name == "assets" else text + line + "\n"
    world.allow(text)


def test_a_policy_for_queries_lets_no_program_run(world):
    answer = world.post("rob", "/v1/jobs", job())
    assert (answer.status, answer.code) == (403, "policy.kind")
    permit(world)
    assert world.post("rob", "/v1/jobs", job()).status == 201


def test_the_policy_may_demand_more_isolation_than_the_level_and_never_less(world):
    permit(world, isolation="isolation: container")
    plan = world.post("rob", "/v1/plans", job()).json
    assert plan["isolation"] == "container"
    world.run(job())
    assert {(spec.namespaces, body["isolation"], len(body["blocks"])) for spec, body in SEEN} == {(False, "none", 1)}
    assert len(SEEN) == 8
    assert [body["trace"] for _, body in SEEN] == [False] * 8


def test_without_such_a_policy_a_lane_has_one_container_with_namespaces(world):
    permit(world)
    world.run(job())
    assert [(spec.namespaces, body["isolation"], len(body["blocks"])) for spec, body in SEEN] == [
        (True, "namespaces", 4)
    ] * 2
    assert [body["trace"] for _, body in SEEN] == [False] * 2


def test_only_a_mock_job_is_traced_and_it_never_has_a_real_row(world):
    permit(world)
    world.run(job(), mock="true")
    assert [body["trace"] for _, body in SEEN] == [True] * len(SEEN)
    assert UNITS
    assert all(unit.startswith("m") for unit in UNITS)  # real units are p0, p1, ..
    (stored,) = world.get("rob", "/v1/jobs").json["items"]
    assert (stored["mode"], stored["charged"]) == ("mock", False)
    world.run(job())
    assert any(unit.startswith("p") for unit in UNITS)


def test_the_same_program_again_is_the_same_release_and_any_change_is_another(world):
    permit(world)
    output = {"lower": 0, "upper": 1, "default": 0}
    first = world.run(job())
    again = world.run(job(program={"name": "renamed.py", "text": TEXT}))
    results = [world.get("rob", f"/v1/jobs/{name}/result").json for name in (first, again)]
    assert [result["reused"] for result in results] == [False, True]
    assert results[0]["rows"] == results[1]["rows"]
    for change in (
        {"program": {"name": "a.py", "text": TEXT + "#"}},
        {"params": {"x": 1}},
        {"blocks": 16},
        {"seconds_per_block": "0.3"},
        {"epsilon": "0.6"},
        {"outputs": {"age": output | {"upper": 2}}},
        {"outputs": {"age": output | {"default": 1}}},
        {"outputs": {"age": output | {"aggregate": "median"}}},
    ):
        name = world.run(job(**change))
        assert world.get("rob", f"/v1/jobs/{name}/result").json["reused"] is False, change


def test_several_tables_need_a_policy_for_all_that_are_not_public(world):
    for text, name in ((STAYS, "stays"), (WARDS, "wards"), (FIRMS, "firms")):
        world.register(text)
        world.ingest(
            visits(range(20, 40))
            if name == "stays"
            else visits(range(200, 220))
            if name == "wards"
            else visits(range(400, 420)),
            f"medical/{name}",
        )
    permit(world)
    answer = world.post("rob", "/v1/jobs", several("visits", "stays") | {"policy": "programs"})
    assert (answer.status, answer.code) == (403, "policy.asset")
    answer = world.post("rob", "/v1/jobs", several("visits", "firms"))
    assert (answer.status, answer.code) == (422, "job.populations")
    done = world.run(several("visits", "wards"))
    statement = world.get("rob", f"/v1/jobs/{done}/receipt").json["statement"]
    assert [each["asset"] for each in statement["joined"]] == ["medical/wards"]
    assert statement["joined"][0]["version_root"] != statement["version_root"]


def test_one_person_cannot_hold_the_lanes_for_a_day(world):
    permit(world)
    long = job(blocks=96, seconds_per_block="60", epsilon="0.1")
    assert world.post("rob", "/v1/plans", long).json["seconds"] == 4096
    for number in range(5):
        assert world.post("rob", "/v1/jobs", long | {"params": {"x": number}}).status == 201
    again = world.post("rob", "/v1/jobs", long)
    assert (again.status, again.code) == (409, "job.too_long_open")
    assert "20,480 s, and this one 4,096 s more" in again.text
    assert world.post("rob", "/v1/jobs", job()).status == 201
