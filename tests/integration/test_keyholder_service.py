"""The key holder as its operator runs it: a process of its own, spoken to over HTTP, killed in the middle, asked by many at once."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from audit import log
from audit.checkpoint import TreeHead, sign
from audit.log import Journal
from audit.signer import FileSigner
from core.clock import SystemClock
from core.database import engine_for
from core.migrate import upgrade
from core.signing_key import create_signing_key, open_signing_key, public_text
from jobs.key_holder import HttpKeyHolder, release_body
from keyholder.app import NOT_NOW, REFUSAL
from keyholder.keys import Keys
from keyholder.ledger import Ledger
from keyholder.records import database_in
from keyholder.registry import read_registry
from keyholder.releasing import Releases
from keyholder.sealed_key import PassphraseSealer
from privacy.encrypted import bfv
from privacy.encrypted.chunks import bytes_of
from privacy.encrypted.header import Header
from tests.unit.encrypted_world import public_line, signing
from tests.unit.test_keyholder import HOSPITALS, PROFILE, UNITS, World, _text, setter, twice

EXACT = [sum(column) for column in zip(*UNITS.values(), strict=True)]
MAX_BODY = 1 << 20
RUN = """
from datetime import timedelta
from keyholder import cli, intake, strangers
intake.MAX_BODY_BYTES, strangers.EVERY = {most}, timedelta(0)
{before}
cli.main()
"""
# The account is written, and then the process is gone before anything is said; or it is gone just before the account is written.
KEPT = """
import os, signal
from keyholder.ledger import Ledger
enter = Ledger.enter
def killed(*given):
    {first}
    os.kill(os.getpid(), signal.SIGKILL)
Ledger.enter = killed
"""


class Office(World):
    """A key holder made by its own commands, with the clock of the machine, and a service beside it."""

    def __init__(self, folder, epsilon="100", daily=1000, days=365):
        self.folder, self.clock, self.daily = folder, SystemClock(), daily
        self.home, self.passphrase = folder / "keyholder", folder / "passphrase"
        self.passphrase.write_text("a passphrase that is long enough")
        self.passphrase.chmod(0o400)
        self.environment = {
            **os.environ,
            "BANYAN_KEYHOLDER_FOLDER": str(self.home),
            "BANYAN_KEYHOLDER_PASSPHRASE_FILE": str(self.passphrase),
        }
        self.said = self.operator("init", "--name", "city key office", "--profile", "sum34", "--days", str(days))
        engine = engine_for(f"sqlite:///{folder / 'service.db'}")
        upgrade(engine)
        FileSigner.create(folder / "signer")
        self.journal = Journal(engine, self.clock, FileSigner(folder / "signer", "test/log"))
        create_signing_key(folder / "manifest.key")
        self.manifest_key = open_signing_key(folder / "manifest.key")
        providers = "".join(f"      {name}: {public_line(name)}\n" for name in HOSPITALS)
        (self.home / "registry.yaml").write_text(
            f"service:\n  log_key: {self.journal.signer.verifier_key}\n  manifest_key: {public_text(self.manifest_key)}\n"
            f"  host: {socket.gethostname()}\n  uid: {os.getuid()}\npopulations:\n  patients:\n    accountant: basic\n    epsilon: {epsilon}\n"
            f"    delta: 0\n    min_providers: 3\n    overlap: 1\n    shared: false\n    providers:\n{providers}"
        )
        self.keys = Keys(self.home, database_in(self.home), self.clock)
        (self.context,) = self.keys.contexts()
        registry = read_registry(self.home / "registry.yaml")
        # Never asked: the tests look through it at the account of the process.
        self.releases = Releases(self.keys, Ledger(self.keys.engine, self.clock, daily), registry, self.passphrase)
        self.process = None

    def operator(self, *words):
        command = [sys.executable, "-P", "-c", "from keyholder.cli import main; main()", *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, before=""):
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        words = ("serve", "--port", str(self.port), "--daily", str(self.daily))
        program = RUN.format(most=MAX_BODY, before=before)
        with (self.folder / "keyholder.log").open("ab") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", program, *words], env=self.environment, stdout=told, stderr=told
            )
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/healthz")
            assert self.process.poll() is None, (self.folder / "keyholder.log").read_text()
            time.sleep(0.05)
        raise AssertionError("the key holder does not answer")

    def end(self, how=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def post(self, document, masked, timeout=60):
        return self.send(release_body(document, masked), timeout)

    def send(self, body, timeout=60):
        return httpx.post(f"{self.url}/v1/release", content=body, timeout=timeout)

    def refused(self, document, masked):
        """Refused in the constant words; the reason in the key holder's own account."""
        return self.refused_bytes(release_body(document, masked))

    def refused_bytes(self, body):
        answer = self.send(body)
        assert (answer.status_code, answer.content) == (409, REFUSAL)
        return self.reasons()[-1]

    def postponed(self, document, masked):
        """To be sent again later, in the constant words; the reason in the key holder's own account."""
        answer = self.post(document, masked)
        assert (answer.status_code, answer.content) == (503, NOT_NOW)
        return self.reasons()[-1]

    def select(self, text):
        with contextlib.closing(sqlite3.connect(f"file:{self.home / 'keyholder.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(text).fetchall()

    def reasons(self):
        return [reason for (reason,) in self.select("SELECT reason FROM refusals ORDER BY number")]

    def strangers(self):
        return [reason for (reason,) in self.select("SELECT newest FROM strangers ORDER BY number")]

    def unsigned(self, body):
        """Refused in the constant words, and only counted: anybody may have sent it."""
        before = len(self.reasons())
        answer = self.send(body)
        assert (answer.status_code, answer.content) == (409, REFUSAL)
        assert len(self.reasons()) == before
        return self.strangers()[-1]

    def jobs(self):
        return [job for (job,) in self.select("SELECT job FROM answers ORDER BY number")]

    def incidents(self):
        return [kind for (kind,) in self.select("SELECT kind FROM incidents ORDER BY number")]

    def secret(self):
        return PassphraseSealer(self.passphrase).open(
            self.context.key, self.keys.secret_file(self.context.key).read_bytes()
        )

    def afresh(self, document):
        spend = document["spend"]
        return {**document, "spend": self.proof(spend["reserved"]["index"], spend["committed"]["index"])}


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """One for all tests that neither freeze its key nor fork its log."""
    made = Office(tmp_path_factory.mktemp("office"))
    made.start()
    yield made
    made.end()


@pytest.fixture
def own(tmp_path):
    """One that a test may spoil."""
    made = Office(tmp_path)
    yield made
    made.end()


def test_an_honest_service_gets_the_numbers_and_can_check_who_said_them(office):
    document, masked = office.request("honest", noise=(10, 20, 30))
    client = HttpKeyHolder(office.url, office.keys.signer)
    assert client.keys().contexts == {office.context.key: office.context}
    values = client.release("honest", release_body(document, masked))["units"]
    client._http.close()
    assert np.abs(np.subtract(values, np.add(EXACT, (10, 20, 30)))).max() < 100
    assert office.operator("status").splitlines()[-1] == "begun and never answered: 0"
    assert office.said.startswith(f"signer {office.keys.signer}\n")


def test_a_replayed_request_gets_the_same_bytes_and_another_manifest_around_it_nothing(office):
    document, masked = office.request("replayed")
    first = office.post(document, masked)
    assert first.status_code == 200
    assert office.post(document, masked).content == first.content
    moved = {**document, "manifest": {**document["manifest"], "job": "replayed-2"}}
    assert "not signed by the service" in office.unsigned(release_body(moved, masked))
    borrowed, _ = office.request("replayed-3", masked=masked)
    assert "another job" in office.refused({**borrowed, "spend": office.afresh(document)["spend"]}, masked)
    assert office.jobs().count("replayed") == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"change": twice}, "provider is named twice"), ({"providers": HOSPITALS[:2]}, "fewer providers"), ({"providers": HOSPITALS[:1]}, "fewer providers"),
        ({"change": setter(level="S2")}, "apart"), ({"change": setter(population="others")}, "pinned"), ({"logged": {"job": "of-another"}}, "another job"),
        ({"logged": {"loss": {"epsilon": "0.5", "delta": "0", "rho": "0"}}}, "something else"),
    ],
)  # fmt: skip
def test_a_request_that_is_not_as_it_must_be(office, given, reason):
    before = office.jobs()
    assert reason in office.refused(
        *office.request(f"wrong-{hashlib.sha256(repr(given).encode()).hexdigest()[:8]}", **given)
    )
    assert office.jobs() == before


def test_a_forged_checkpoint_and_a_stale_proof(office):
    old, masked = office.request("stale-1")
    assert office.post(old, masked).status_code == 200
    document, masked = office.request("stale-2")
    spend = document["spend"]
    larger = re.sub(r"\n(\d+)\n", lambda found: f"\n{int(found[1]) + 1}\n", spend["checkpoint"], count=1)
    other_key = sign(TreeHead(10**6, bytes(32)), "test/log", office.manifest_key)
    for checkpoint in (larger, other_key, "", old["spend"]["checkpoint"][:-3]):
        forged = {**document, "spend": {**spend, "checkpoint": checkpoint}}
        assert "not signed by the service's log" in office.refused(forged, masked)
    assert office.post(*office.request("stale-3")).status_code == 200
    stale = {**document, "spend": {**spend, "checkpoint": old["spend"]["checkpoint"]}}
    assert "older than the one followed" in office.postponed(stale, masked)
    assert office.post(office.afresh(document), masked).status_code == 200
    assert office.incidents() == []


def test_a_second_ciphertext_for_a_job(office):
    assert office.post(*office.request("second")).status_code == 200
    assert "another ciphertext" in office.refused(*office.request("second"))
    assert office.jobs().count("second") == 1


def test_one_job_from_many_threads_is_one_row_and_one_answer(office):
    document, masked = office.request("many")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: office.post(document, masked), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert office.jobs().count("many") == 1


def test_many_ciphertexts_at_once_for_one_job_are_one_answer(office):
    requests = [office.request("torn") for _ in range(4)]
    proofs = office.afresh(requests[-1][0])["spend"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda each: office.post({**each[0], "spend": proofs}, each[1]), requests))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert {answer.content for answer in answers if answer.status_code == 409} == {REFUSAL}
    assert office.jobs().count("torn") == 1
    assert len(office.select("SELECT * FROM intents WHERE job = 'torn'")) == 1


def test_bodies_that_are_no_requests(office):
    document, masked = office.request("bodies")
    good = release_body(document, masked)
    before = len(office.strangers())
    bodies = [
        b"",
        good[:7],
        good[:100],
        struct.pack(">Q", 2**63) + b"{}",
        b"\0" * 8 + masked,
        struct.pack(">Q", 4) + b"null",
    ]
    for body in bodies:
        office.unsigned(body)
    assert len(office.strangers()) == before + len(bodies)
    for body in (good[:-1], good + b"x"):
        assert office.refused_bytes(body) == "the ciphertext is not the manifest's"
    assert office.send(good).status_code == 200


def test_a_body_that_is_too_large_is_not_read_to_its_end_and_is_counted(office):
    before = len(office.strangers())
    document, _ = office.request("large")
    with contextlib.suppress(httpx.TransportError):  # it may be cut off while it still sends
        answer = office.send(release_body(document, bytes(3 * MAX_BODY)))
        assert (answer.status_code, answer.content) == (409, REFUSAL)
    assert waited(lambda: office.strangers()[before:]) == ["the request is too large"]


def test_strangers_that_send_slowly_and_much_keep_no_memory_and_no_release_waits_for_them(office):
    document, masked = office.request("beside")
    unsigned = release_body({**document, "signature": _text(bytes(64))}, b"")
    head = f"POST /v1/release HTTP/1.1\r\nHost: k\r\nContent-Length: {len(unsigned) + MAX_BODY // 2}\r\n\r\n".encode()
    with contextlib.ExitStack() as open_ones:
        slow = [open_ones.enter_context(socket.create_connection(("127.0.0.1", office.port))) for _ in range(20)]
        for connection in slow:
            connection.sendall(head + unsigned)
        assert office.post(document, masked).status_code == 200
        for connection in slow:
            connection.sendall(bytes(MAX_BODY // 2))
            assert connection.recv(12) == b"HTTP/1.1 409"


def test_a_body_that_ends_before_its_end_is_counted(office):
    before = len(office.strangers())
    with socket.create_connection(("127.0.0.1", office.port)) as connection:
        connection.sendall(
            b"POST /v1/release HTTP/1.1\r\nHost: k\r\nContent-Length: 5000\r\n\r\n" + struct.pack(">Q", 4900)
        )
    assert waited(lambda: office.strangers()[before:]) == ["the request was cut off"]
    assert httpx.get(f"{office.url}/healthz").status_code == 200
    assert "Traceback" not in (office.folder / "keyholder.log").read_text()


def waited(what, seconds=10):
    until = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_no_slot_that_the_child_decrypts_holds_an_exact_total(office):
    """All slots, also those beyond the result, with the secret key as the child has it (encryption.md, 0)."""
    _, masked = office.request("slots", noise=(70_001, 70_003, 70_007))
    chunk = np.frombuffer(masked, "<u8").reshape(PROFILE.shape)
    slots = bfv.Decryptor(bfv.KeyPair(office.context.public, office.secret())).decrypt(chunk)
    exact = {*EXACT, *(value for values in UNITS.values() for value in values if value)}
    assert slots[:3] == [total + noise for total, noise in zip(EXACT, (70_001, 70_003, 70_007), strict=True)]
    assert not exact & set(slots)
    rest = np.array(slots[3:], float) / PROFILE.span
    assert np.abs(np.histogram(rest, 8, (-0.5, 0.5))[0] / len(rest) - 1 / 8).max() < 0.04, (
        "uniform, hence without content"
    )


def test_the_process_that_serves_opens_no_key(own):
    """On start, for a release and for a refusal a child does. It would end where it opened one."""
    own.start(
        "import os\nfrom keyholder.sealed_key import PassphraseSealer\nPassphraseSealer.open = lambda *_: os._exit(99)"
    )
    assert own.post(*own.request("one")).status_code == 200
    own.refused(*own.request("two", providers=HOSPITALS[:2]))
    assert own.process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of a process that has closed its doors")
def test_the_memory_of_the_process_that_serves_holds_no_secret_key(own):
    own.start()
    assert own.post(*own.request("one")).status_code == 200
    secret, memory = own.secret(), memory_of(own.process.pid)
    assert own.keys.signer.encode() in memory, "the memory that was read is the server's"
    for at in (200, len(secret) // 2, len(secret) - 200):
        assert secret[at : at + 64] not in memory
    assert own.passphrase.read_bytes() not in memory


def memory_of(pid):
    found = bytearray()
    areas = [line.split()[:2] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for place, rights in areas:
            start, end = (int(each, 16) for each in place.split("-"))
            if rights.startswith("rw"):
                with contextlib.suppress(OSError, ValueError):
                    memory.seek(start)
                    found += memory.read(end - start)
    return bytes(found)


def test_killed_after_the_answer_was_kept_it_says_the_same_when_it_is_back(own):
    document, masked = own.request("kept")
    own.start(KEPT.format(first="enter(*given)"))
    with pytest.raises(httpx.TransportError):
        own.post(document, masked)
    assert own.process.wait(10) == -signal.SIGKILL
    ((kept,),) = own.select("SELECT answer FROM answers")
    own.start()
    assert own.post(document, masked).content == kept
    assert own.jobs() == ["kept"]
    assert "another ciphertext" in own.refused(*own.request("kept"))


@pytest.mark.slow
def test_killed_before_the_answer_was_kept_only_the_same_bytes_are_tried_again(own):
    document, masked = own.request("lost")
    own.start(KEPT.format(first="pass"))
    with pytest.raises(httpx.TransportError):
        own.post(document, masked)
    assert own.process.wait(10) == -signal.SIGKILL
    assert own.jobs() == []
    own.start()
    assert own.operator("status").splitlines()[-1] == "begun and never answered: 1 (newest lost)"
    assert "another ciphertext" in own.refused(*own.request("lost"))
    assert own.post(own.afresh(document), masked).status_code == 200
    assert own.jobs() == ["lost"]
    assert own.operator("status").splitlines()[-1] == "begun and never answered: 0"
    assert own.releases.ledger.spent("patients").epsilon == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="its memory is locked for root, and where the system sets no limit")
def test_killed_while_it_decrypts_its_child_ends_with_it(own):
    document, masked = own.request("child")
    own.start()
    asking = threading.Thread(target=_swallowed, args=(own, document, masked))
    asking.start()
    child = waited(lambda: child_of(own.process.pid))
    os.kill(child, signal.SIGSTOP)  # it would end soon by itself
    own.process.kill()
    own.process.wait(10)
    asking.join(10)
    assert waited(lambda: is_gone(child)), "a process with the key outlives its parent"
    assert own.jobs() == []
    own.start()
    assert own.post(document, masked).status_code == 200


def _swallowed(office, document, masked):
    with contextlib.suppress(httpx.TransportError):
        office.post(document, masked)


def child_of(parent):
    """The process that decrypts, once it has locked its memory: from then on it may open the key."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status = (folder / "status").read_text()
            if f"PPid:\t{parent}\n" in status and int(re.search(r"VmLck:\s+(\d+)", status)[1]):
                return int(folder.name)
    return None


def is_gone(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize("kind", ["beyond the guard", "of another key", "shorter"])
def test_what_no_honest_service_can_send_freezes_the_key_until_its_operator_says_otherwise(own, kind):
    masked = {
        "beyond the guard": lambda: bytes_of(bfv.encrypt(own.context.public, PROFILE, [10**9] + [0] * (PROFILE.slots - 1))),
        "of another key": lambda: bytes_of(bfv.encrypt(bfv.new_keys(PROFILE).public, PROFILE, [1] * PROFILE.slots)),
        "shorter": lambda: own.request("cut")[1][:-8],
    }[kind]()  # fmt: skip
    own.start()
    own.refused(*own.request("wild", masked=masked))
    assert httpx.get(f"{own.url}/v1/key").json()["states"] == {own.context.key: "frozen"}
    assert own.incidents() == ["ciphertext.out_of_range"]
    assert "frozen" in own.refused(*own.request("next"))
    told = own.operator("incidents").splitlines()
    assert "ciphertext.out_of_range" in told[0]
    assert told[1].count("(not opened before)") == told[1].count("version 1 of hospital-") == len(HOSPITALS)
    own.operator("unfreeze", own.context.key)
    assert own.post(*own.request("after")).status_code == 200
    assert own.jobs() == ["after"]


def test_a_log_that_was_rolled_back_opens_nothing_and_one_that_forked_is_told_to_the_operator(own):
    own.start()
    for job in ("one", "two"):
        assert own.post(*own.request(job)).status_code == 200
    document, masked = own.request("three")
    key = open_signing_key(own.folder / "signer" / "log.key")
    with own.journal.reading() as connection:
        root = log.root_of(connection, 3)
    back = {**document["spend"], "checkpoint": sign(TreeHead(3, root), "test/log", key), "consistency": []}
    assert "smaller than the one followed" in own.postponed({**document, "spend": back}, masked)
    assert own.incidents() == []
    forked = {**back, "checkpoint": sign(TreeHead(9, root), "test/log", key)}
    assert own.refused({**document, "spend": forked}, masked) == "the log does not extend the one seen before"
    assert "log.forked" in own.operator("incidents")
    assert httpx.get(f"{own.url}/v1/checkpoint").json()["size"] == 4
    assert own.post(document, masked).status_code == 200


@pytest.mark.slow
def test_a_budget_that_is_used_up_stays_so_through_a_restart(tmp_path):
    own = Office(tmp_path, epsilon="2.5")
    try:
        own.start()
        for job in ("one", "two"):
            assert own.post(*own.request(job)).status_code == 200
        assert "budget" in own.refused(*own.request("three"))
        own.end(signal.SIGKILL)
        own.start()
        assert "budget" in own.refused(*own.request("four"))
        assert own.jobs() == ["one", "two"]
        assert (
            "spent  patients: epsilon 2, delta 0 of epsilon 2.5, delta 0; left: epsilon 0.5, delta 0"
            in own.operator("status")
        )
    finally:
        own.end()


def test_more_than_the_releases_of_a_day(tmp_path):
    own = Office(tmp_path, daily=2)
    try:
        own.start()
        for job in ("one", "two"):
            assert own.post(*own.request(job)).status_code == 200
        assert httpx.get(f"{own.url}/v1/key").json()["resting"] == [own.context.key]
        assert "of a day" in own.postponed(*own.request("three"))
    finally:
        own.end()


def test_an_expired_key_opens_what_was_encrypted_before_and_nothing_after(tmp_path):
    own = Office(tmp_path, days=1)
    own.start()
    try:
        assert own.post(*own.request("before")).status_code == 200
        late = own.context.expires

        def change(document):
            for upload, name in zip(document["uploads"], HOSPITALS, strict=True):
                upload["header"] = dated(upload["header"], name, late)

        assert "after its key had expired" in own.refused(*own.request("late", change=change))
    finally:
        own.end()


def dated(header, provider, moment):
    changed = replace(Header.from_json(header), created=moment)
    return replace(changed, signature=_text(signing(provider).sign(changed.signed()))).to_json()


def test_the_wrong_passphrase_shows_at_the_start(own):
    own.passphrase.chmod(0o600)
    own.passphrase.write_text("another passphrase, long enough")
    own.passphrase.chmod(0o400)
    with pytest.raises(AssertionError, match="cannot be opened with this passphrase"):
        own.start()


def test_answers_carry_nothing_but_the_result(office):
    document, masked = office.request("answer")
    said = json.loads(office.post(document, masked).content)
    assert set(said) == {"job", "key", "ciphertext", "values", "signature"}
    assert {name: len(values) for name, values in said["values"].items()} == {"units": 3}
