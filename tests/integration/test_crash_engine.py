"""An engine that is away: jobs are accepted and wait, one that runs is released at its time, and all goes on when it is back."""

import contextlib
import socket
import threading
import time

import pytest
from banyan.job import moment

from tests.town import UNHURRIED, town_in, until

pytestmark = [pytest.mark.docker, pytest.mark.ray]


class Door:
    """A socket through which the engine is reached while it is open; closing it cuts everybody off."""

    def __init__(self, path, engine):
        self.path, self._engine = path, engine.removeprefix("unix://")
        self._open: list[socket.socket] = []

    @property
    def url(self):
        return f"unix://{self.path}"

    def open(self):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen()
        self._open = [listening]
        threading.Thread(target=self._welcome, args=(listening,), daemon=True).start()

    def _welcome(self, listening):
        with contextlib.suppress(OSError):
            while True:
                guest, _ = listening.accept()
                host = socket.socket(socket.AF_UNIX)
                host.connect(self._engine)
                self._open += [guest, host]
                for one, other in ((guest, host), (host, guest)):
                    threading.Thread(target=_carry, args=(one, other), daemon=True).start()

    def close(self):
        self.path.unlink(missing_ok=True)
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open = []


def _carry(one, other):
    with contextlib.suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def door(tmp_path_factory, docker_host):
    if not docker_host.startswith("unix://"):
        pytest.skip("the engine is not on a socket of this machine")
    made = Door(tmp_path_factory.mktemp("d") / "s", docker_host)
    yield made
    made.close()


@pytest.fixture(scope="module")
def remote(tmp_path_factory, prepared, docker_host, door):
    """A town that was started while its engine was away."""
    with town_in(tmp_path_factory.mktemp("remote"), prepared, docker_host, **UNHURRIED) as made:
        made.engine, made.behind = door.url, docker_host
        yield made


def stays(town, job, state, seconds=1.5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert town.job(job)["state"] == state
        time.sleep(0.1)


@pytest.mark.slow
def test_without_an_engine_a_server_starts_and_its_jobs_wait_until_there_is_one(remote, door):
    town = remote.up()
    job = town.submit(10)
    assert (job.state, job.status) == ("queued", "queued: lane")
    stays(town, job.id, "queued")
    assert town.of_job(job.id) == ["job:submitted", "budget:reserved"]
    assert "halted: engine.unreachable" in town.log
    door.open()
    assert town.wait(job.id) == "released"
    town.check_charged_once(job.id)
    door.close()
    town.check_nothing_defaulted(job.id)


@pytest.mark.slow
def test_an_engine_that_goes_away_in_the_middle_of_a_job_delays_no_release_and_charges_once(remote, door):
    door.close()
    door.open()
    town = remote.up()
    job = town.submit(20)
    until(lambda: town.containers(job=job.id), every=0.003)
    door.close()
    planned = job.refresh().release_at
    waiting = town.submit(30)
    assert town.wait(job.id) == "released"
    assert moment(town.job(job.id)["release_at"]) == planned
    assert 0 <= town.lateness(job.id) < 5  # the promise is the planned moment; this machine may be busy
    town.check_charged_once(job.id)
    assert town.job(job.id)["attempt"] == 1
    # Cut off from whoever started them, containers end by themselves; one that was only made waits to be removed.
    until(lambda: not town.containers(status="running"), 10)
    stays(town, waiting.id, "queued")
    door.open()
    assert town.wait(waiting.id) == "released"
    town.check_charged_once(job.id, waiting.id)
    assert not town.containers(job=job.id)
    town.check_nothing_defaulted(waiting.id)
