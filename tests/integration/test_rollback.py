"""A database restored from a backup cannot spend again: the newest checkpoint lies outside it (design R17)."""

import shutil
import sqlite3

import pytest
from banyan.errors import Refused

from tests.town import until

pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(300)]


def taken(town, name):
    """A copy of the database of a server that is stopped."""
    folder = town.folder / name
    folder.mkdir()
    for path in town.state.glob("banyan.db*"):
        shutil.copy2(path, folder)
    return folder


def taken_hot(town, name):
    """A copy of the database of a server that is running, as SQLite makes backups."""
    folder = town.folder / name
    folder.mkdir()
    source, target = sqlite3.connect(town.state / "banyan.db"), sqlite3.connect(folder / "banyan.db")
    source.backup(target)
    source.close()
    target.close()
    return folder


def restore(town, folder):
    for path in town.state.glob("banyan.db*"):
        path.unlink()
    for path in folder.iterdir():
        shutil.copy2(path, town.state)


def check_refused(town, minutes):
    with pytest.raises(Refused) as refused:
        town.submit(minutes, epsilon="0.1")
    assert refused.value.code == "log.rolled_back"
    assert "restore the newest database" in refused.value.way_out


@pytest.mark.slow
def test_a_restored_database_cannot_spend_again(another_town):
    town = another_town.up()
    assert town.wait(town.submit(10, epsilon="0.2").id) == "released"
    # The server is stopped in the middle of a job, with another one waiting.
    running, queued = town.submit(20, epsilon="0.2").id, town.submit(30, epsilon="0.2").id
    until(lambda: town.job(running)["state"] == "running")
    assert town.stop() == 0
    cold = taken(town, "cold")

    town.start()
    assert [town.wait(job) for job in (running, queued)] == ["released"] * 2
    hot = taken_hot(town, "hot")
    assert town.wait(town.submit(40, epsilon="0.2").id) == "released"
    until(lambda: signed_size(town) == len(town.events()))
    assert town.stop() == 0
    newest, signed = taken(town, "newest"), (town.state / "signer" / "checkpoint").read_bytes()

    # The stopped server's backup: a job that had started and one that was waiting would run again.
    restore(town, cold)
    before = town.events()
    town.start()
    until(lambda: "halted: log.rolled_back" in town.log)
    check_refused(town, 50)
    # Everything but jobs still works, so that the log grows past the size that was signed; it is still not that log.
    ada = town.client("ada")
    while len(town.events()) <= size_of(signed) + 5:
        ada._connection.json("GET", "/v1/log/entries", params={"limit": 1})
    check_refused(town, 51)
    assert [town.job(job)["state"] for job in (running, queued)] == ["running", "queued"]
    assert {entry["type"] for entry in town.events()[len(before) :]} == {"log:read"}
    assert not town.containers()
    assert not town.plaintext()
    assert (town.state / "signer" / "checkpoint").read_bytes() == signed
    assert town.stop() == 0

    # The running server's backup.
    restore(town, hot)
    told = town.log.count("halted: log.rolled_back")
    town.start(wait=False)
    check_refused(town, 52)
    until(lambda: town.log.count("halted: log.rolled_back") > told)
    check_refused(town, 53)
    assert len(town.rows("SELECT id FROM jobs")) == 3
    assert town.stop() == 0
    assert (town.state / "signer" / "checkpoint").read_bytes() == signed

    # The newest database is the one thing that helps; all four spends are in it.
    restore(town, newest)
    town.start(wait=False)
    with pytest.raises(Refused) as refused:
        town.submit(60, epsilon="0.3")
    assert (refused.value.code, refused.value.way_out) == ("budget.population", "ε ≤ 0.2")
    last = town.submit(60, epsilon="0.2").id
    assert town.wait(last) == "released"
    town.check_charged_once(last)


def size_of(note):
    return int(note.splitlines()[1])


def signed_size(town):
    return size_of((town.state / "signer" / "checkpoint").read_bytes())
