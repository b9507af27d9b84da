"""Calls and what is given to them, on a real journal: what is asked of whom, one answer each, in time, and nothing kept that should not be."""

import base64
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from assets.catalogue import register
from assets.declaration import parse_declaration
from assets.keys import KeyRing
from assets.object_store import LocalObjectStore
from assets.uploads import Uploads
from audit import log
from audit.log import Journal
from audit.signer import FileSigner
from core.clock import FrozenClock
from core.database import changing, engine_for, metadata
from core.errors import Conflict, Invalid, NotFound
from jobs.contributions import DAYS, FOLDER, Contributions, are_complete, block_of, header_of, share_of
from jobs.inline_scheduler import InlineScheduler
from jobs.key_holder import NoKeyHolder
from jobs.kind import Host, Image
from jobs.masking import Masking
from jobs.model import job_with
from jobs.pinned import Pinned
from jobs.reconciler import Reconciler
from jobs.releasing import Releasing
from jobs.schedule import Node
from jobs.service import JobService
from jobs.staging import Staging
from jobs.transitions import JobState
from policies import budget, identity, lifecycle
from policies.policy_file import parse_policy
from policies.populations import create_population
from privacy.accountant import Loss
from privacy.encrypted.header import Header
from privacy.encrypted.plan_model import EncryptedPlan
from privacy.encrypted.shares import partners_of
from sandbox.fake_runtime import FakeRuntime
from tests.gates import Immediately
from tests.policies_world import quick_folder
from tests.unit.encrypted_world import public_line, signing

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
KEY, OTHER_KEY = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = "sha256:" + "c" * 64
NODE = Node(lanes=2, lane_memory_bytes=1 << 30, start_seconds=1.0, slowness=1.0, cancel_seconds=3.0)
LETTERS = "abc"
ASSETS = [f"medical/stays_{letter}" for letter in LETTERS]
CLINIC = """\
asset: medical/stays_LETTER
title: {en: Stays, zh: 住院}
sector: medical
level: S1
population: {name: patients, id_namespace: clinic-pid, unit: pid}
size: {rows: 1000, units: 400}
columns:
  pid:    {type: string, unit: true, max_length: 8}
  region: {type: category, values: [north, south], public: true}
  cost:   {type: decimal, scale: 2, lower: 0, upper: 500}
budget: {accountant: zcdp, epsilon: 10, delta: 1e-6}
encrypted:
  provider: clinic-LETTER
  signing_key: SIGNER
  profile: sum58
  stored: STORED
  group_by: region
  totals: {cost: [0, 900]}
"""
POLICY = """
name: clinics
purpose: [research]
kinds: [encrypted]
assets: [medical/stays_a, medical/stays_b, medical/stays_c, medical/kept_a, medical/kept_b]
epsilon: {total: 8, per_person: 8, per_job: 4}
providers: {least: 2, overlap: 1}
valid: {from: 2026-01-01, until: 2030-01-01}
"""


def clinic(letter, *, stored=False):
    text = CLINIC.replace("SIGNER", public_line(f"clinic-{letter}")).replace("LETTER", letter)
    text = text.replace("STORED", str(stored).lower()).replace("stays", "kept" if stored else "stays")
    return parse_declaration(text, "clinic.yaml")


class Opening(NoKeyHolder):
    """A key holder that opens sums, or is away."""

    away = False

    def opens(self, key):
        return key == KEY and not self.away

    def pinned(self):
        providers = {f"clinic-{letter}": public_line(f"clinic-{letter}") for letter in LETTERS}
        left = Loss(rho=Fraction(100), delta=Fraction(1))
        return None if self.away else {"patients": Pinned("zcdp", 2, 1, False, providers, left)}


class Clinics:
    """Three clinics that leave nothing at the service, two that do, and a researcher. Uploads are their headers' JSON: no container reads."""

    def __init__(self, folder):
        self.folder, self.clock, self.states = folder, FrozenClock(NOW), {KEY: "active", OTHER_KEY: "active"}
        FileSigner.create(folder / "signer")
        KeyRing.create(folder / "master.key")
        keys = KeyRing.open(folder / "master.key")
        self.journal = Journal(
            engine_for(f"sqlite:///{folder / 'banyan.db'}"), self.clock, FileSigner(folder / "signer", "test/log")
        )
        with changing(self.journal.engine) as connection:
            metadata.create_all(connection)
        self.store, self.key_holder = LocalObjectStore(folder / "store"), Opening()
        self.contributions = Contributions(self.journal, self.store, self._read, lambda: self.states)
        self.uploads = Uploads(self.journal, self.store, keys, self._read, lambda: self.states)
        host = Host({"encrypted": Image(IMAGE)}, NODE, lambda floor: floor)
        self.service = JobService(self.journal, keys, host)
        self._furnish()
        staging = Staging(
            keys=keys, node=NODE, engine="none", store=folder / "store", folder=folder / "staging",
            sealed=folder / "sealed", owner="clinics",
        )  # fmt: skip
        runtime = FakeRuntime(lambda *_: b"", test=__name__)
        masking = Masking(
            self.journal, self.key_holder, signing("service"), LocalObjectStore(folder / "masked"), threading.Event()
        )
        self.reconciler = Reconciler(
            self.journal, InlineScheduler(runtime), runtime, staging,
            Releasing(self.journal, keys, masking, self.contributions), Immediately(),
        )  # fmt: skip
        assert self.reconciler.try_sweep()
        self.read_before = lambda: None

    def _furnish(self):
        olga, rita = self._person("Olga", "operator"), self._person("Rita", "reviewer")
        self.researcher = self._person("Rob", "researcher")
        declared = [clinic(letter) for letter in LETTERS] + [clinic(letter, stored=True) for letter in "ab"]
        populations = set()
        for declaration in declared:
            with self.journal.writing() as tx:
                asset = register(tx, declaration, olga.id)
                said, money = declaration.population, declaration.budget
                if said.name not in populations:
                    populations.add(said.name)
                    create_population(
                        tx, said.name, id_namespace=said.id_namespace, unit=said.unit, accountant=money.accountant,
                        epsilon=money.epsilon, delta=money.delta, block_count=asset.block_count, actor=olga.id,
                    )  # fmt: skip
            self.announce(declaration)
        with self.journal.writing() as tx:
            policy = lifecycle.propose(tx, parse_policy(POLICY, "policy.yaml", self.clock.now()), olga, "S1")
        with self.journal.writing() as tx:
            lifecycle.approve(tx, "clinics", policy.digest, rita, "S1")

    def announce(self, declaration, key=KEY):
        path = self.file(header(declaration, None, key=key))
        self.uploads.version(declaration.asset, path, "p-olga")

    def _person(self, name, role):
        with self.journal.writing() as tx:
            return identity.add_principal(tx, name, "health-bureau", [role], "system")

    def _read(self, path, terms, vectors):
        self.vectors = tuple(vectors)
        getattr(self, "read_before", lambda: None)()
        return json.loads(path.read_text().partition("\n")[0])

    def file(self, head, more=""):
        path = self.folder / "upload.hev"
        path.write_text(json.dumps(head.to_json()) + "\n" + more)
        return path

    def submit(self, epsilon="0.5", assets=ASSETS, **changed):
        asked = {
            "assets": list(assets),
            "purpose": "research",
            "compute": {"count": True, "mean": ["cost"]},
            "epsilon": epsilon,
        }
        return self.service.submit(self.researcher, asked | changed)["id"]  # fmt: skip

    def job(self, job):
        return self.read(job_with, job)

    def read(self, function, *arguments):
        with self.journal.reading() as connection:
            return function(connection, *arguments)

    def share(self, job):
        return self.read(share_of, self.job(job))

    def give(self, job, letter="a", more="", **changed):
        head = header(clinic(letter), self.share(job), **changed)
        return self.contributions.take(f"medical/stays_{letter}", job, self.file(head, more), "p-olga")

    def give_all(self, job):
        for letter in LETTERS:
            self.give(job, letter)

    def kept(self, job):
        folder = self.folder / "store" / FOLDER / job
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def events(self, kind):
        return [entry.content for entry in self.read(log.entries_from, 0, 1000) if entry.content["type"] == kind]

    def spend(self, job):
        return self.read(budget.spend_of, job).state


def header(declaration, share, key=KEY, signer=None, **changed):
    unsigned = Header(
        declaration.encrypted.terms, key, "sha256:" + "0" * 64, "2026-01-01T00:00:00Z", "test", share,
        base64.b64encode(bytes(64)).decode(),
    )  # fmt: skip
    unsigned = replace(unsigned, **changed)
    signature = signing(signer or declaration.encrypted.terms.provider).sign(unsigned.signed())
    return replace(unsigned, signature=base64.b64encode(signature).decode())


@pytest.fixture
def clinics():
    with quick_folder() as folder:
        made = Clinics(Path(folder))
        yield made
        made.reconciler.close()
        made.journal.engine.dispose()


def refused(kind, code, asked, *arguments, **named):
    with pytest.raises(kind) as found:
        asked(*arguments, **named)
    assert found.value.code == code
    return found.value


# Calls


def test_a_call_says_what_is_asked_and_beside_whom(clinics):
    job = clinics.submit()
    (call,) = clinics.contributions.calls("medical/stays_b")
    plan = EncryptedPlan.from_json(clinics.job(job).plan["encrypted"])
    assert call == {
        "job": job, "asset": "medical/stays_b", "purpose": "research", "epsilon": "0.5", "overlap": 1, "key": KEY, "given": False,
        "compute": plan.compute.to_json(), "until": "2026-12-02T09:00:00.000000Z",
        "vectors": [{"name": each.name, "rho": str(each.noise.price), "share": str(each.share)} for each in plan.vectors],
        "partners": [{"provider": f"clinic-{letter}", "signing_key": public_line(f"clinic-{letter}")} for letter in LETTERS],
    }  # fmt: skip
    assert [each["name"] for each in call["vectors"]] == ["units", "sum:cost"]
    assert call == clinics.contributions.call("medical/stays_b", job)
    assert sum(Fraction(each["rho"]) for each in call["vectors"]) <= plan.price.rho


def test_calls_are_those_of_waiting_jobs_over_the_asset_the_oldest_first(clinics):
    first, second = clinics.submit("0.5"), clinics.submit("0.6", ASSETS[:2])
    third = clinics.submit("0.7")
    assert [call["job"] for call in clinics.contributions.calls("medical/stays_a")] == [first, second, third]
    assert [call["job"] for call in clinics.contributions.calls("medical/stays_c")] == [first, third]
    clinics.service.cancel(clinics.researcher, first)
    assert [call["job"] for call in clinics.contributions.calls("medical/stays_c")] == [third]


def test_nobody_is_asked_for_what_is_stored_for_mock_data_or_for_a_copy(clinics):
    kept = clinics.submit(assets=["medical/kept_a", "medical/kept_b"])
    assert clinics.contributions.calls("medical/kept_a") == []
    refused(NotFound, "call.unknown", clinics.contributions.call, "medical/kept_a", kept)
    asked = {"assets": ASSETS, "purpose": "research", "compute": {"count": True}, "epsilon": "0.5"}
    mock = clinics.service.submit_mock(clinics.researcher, asked)["id"]
    first = clinics.submit()
    copy = clinics.submit()
    assert clinics.job(copy).reuse_of == first
    assert [call["job"] for call in clinics.contributions.calls("medical/stays_a")] == [first]
    for job in (mock, copy):
        refused(NotFound, "call.unknown", clinics.contributions.call, "medical/stays_a", job)
        refused(NotFound, "call.unknown", clinics.give, job)


def test_an_asset_or_a_job_that_is_not_there_asks_for_nothing(clinics):
    job = clinics.submit(assets=ASSETS[:2])
    refused(NotFound, "asset.unknown", clinics.contributions.calls, "medical/other")
    for asset, name in (("medical/stays_a", "j-none"), ("medical/stays_c", job), ("medical/kept_a", job)):
        assert "banyan calls" in refused(NotFound, "call.unknown", clinics.contributions.call, asset, name).way_out


# Taking


def test_what_is_given_is_kept_with_its_header_and_its_event(clinics):
    job = clinics.submit()
    told = clinics.give(job, "a", "ciphertext")
    assert told["given"]
    assert clinics.vectors == ("units", "sum:cost"), "the strict reader is told which vectors to expect"
    assert [call["given"] for call in clinics.contributions.calls("medical/stays_a")] == [True]
    assert [call["given"] for call in clinics.contributions.calls("medical/stays_b")] == [False]
    block = clinics.read(block_of, job, "medical/stays_a")
    assert (
        clinics.store.get(block.path)
        == clinics.file(header(clinic("a"), clinics.share(job)), "ciphertext").read_bytes()
    )
    assert block.size_bytes == len(clinics.store.get(block.path))
    assert clinics.read(header_of, job, "medical/stays_a") == header(clinic("a"), clinics.share(job)).to_json()
    (event,) = clinics.events("contribution:given")
    assert (event["subject"], event["actor"]) == (job, "p-olga")
    assert event["facts"] == {"asset": "medical/stays_a", "content": "sha256:" + "0" * 64, "digest": block.digest}
    for place in (block_of, header_of):
        with pytest.raises(LookupError):
            clinics.read(place, job, "medical/stays_b")


def test_a_job_is_complete_when_every_provider_has_given(clinics):
    job = clinics.submit()
    for letter in LETTERS:
        assert not clinics.read(are_complete, clinics.job(job))
        clinics.give(job, letter)
    assert clinics.read(are_complete, clinics.job(job))


def test_the_share_is_the_plans_with_the_keys_of_the_jobs_providers(clinics):
    job = clinics.submit(assets=ASSETS[:2])
    share, plan = clinics.share(job), EncryptedPlan.from_json(clinics.job(job).plan["encrypted"])
    assert share.job == job
    assert share.partners == partners_of([public_line("clinic-a"), public_line("clinic-b")])
    assert share.scales == tuple((vector.name, vector.share) for vector in plan.vectors)


def test_the_same_bytes_may_come_twice_and_others_may_not(clinics):
    job = clinics.submit()
    clinics.give(job, "a", "one")
    assert clinics.give(job, "a", "one")["given"]
    kept = clinics.kept(job)
    assert len(kept) == 1
    found = refused(Conflict, "contribution.given", clinics.give, job, "a", "two")
    assert "same masks" in found.text
    assert found.way_out
    assert clinics.kept(job) == kept, "the service is to have no second one"
    assert len(clinics.events("contribution:given")) == 1


def test_the_same_bytes_may_come_when_the_job_no_longer_waits_and_others_may_not(clinics):
    """Of the last provider, whose answer was lost on the way: the job has begun meanwhile, or is over."""
    job = clinics.submit()
    path = clinics.file(header(clinic("a"), clinics.share(job)), "one")
    clinics.give(job, "a", "one")
    clinics.service.cancel(clinics.researcher, job)
    clinics.clock.advance(NODE.cancel_seconds)
    clinics.reconciler.step()
    assert clinics.job(job).state is JobState.CANCELLED
    assert clinics.contributions.most_bytes("medical/stays_a", job) == path.stat().st_size
    assert clinics.give(job, "a", "one")["given"]
    refused(NotFound, "call.unknown", clinics.give, job, "a", "two")
    refused(NotFound, "call.unknown", clinics.give, job, "b", "one")
    for asset in ("medical/stays_b", "medical/kept_a"):
        refused(NotFound, "call.unknown", clinics.contributions.most_bytes, asset, job)
    assert clinics.kept(job) == [], "what is over is not kept again"
    assert len(clinics.events("contribution:given")) == 1


def test_of_two_that_come_at_once_one_is_taken(clinics):
    job = clinics.submit()
    share = clinics.share(job)

    def meanwhile():
        clinics.read_before = lambda: None
        clinics.give(job, "a", "first")
        clinics.file(header(clinic("a"), share), "second")

    clinics.read_before = meanwhile
    refused(Conflict, "contribution.given", clinics.give, job, "a", "second")
    block = clinics.read(block_of, job, "medical/stays_a")
    assert clinics.store.get(block.path).endswith(b"\nfirst")
    assert len(clinics.events("contribution:given")) == 1


@pytest.mark.parametrize(
    ("changed", "kind", "code"),
    [
        ({"signer": "clinic-b"}, Invalid, "encrypted.signature"), ({"terms": clinic("b").encrypted.terms}, Invalid, "encrypted.terms"),
        ({"terms": replace(clinic("a").encrypted.terms, units=401)}, Invalid, "encrypted.terms"),
        ({"terms": replace(clinic("a").encrypted.terms, max_groups=2)}, Invalid, "encrypted.terms"),
        ({"share": None}, Invalid, "encrypted.contribution"), ({"key": OTHER_KEY}, Conflict, "encrypted.key_mismatch"),
        ({"key": "sha256:" + "d" * 64}, Conflict, "encrypted.key_unknown"),
    ],
)  # fmt: skip
def test_what_was_encrypted_otherwise_is_refused_and_leaves_nothing(clinics, changed, kind, code):
    """Under other terms than those declared, by somebody else, under another key, or for no job."""
    job = clinics.submit()
    head = header(clinic("a"), **({"share": clinics.share(job)} | changed))
    refused(kind, code, clinics.contributions.take, "medical/stays_a", job, clinics.file(head), "p-olga")
    assert clinics.kept(job) == []
    assert clinics.events("contribution:given") == []
    assert clinics.give(job)["given"], "a refusal uses nothing up"


def less(share):
    (name, scale), *others = share.scales
    return replace(share, scales=((name, Fraction(float(scale) * (1 - 1e-9))), *others))


@pytest.mark.parametrize(
    "other",
    [
        less, lambda share: replace(share, job="j-other"), lambda share: replace(share, partners=share.partners[:2]),
        lambda share: replace(share, scales=share.scales[:1]), lambda share: replace(share, scales=share.scales[::-1]),
        lambda share: replace(share, partners=partners_of([*share.partners[1:], public_line("somebody")])),
    ],
)  # fmt: skip
def test_another_share_than_the_jobs_is_refused(clinics, other):
    job = clinics.submit()
    head = header(clinic("a"), other(clinics.share(job)))
    found = refused(Invalid, "encrypted.contribution", clinics.contributions.take, "medical/stays_a", job, clinics.file(head), "p-olga")  # fmt: skip
    assert job in found.way_out
    assert clinics.kept(job) == []


@pytest.mark.parametrize("state", ["decrypt-only", "frozen"])
def test_under_a_key_that_takes_nothing_new_nothing_is_taken(clinics, state):
    job = clinics.submit()
    clinics.states[KEY] = state
    refused(Conflict, "encrypted.key_expired", clinics.give, job)


def test_what_is_encrypted_for_a_job_is_no_version(clinics):
    job = clinics.submit()
    path = clinics.file(header(clinic("a"), clinics.share(job)))
    found = refused(Invalid, "encrypted.contribution", clinics.uploads.version, "medical/stays_a", path, "p-olga")
    assert job in found.text


# In time


def test_after_seven_days_nothing_is_asked_or_taken_and_the_job_is_refused_without_a_charge(clinics):
    job = clinics.submit()
    clinics.give(job, "a")
    clinics.give(job, "b")
    share = clinics.share(job)
    clinics.clock.advance(timedelta(days=DAYS).total_seconds() - 1)
    clinics.reconciler.step()
    assert clinics.job(job).state is JobState.QUEUED
    assert [call["given"] for call in clinics.contributions.calls("medical/stays_c")] == [False]
    clinics.clock.advance(1)
    assert clinics.contributions.calls("medical/stays_c") == []
    path = clinics.file(header(clinic("c"), share))
    refused(NotFound, "call.unknown", clinics.contributions.take, "medical/stays_c", job, path, "p-olga")
    assert len(clinics.kept(job)) == 2
    clinics.reconciler.step()
    assert clinics.job(job).state is JobState.REFUSED
    assert clinics.job(job).refusal["code"] == "contribution.overdue"
    assert not clinics.job(job).touched
    assert clinics.spend(job) is budget.SpendState.RELEASED
    assert clinics.kept(job) == []


def test_a_job_whose_providers_all_answered_in_time_waits_for_the_key_holder_as_long_as_it_must(clinics):
    """Nothing may be charged while nobody could open the sum."""
    clinics.key_holder.away = True
    job = clinics.submit()
    clinics.give_all(job)
    clinics.clock.advance(timedelta(days=DAYS + 1).total_seconds())
    clinics.reconciler.step()
    assert (clinics.job(job).state, clinics.job(job).touched) == (JobState.QUEUED, False)
    clinics.key_holder.away = False
    clinics.clock.advance(1)
    clinics.reconciler.step()
    assert (clinics.job(job).state, clinics.job(job).touched) == (JobState.RUNNING, True)


def test_a_job_that_waits_for_its_providers_holds_nobody_up(clinics):
    first, second = clinics.submit("0.5"), clinics.submit("0.6")
    clinics.give_all(second)
    clinics.reconciler.step()
    assert clinics.job(first).state is JobState.QUEUED
    assert clinics.job(second).state is JobState.RUNNING
    assert clinics.give(second)["given"], "the same bytes"
    refused(NotFound, "call.unknown", clinics.give, second, "a", "other bytes")


def test_what_comes_when_the_job_has_just_ended_is_not_kept(clinics):
    job = clinics.submit()

    def meanwhile():
        clinics.service.cancel(clinics.researcher, job)
        clinics.clock.advance(NODE.cancel_seconds)
        clinics.reconciler.step()
        assert clinics.job(job).state is JobState.CANCELLED

    clinics.read_before = meanwhile
    refused(NotFound, "call.unknown", clinics.give, job)
    assert clinics.kept(job) == []
    assert clinics.events("contribution:given") == []


@pytest.mark.parametrize(("state", "kept"), [(JobState.RUNNING, 3), (JobState.CANCELLED, 0)])
def test_of_the_same_bytes_twice_at_once_the_second_is_given_too(clinics, state, kept):
    """Even if the job has started with the first, or has ended, before the second is noted."""
    job = clinics.submit()
    path = clinics.file(header(clinic("a"), clinics.share(job)), "same")
    content = path.read_bytes()

    def meanwhile():
        clinics.read_before = lambda: None
        clinics.give(job, "a", "same")
        clinics.give(job, "b")
        clinics.give(job, "c")
        if state is JobState.CANCELLED:
            clinics.service.cancel(clinics.researcher, job)
            clinics.clock.advance(NODE.cancel_seconds)
        clinics.reconciler.step()
        assert clinics.job(job).state is state
        path.write_bytes(content)

    clinics.read_before = meanwhile
    assert clinics.give(job, "a", "same")["given"]
    assert len(clinics.kept(job)) == kept
    assert len(clinics.events("contribution:given")) == 3


def test_what_was_given_goes_with_the_job_and_its_event_stays(clinics):
    job = clinics.submit()
    clinics.give(job)
    assert len(clinics.kept(job)) == 1
    clinics.service.cancel(clinics.researcher, job)
    clinics.clock.advance(NODE.cancel_seconds)
    clinics.reconciler.step()
    assert clinics.kept(job) == []
    assert len(clinics.events("contribution:given")) == 1


def test_assets_that_are_stored_and_those_that_are_not_are_not_added(clinics):
    refused(Invalid, "encrypted.stored", clinics.submit, assets=["medical/stays_a", "medical/kept_b"])
