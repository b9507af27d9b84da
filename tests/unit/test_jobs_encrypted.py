"""Planning of encrypted jobs from public facts, what the key holder's answers must be, and what is kept before it is asked."""

import base64
import json
import threading
from dataclasses import replace
from fractions import Fraction

import httpx
import numpy as np
import pytest

from assets.declaration_model import Encrypted
from assets.object_store import LocalObjectStore
from core.canonical import canonical
from core.errors import Invalid, Unavailable
from core.tier import Tier
from jobs.encrypted_kind import EncryptedKind, _sums
from jobs.encrypted_lane import EncryptedForm, chunk_numbers
from jobs.key_holder import HttpKeyHolder, Keys, NoKeyHolder, ReleaseRefused, release_body
from jobs.kind import Host, Image
from jobs.masking import Masking
from jobs.plan import PublicFacts
from jobs.request import parsed
from jobs.schedule import Node
from privacy.accountant import Accountant
from privacy.encrypted.bfv import encrypt
from privacy.encrypted.chunks import bytes_of
from privacy.encrypted.manifest import ANSWER_DOMAIN
from privacy.encrypted.plan_model import EncryptedPlan
from privacy.encrypted.profiles import profile_named
from privacy.guarantee import Guarantee
from privacy.schema import Column, ColumnType, TableSchema
from tests.unit.encrypted_world import context, pair, public_line, signing, terms

NODE = Node(lanes=2, lane_memory_bytes=1 << 30, start_seconds=1.0, slowness=1.0, cancel_seconds=3.0)
HOST = Host({"encrypted": Image("sha256:" + "c" * 64)}, NODE, lambda floor: floor, floor=Tier.ZYGOTE)
KEY, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ASKED = {
    "assets": ["medical/a", "medical/b", "medical/c"],
    "purpose": "research",
    "compute": {"count": True, "mean": ["cost"]},
    "epsilon": "1",
}


def facts(provider="hospital-a", key=KEY, level="S1", **changed):
    said = terms(provider, profile="crt115", **changed)
    schema = TableSchema("t", "pid", (Column("pid", ColumnType.STRING, max_length=8),), 100, 100)
    return PublicFacts(
        f"medical/{provider[-1]}", level, "patients", Accountant.BASIC, Fraction(1, 10**7), schema, 8, 1, encrypted=Encrypted(said, "A" * 43 + "="), key=key
    )  # fmt: skip


def three(**changed):
    first, *others = (facts(f"hospital-{letter}") for letter in "abc")
    return replace(first, joined=tuple(others), **changed)


def plan(asked=ASKED, given=None, host=HOST):
    return EncryptedKind().plan(parsed(asked), given or three(), host)


def refused(**how):
    with pytest.raises(Invalid) as found:
        plan(**how)
    return found.value.code


def test_a_plan_is_a_function_of_declarations_and_says_who_provides_and_what_it_costs():
    told = plan().to_json()
    assert told["providers"] == ["hospital-a", "hospital-b", "hospital-c"]
    assert told["overlap"] == 3, "a unit may be at every provider unless a policy attests less"
    assert told["price"] == {"epsilon": "1", "delta": "0"}
    assert told["seconds"] in (4, 8, 16)
    assert all(
        float(entry["plaintext_95"].replace(",", "")) < float(entry["noise_95"].replace(",", ""))
        for entry in told["outputs"]
    )
    assert plan(host=replace(HOST, overlap=1)).to_json()["overlap"] == 1
    assert plan().to_json() == told
    assert EncryptedPlan.from_json(told["encrypted"]).to_json() == told["encrypted"]


def test_less_overlap_is_less_noise_and_another_job():
    attested = plan(host=replace(HOST, overlap=1))
    assert attested.digest() != plan().digest()
    one, three_times = (EncryptedPlan.from_json(each.told["encrypted"]).vectors[0].noise for each in (attested, plan()))
    assert 2.99 < three_times.scale / one.scale < 3.01


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"key": "sha256:" + "b" * 64}, "encrypted.key_mismatch"), ({"max_groups": 1}, "encrypted.shapes"), ({"groups": ("north", "south")}, "encrypted.shapes"),
        ({"provider": "hospital-a"}, "encrypted.provider_twice"),
    ],
)  # fmt: skip
def test_uploads_that_do_not_fit_together_are_refused(changed, code):
    odd = facts(**({"provider": "hospital-c"} | changed))
    assert refused(given=replace(facts(), joined=(facts("hospital-b"), odd))) == code


@pytest.mark.parametrize(
    ("states", "way_out"),
    [
        ({KEY: "active", OTHER: "decrypt-only"}, "encrypted again under the key in use: hospital-b, hospital-c"),
        ({KEY: "decrypt-only", OTHER: "active"}, "encrypted again under the key in use: hospital-a"),
        ({KEY: "frozen", OTHER: "frozen"}, "encrypted again under the key in use: all but those of one key"),
        (None, "encrypted again under the key in use: all but those of one key"),
    ],
)
def test_who_has_to_encrypt_again_is_named(states, way_out):
    class Asked(NoKeyHolder):
        def keys(self):
            return super().keys() if states is None else Keys({}, states)

    given = replace(facts(), joined=(facts("hospital-b", key=OTHER), facts("hospital-c", key=OTHER)))
    with pytest.raises(Invalid) as found:
        plan(given=given, host=replace(HOST, key_holder=Asked()))
    assert "(hospital-a; hospital-b, hospital-c)" in str(found.value)
    assert found.value.way_out == way_out


def test_too_few_providers_and_a_key_holder_on_the_same_machine():
    assert refused(host=replace(HOST, least_providers=4)) == "encrypted.too_few_providers"
    assert refused(given=three(level="S2"), host=replace(HOST, key_holder_is_here=True)) == "encrypted.key_holder_here"
    plan(given=three(level="S2"))
    plan(host=replace(HOST, key_holder_is_here=True))


def test_bounds_that_do_not_fit_into_the_profile_are_refused_and_fit_into_a_larger_one():
    small = [
        replace(
            facts(f"hospital-{letter}"),
            encrypted=Encrypted(
                terms(f"hospital-{letter}", profile="sum34", squares=(), least_squares=None), "A" * 43 + "="
            ),
        )
        for letter in "abc"
    ]
    assert (
        refused(given=replace(small[0], joined=tuple(small[1:])), asked=ASKED | {"epsilon": "0.001"})
        == "encrypted.bound"
    )


@pytest.mark.parametrize(
    ("compute", "code"),
    [
        ({}, "compute.invalid"), ({"sum": []}, "compute.columns"), ({"sum": "cost"}, "compute.columns"), ({"sum": ["cost", "cost"]}, "compute.columns"),
        ({"max": ["cost"]}, "compute.unknown"), ({"count": 1}, "compute.flag"), ({"count": False}, "compute.invalid"), ({"sum": ["age"]}, "compute.column"),
        ({"variance": ["stay"]}, "compute.column"), ([], "compute.invalid"), ({"least_squares": True, "count": True}, "compute.least_squares"),
    ],
)  # fmt: skip
def test_statistics_that_cannot_be_had_are_refused_by_name(compute, code):
    assert refused(asked=ASKED | {"compute": compute}) == code


def test_the_guarantee_names_providers_and_what_it_does_not_cover():
    found = EncryptedKind().guarantee(plan().to_json())
    assert found.providers == 3
    assert "service" in found.residual[0]
    assert Guarantee.from_json(found.to_json()) == found
    assert "3 providers' ciphertexts" in found.sentence()


def test_every_chunk_is_one_lanes_and_numbers_run_through_the_file():
    said = terms(profile="sum34", groups=tuple(f"g{number}" for number in range(9000)), least_squares=None, squares=())
    assert chunk_numbers(said) == {"units": [0, 1, 2], "sum:cost": [3, 4, 5], "sum:stay": [6, 7, 8]}
    form = EncryptedForm(said, ("units", "sum:cost", "sum:stay"), (0, 1, 2, 6, 7, 8), is_mock=False)
    chunk = profile_named("sum34").chunk_bytes
    frame = b"".join(
        number.to_bytes(4, "big") + b"\0" + size.to_bytes(4, "big") + bytes(size)
        for number, size in ((0, chunk), (6, chunk - 1), (5, chunk))
    )
    assert set(form.partials(frame, (0, 6))) == {0}


def test_a_missing_or_malformed_chunk_counts_as_a_sum_of_nothing():
    planned = EncryptedPlan.from_json(plan().told["encrypted"])
    profile = profile_named("crt115")
    good = bytes_of(_encrypted(profile))
    sums, defaulted = _sums(planned, {0: good, 1: b"\xff" * len(good)})
    assert defaulted == [1]
    assert not sums[1][0].any()
    assert np.array_equal(bytes_of(sums[0][0]), good)


def _encrypted(profile):
    return encrypt(pair("crt115").public, profile, [0] * profile.slots)


# The key holder's answers


def holder(answers):
    """A key holder that gives these answers by path."""

    def answer(request):
        found = answers[request.url.path]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, content=found)

    return HttpKeyHolder("http://keyholder", public_line("holder"), httpx.MockTransport(answer))


def keys_told(**changed):
    told = {
        "contexts": [context().to_json()],
        "states": {context().key: "active"},
        "resting": [],
        "signer": public_line("holder"),
        "populations": {},
    }
    return canonical(told | changed)


def test_contexts_are_those_of_the_pinned_holder():
    found = holder({"/v1/key": keys_told()}).keys()
    assert found.contexts == {context().key: context()}
    other = HttpKeyHolder(
        "http://keyholder",
        public_line("somebody"),
        httpx.MockTransport(lambda _: httpx.Response(200, content=keys_told())),
    )
    with pytest.raises(Unavailable, match="not it"):
        other.keys()


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        keys_told(contexts=[1]),
        keys_told(contexts=[context().to_json() | {"expires": "2099-01-01T00:00:00Z"}]),
    ],
)
def test_anything_else_in_its_place_is_not_believed(told):
    with pytest.raises(Unavailable):
        holder({"/v1/key": told}).keys()


def test_whether_it_opens_is_asked_seldom_and_never_raises(monkeypatch):
    asked = []
    found = holder({"/v1/key": keys_told()})
    stream = found._http.stream
    monkeypatch.setattr(found._http, "stream", lambda *given, **how: asked.append(1) or stream(*given, **how))
    assert [found.opens(context().key) for _ in range(5)] == [True] * 5
    assert len(asked) == 1
    assert not found.opens("sha256:" + "0" * 64)
    for answer in (httpx.ConnectError("away"), httpx.Response(500), b"junk", b"[]", keys_told(states=[])):
        assert not holder({"/v1/key": answer}).opens(context().key)
    assert not holder({"/v1/key": keys_told(resting=[context().key])}).opens(context().key), (
        "it has had its releases of today"
    )
    assert not NoKeyHolder().opens(context().key)


def signed(key="holder", **changed):
    said = {"job": "j-1", "key": KEY, "ciphertext": KEY, "values": {"units": ["1", "-2"]}} | changed
    return canonical(
        {**said, "signature": base64.b64encode(signing(key).sign(ANSWER_DOMAIN + canonical(said))).decode()}
    )


def test_an_answer_counts_only_with_its_signature_and_for_this_job():
    body = release_body({"manifest": {"key": KEY, "ciphertext": KEY}}, b"")
    assert holder({"/v1/release": signed()}).release("j-1", body) == {"units": [1, -2]}
    for answer in (
        signed("somebody"),
        signed(job="j-2"),
        signed(key="holder", ciphertext="sha256:" + "1" * 64),
        signed(values=[]),
        signed(values={"units": ["x"]}),
        b"{}",
        signed().replace(b'"-2"', b'"-3"'),
    ):
        with pytest.raises(Unavailable):
            holder({"/v1/release": answer}).release("j-1", body)
    with pytest.raises(ReleaseRefused):
        holder({"/v1/release": httpx.Response(409)}).release("j-1", body)
    for answer in (httpx.ConnectError("away"), httpx.ReadTimeout("slow"), httpx.Response(500)):
        with pytest.raises(Unavailable):
            holder({"/v1/release": answer}).release("j-1", body)


class Once(Masking):
    """Masking whose manifest and proofs are left out: what is kept and how it is asked is looked at."""

    def _made(self, job, plan, sums):
        self.made.append(job.id)
        document = canonical({"manifest": {}, "signature": ""})
        return len(document).to_bytes(8, "big") + document + b"masked"

    def _spend(self, job):
        return {}


class Job:
    def __init__(self, job="j-1"):
        self.id, self.plan = job, plan(asked=ASKED | {"compute": {"count": True}}).to_json()


class Away:
    """Answers the third time."""

    def __init__(self, values):
        self.bodies, self.values = [], values

    def release(self, job, body):
        self.bodies.append(body)
        if len(self.bodies) < 3:
            raise Unavailable("key_holder.unreachable", "away")
        return self.values


def masking(tmp_path, key_holder, closing=None):
    made = Once(None, key_holder, None, LocalObjectStore(tmp_path), closing or threading.Event())
    object.__setattr__(made, "made", [])
    return made


def test_what_is_sent_is_made_once_kept_and_sent_again_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.masking.RETRY_SECONDS", 0.01)
    away = Away({"units": [1, 2, 3]})
    first = masking(tmp_path, away)
    assert first.numbers(Job(), []) == {"units": [1, 2, 3]}
    assert len(set(away.bodies)) == 1
    assert away.bodies[0] == release_body({"manifest": {}, "signature": "", "spend": {}}, b"masked")
    after_a_crash = masking(tmp_path, away)
    after_a_crash.numbers(Job(), [])
    assert (first.made, after_a_crash.made) == (["j-1"], [])
    after_a_crash.forget(Job())
    masking(tmp_path, away).numbers(Job(), [])
    assert json.loads(away.bodies[-1][8 : 8 + int.from_bytes(away.bodies[-1][:8], "big")])["manifest"] == {}


class Ending:
    """Away until the job has ended meanwhile."""

    def __init__(self):
        self.bodies, self.masking = [], None

    def release(self, job, body):
        self.bodies.append(body)
        self.masking.forget(Job(job))
        raise Unavailable("key_holder.unreachable", "away")


def test_nothing_more_is_made_or_sent_for_a_job_that_has_ended(tmp_path, monkeypatch):
    """Two masks over one sum are two noisy totals to the key holder, charged once."""
    monkeypatch.setattr("jobs.masking.RETRY_SECONDS", 0.01)
    ending = Ending()
    ending.masking = masking(tmp_path, ending)
    with pytest.raises(ReleaseRefused, match="ended"):
        ending.masking.numbers(Job(), [])
    assert (ending.masking.made, len(ending.bodies)) == (["j-1"], 1)
    with pytest.raises(ReleaseRefused, match="ended"):
        ending.masking.numbers(Job(), [])
    assert ending.masking.made == ["j-1"]
    assert not list(tmp_path.rglob("masked"))


class Unreadable(LocalObjectStore):
    """Too many open files, for a while: what is there cannot be read."""

    failures = 3

    def get(self, path):
        if self.failures:
            self.failures -= 1
            raise Unavailable("storage.unreachable", "too many open files")
        return super().get(path)


def test_what_was_made_and_cannot_be_read_for_a_while_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.masking.RETRY_SECONDS", 0.01)
    first, again = (masking(tmp_path, Away({"units": [1, 2, 3]})) for _ in range(2))
    first.numbers(Job(), [])
    object.__setattr__(again, "store", Unreadable(tmp_path))
    again.numbers(Job(), [])
    assert (first.made, again.made) == (["j-1"], [])
    assert set(first.key_holder.bodies) == set(again.key_holder.bodies)


def test_an_answer_of_another_form_is_no_release_and_a_closing_process_waits_for_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.masking.RETRY_SECONDS", 0.01)
    for values in ({"units": [1]}, {"other": [1, 2, 3]}, {}):
        with pytest.raises(ReleaseRefused):
            masking(tmp_path, Away(values)).numbers(Job(), [])
    closing = threading.Event()
    closing.set()
    with pytest.raises(Unavailable):
        masking(tmp_path, Away({}), closing).numbers(Job(), [])
