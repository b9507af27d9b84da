"""The key holder: what it releases, once; and everything that it refuses, always in the same words."""

import asyncio
import base64
import hashlib
import json
import os
import socket
import struct
import threading
from dataclasses import replace
from fractions import Fraction

import httpx
import numpy as np
import pytest
import sqlalchemy
from banyan.verify import parse_key

from audit import log
from audit.checkpoint import TreeHead, sign
from audit.events import Event, EventType
from audit.log import Journal
from audit.signer import FileSigner
from core.canonical import canonical
from core.clock import FrozenClock, moment_of
from core.database import changing, engine_for
from core.migrate import upgrade
from core.signing_key import create_signing_key, open_signing_key, public_text
from jobs.key_holder import release_body
from jobs.pinned import Pinned
from keyholder import decryption
from keyholder.app import NOT_NOW, REFUSAL, application
from keyholder.keys import Keys, KeyState
from keyholder.ledger import Ledger, incidents_in
from keyholder.records import database_in
from keyholder.registry import Population, Registry, Service
from keyholder.releasing import NotNow, Releases
from keyholder.request import Refused, Unsigned
from keyholder.sealed_key import PassphraseSealer
from privacy.accountant import Accountant, Capacity
from privacy.encrypted import bfv
from privacy.encrypted.chunks import bytes_of
from privacy.encrypted.header import Header
from privacy.encrypted.manifest import Manifest, Released
from privacy.encrypted.mask import mask
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedRequest
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.request import read_compute
from privacy.encrypted.sums import add
from tests.unit.encrypted_world import public_line, signing, terms

PROFILE = profile_named("sum34")
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
NOW = moment_of("2026-06-01T12:00:00Z")
UNITS = {"hospital-a": [5, 0, 7], "hospital-b": [1, 1, 1], "hospital-c": [10, 20, 30]}


def said(provider):
    return terms(provider, profile="sum34", totals=(), squares=(), least_squares=None)


class World:
    """A service with a log, a key holder that trusts it, and the uploads of three hospitals."""

    def __init__(self, folder, daily=100):
        self.folder, self.clock = folder, FrozenClock(NOW)
        engine = engine_for(f"sqlite:///{folder / 'service.db'}")
        upgrade(engine)
        FileSigner.create(folder / "signer")
        self.journal = Journal(engine, self.clock, FileSigner(folder / "signer", "test/log"))
        create_signing_key(folder / "manifest.key")
        self.manifest_key = open_signing_key(folder / "manifest.key")
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text("a passphrase that is long enough")
        self.passphrase.chmod(0o400)
        home = folder / "keyholder"
        home.mkdir()
        self.keys = Keys(home, database_in(home), self.clock)
        self.keys.initialise("city key office")
        self.context = self.keys.make("sum34", 365, PassphraseSealer(self.passphrase))
        self.releases = self.serving(daily=daily)

    def serving(self, daily=100, epsilon=Fraction(4), least=3, overlap=1, host="elsewhere", uid=-1):
        registry = Registry(
            Service(parse_key(self.journal.signer.verifier_key), public_text(self.manifest_key), host, uid),
            {"patients": Population(Accountant.BASIC, Capacity.of(Accountant.BASIC, epsilon, Fraction(0)), least, overlap, False, {name: public_line(name) for name in HOSPITALS})},
        )  # fmt: skip
        return Releases(self.keys, Ledger(self.keys.engine, self.clock, daily), registry, self.passphrase)

    def request(
        self,
        job="j-1",
        *,
        epsilon=Fraction(1),
        noise=(0, 0, 0),
        providers=HOSPITALS,
        change=None,
        logged=None,
        sign=None,
        key=None,
        masked=None,
    ):
        """A request as an honest service makes it, with the given things otherwise."""
        key = key or self.context
        uploads = [self.upload(provider, key) for provider in providers]
        plan = plan_encrypted(
            EncryptedRequest(
                read_compute({"count": True}), tuple(map(said, providers)), 1, Accountant.BASIC, epsilon, None
            )
        )
        if masked is None:
            chunks = [bfv.encrypt(key.public, PROFILE, UNITS[name] + [0] * (PROFILE.slots - 3)) for name in providers]
            masked = bytes_of(add(PROFILE, [*chunks, mask(key.public, PROFILE, list(noise))]))
        document = {
            "schema": "banyan.manifest/1", "job": job, "population": "patients", "accountant": "basic", "level": "S1", "key": key.key,
            "profile": "sum34", "uploads": uploads, "overlap": 1, "vectors": [Released(vector.name, vector.length, vector.noise).to_json() for vector in plan.vectors],
            "loss": plan.price.to_json(), "ciphertext": "sha256:" + hashlib.sha256(masked).hexdigest(),
        }  # fmt: skip
        if change is not None:
            change(document)
        spend = self.spend({**document, **(logged or {})})
        signature = (sign or self.manifest_key).sign(b"banyan.manifest/1\n" + canonical(document))
        return {"manifest": document, "signature": _text(signature), "spend": spend}, masked

    def upload(self, provider, key):
        unsigned = Header(
            said(provider),
            key.key,
            "sha256:" + hashlib.sha256(provider.encode()).hexdigest(),
            "2026-05-01T00:00:00Z",
            "test",
            None,
            _text(bytes(64)),
        )
        header = replace(unsigned, signature=_text(signing(provider).sign(unsigned.signed())))
        return {"asset": f"medical/{provider.replace('-', '_')}", "version": 1, "header": header.to_json()}

    def spend(self, document):
        """The log of the service with the spend in it, and the proof of that."""
        spend = f"s-{document['job']}"
        facts = {"population": document["population"], "job": document["job"]}
        asked = {"policy": {}, "principal": "p", "organisation": "o", "loss": document["loss"], "asked": {}}
        with self.journal.writing() as tx:
            reserved = tx.record(Event(EventType.BUDGET_RESERVED, spend, "p", facts | asked))
            committed = tx.record(Event(EventType.BUDGET_COMMITTED, spend, "system", facts))
        return self.proof(reserved, committed)

    def proof(self, reserved, committed):
        head = self.journal.publish_checkpoint()
        seen = self.releases.ledger.followed()
        with self.journal.reading() as connection:
            return {
                "checkpoint": log.newest_note(connection),
                "consistency": [_text(part) for part in log.growth_proof(connection, seen.size if seen else 0, head.size)],
                **{
                    name: {"entry": _text(log.entry_at(connection, at).leaf), "index": at, "inclusion": [_text(part) for part in log.inclusion_proof(connection, at, head.size)]}
                    for name, at in (("reserved", reserved), ("committed", committed))
                },
            }  # fmt: skip

    def ask(self, document, masked, releases=None):
        return json.loads((releases or self.releases).answer(release_body(document, masked)))

    def refuse(self, document, masked, releases=None):
        """Refused; the reason that the key holder's own account gives."""
        return self._turned_away(Refused, document, masked, releases)

    def postpone(self, document, masked, releases=None):
        """Told to send the same again later; the reason that the key holder's own account gives."""
        return self._turned_away(NotNow, document, masked, releases)

    def stranger(self, body):
        """Turned away, as what anybody may have sent; the reason."""
        before = rows(self, "refusals")
        with pytest.raises(Unsigned) as caught:
            self.releases.answer(body)
        assert rows(self, "refusals") == before
        return str(caught.value)

    def _turned_away(self, how, document, masked, releases):
        with pytest.raises(how):
            self.ask(document, masked, releases)
        with sqlalchemy.create_engine(f"sqlite:///{self.keys.folder / 'keyholder.db'}").connect() as connection:
            return connection.exec_driver_sql("SELECT reason FROM refusals ORDER BY number DESC").scalar()


def asked(app, method, path, content=b""):
    """One request, without a socket."""

    async def sent():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://keyholder") as client:
            return await client.request(method, path, content=content)

    return asyncio.run(sent())


def _text(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def rows(world, table="answers"):
    with sqlalchemy.create_engine(f"sqlite:///{world.keys.folder / 'keyholder.db'}").connect() as connection:
        return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()


def test_an_honest_request_gets_the_sum_with_noise_and_is_charged(world):
    answer = world.ask(*world.request(noise=(10, 20, 30)))
    values = [int(value) for value in answer["values"]["units"]]
    assert np.abs(np.subtract(values, [26, 41, 68])).max() < 100
    assert world.releases.ledger.spent("patients").epsilon == 1


def test_the_key_holder_adds_noise_of_its_own_and_full_size(world):
    releases = world.serving(epsilon=Fraction(100))
    strayed = [
        int(value) - exact
        for number in range(8)
        for value, exact in zip(
            world.ask(*world.request(f"j-{number}"), releases)["values"]["units"], (16, 21, 38), strict=True
        )
    ]
    assert len(set(strayed)) > 3
    assert 0.5 < np.abs(strayed).mean() < 8, "Laplace of scale 2 has a mean size of 2"


def test_nothing_that_the_child_decrypts_outside_the_result_is_an_exact_sum(world):
    _, masked = world.request(noise=(7777, 7777, 7777))
    pair = bfv.KeyPair(
        world.context.public,
        PassphraseSealer(world.passphrase).open(
            world.context.key, world.keys.secret_file(world.context.key).read_bytes()
        ),
    )
    slots = bfv.Decryptor(pair).decrypt(np.frombuffer(masked, "<u8").reshape(PROFILE.shape))
    assert slots[:3] == [7793, 7798, 7815]
    assert not {16, 21, 38, 5, 7, 1, 10, 20, 30} & set(slots)


def test_the_same_request_again_gets_the_same_bytes_and_costs_nothing(world):
    document, masked = world.request()
    first = world.ask(document, masked)
    assert world.ask(document, masked) == first
    assert world.ask({**document, "spend": {}}, masked) == first, "what was answered needs no proof again"
    assert rows(world) == 1


def test_another_ciphertext_for_an_answered_job_is_refused(world):
    world.ask(*world.request())
    assert "another ciphertext" in world.refuse(*world.request())
    assert rows(world) == 1


def test_many_at_once_for_one_job_are_one_row(world):
    document, masked = world.request()
    found = []
    threads = [threading.Thread(target=lambda: found.append(world.ask(document, masked))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(each == found[0] for each in found)
    assert rows(world) == 1


def setter(**changed):
    return lambda document: document.update(changed)


def smaller_noise(document):
    noise = document["vectors"][0]["noise"]
    document["vectors"][0]["noise"] = {**noise, "l0": "1", "l1": "1", "l2_squared": "1"}


def cheaper(document):
    document["loss"] = {"epsilon": "0.5", "delta": "0", "rho": "0"}


def twice(document):
    document["uploads"][1] = {**document["uploads"][0], "asset": "medical/other"}


def forged(document):
    header = document["uploads"][0]["header"]
    document["uploads"][0]["header"] = {**header, "terms": {**header["terms"], "max_groups": 1}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (setter(population="others"), "pinned"), (setter(accountant="zcdp"), "pinned"), (setter(overlap=0), "overlap"), (setter(overlap=4), "overlap"),
        (setter(overlap=3), "less than one unit"), (smaller_noise, "less than one unit"), (cheaper, "costs more"), (twice, "provider is named twice"),
        (forged, "different terms"), (setter(vectors=[]), "list"), (setter(level="S2"), "apart"), (setter(more=1), "not a manifest"),
        (setter(job="a job with blanks"), "plain word"), (setter(ciphertext="sha256:" + "0" * 64), "not the manifest's"),
        (setter(key="sha256:" + "0" * 64), "different keys"),
    ],
)  # fmt: skip
def test_a_manifest_that_would_not_be_private_as_stated_is_refused(world, change, reason):
    releases = world.serving(host=socket.gethostname()) if reason == "apart" else None
    assert reason in world.refuse(*world.request(change=change), releases)
    assert rows(world) == 0
    assert rows(world, "incidents") == 0


@pytest.mark.parametrize("shared", [{"host": socket.gethostname()}, {"uid": os.getuid()}])
def test_levels_from_s2_on_need_a_key_holder_apart_from_the_service(world, shared):
    change = setter(level="S2")
    assert "apart" in world.refuse(*world.request(change=change), world.serving(**shared))
    world.ask(*world.request("j-2", change=change), world.serving())


def test_the_overlap_pinned_here_holds_whatever_the_service_says(world):
    assert "more providers than the noise" in world.refuse(*world.request(), world.serving(overlap=2))


def test_too_few_providers(world):
    assert "fewer providers" in world.refuse(*world.request(providers=HOSPITALS[:2]))


def test_a_signature_of_somebody_else(world):
    assert "not signed by the service" in world.stranger(release_body(*world.request(sign=signing("somebody"))))

    def other_provider(document):
        header = Header.from_json(document["uploads"][0]["header"])
        document["uploads"][0]["header"] = {
            **header.to_json(),
            "signature": _text(signing("somebody").sign(header.signed())),
        }

    assert "not signed by its provider" in world.refuse(*world.request(change=other_provider))


@pytest.mark.parametrize(
    ("logged", "reason"),
    [({"loss": {"epsilon": "0.5", "delta": "0", "rho": "0"}}, "something else"), ({"job": "j-other"}, "another job"), ({"population": "others"}, "another job")],
)  # fmt: skip
def test_the_log_must_hold_this_spend(world, logged, reason):
    assert reason in world.refuse(*world.request(logged=logged))


def test_a_forged_checkpoint_or_proof(world):
    document, masked = world.request()
    for change in (
        {"checkpoint": document["spend"]["checkpoint"].replace("\n2\n", "\n3\n", 1)}, {"checkpoint": ""}, {"reserved": document["spend"]["committed"]},
        {"committed": {**document["spend"]["committed"], "index": 0}}, {"committed": {**document["spend"]["committed"], "inclusion": []}},
    ):  # fmt: skip
        world.refuse({**document, "spend": {**document["spend"], **change}}, masked)
    for name in document["spend"]:
        world.refuse(
            {**document, "spend": {part: value for part, value in document["spend"].items() if part != name}}, masked
        )
    assert rows(world) == 0


def test_a_log_that_was_rolled_back_opens_nothing_and_is_an_incident_once_it_has_grown(world, tmp_path):
    """While it is the smaller one it may be a request that another one overtook; larger, it would have to extend what was seen."""
    world.ask(*world.request("j-1"))
    world.ask(*world.request("j-2"))
    (tmp_path / "fork").mkdir()
    other = World(tmp_path / "fork")
    other.journal.signer = world.journal.signer
    other.journal.signer.sign = lambda _: _signed_anew(world, other.journal)
    other.releases, other.keys, other.context, other.manifest_key = (
        world.releases,
        world.keys,
        world.context,
        world.manifest_key,
    )
    assert "smaller than the one followed" in world.postpone(*other.request("j-3"))
    assert incidents_in(world.keys.engine) == []
    assert "does not extend" in world.refuse(*other.request("j-4"))
    assert rows(world) == 2
    assert [each.kind for each in incidents_in(world.keys.engine)] == ["log.forked"]


def _signed_anew(world, journal):
    """What somebody with the log's key could do: sign any head."""
    with journal.reading() as connection:
        size = log.size_of(connection)
        head = TreeHead(size, log.root_of(connection, size))
    return head, sign(head, "test/log", open_signing_key(world.folder / "signer" / "log.key"))


def test_the_budget_pinned_here_holds_whatever_the_service_says(world):
    releases = world.serving(epsilon=Fraction(5, 2))
    world.ask(*world.request("j-1"), releases)
    world.ask(*world.request("j-2"), releases)
    assert "budget" in world.refuse(*world.request("j-3"), releases)
    assert releases.ledger.spent("patients").epsilon == 2


def test_a_key_has_only_so_many_releases_a_day(world):
    releases = world.serving(daily=2, epsilon=Fraction(100))
    for number in range(2):
        world.ask(*world.request(f"j-{number}"), releases)
    assert "of a day" in world.postpone(*world.request("j-9"), releases)
    world.clock.advance(86_401)
    world.ask(*world.request("j-10"), releases)


@pytest.mark.parametrize("state", [KeyState.FROZEN, KeyState.RETIRED])
def test_a_frozen_or_retired_key_opens_nothing(world, state):
    world.keys.set_state(world.context.key, state, "test")
    assert "frozen or retired" in world.refuse(*world.request())


def test_after_a_rotation_old_uploads_still_answer_and_new_data_goes_under_the_new_key(world):
    new = world.keys.make("sum34", 365, PassphraseSealer(world.passphrase))
    assert world.keys.states() == {world.context.key: KeyState.DECRYPT_ONLY, new.key: KeyState.ACTIVE}
    world.ask(*world.request("j-1"))
    world.ask(*world.request("j-2", key=new))

    def mixed(document):
        document["uploads"][0] = world.upload("hospital-a", new)

    assert "different keys" in world.refuse(*world.request("j-3", change=mixed))


def test_an_expired_context_takes_no_new_data(world):
    world.clock.advance(400 * 86_400)
    assert world.keys.states() == {world.context.key: KeyState.DECRYPT_ONLY}


@pytest.mark.parametrize(
    "masked",
    [
        lambda world: bytes_of(bfv.encrypt(world.context.public, PROFILE, [10**9] + [0] * (PROFILE.slots - 1))), lambda _: bytes(PROFILE.chunk_bytes),
        lambda _: b"\xff" * PROFILE.chunk_bytes, lambda _: b"", lambda _: bytes(10),
        lambda world: bytes_of(bfv.encrypt(bfv.new_keys(PROFILE).public, PROFILE, [1] * PROFILE.slots)),
    ],
)  # fmt: skip
def test_what_no_honest_service_can_send_freezes_the_key_at_once(world, masked):
    """Accept or refuse is an oracle for the secret key (proof_obligations B14): there is no second try."""
    world.refuse(*world.request(masked=masked(world)))
    assert world.keys.states()[world.context.key] is KeyState.FROZEN
    assert [each.kind for each in incidents_in(world.keys.engine)] == ["ciphertext.out_of_range"]
    assert "frozen" in world.refuse(*world.request("j-2"))
    assert rows(world) == 0


def test_every_refusal_is_the_same_bytes_over_http(world):
    app = application(world.releases)
    good, masked = world.request()
    bodies = [
        b"", b"\0" * 7, struct.pack(">Q", 2**63) + b"{}", release_body({}, b""), struct.pack(">Q", 1) + b"[", release_body({**good, "signature": "x"}, masked),
        release_body({**good, "manifest": {**good["manifest"], "job": "j-2"}}, masked), release_body(good, masked[:-1]), b"\xff" * 1000,
        struct.pack(">Q", 100_000) + b"[" * 100_000,
    ]  # fmt: skip
    answers = [asked(app, "POST", "/v1/release", body) for body in bodies]
    assert {(answer.status_code, answer.content) for answer in answers} == {(409, REFUSAL)}
    signed = 1  # whose chunks were cut
    assert rows(world, "refusals") == signed
    assert rows(world, "strangers") == 1, "within one minute"
    assert asked(app, "POST", "/v1/release", release_body(good, masked)).status_code == 200
    told = asked(app, "GET", "/v1/key").json()
    assert set(told) == {"contexts", "states", "resting", "signer", "populations"}
    assert told["states"] == {world.context.key: "active"}
    assert told["resting"] == []
    assert told["signer"] == world.keys.signer
    assert asked(app, "GET", "/v1/checkpoint").json()["size"] == 2


def test_what_is_pinned_of_a_population_and_what_is_left_of_it_is_told_to_whoever_asks(world):
    app = application(world.serving(epsilon=Fraction(5, 2)))

    def told():
        return asked(app, "GET", "/v1/key").json()["populations"]

    assert told() == {
        "patients": {
            "accountant": "basic", "min_providers": 3, "overlap": 1, "shared": False, "providers": {name: public_line(name) for name in HOSPITALS},
            "left": {"epsilon": "2.5", "delta": "0", "rho": "0"},
        }
    }  # fmt: skip
    assert asked(app, "POST", "/v1/release", release_body(*world.request())).status_code == 200
    assert told()["patients"]["left"] == {"epsilon": "1.5", "delta": "0", "rho": "0"}
    assert Pinned.from_json(told()["patients"]).left.epsilon == Fraction(3, 2), "as the service reads it"


def test_a_key_that_had_its_releases_of_the_day_is_told_to_rest(world):
    app = application(world.serving(daily=1))
    assert asked(app, "POST", "/v1/release", release_body(*world.request())).status_code == 200
    assert asked(app, "GET", "/v1/key").json()["resting"] == [world.context.key]
    later = asked(app, "POST", "/v1/release", release_body(*world.request("j-2")))
    assert (later.status_code, later.content) == (503, NOT_NOW)
    world.clock.advance(86_401)
    assert asked(app, "GET", "/v1/key").json()["resting"] == []


def test_a_release_that_was_kept_but_not_answered_is_answered_the_same_after_a_crash(world, monkeypatch):
    document, masked = world.request()
    kept = []
    enter = Ledger.enter

    def killed(self, manifest, capacity, answer):
        kept.append(enter(self, manifest, capacity, answer))
        raise SystemExit

    monkeypatch.setattr(Ledger, "enter", killed)
    with pytest.raises(SystemExit):
        world.releases.answer(release_body(document, masked))
    monkeypatch.undo()
    assert world.serving().answer(release_body(document, masked)) == kept[0]
    assert rows(world) == 1


def test_a_crash_before_anything_was_kept_leaves_nothing_and_the_next_try_works(world, monkeypatch):
    document, masked = world.request()
    monkeypatch.setattr(Ledger, "enter", lambda *_: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        world.releases.answer(release_body(document, masked))
    monkeypatch.undo()
    assert rows(world) == 0
    world.serving().answer(release_body(document, masked))
    assert rows(world) == 1


def test_the_ledger_refuses_to_change_or_forget(world):
    world.ask(*world.request())
    for statement in (
        "DELETE FROM answers",
        "UPDATE answers SET loss = '{}'",
        "DELETE FROM followed",
        "UPDATE key_states SET state = 'active'",
    ):
        with pytest.raises(sqlalchemy.exc.IntegrityError), changing(world.keys.engine) as connection:
            connection.exec_driver_sql(statement)


def test_a_secret_key_is_sealed_and_for_its_owner_only(world, tmp_path):
    file = world.keys.secret_file(world.context.key)
    assert file.stat().st_mode & 0o777 == 0o400
    secret = PassphraseSealer(world.passphrase).open(world.context.key, file.read_bytes())
    assert secret[100:200] not in file.read_bytes()
    other = tmp_path / "other"
    other.write_text("another passphrase, long enough")
    other.chmod(0o400)
    with pytest.raises(Exception, match="sealed"):
        PassphraseSealer(other).open(world.context.key, file.read_bytes())
    with pytest.raises(Exception, match="sealed"):
        PassphraseSealer(world.passphrase).open("sha256:" + "0" * 64, file.read_bytes())
    other.chmod(0o444)
    with pytest.raises(Exception, match="read by others"):
        PassphraseSealer(other).seal("k", b"")


def test_the_child_that_decrypts_says_only_whether_it_did(world, monkeypatch):
    document, masked = world.request()
    manifest = Manifest.from_json(document["manifest"])
    monkeypatch.setattr(decryption.sys, "executable", "/bin/false")
    with pytest.raises(decryption.Failed, match="has failed"):
        decryption.decrypted({"vectors": [], "profile": manifest.profile}, masked)
