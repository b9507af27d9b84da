"""A token is shown once, stored as a hash, narrowed by scope, and everything wrong with one looks the same."""

import hashlib
import hmac
from datetime import timedelta

import pytest
from sqlalchemy import select

from core.errors import Invalid, NotFound, Unauthenticated
from policies import identity
from policies.model import Role
from policies.records import principals, tokens
from tests.policies_world import World, quick_folder

DAY = timedelta(days=1)


@pytest.fixture
def world():
    folder = quick_folder()
    made = World(folder.name)
    yield made
    made.close()
    folder.cleanup()


def issue(world, person, scopes=("researcher",), lifetime=DAY):
    return world.write(identity.issue_token, person.id, scopes, lifetime, "system")


def known(world, text):
    return world.read(identity.authenticate, text, world.clock.now())


def test_a_token_brings_its_holder(world):
    person = world.person("researcher", "operator")
    found = known(world, issue(world, person, ["researcher", "operator"]).text)
    assert found == person


def test_a_token_carries_only_its_scopes(world):
    person = world.person("researcher", "operator", "admin")
    assert known(world, issue(world, person).text).roles == {Role.RESEARCHER}


def test_scopes_beyond_the_roles_are_refused(world):
    with pytest.raises(Invalid) as caught:
        issue(world, world.person("researcher"), ["operator"])
    assert caught.value.code == "token.scopes"
    assert caught.value.way_out == "scopes among researcher"


def test_a_token_has_256_random_bits_and_is_stored_as_its_hash_only(world):
    token = issue(world, world.person())
    assert len(token.text) == len("bny_") + 43
    with world.journal.reading() as connection:
        row = connection.execute(select(tokens)).one()
    assert row.sha256 == hashlib.sha256(token.text.encode()).hexdigest()
    assert token.text not in str(row)
    assert token.text not in repr(token)
    assert all(token.text not in str(event) for event in world.events())


def test_the_comparison_is_in_constant_time(world, monkeypatch):
    token = issue(world, world.person())
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: False)
    with pytest.raises(Unauthenticated):
        known(world, token.text)


def test_a_token_lives_until_its_moment_and_not_after(world):
    token = issue(world, world.person(), lifetime=timedelta(seconds=2))
    world.pass_time(seconds=1.999)
    assert known(world, token.text)
    world.pass_time(seconds=0.001)
    with pytest.raises(Unauthenticated):
        known(world, token.text)


@pytest.mark.parametrize("lifetime", [timedelta(0), -DAY, timedelta(days=367)])
def test_a_lifetime_that_cannot_be_is_refused(world, lifetime):
    with pytest.raises(Invalid):
        issue(world, world.person(), lifetime=lifetime)


def test_everything_wrong_with_a_token_is_said_in_the_same_words(world):
    person = world.person()
    revoked, expired = issue(world, person), issue(world, person, lifetime=timedelta(seconds=1))
    world.write(identity.revoke_token, revoked.id, "system")
    world.pass_time(seconds=1)
    good = issue(world, person).text
    wrong = [
        None, "", "bny_", good[:-1], good + "A", good.lower(), " " + good, good + "\n", "x" * 1_000_000, "bny_" + "é" * 43,
        "bny_" + "A" * 43, revoked.text, expired.text, revoked.id, "' OR 1=1 --",
    ]  # fmt: skip
    seen = set()
    for text in wrong:
        with pytest.raises(Unauthenticated) as caught:
            known(world, text)
        seen.add((caught.value.code, caught.value.text, caught.value.way_out, str(caught.value.where)))
    assert len(seen) == 1


def test_revoking_twice_changes_nothing(world):
    token = issue(world, world.person())
    world.write(identity.revoke_token, token.id, "system")
    before = world.events()
    world.write(identity.revoke_token, token.id, "system")
    assert world.events() == before


def test_unknown_people_and_tokens_are_not_found(world):
    with pytest.raises(NotFound):
        world.write(identity.revoke_token, "t-nothing", "system")
    with pytest.raises(NotFound):
        world.write(identity.issue_token, "p-nobody", ["researcher"], DAY, "system")


@pytest.mark.parametrize(
    ("name", "organisation", "roles", "code"),
    [
        ("", "health", ["researcher"], "principal.name"),
        ("a\nb", "health", ["researcher"], "principal.name"),
        ("x" * 101, "health", ["researcher"], "principal.name"),
        ("Ann", "Health Bureau", ["researcher"], "principal.organisation"),
        ("Ann", "", ["researcher"], "principal.organisation"),
        ("Ann", "health", [], "principal.role"),
        ("Ann", "health", ["root"], "principal.role"),
    ],
)
def test_a_person_that_cannot_be_is_refused(world, name, organisation, roles, code):
    with pytest.raises(Invalid) as caught:
        world.write(identity.add_principal, name, organisation, roles, "system")
    assert caught.value.code == code


def test_a_name_is_kept_in_one_column_and_never_in_an_event(world):
    person = world.write(identity.add_principal, "Zhang ZQX-778", "health", ["researcher"], "system")
    issue(world, person)
    assert "ZQX-778" not in str(world.events())
    assert "ZQX-778" not in repr(person)
    with world.journal.reading() as connection:
        assert connection.execute(select(principals.c.name)).scalars().all() == ["Zhang ZQX-778"]
