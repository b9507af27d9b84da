"""Which log is believed: consistency against the service's own tree, and which disagreements are an alarm."""

from dataclasses import replace
from itertools import pairwise

import pytest

from audit import log, merkle
from audit.checkpoint import TreeHead, sign
from core.signing_key import open_signing_key
from keyholder.ledger import incidents_in
from keyholder.log_follower import is_consistent
from tests.unit.test_keyholder import World, _text, rows

LARGEST = 33


class Tree:
    """A tree of the service's own code, in memory."""

    def __init__(self, size, changed=None):
        self.nodes = {}
        for at in range(size):
            leaf = merkle.leaf_hash(b"other" if at == changed else f"leaf {at}".encode())
            for level, index, found in merkle.completed_by(at, leaf, self.node):
                self.nodes[level, index] = found

    def node(self, level, index):
        return self.nodes[level, index]

    def root(self, size):
        return merkle.root(size, self.node)

    def proof(self, old, new):
        return merkle.consistency_proof(old, new, self.node) if old < new else []


@pytest.fixture(scope="module")
def tree():
    return Tree(LARGEST)


def test_every_growth_of_the_services_tree_is_believed(tree):
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1):
            assert is_consistent(old, tree.root(old), new, tree.root(new), tree.proof(old, new)), (old, new)


def test_no_other_root_size_or_path_is_believed(tree):
    for old, new in [(1, 2), (3, 4), (4, 7), (6, 8), (7, 19), (8, 32), (16, 33), (32, 33)]:
        path, first, second = tree.proof(old, new), tree.root(old), tree.root(new)
        assert not is_consistent(old, second, new, second, path)
        assert not is_consistent(old, first, new, first, path)
        assert not is_consistent(0, first, new, second, path)
        assert not is_consistent(old, first, new, second, [*path, bytes(32)])
        for at in range(len(path)):
            assert not is_consistent(old, first, new, second, path[:at] + path[at + 1 :])
            assert not is_consistent(old, first, new, second, [*path[:at], bytes(32), *path[at + 1 :]])
        for changed in range(old):
            fork = Tree(LARGEST, changed)
            assert not is_consistent(old, first, new, fork.root(new), fork.proof(old, new)), (old, new, changed)


def test_a_smaller_tree_is_no_growth(tree):
    for small, large in pairwise(range(1, LARGEST)):
        assert not is_consistent(large, tree.root(large), small, tree.root(small), tree.proof(small, large))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def alarms(world):
    return [each.kind for each in incidents_in(world.keys.engine)]


def test_an_old_proof_is_late_and_no_alarm(world):
    old, masked = world.request("j-1")
    world.ask(old, masked)
    world.ask(*world.request("j-2"))
    late, masked = world.request("j-3")
    stale = {**late, "spend": {**late["spend"], **{name: old["spend"][name] for name in ("checkpoint", "consistency")}}}
    assert "older than the one followed" in world.postpone(stale, masked)
    assert alarms(world) == []
    world.ask(late, masked)


def test_the_head_that_is_followed_needs_no_path(world):
    """The service asked what is followed before another of its jobs moved it on to the same head."""
    world.ask(*world.request("j-1"))
    document, masked = world.request("j-2")
    assert document["spend"]["consistency"]
    with world.journal.reading() as connection:
        size = log.size_of(connection)
        root = log.root_of(connection, size)
    world.releases.ledger.follow(type(world.releases.ledger.followed())(size, root, "note"))
    world.ask(document, masked)
    assert alarms(world) == []


@pytest.mark.parametrize("size", [1, 4, 9])
def test_a_head_that_was_never_seen_opens_nothing_and_is_an_alarm_unless_it_is_smaller(world, size):
    """Smaller, of the same size and larger: all signed with the log's own key. A smaller one may be a request that was overtaken."""
    world.ask(*world.request("j-1"))
    document, masked = world.request("j-2")
    world.ask(document, masked)
    assert world.releases.ledger.followed().size == 4
    late, masked = world.request("j-3")
    key = open_signing_key(world.folder / "signer" / "log.key")
    forged = {**late["spend"], "checkpoint": sign(TreeHead(size, bytes(32)), "test/log", key)}
    late = {**late, "spend": forged}
    if size < 4:
        assert "smaller than the one followed" in world.postpone(late, masked)
        assert alarms(world) == []
    else:
        assert "does not extend" in world.refuse(late, masked)
        assert alarms(world) == ["log.forked"]
    assert world.releases.ledger.followed().size == 4
    assert rows(world) == 2


def test_a_head_of_another_key_or_log_moves_nothing_and_is_no_alarm(world):
    world.ask(*world.request("j-1"))
    late, masked = world.request("j-2")
    with world.journal.reading() as connection:
        head = TreeHead(log.size_of(connection), log.root_of(connection, log.size_of(connection)))
    log_key = open_signing_key(world.folder / "signer" / "log.key")
    for note in (sign(head, "test/log", world.manifest_key), sign(head, "other/log", log_key), ""):
        assert "not signed by the service's log" in world.refuse(
            {**late, "spend": {**late["spend"], "checkpoint": note}}, masked
        )
    assert alarms(world) == []
    assert world.releases.ledger.followed().size == 2


def test_reservation_and_commitment_of_different_spends_are_no_spend(world):
    one, _ = world.request("j-1")
    two, masked = world.request("j-2")
    with world.journal.reading() as connection:
        size = log.size_of(connection)
        path = [_text(part) for part in log.inclusion_proof(connection, one["spend"]["reserved"]["index"], size)]
    mixed = {**two["spend"], "reserved": {**one["spend"]["reserved"], "inclusion": path}}
    assert "different spends" in world.refuse({**two, "spend": mixed}, masked)


def test_a_proof_of_another_job_of_the_same_service_is_refused(world):
    one, _ = world.request("j-1")
    two, masked = world.request("j-2")
    spend = world.proof(*(one["spend"][name]["index"] for name in ("reserved", "committed")))
    assert "another job" in world.refuse({**two, "spend": spend}, masked)


def test_the_pinned_origin_is_the_keys_name(world):
    pinned = world.releases.registry
    service = replace(pinned.service, log_key=replace(pinned.service.log_key, name="other/log"))
    releases = replace(world.releases, registry=replace(pinned, service=service))
    assert "not signed by the service's log" in world.refuse(*world.request(), releases)
