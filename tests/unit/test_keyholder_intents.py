"""A job has one ciphertext for ever, kept before it is decrypted, and what a ciphertext brings down is a failure to decode it."""

import base64
import signal
import sqlite3
import subprocess
from dataclasses import replace

import pytest
import sqlalchemy

from core.database import changing
from jobs.key_holder import release_body
from keyholder import decryption
from keyholder.keys import Keys, KeyState
from keyholder.ledger import Exhausted, Ledger, OtherCiphertext, OverBudget, incidents_in, unanswered_in
from keyholder.log_follower import Head
from keyholder.records import metadata, prepare
from keyholder.request import Refused
from privacy.accountant import Accountant, Capacity
from privacy.encrypted import bfv
from privacy.encrypted.chunks import bytes_of
from privacy.encrypted.header import Header
from privacy.encrypted.manifest import Manifest
from tests.unit.encrypted_world import signing
from tests.unit.test_keyholder import PROFILE, World, rows


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def capacity_of(world, name="patients"):
    return world.releases.registry.populations[name].capacity


def afresh(world, document):
    """The same request with a proof that extends what is followed now, as the service makes it for each try."""
    spend = document["spend"]
    return {**document, "spend": world.proof(spend["reserved"]["index"], spend["committed"]["index"])}


def child_that(monkeypatch, command):
    """The child reads its order and then ends in another way."""
    real = subprocess.run
    monkeypatch.setattr(
        decryption.subprocess, "run", lambda _, **how: real(["/bin/sh", "-c", f"cat > /dev/null; {command}"], **how)
    )


def test_after_a_failure_without_an_answer_only_the_same_bytes_may_be_tried_again(world, monkeypatch):
    document, masked = world.request()
    with monkeypatch.context() as patch:
        child_that(patch, "exit 1")
        assert "has failed" in world.postpone(document, masked)
    assert unanswered_in(world.keys.engine) == ["j-1"]
    other, bytes_of_other = world.request()
    assert bytes_of_other != masked
    assert "another ciphertext" in world.refuse(other, bytes_of_other)
    assert rows(world) == 0
    world.ask(afresh(world, document), masked)
    assert unanswered_in(world.keys.engine) == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL])
def test_a_library_that_a_ciphertext_brings_down_freezes_the_key(world, monkeypatch, number):
    child_that(monkeypatch, f"kill -{int(number)} $$")
    world.refuse(*world.request())
    assert world.keys.states()[world.context.key] is KeyState.FROZEN
    assert [each.kind for each in incidents_in(world.keys.engine)] == ["ciphertext.out_of_range"]


def test_a_freeze_names_the_uploads_of_the_sum_and_which_of_them_never_opened(world, monkeypatch, caplog):
    """The service may be honest, and one provider's upload what is wrong."""
    world.ask(*world.request("j-1"))

    def new_version(document):
        header = replace(Header.from_json(document["uploads"][2]["header"]), content="sha256:" + "c" * 64)
        signature = base64.b64encode(signing("hospital-c").sign(header.signed())).decode()
        document["uploads"][2] |= {"version": 2, "header": replace(header, signature=signature).to_json()}

    child_that(monkeypatch, f"exit {decryption.OUT_OF_RANGE}")
    named = "medical/hospital_a version 1 of hospital-a, medical/hospital_b version 1 of hospital-b, medical/hospital_c version 2 of hospital-c"
    reason = world.refuse(*world.request("j-2", change=new_version))
    assert reason == "the sum is not one that an honest service can send; job j-2"
    (incident,) = incidents_in(world.keys.engine)
    assert (incident.kind, incident.key, incident.job) == ("ciphertext.out_of_range", world.context.key, "j-2")
    assert incident.about == f"{named} (not opened before)"
    assert f"alarm: the key {world.context.key} is frozen: {reason}, a sum of {named}" in caplog.text
    assert content(world, "key_states")[-1][-1] == f"{reason}, a sum of {named}"


def test_an_upload_of_which_another_vector_was_opened_is_still_suspected(world):
    manifest = Manifest.from_json(world.request()[0]["manifest"])
    world.releases.ledger.enter(manifest, capacity_of(world), b"one")
    assert "not opened" not in world.releases._suspected(manifest)
    other = replace(manifest, vectors=(replace(manifest.vectors[0], name="sum:cost"),))
    assert world.releases._suspected(other).count("(not opened before)") == 3


@pytest.mark.parametrize("end", ["kill -9 $$", "exit 1", "echo no passphrase; exit 12"])
def test_what_passes_freezes_nothing_and_may_be_sent_again(world, monkeypatch, end):
    document, masked = world.request()
    with monkeypatch.context() as patch:
        child_that(patch, end)
        world.postpone(document, masked)
    assert world.keys.states()[world.context.key] is KeyState.ACTIVE
    assert incidents_in(world.keys.engine) == []
    world.ask(document, masked)


def test_a_child_that_says_something_else_freezes_nothing(world, monkeypatch):
    document, masked = world.request()
    with monkeypatch.context() as patch:
        child_that(patch, "echo nothing")
        world.refuse(document, masked)
    assert world.keys.states()[world.context.key] is KeyState.ACTIVE
    assert incidents_in(world.keys.engine) == []
    world.ask(document, masked)


def test_a_day_counts_what_was_begun_and_the_same_bytes_once(world, monkeypatch):
    releases = world.serving(daily=2)
    document, masked = world.request("j-1")
    with monkeypatch.context() as patch:
        child_that(patch, "exit 1")
        for _ in range(3):
            world.postpone(document, masked, releases)
    world.ask(*world.request("j-2"), releases)
    assert "of a day" in world.postpone(*world.request("j-3"), releases)
    world.ask(afresh(world, document), masked, releases)


def test_the_hundred_and_first_of_a_day(world):
    manifest = Manifest.from_json(world.request()[0]["manifest"])
    ledger, capacity = world.releases.ledger, capacity_of(world)
    assert ledger.daily == 100
    for number in range(99):
        ledger.intend(replace(manifest, job=f"k-{number}"), capacity)
    assert ledger.exhausted([world.context.key]) == []
    ledger.intend(replace(manifest, job="k-99"), capacity)
    assert ledger.exhausted([world.context.key]) == [world.context.key]
    with pytest.raises(Exhausted, match="of a day"):
        ledger.intend(manifest, capacity)
    assert "of a day" in world.postpone(*world.request())
    world.clock.advance(86_401)
    world.ask(*world.request("j-2"))


def test_nothing_is_decrypted_whose_intent_cannot_be_kept(world, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("disk full")

    def opened(*_):
        raise AssertionError("it was decrypted")

    monkeypatch.setattr(Ledger, "intend", full)
    monkeypatch.setattr(decryption, "decrypted", opened)
    assert "disk full" in world.refuse(*world.request())


def test_a_key_whose_freezing_cannot_be_written_down_opens_nothing_more(world, monkeypatch):
    wild = bytes_of(bfv.encrypt(world.context.public, PROFILE, [10**9] + [0] * (PROFILE.slots - 1)))
    request = world.request(masked=wild)

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Keys, "set_state", full)
        world.refuse(*request)
    assert world.keys.states()[world.context.key] is KeyState.ACTIVE
    assert "frozen" in world.refuse(*world.request("j-2"))


def test_a_refusal_that_cannot_be_written_down_is_refused_all_the_same(world, monkeypatch, caplog):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Ledger, "refuse", full)
    document, masked = world.request()
    with pytest.raises(Refused):
        world.releases.answer(release_body(document, masked[:-1]))
    assert "could not be written down" in caplog.text


def test_reasons_stay_on_one_line(world, caplog):
    world.releases.note("one\ntwo\x1b[31m")
    assert "one?two?[31m" in caplog.text


def test_two_processes_with_one_account_decide_alike(world):
    """The second has asked before the first was through: the account itself says no."""
    manifest = Manifest.from_json(world.request()[0]["manifest"])
    ledger, capacity = world.releases.ledger, capacity_of(world)
    ledger.intend(manifest, capacity)
    other = replace(manifest, ciphertext="sha256:" + "0" * 64)
    with pytest.raises(OtherCiphertext):
        ledger.intend(other, capacity)
    assert ledger.enter(manifest, capacity, b"one") == b"one"
    assert ledger.enter(manifest, capacity, b"two") == b"one"
    with pytest.raises(OtherCiphertext):
        ledger.enter(other, capacity, b"two")
    small = Capacity.of(Accountant.BASIC, manifest.loss.epsilon, manifest.loss.delta)
    with pytest.raises(OverBudget, match="budget"):
        ledger.enter(replace(manifest, job="j-2"), small, b"three")


def test_an_older_head_never_takes_the_place_of_a_newer_one(world):
    ledger = world.releases.ledger
    for size in (5, 9, 7, 9):
        ledger.follow(Head(size, bytes([size]) * 32, ""))
    assert ledger.followed().size == 9
    assert rows(world, "followed") == 2


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_no_row_is_changed_removed_or_replaced(world, table):
    world.ask(*world.request())
    world.releases.note("something")
    world.releases.ledger.open_incident("test", None, None)
    world.releases.ledger.count_strangers(3, "too short")
    columns = [column.name for column in metadata.tables[table].columns]
    before = content(world, table)
    assert before
    for statement in (
        f"UPDATE {table} SET {columns[0]} = {columns[0]}",
        f"DELETE FROM {table}",
        f"REPLACE INTO {table} SELECT * FROM {table}",
        f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
    ):
        with (
            pytest.raises(sqlalchemy.exc.IntegrityError, match="only ever added"),
            changing(world.keys.engine) as connection,
        ):
            connection.exec_driver_sql(statement)
    assert content(world, table) == before


def test_a_row_of_another_job_does_not_take_the_number_of_one(world):
    world.ask(*world.request())
    statement = "REPLACE INTO answers SELECT 'other', number, population, key, ciphertext, loss, manifest, answer, answered_at FROM answers"
    with pytest.raises(sqlalchemy.exc.IntegrityError), changing(world.keys.engine) as connection:
        connection.exec_driver_sql(statement)
    assert [row[0] for row in content(world, "answers")] == ["j-1"]


def test_an_older_folder_gets_what_it_lacks(world):
    with changing(world.keys.engine) as connection:
        connection.exec_driver_sql("DROP TABLE intents")
        connection.exec_driver_sql("ALTER TABLE incidents DROP COLUMN about")
        connection.exec_driver_sql("DROP TRIGGER answers_no_insert")
    with changing(world.keys.engine) as connection:
        prepare(connection)
    world.ask(*world.request())
    world.releases.ledger.open_incident("test", None, None, "medical/hospital_a")
    assert [each.about for each in incidents_in(world.keys.engine)] == ["medical/hospital_a"]
    with pytest.raises(sqlalchemy.exc.IntegrityError), changing(world.keys.engine) as connection:
        connection.exec_driver_sql("REPLACE INTO answers SELECT * FROM answers")


def content(world, table):
    with sqlalchemy.create_engine(f"sqlite:///{world.keys.folder / 'keyholder.db'}").connect() as connection:
        return connection.exec_driver_sql(f"SELECT * FROM {table}").fetchall()
