"""Which tier a job gets, and what is said of one that is not there."""

from __future__ import annotations

import itertools
import json
import struct

import pytest

from core.errors import Unavailable
from core.tier import Tier
from sandbox import failure, tiers
from sandbox.fake_runtime import FakeRuntime
from sandbox.spec import ContainerSpec
from sandbox.tiers import Found, Tiers, chosen, probe

IMAGE = "sha256:" + "a" * 64
HERE = struct.pack(">IBI", 0, 0, 8) + struct.pack(">d", 1.0)
FAILED = struct.pack(">IBI", 0, 1, 0)


def found(*available: Tier) -> Tiers:
    return Tiers(tuple(Found(tier, "" if tier in available else "no") for tier in Tier))


@pytest.mark.parametrize("asked", Tier)
@pytest.mark.parametrize("available", [set(some) for size in range(3) for some in itertools.combinations(Tier, size)])
def test_what_is_taken_is_never_weaker(asked: Tier, available: set[Tier]) -> None:
    fit = [tier for tier in available if tier.strength >= asked.strength]
    if not fit:
        with pytest.raises(Unavailable) as caught:
            chosen(asked, found(*available))
        assert (caught.value.code, caught.value.where) == ("isolation.unavailable", {"tier": asked.value})
        assert caught.value.way_out
        assert caught.value.detail
    else:
        assert chosen(asked, found(*available)) is (asked if asked in available else Tier.CONTAINER)


def test_container_is_stronger_than_zygote() -> None:
    assert chosen(Tier.ZYGOTE, found(Tier.CONTAINER)) is Tier.CONTAINER
    with pytest.raises(Unavailable):
        chosen(Tier.CONTAINER, found(Tier.ZYGOTE))


def test_each_missing_tier_has_a_line() -> None:
    assert found(*Tier).lines() == []
    assert found(Tier.CONTAINER).lines() == [
        "the tier zygote is not available here: no; jobs that ask for it get the tier container"
    ]
    assert [line.rpartition("; ")[2] for line in found().lines()] == 2 * ["jobs that ask for it are refused"]


def engine(zygote: bytes | str, seen: list[ContainerSpec] | None = None) -> FakeRuntime:
    """An engine whose zygote answers with these bytes, or fails and says this; the tier container always answers."""

    def program(spec: ContainerSpec, instruction: bytes) -> bytes:
        asked = json.loads(instruction[4:])
        assert (asked["isolation"] == "namespaces") == spec.namespaces
        if seen is not None:
            seen.append(spec)
        if not spec.namespaces:
            return HERE
        if isinstance(zygote, bytes):
            return zygote
        raise RuntimeError(zygote)

    return FakeRuntime(program, test=__name__)


def test_a_tier_is_there_when_a_block_answered_in_it() -> None:
    seen: list[ContainerSpec] = []
    assert probe(engine(HERE, seen), IMAGE, "test", "runsc") == found(*Tier)
    assert [(spec.namespaces, spec.oci_runtime, spec.command) for spec in seen] == [
        (True, "runsc", tiers.RUNNER),
        (False, "runsc", tiers.RUNNER),
    ]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (FAILED, "a block did not answer"),
        (b"", "a block did not answer"),
        (HERE[:-1] + b"\1", "a block did not answer"),
        ("no namespaces here: [Errno 1] unshare 0x30000000: x", "user namespaces are denied, by seccomp, by AppArmor or by kernel.unprivileged_userns_clone"),
        ("[Errno 28] unshare 0x10000000: No space left on device", "no more user namespaces are allowed (user.max_user_namespaces)"),
        ("[Errno 22] unshare 0x10000000: Invalid argument", "the kernel has no user namespaces"),
        ("OSError: [Errno 13] mount root at /tmp: Permission denied", "mounts in a user namespace are denied, as AppArmor's profile for containers does"),
        ("[Errno 1] pivot_root: x", "mounts in a user namespace are denied, as AppArmor's profile for containers does"),
        ("[Errno 38] setns: x", "setns is refused (ENOSYS)"),
        ("[Errno 1] Operation not permitted", "a measure is refused (EPERM)"),
        ("[Errno 9999] <b>x", "a block did not answer"),
    ],
)  # fmt: skip
def test_the_reason_is_said_in_our_words(said: bytes | str, reason: str) -> None:
    assert probe(engine(said), IMAGE, "test").found == (Found(Tier.ZYGOTE, reason), Found(Tier.CONTAINER))


def test_an_engine_that_refuses_is_a_reason_and_one_that_is_not_there_an_error() -> None:
    class Refusing(FakeRuntime):
        def run(self, *arguments: object) -> object:
            raise failure.refused(400, "Unknown runtime specified runsc")

    refusing = Refusing(lambda *_: b"", test=__name__)
    assert {each.reason for each in probe(refusing, IMAGE, "test", "runsc").found} == {
        "the engine has no OCI runtime called runsc, or cannot start it"
    }
    assert {each.reason for each in probe(refusing, IMAGE, "test").found} == {"the engine refuses the container"}
    for broken in (
        FakeRuntime(lambda *_: b"", test=__name__, reachable=False),
        FakeRuntime(lambda *_: b"", test=__name__, missing={IMAGE}),
    ):
        with pytest.raises(Unavailable):
            probe(broken, IMAGE, "test")
