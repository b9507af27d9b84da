"""Two real servers, with real containers, on data that differ by one privacy unit: nothing that a researcher can call differs but the
noised figures (R9, R10); then a block of one of them is damaged on disk, and still nothing does (T04).

What is exact to the last moment is shown with a clock that stands still, in tests/unit/test_jobs_neighbours.py.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from core.clock import SystemClock, moment_of
from tests.api_world import Answer, ApiWorld, visits, without
from tests.neighbours import PUBLIC, Comparable, Researcher
from tests.town import UNHURRIED, town_in, until

pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(280)]
MARK = "ZQX-778"
TARGET = "p0"
WHOLE = b"".join(
    line.replace(b"clinic-0", MARK.encode()) if line.startswith(b"p0,") else line
    for line in visits(range(90)).splitlines(keepends=True)
)
AFTER = PUBLIC | {"epsilon": "0.51"}


class Seen:
    """One server, one researcher's story on it, and what lies behind it."""

    def __init__(self, town):
        self.town = town
        self.client = httpx.Client(base_url=town.address, timeout=60)
        self.researcher = Researcher(self.call, lambda: time.sleep(0.1), self.quiet)

    def call(self, method, path, body=None, person="rob"):
        sent = {} if body is None else {"json": body}
        headers = {"Authorization": f"Bearer {self.town.tokens[person]}"}
        return Answer(self.client.request(method, path, headers=headers, **sent))

    def quiet(self):
        """Wait for the checkpoint over everything that is in the log."""
        until(
            lambda: self.town.rows(
                "SELECT (SELECT max(size) FROM log_checkpoints) = (SELECT count(*) FROM log_entries) AS done"
            )[0]["done"]
        )

    def tell(self):
        self.researcher.whole_story()
        # Read once: each reading is an entry itself, and both logs must stay equally long.
        self.log = self.call("GET", "/v1/log/entries?start=1&limit=1000", person="ada").json["items"]
        return self

    def tell_after_damage(self):
        """The same server later: another job, looked at while it runs and when it is over."""
        self.researcher.seen.clear()
        made = self.researcher.submit("after damage", AFTER)
        self.researcher.follow(
            "after damage", made, lambda job_id: self.researcher.look_at("after damage running", job_id)
        )
        self.researcher.settle(made)
        self.researcher.look_at("after damage", made)
        self.researcher.look_around("after damage")
        return self

    def transcript(self):
        return Comparable(times=False).transcript(self.researcher.seen)

    def sizes(self):
        return sorted(
            (path.name, path.stat().st_size) for path in (self.town.state / "blocks").rglob("*") if path.is_file()
        )

    def sealed(self):
        return sorted(path.stat().st_size for path in (self.town.state / "sealed").iterdir())


def prepared(folder, data):
    """A state folder with everything in it, made in this process."""
    with ApiWorld(folder, clock=SystemClock()) as world:
        world.furnish(data)
        world.server.journal.publish_checkpoint()
    return world.state, world.tokens


@pytest.fixture(scope="module")
def pair(tmp_path_factory, query_image, docker_host):
    """The server without the person and the server with them, both at work at the same time."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        towns = []
        for name, data in (("without", without(WHOLE, TARGET)), ("with", WHOLE)):
            state = prepared(tmp_path_factory.mktemp(f"{name}-prepared"), data)
            towns.append(stack.enter_context(town_in(tmp_path_factory.mktemp(name), state, docker_host, **UNHURRIED)))
        both = [Seen(town) for town in threads.map(lambda town: town.start(), towns)]
        for seen in both:
            stack.callback(seen.client.close)
        yield list(threads.map(Seen.tell, both)), threads


def test_the_containers_did_run_over_all_that_there_is(pair):
    """Two servers whose blocks all count as defaults would look the same as well: nothing here would mean anything."""
    assert MARK.encode() in WHOLE
    assert without(WHOLE, TARGET) != WHOLE
    for seen in pair[0]:
        jobs = {path.name.rpartition("-")[0] for path in (seen.town.state / "sealed").iterdir()}
        assert len(jobs) == 3
        seen.town.check_nothing_defaulted(*jobs)


def check_same(one, other):
    for mine, theirs in zip(one.transcript(), other.transcript(), strict=True):
        assert mine == theirs


def test_everything_that_a_researcher_can_call_is_the_same(pair):
    (one, other), _ = pair
    check_same(one, other)
    assert len(one.researcher.seen) > 130
    kinds = {(answer.status, answer.code) for _, answer in one.researcher.seen}
    assert len(kinds) >= 20
    assert all(status < 500 for status, _ in kinds)


def test_the_log_says_the_same_in_the_same_order(pair):
    (one, other), _ = pair
    forms = [Comparable(times=False), Comparable(times=False)]
    logs = [form.value(seen.log) for form, seen in zip(forms, (one, other), strict=True)]
    assert logs[0] == logs[1]
    assert [item["entry"]["type"] for item in logs[0]].count("release:issued") == 4


def test_every_job_takes_exactly_the_time_that_its_plan_fixed(pair):
    """From start to release: the same on both, a number of the plan, and no release is earlier."""
    (one, other), _ = pair
    durations = []
    for seen in (one, other):
        entries = [item["entry"] for item in seen.log]
        planned = {e["subject"]: e["facts"]["release_at"] for e in entries if e["type"] == "job:started"}
        started = {e["subject"]: e["time"] for e in entries if e["type"] == "job:started"}
        issued = {e["facts"]["job"]: e["time"] for e in entries if e["type"] == "release:issued"}
        assert all(moment_of(issued[job]) >= moment_of(planned[job]) for job in issued)
        durations.append([(moment_of(planned[job]) - moment_of(started[job])).total_seconds() for job in started])
    assert durations[0] == durations[1] == [8.0] * 5


def test_what_lies_on_the_disk_has_the_same_names_and_sizes(pair):
    (one, other), _ = pair
    assert one.sizes() == other.sizes()
    assert len(one.sizes()) == 9
    assert one.sealed() == other.sealed()
    assert len(set(one.sealed())) == 1


def test_the_person_is_in_nothing_that_was_said(pair):
    (_, other), _ = pair
    said = b"".join(answer.body for _, answer in other.researcher.seen) + str(other.log).encode()
    assert MARK.encode() not in said
    assert MARK not in other.town.log


def test_with_a_block_damaged_on_disk_still_nothing_differs(pair):
    """The release comes at its time, in its form, charged, with noise; only the operator is told, and not of any data."""
    (one, other), threads = pair
    (block,) = (other.town.state / "blocks").rglob("3.block")
    data = bytearray(block.read_bytes())
    data[len(data) // 2] ^= 1
    block.write_bytes(data)
    list(threads.map(Seen.tell_after_damage, (one, other)))
    check_same(one, other)
    job = other.town.rows("SELECT id, state FROM jobs ORDER BY sequence DESC LIMIT 1")[0]
    assert job["state"] == "released"
    assert f"alarm: blocks of job {job['id']} counted as defaults" in other.town.log
    assert MARK not in other.town.log
    assert one.sealed() == other.sealed()
    spent = [seen.call("GET", "/v1/budget").json["items"][0]["spent"] for seen in (one, other)]
    assert spent[0] == spent[1]
    one.town.check_nothing_defaulted(one.town.rows("SELECT id FROM jobs ORDER BY sequence DESC LIMIT 1")[0]["id"])
