"""What the key holder has pinned, as it tells it and as a plan meets it: every refusal, and nothing of another form believed."""

import json
import time
from contextlib import nullcontext
from fractions import Fraction
from types import SimpleNamespace

import httpx
import pytest

from core.errors import Invalid, Unavailable
from jobs import service
from jobs.key_holder import HttpKeyHolder
from jobs.pinned import Pinned, check_pinned
from privacy.accountant import Loss
from tests.unit.encrypted_world import public_line

PROVIDERS = {"clinic-a": "KEY-A", "clinic-b": "KEY-B", "clinic-c": "KEY-C"}
TOLD = {
    "accountant": "zcdp", "min_providers": 2, "overlap": 1, "shared": False, "providers": PROVIDERS,
    "left": {"epsilon": "0", "delta": "0.0000005", "rho": "0.4"},
}  # fmt: skip
PLAN = {
    "population": "patients", "signing_keys": PROVIDERS, "overlap": 1, "shared": True,
    "encrypted": {"accountant": "zcdp", "price": {"epsilon": "0", "delta": "0", "rho": "0.4"}},
}  # fmt: skip


def pinned(**changed):
    return {"patients": Pinned.from_json(TOLD | changed)}


def refused(plan=PLAN, populations=None):
    with pytest.raises(Invalid) as found:
        check_pinned(plan, pinned() if populations is None else populations)
    assert found.value.code == "encrypted.key_holder_refuses"
    assert found.value.way_out
    return found.value


def test_what_the_key_holder_would_open_is_let_through_to_the_last_of_its_account():
    check_pinned(PLAN, pinned())
    check_pinned(PLAN, pinned(shared=True))
    check_pinned(PLAN, pinned(min_providers=3))
    check_pinned(PLAN | {"signing_keys": {"clinic-b": "KEY-B", "clinic-c": "KEY-C"}}, pinned())
    check_pinned(PLAN | {"overlap": 3}, pinned(overlap=3))
    check_pinned(PLAN | {"shared": False}, pinned())


def test_an_overlap_beyond_the_jobs_providers_is_that_of_all():
    check_pinned(PLAN | {"overlap": 3}, pinned(overlap=20))
    assert "at 20 providers; the policy says 2" in refused(PLAN | {"overlap": 2}, pinned(overlap=20)).text


@pytest.mark.parametrize(
    ("plan", "told", "words"),
    [
        ({"population": "people"}, {}, "knows no population people"), ({}, {"accountant": "basic"}, "accounts patients in basic"),
        ({"signing_keys": PROVIDERS | {"clinic-d": "KEY-D"}}, {}, "knows clinic-d not at all"), ({"signing_keys": PROVIDERS | {"clinic-b": "KEY-X"}}, {}, "clinic-b"),
        ({"signing_keys": PROVIDERS | {"clinic-b": "KEY-A"}}, {}, "clinic-b"), ({}, {"providers": {}}, "knows clinic-a not at all"),
        ({}, {"min_providers": 4}, "at least 4 providers of patients; these are 3"), ({}, {"overlap": 2}, "may be at 2 providers; the policy says 1"),
        ({"shared": False}, {"shared": True}, "each provider has added noise of its own"),
        ({}, {"left": TOLD["left"] | {"rho": "0.39999999999999999999"}}, "less left for patients"),
    ],
)  # fmt: skip
def test_what_the_key_holder_would_refuse_is_refused_with_the_reason(plan, told, words):
    assert words in refused(PLAN | plan, pinned(**told)).text


@pytest.mark.parametrize(
    ("currency", "left"),
    [("epsilon", {"epsilon": "1"}), ("delta", {"delta": "0"}), ("rho", {"rho": "0"})],
)  # fmt: skip
def test_no_part_of_the_price_may_be_beyond_what_is_left(currency, left):
    price = {"epsilon": "2", "delta": "0.0000001", "rho": "0.1"}
    plan = PLAN | {"encrypted": PLAN["encrypted"] | {"price": price}}
    enough = {"epsilon": "2", "delta": "0.0000001", "rho": "0.1"}
    check_pinned(plan, pinned(left=enough))
    assert refused(plan, pinned(left=enough | left)).where == {"field": "epsilon"}, currency


def test_a_refusal_is_of_the_assets_but_for_the_price():
    assert refused(populations={}).where == {"field": "assets"}
    assert refused(populations=pinned(left=TOLD["left"] | {"rho": "0"})).where == {"field": "epsilon"}


# As it is told


def test_what_is_told_is_read_exactly():
    found = Pinned.from_json(json.loads(json.dumps(TOLD)))
    assert (found.accountant, found.min_providers, found.overlap, found.shared) == ("zcdp", 2, 1, False)
    assert found.providers == PROVIDERS
    assert found.left == Loss(delta=Fraction(1, 2_000_000), rho=Fraction(2, 5))


def test_a_member_more_is_for_a_later_version_and_one_less_is_refused():
    assert Pinned.from_json(TOLD | {"more": 1}) == Pinned.from_json(TOLD)
    for name in TOLD:
        with pytest.raises(KeyError):
            Pinned.from_json({key: value for key, value in TOLD.items() if key != name})


HOSTILE = [
    *(("accountant", value) for value in ("", "none", "ZCDP", None, 1, [], {}, "zcdp\n")),
    *((name, value) for name in ("min_providers", "overlap") for value in (0, -1, "2", 2.0, 2.5, True, None, [], {}, float("inf"), float("nan"))),
    *(("shared", value) for value in ("false", "true", 0, 1, None, [], {})),
    *(("providers", value) for value in (None, 1, "ab", ["ab"], [["clinic-a", "KEY-A"]], {"clinic-a": None}, {"clinic-a": ["KEY-A"]}, {"clinic-a": 1})),
    *(("left", value) for value in (None, 1, "", [], {}, ["epsilon", "delta", "rho"], {"epsilon": "0", "delta": "0"}, TOLD["left"] | {"more": "0"})),
    *(("left", TOLD["left"] | {"rho": value}) for value in ("", "-1", "1/0", "nan", "inf", "1e9", "9" * 5000, "1e999999999", None, True, [], {}, -1, float("inf"), float("nan"))),
]  # fmt: skip


@pytest.mark.parametrize(("member", "value"), HOSTILE)
def test_what_is_of_another_form_is_not_believed(member, value):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Pinned.from_json(TOLD | {member: value})


@pytest.mark.parametrize("stored", [None, [], ["accountant"], "accountant", 1, True])
def test_what_is_no_object_is_not_believed(stored):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Pinned.from_json(stored)


@pytest.mark.parametrize(("member", "value"), HOSTILE[::4])
def test_a_key_holder_that_tells_it_otherwise_counts_as_away_and_raises_nothing(member, value):
    """`pinned` is asked in the middle of planning: whoever answers in the key holder's place must not stop the server."""
    told = {"states": {}, "resting": [], "populations": {"patients": TOLD | {member: value}}}
    body = json.dumps(told).encode()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    assert HttpKeyHolder("http://keyholder", public_line("holder"), transport).pinned() is None


def test_a_key_holder_that_tells_it_is_believed():
    told = {"states": {}, "resting": [], "populations": {"patients": TOLD}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps(told)))
    found = HttpKeyHolder("http://keyholder", public_line("holder"), transport).pinned()
    assert found == pinned()


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"populations":' * 100_000, b"", b"\xff", b"[]", b"null", b'{"populations": 1}']
)
def test_an_answer_that_is_no_json_or_too_deep_of_it_stops_nothing(body):
    found = HttpKeyHolder(
        "http://keyholder", public_line("holder"), httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    )
    assert found.pinned() is None
    assert not found.opens("sha256:" + "a" * 64)
    with pytest.raises(Unavailable):
        found.keys()
    with pytest.raises(Unavailable):
        found.followed()


class Used:
    """A key holder whose account of the population is used up, and a plan that would cost more."""

    facts = SimpleNamespace(encrypted=object())

    def pinned(self):
        return pinned(left=TOLD["left"] | {"rho": "0"})

    def digest(self):
        return "the identity"

    def to_json(self):
        return PLAN


@pytest.mark.parametrize(("earlier", "is_refused"), [(None, True), ("j-earlier", False)])
def test_the_same_as_was_answered_before_needs_nothing_of_the_key_holder(monkeypatch, earlier, is_refused):
    """It is answered with the earlier release and costs the population nothing (R16), also at the end of the account."""
    monkeypatch.setattr(service, "_answering", lambda _, identity: earlier if identity == "the identity" else None)
    asks = service.JobService(None, None, SimpleNamespace(key_holder=Used()))
    with pytest.raises(Invalid) if is_refused else nullcontext():
        asks._check_pinned(None, Used())


def test_a_key_holder_that_answers_in_drips_is_away_after_a_second():
    """The jobs of all others wait while it is asked."""

    class Drips(httpx.SyncByteStream):
        def __iter__(self):
            for _ in range(100):
                time.sleep(0.2)
                yield b" "

    found = HttpKeyHolder(
        "http://keyholder", public_line("holder"), httpx.MockTransport(lambda _: httpx.Response(200, stream=Drips()))
    )
    begun = time.monotonic()
    assert found.pinned() is None
    assert not found.opens("a key")
    assert time.monotonic() - begun < 10, "20 seconds of drips are not waited for"
