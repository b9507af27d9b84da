"""Which isolation a node does for programs: tried once, on the engine, when first asked; never weaker than asked; never from a guess."""

import json
import struct
import threading
import time

import pytest

from core.errors import Unavailable
from core.tier import Tier, strongest
from jobs.isolation import Isolation
from sandbox.fake_runtime import FakeRuntime
from tests.api_world import frame

IMAGE = "sha256:" + "b" * 64


class Engine:
    """An engine that does some tiers; counts what was tried, and on whose account."""

    def __init__(self, *tiers, **runtime):
        self.tiers, self.tried, self.silent = set(tiers), [], False
        self.runtime = FakeRuntime(self.run, test="isolation", **runtime)

    def run(self, spec, instruction):
        asked = json.loads(instruction[4:])
        tier = Tier.ZYGOTE if spec.namespaces else Tier.CONTAINER
        assert asked["isolation"] == ("namespaces" if spec.namespaces else "none")
        assert (asked["trace"], spec.mounts, spec.image) == (False, (), IMAGE)
        self.tried.append((tier, spec.labels["banyan.owner"], spec.oci_runtime))
        time.sleep(0.02)
        if tier not in self.tiers:
            raise OSError("unshare: [Errno 1] unshare")
        if self.silent and spec.namespaces:
            return b""
        return frame(0, struct.pack(">d", 1.0))

    def isolation(self, oci_runtime=None):
        return Isolation(self.runtime, IMAGE, "own-1", oci_runtime)


@pytest.mark.parametrize("tiers", [(), (Tier.ZYGOTE,), (Tier.CONTAINER,), tuple(Tier)])
@pytest.mark.parametrize("level", Tier)
@pytest.mark.parametrize("policy", [None, *Tier])
def test_what_runs_is_never_weaker_than_the_level_or_the_policy(tiers, level, policy):
    floor = strongest(level) if policy is None else strongest(level, policy)
    isolation = Engine(*tiers).isolation()
    try:
        found = isolation.tier_for(floor)
    except Unavailable as refusal:
        assert refusal.code == "isolation.unavailable"  # noqa: PT017
        assert not any(tier.strength >= floor.strength for tier in tiers)
        return
    assert found in tiers
    assert found.strength >= level.strength
    assert policy is None or found.strength >= policy.strength
    assert not any(floor.strength <= tier.strength < found.strength for tier in tiers), "no stronger than needed"


def test_each_tier_is_tried_once_under_our_own_label_whoever_asks():
    engine = Engine(*Tier)
    isolation, found = engine.isolation("runsc"), []
    askers = [threading.Thread(target=lambda: found.append(isolation.tier_for(Tier.ZYGOTE))) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found == [Tier.ZYGOTE] * 8
    assert isolation.tier_for(Tier.CONTAINER) is Tier.CONTAINER
    assert sorted(engine.tried) == [(Tier.CONTAINER, "own-1", "runsc"), (Tier.ZYGOTE, "own-1", "runsc")]


def test_an_engine_that_is_away_is_asked_again_and_nothing_is_concluded_from_it():
    engine = Engine(*Tier, reachable=False)
    isolation = engine.isolation()
    for _ in range(2):
        with pytest.raises(Unavailable) as refusal:
            isolation.tier_for(Tier.ZYGOTE)
        assert refusal.value.code == "engine.unreachable"
    engine.runtime.reachable = True
    assert isolation.tier_for(Tier.ZYGOTE) is Tier.ZYGOTE
    engine.runtime.reachable = False
    assert isolation.tier_for(Tier.ZYGOTE) is Tier.ZYGOTE, "what was found out holds"


def test_an_image_that_is_away_is_no_tier_that_is_away():
    isolation = Engine(*Tier, missing=[IMAGE]).isolation()
    with pytest.raises(Unavailable) as refusal:
        isolation.tier_for(Tier.ZYGOTE)
    assert refusal.value.code == "engine.image_missing"


def test_what_the_node_cannot_do_is_said_once_to_the_operator(caplog):
    isolation = Engine(Tier.CONTAINER).isolation()
    assert [isolation.tier_for(Tier.ZYGOTE) for _ in range(3)] == [Tier.CONTAINER] * 3
    (record,) = caplog.records
    assert "the tier zygote is not available here" in record.getMessage()
    assert "get the tier container" in record.getMessage()


def test_a_trial_that_was_only_too_slow_is_no_verdict():
    engine = Engine(*Tier)
    isolation, engine.silent = engine.isolation(), True
    assert isolation.tier_for(Tier.ZYGOTE) is Tier.CONTAINER
    engine.silent = False
    assert isolation.tier_for(Tier.ZYGOTE) is Tier.ZYGOTE
