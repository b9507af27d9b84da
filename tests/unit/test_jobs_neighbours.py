"""Two servers whose data differ by one privacy unit look the same to a researcher, to the last byte and moment (R9, R10, T04).

Here with containers in memory and a clock that the test moves, so that nothing needs to be forgiven; with real ones in
tests/integration/test_neighbours_end_to_end.py.
"""

import logging
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.staging import open_sealed_log
from tests.api_world import ApiWorld, blocks_of, frame, honest, partial_of, visits, without
from tests.neighbours import PUBLIC, Comparable, Researcher, log_of
from tests.policies_world import books_of, quick_folder

MARK = "ZQX-778"
TARGET = "p0"
# The person is the only one of one clinic, and the one whose clinic says so.
WHOLE = b"".join(
    line.replace(b"clinic-0", MARK.encode()) if line.startswith(b"p0,") else line
    for line in visits(range(90)).splitlines(keepends=True)
)
TICK = 0.5


def holds_target(path: Path) -> bool:
    return TARGET in pq.read_table(path, columns=["pid"]).column("pid").to_pylist()


def failing(spec, instruction):
    """The whole container dies of one person's rows, and says whose they were."""
    for _, path in blocks_of(spec, instruction):
        if holds_target(path):
            raise ValueError(f"cannot convert {MARK} of {TARGET}")
    return honest(spec, instruction)


def failing_block(spec, instruction):
    """One block fails, the others are done."""
    return b"".join(
        frame(index, None if holds_target(path) else partial_of(instruction, path))
        for index, path in blocks_of(spec, instruction)
    )


def slow(spec, instruction):
    """Takes longer than any job may, if the person is there."""
    for _, path in blocks_of(spec, instruction):
        if holds_target(path):
            time.sleep(spec.wall_seconds + 0.2)
    return honest(spec, instruction)


def lying(spec, instruction):
    """Claims as much as a partial can say for the person's block."""
    output = b""
    for index, path in blocks_of(spec, instruction):
        partial = partial_of(instruction, path)
        if holds_target(path) and len(partial) > 40:
            partial = partial[:-16] + (2**62 - 1).to_bytes(16, "big")
        output += frame(index, partial)
    return output


def garbled(spec, instruction):
    """Writes the person's rows where frames should be."""
    for _, path in blocks_of(spec, instruction):
        if holds_target(path):
            return str(pq.read_table(path).to_pylist()).encode()
    return honest(spec, instruction)


def loud(spec, instruction):
    """Floods stdout with them."""
    for _, path in blocks_of(spec, instruction):
        if holds_target(path):
            return f"{MARK} {TARGET}\n".encode() * 200_000
    return honest(spec, instruction)


PROGRAMS = {
    "failing": failing,
    "failing block": failing_block,
    "lying": lying,
    "garbled": garbled,
    "loud": loud,
}


class Watched:
    """A server with its data and everything that was seen of it."""

    def __init__(self, data, program, tell=Researcher.story, damage=None, **settings):
        with quick_folder() as folder, ApiWorld(folder, program, **settings) as world:
            world.furnish(data)
            if damage is not None:
                damage(world)
            self.world, self.moments = world, []
            world.clock.advance(60)
            researcher = Researcher(self._call, self._pause)
            tell(researcher)
            form = Comparable(times=True)
            self.transcript = form.transcript(researcher.seen)
            self.log = log_of(world.entries()[1:], form)  # the first was written by the machine's clock
            self.files = sorted(
                (path.parent.name[:1], path.name, path.stat().st_size) for path in world.state.rglob("blocks/**/*.*")
            )
            self.sealed = sorted(path.stat().st_size for path in (world.state / "sealed").iterdir())
            self.opened = [
                open_sealed_log(world.server.keys, path) for path in sorted((world.state / "sealed").iterdir())
            ]
            self.bodies = b"".join(answer.body for _, answer in researcher.seen)
            self.charged = world.read(books_of)["population:patients"]
            self.left = list(Path(folder, "staging").rglob("*.parquet"))

    def _call(self, method, path, body):
        return (
            self.world.call("rob", method, path, json=body)
            if body is not None
            else self.world.call("rob", method, path)
        )

    def _pause(self):
        self.world.step(TICK)
        self.moments.append(
            (str(self.world.clock.now()), [(each.state.value, str(each.release_at)) for each in self.world.open_jobs()])
        )


@pytest.fixture(scope="module")
def whole_story():
    """The server whose data lacks the person, seen in every way."""
    return Watched(without(WHOLE, TARGET), honest, Researcher.whole_story)


@pytest.fixture(scope="module")
def usual():
    """The same, through two jobs only."""
    return Watched(without(WHOLE, TARGET), honest)


def check_same(one, other):
    for mine, theirs in zip(one.transcript, other.transcript, strict=True):
        assert mine == theirs
    assert one.log == other.log
    assert one.moments == other.moments
    assert one.files == other.files
    assert one.sealed == other.sealed
    assert one.charged == other.charged


def test_the_story_is_a_whole_one(whole_story):
    """What is compared is worth comparing: every state, every format and dozens of refusals are in it."""
    seen = whole_story.transcript
    codes = {body["code"] for _, status, _, body in seen if status >= 400 and isinstance(body, dict)}
    assert len(codes) >= 18
    states = [body["state"] for label, _, _, body in seen if " is now" in label]
    ran, cancelled = ["queued", "running", "released"], ["queued", "running", "running", "cancelled"]
    assert states == [*ran, *ran, *ran, *cancelled, *ran]
    assert len(seen) > 150
    kinds = [entry["type"] for entry in whole_story.log]
    assert (kinds.count("release:issued"), kinds.count("job:cancelled"), kinds.count("budget:committed")) == (4, 1, 4)
    assert len(whole_story.files) == 8 + 1
    assert len(whole_story.sealed) == 3
    assert {lane["end"] for lanes in whole_story.opened for lane in lanes.values()} == {"completed"}


def test_every_release_is_issued_at_the_moment_that_was_planned_at_its_start(whole_story):
    planned = {
        entry["subject"]: entry["facts"]["release_at"] for entry in whole_story.log if entry["type"] == "job:started"
    }
    issued = {entry["facts"]["job"]: entry["time"] for entry in whole_story.log if entry["type"] == "release:issued"}
    assert len(issued) == 4
    assert issued == {job: planned[job] for job in issued}


def test_one_person_more_changes_nothing_in_the_whole_story(whole_story, caplog):
    other = Watched(WHOLE, honest, Researcher.whole_story)
    check_same(whole_story, other)
    assert {lane["end"] for lanes in other.opened for lane in lanes.values()} == {"completed"}
    assert [record for record in caplog.records if record.levelno >= logging.CRITICAL] == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_person_more_changes_nothing_that_a_researcher_sees(usual, caplog, name):
    """Whatever the container does because of that person; but for the noised figures, all bytes and all moments are the same."""
    with caplog.at_level(logging.INFO, "banyan"):
        other = Watched(WHOLE, PROGRAMS[name])
    check_same(usual, other)
    assert MARK.encode() not in other.bodies
    assert MARK not in caplog.text
    assert TARGET not in caplog.text
    assert other.left == []
    alarms = [record for record in caplog.records if record.levelno >= logging.CRITICAL]
    assert bool(alarms) == (name != "lying"), "a lie within the form is clamped, not noticed"
    for alarm in alarms:
        assert alarm.getMessage().startswith("alarm: blocks of job j-")


def test_a_container_that_never_ends_changes_nothing(caplog):
    """Killed at its wall limit; the release was planned for then, and comes then."""
    quick = {"start_seconds": 0.1}
    one, other = (
        Watched(data, program, **quick) for data, program in ((without(WHOLE, TARGET), honest), (WHOLE, slow))
    )
    check_same(one, other)
    assert "timed out" in {lane["end"] for lane in other.opened[0].values()}


def damaged(world):
    """One byte of one block of the newest version, on disk."""
    path = next((world.state / "blocks").rglob("3.block"))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def missing(world):
    next((world.state / "blocks").rglob("3.block")).unlink()


def emptied(world):
    next((world.state / "blocks").rglob("3.block")).write_bytes(b"")


@pytest.mark.parametrize("damage", [damaged, missing, emptied])
def test_a_damaged_block_changes_nothing_that_a_researcher_sees(usual, caplog, damage):
    other = Watched(WHOLE, honest, damage=damage)
    assert (other.files == usual.files) == (damage is damaged), "it was damaged"
    other.files = usual.files  # what was damaged differs, on the operator's disk
    check_same(usual, other)
    alarms = [record.getMessage() for record in caplog.records if record.levelno >= logging.CRITICAL]
    assert len(alarms) == 2, "one for each job that read the data to its end"
    assert all("counted as defaults" in alarm and MARK not in alarm for alarm in alarms)


def test_what_the_container_said_is_sealed_and_only_there():
    """The operator can open it, and then sees the words; in no file of the state folder do they stand in the clear (T12)."""
    with quick_folder() as folder, ApiWorld(folder, failing) as world:
        world.furnish(WHOLE)
        world.run(PUBLIC)
        (path,) = (world.state / "sealed").iterdir()
        opened = open_sealed_log(world.server.keys, path)
        assert MARK in "".join(lane["stderr"] for lane in opened.values())
        world.server.journal.engine.dispose()
        for file in Path(folder).rglob("*"):
            if file.is_file():
                assert MARK.encode() not in file.read_bytes(), file
                assert MARK not in str(file)


def test_noise_is_drawn_for_a_job_whose_container_died():
    """Not the default itself is shown but the default with noise: two jobs that both failed give different figures (R9)."""
    with quick_folder() as folder, ApiWorld(folder, lambda *_: 1 / 0) as world:
        world.furnish(WHOLE)
        found = []
        for epsilon in ("0.5", "0.500001"):
            rows = world.get("rob", f"/v1/jobs/{world.run(PUBLIC | {'epsilon': epsilon})}/result").json["rows"]
            found.append([row["total"]["value"] for row in rows])
    assert found[0] != found[1]
    assert all(total != 0 for totals in found for total in totals)
