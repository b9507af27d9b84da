"""kill -9 of each process at each moment: the job comes to its end, nothing is charged or drawn twice, nothing is left (G3, R9, R17)."""

import os
import signal
import time

import pytest

from tests.town import STOP_SECONDS, alive, until

pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(240)]
ORPHANED_SECONDS = 60
WORDS = {"worker": ["ray::_lane_task", "ray::IDLE"], "raylet": ["/raylet/raylet "], "reconciler": ["api.reconcile"]}
MOMENTS = ("queued", "committed", "running", "sealed")
# All sixteen are run by `just test-all`.
QUICK = {("reconciler", "committed"), ("worker", "running")}
_minutes = iter(range(1, 240))


def cases():
    for victim in ("api", "reconciler", "worker", "raylet"):
        for moment in MOMENTS:
            marks = () if (victim, moment) in QUICK else pytest.mark.slow
            yield pytest.param(victim, moment, id=f"{victim}-{moment}", marks=marks)


def kill(town, victim):
    if victim == "api":
        town.kill()
        return
    os.kill(until(lambda: town.process_with(*WORDS[victim])), signal.SIGKILL)


def brought_to(town, moment):
    """A job at the moment; the one to watch is the last."""
    if moment == "queued":
        first, job = town.submit(next(_minutes)).id, town.submit(next(_minutes)).id
        assert town.job(job)["state"] == "queued"
        return [first, job]
    job = town.submit(next(_minutes)).id
    until(lambda: MOMENT[moment](town, job), every=0.003)
    return [job]


MOMENT = {
    "committed": lambda town, job: town.job(job)["state"] == "running",
    "running": lambda town, job: town.containers(job=job),
    "sealed": lambda town, job: town.sealed(job),
}


def check_nothing_stays(town, seen):
    """A server that was killed takes its reconciler, its Ray, its containers and its plaintext with it."""
    assert len(seen) >= 5
    until(lambda: not alive(seen), ORPHANED_SECONDS)
    assert town.processes() == {}
    assert not town.containers()
    assert not town.plaintext()
    assert town.temporary_folders() == []


@pytest.mark.parametrize(("victim", "moment"), [*cases()])
def test_killed_at_any_moment(town, victim, moment):
    town.up()
    jobs = brought_to(town, moment)
    sealed = town.sealed(jobs[-1])
    seen = {key: command for key, command in town.processes().items() if "serve" not in command}
    kill(town, victim)
    if victim == "api":
        if moment == "queued":
            check_nothing_stays(town, seen)
        town.start()
    assert [town.wait(job) for job in jobs] == ["released"] * len(jobs)
    for job in jobs:
        events = town.of_job(job)
        for once in ("job:started", "release:sealed", "release:issued"):
            assert events.count(once) == 1, events
    town.check_charged_once(*jobs)
    (issued,) = [e for e in town.events("release:issued") if e["facts"]["job"] == jobs[-1]]
    if sealed:
        assert town.sealed(jobs[-1]) == sealed
        assert issued["facts"]["output"] == sealed["output"]
    assert min(town.lateness(job) for job in jobs) >= 0, "nothing is shown before its time"
    until(lambda: town.health() == "ready")
    if victim == "worker":
        assert [town.job(job)["attempt"] for job in jobs] == [1] * len(jobs)
    else:
        # With any other process the reconciler and its Ray are gone, and new ones have taken the job up.
        until(lambda: not alive(seen))
        assert town.job(jobs[-1])["attempt"] == (1 if moment in ("queued", "sealed") else 2)
    until(lambda: not town.containers(), 5)
    until(lambda: not town.plaintext(), 5)
    assert town.client("rob").result(jobs[-1]).data["receipt"] == issued["subject"]
    # Who takes over computes the job from its data; it does not make do with defaults.
    town.check_nothing_defaulted(*jobs)


@pytest.mark.slow
def test_what_is_left_of_a_ray_whose_raylet_and_reconciler_were_killed_ends_by_itself(town):
    town.up()
    seen = town.processes(agents=True)
    for victim in ("raylet", "reconciler", "api"):
        kill(town, victim)
    until(lambda: not alive(seen), ORPHANED_SECONDS + 15)
    town.start()
    assert len(town.temporary_folders()) == 1


def test_sigterm_ends_the_server_cleanly_in_the_middle_of_a_job(town):
    town.up()
    job = town.submit(next(_minutes)).id
    until(lambda: town.containers(job=job))
    seen = town.processes()
    begun = time.monotonic()
    assert town.stop() == 0
    assert time.monotonic() - begun < STOP_SECONDS
    assert alive(seen) == {}
    check_nothing_stays(town, seen)
    assert town.job(job)["state"] == "running"
    town.start()
    assert town.wait(job) == "released"
    town.check_charged_once(job)
    town.check_nothing_defaulted(job)
