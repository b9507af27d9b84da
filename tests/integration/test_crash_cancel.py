"""Cancel is true: containers are gone within two seconds, the word comes after that and at its time, the ledger stays right (T09)."""

import contextlib
import os
import signal
import time
from datetime import UTC, datetime

import pytest
from banyan.job import moment

from tests.town import docker, until

pytestmark = [pytest.mark.docker, pytest.mark.ray]
GONE_SECONDS = 2.0


def stop_programs(town, job):
    """Stop what runs in the job's containers, so that it sees neither SIGTERM nor the end of its input; returns what was stopped."""
    stopped = []
    for container in town.containers(job=job, status="running"):
        with contextlib.suppress(AssertionError, ProcessLookupError):
            pid = int(docker(town.engine, "inspect", "-f", "{{.State.Pid}}", container))
            if pid:
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
    return stopped


def test_a_running_job_is_ended_though_its_containers_answer_to_nothing_and_stays_charged(town):
    town.up()
    job = town.submit(201)
    until(lambda: stop_programs(town, job.id), every=0.003)
    time.sleep(0.5)
    assert town.containers(job=job.id, status="running"), "the program had ended before it was stopped"
    job.cancel()
    asked, shown_at = time.monotonic(), moment(town.job(job.id)["cancel_shown_at"])
    assert job.state == "running"
    assert job.status.startswith("cancelling: shown ")
    until(lambda: not town.containers(job=job.id), every=0.003)
    assert time.monotonic() - asked < GONE_SECONDS
    until(lambda: not town.process_with("ray::_lane_task"), 5)
    while job.refresh().state != "cancelled":
        assert not town.containers(job=job.id)
        time.sleep(0.05)
    assert datetime.now(UTC) >= shown_at
    assert not town.plaintext()
    assert town.of_job(job.id)[-2:] == ["job:cancel-asked", "job:cancelled"]
    assert "budget:released" not in town.of_job(job.id)
    town.check_charged_once(job.id)
    assert town.sealed(job.id) is None, "nothing of it was drawn"


@pytest.mark.slow
def test_a_queued_job_is_cancelled_and_its_reservation_comes_back(town):
    town.up()
    first, second = town.submit(202), town.submit(203, epsilon="0.02")
    second.cancel()
    spent = town.client("rob").budget()
    assert second.wait(30).state == "cancelled"
    assert set(town.of_job(second.id)) == {
        "job:submitted", "budget:reserved", "job:cancel-asked", "job:cancelled", "budget:released",
    }  # fmt: skip
    assert town.rows("SELECT state FROM ledger_spends WHERE job = ?", second.id) == [{"state": "released"}]
    assert town.wait(first.id) == "released"
    town.check_charged_once(first.id)
    town.check_nothing_defaulted(first.id)
    assert float(spent[0]["spent"]["epsilon"]) - float(town.client("rob").budget()[0]["spent"]["epsilon"]) > 0.019
