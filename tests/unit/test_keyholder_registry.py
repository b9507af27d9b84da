"""What the key holder's operator may write down, and what of it the checks of a release go by."""

import base64
import os
import socket
from dataclasses import replace
from fractions import Fraction

import pytest

from core.errors import Conflict, Invalid
from keyholder.keys import KeyState
from keyholder.registry import EXAMPLE, Population, read_registry
from keyholder.releasing import Releases
from privacy.accountant import Accountant
from privacy.encrypted.context import PublicContext
from privacy.encrypted.header import Header
from privacy.encrypted.manifest import Released
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedRequest
from privacy.encrypted.request import read_compute
from tests.unit.encrypted_world import public_line, signing
from tests.unit.test_keyholder import HOSPITALS, World, rows, setter


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def written(world, **changed):
    said = {
        "accountant": "zcdp", "epsilon": "4", "delta": "1e-6", "min_providers": "2", "overlap": "1", "shared": "false",
        "providers": f"{{hospital-a: {public_line('a')}, hospital-b: {public_line('b')}}}",
    } | changed  # fmt: skip
    fields = "".join(f"    {name}: {value}\n" for name, value in said.items() if value is not None)
    path = world.folder / "registry.yaml"
    key = public_line("manifest")
    path.write_text(
        f"service:\n  log_key: {world.journal.signer.verifier_key}\n  manifest_key: {key}\n  host: elsewhere\n  uid: 1000\n"
        f"populations:\n  patients:\n{fields}"
    )
    return path


def test_what_is_written_is_what_is_believed(world):
    found = read_registry(written(world))
    assert found.service.manifest_key == public_line("manifest")
    assert (found.service.host, found.service.uid) == ("elsewhere", 1000)
    population = found.populations["patients"]
    assert isinstance(population, Population)
    assert (population.accountant, population.min_providers, population.overlap) == (Accountant.ZCDP, 2, 1)
    assert population.capacity.reserved_delta == Fraction(1, 2_000_000)
    assert set(population.providers) == {"hospital-a", "hospital-b"}


@pytest.mark.parametrize(
    ("changed", "field", "text"),
    [
        ({"providers": f"{{hospital-a: {public_line('a')}, hospital-b: {public_line('a')}}}"}, "providers", "one provider"),
        ({"min_providers": "3"}, "min_providers", "only 2"), ({"min_providers": "1"}, "min_providers", "at least 2"),
        ({"epsilon": "abc"}, "epsilon", "above 0"), ({"epsilon": "0"}, "epsilon", "above 0"), ({"epsilon": "1e9"}, "epsilon", "at most 100"),
        ({"epsilon": "[4]"}, "epsilon", "above 0"), ({"epsilon": "0.00000000000000000001"}, "epsilon", "too small"), ({"delta": "1"}, "delta", "below 0.001"),
        ({"delta": "0"}, "delta", "above 0"), ({"min_providers": '"3"'}, "min_providers", "whole number"), ({"min_providers": "2.5"}, "min_providers", "whole number"),
        ({"overlap": "many"}, "overlap", "whole number"), ({"shared": "1"}, "shared", "true or false"), ({"shared": "true", "accountant": "basic"}, "shared", "only with zcdp"),
        ({"providers": f"{{Hospital A: {public_line('a')}, hospital-b: {public_line('b')}}}"}, "Hospital A", "no declaration"),
        ({"overlap": "0"}, "overlap", "at least 1"), ({"overlap": None}, "overlap", "missing"), ({"overlap": "true"}, "overlap", "whole number"),
        ({"overlap": "~"}, "overlap", "missing"), ({"accountant": "renyi"}, "accountant", "basic or zcdp"), ({"epsilon": "-1"}, "epsilon", "above 0"),
        ({"delta": None}, "delta", "missing"), ({"budget": "4"}, "budget", "no field"), ({"providers": "{hospital-a: AAAA}"}, "hospital-a", "public signing key"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_field_and_line(world, changed, field, text):
    with pytest.raises(Invalid, match=text) as caught:
        read_registry(written(world, **changed))
    assert caught.value.where["field"].split(".")[-1] == field
    assert caught.value.where["file"] == "registry.yaml"
    assert caught.value.where["line"] > 5


def test_a_population_is_named_as_declarations_name_it(world):
    path = written(world)
    path.write_text(path.read_text().replace("  patients:", "  Trial Patients:"))
    with pytest.raises(Invalid, match="no declaration can name such a population") as caught:
        read_registry(path)
    assert (caught.value.where["line"], caught.value.where["field"]) == (7, "populations.Trial Patients")


def test_what_is_no_text_is_refused_with_its_place_and_a_way_out(world):
    path = written(world)
    path.write_bytes(b"\xff\xfe\x00")
    for missing in (path, world.folder / "nowhere.yaml"):
        with pytest.raises(Invalid, match="registry") as caught:
            read_registry(missing)
        assert caught.value.where == {"file": missing}
        assert "init" in caught.value.way_out


def test_the_example_is_refused_until_it_is_filled_in(world):
    path = world.folder / "registry.yaml"
    path.write_text(EXAMPLE)
    with pytest.raises(Invalid) as caught:
        read_registry(path)
    assert caught.value.where["field"] == "service.log_key"


def pinning(world, **changed):
    """The same key holder with another entry for the population."""
    known = world.releases
    patients = replace(known.registry.populations["patients"], **changed)
    return Releases(
        known.keys, known.ledger, replace(known.registry, populations={"patients": patients}), known.passphrase_file
    )


def for_two(document):
    """Noise for a person who is at both of two providers."""
    said = tuple(Header.from_json(upload["header"]).terms for upload in document["uploads"])
    plan = plan_encrypted(EncryptedRequest(read_compute({"count": True}), said, 2, Accountant.BASIC, Fraction(1), None))
    document.update(
        overlap=2, vectors=[Released(vector.name, vector.length, vector.noise).to_json() for vector in plan.vectors]
    )


def test_of_a_job_with_fewer_providers_than_the_pinned_overlap_all_of_them_are_asked_for(world):
    two = {"min_providers": 2, "overlap": 3}
    assert "more providers than the noise" in world.refuse(
        *world.request(providers=HOSPITALS[:2]), pinning(world, **two)
    )
    world.ask(*world.request("j-2", providers=HOSPITALS[:2], change=for_two), pinning(world, **two))


@pytest.mark.parametrize("level", ["S10", "R9", "s1", "S6", "A", "Secret"])
def test_there_are_six_levels(world, level):
    assert "no such level" in world.refuse(*world.request(change=setter(level=level)))
    assert rows(world) == 0


@pytest.mark.parametrize("level", ["S2", "S3", "S4", "S5"])
def test_a_signing_key_shared_with_the_service_is_not_apart(world, level):
    known, service = world.releases, world.releases.registry.service
    own = base64.b64decode(world.keys.signer)
    for shared in (
        replace(service, manifest_key=world.keys.signer), replace(service, log_key=replace(service.log_key, public=own)),
        replace(service, host=socket.gethostname()), replace(service, uid=os.getuid()),
    ):  # fmt: skip
        releases = Releases(known.keys, known.ledger, replace(known.registry, service=shared), known.passphrase_file)
        assert not releases._is_apart()
        if shared.manifest_key == service.manifest_key:
            assert "apart" in world.refuse(*world.request(change=setter(level=level)), releases)
    assert known._is_apart()


@pytest.mark.parametrize("level", ["S0", "S1"])
def test_up_to_s1_one_machine_may_do_both(world, level):
    world.ask(*world.request(change=setter(level=level)), world.serving(host=socket.gethostname(), uid=os.getuid()))


def dated(moment):
    """Every upload made at that moment, and signed so by its provider."""

    def change(document):
        for upload in document["uploads"]:
            header = replace(Header.from_json(upload["header"]), created=moment)
            signature = base64.b64encode(signing(header.terms.provider).sign(header.signed())).decode()
            upload["header"] = replace(header, signature=signature).to_json()

    return change


def test_what_was_encrypted_after_a_key_expired_is_not_opened_and_what_was_before_is(world):
    world.clock.advance(400 * 86_400)
    assert world.keys.states() == {world.context.key: KeyState.DECRYPT_ONLY}
    for moment in (world.context.expires, "2027-06-20T00:00:00Z"):
        world.refuse(*world.request(change=dated(moment)))
    assert rows(world) == 0
    world.ask(*world.request("j-2", change=dated("2027-05-31T23:59:59Z")))


@pytest.mark.parametrize(
    ("states", "then"),
    [
        ([], KeyState.DECRYPT_ONLY), ([], KeyState.ACTIVE), ([KeyState.RETIRED], KeyState.DECRYPT_ONLY), ([KeyState.RETIRED], KeyState.FROZEN),
        ([KeyState.FROZEN, KeyState.RETIRED], KeyState.DECRYPT_ONLY), ([KeyState.FROZEN], KeyState.ACTIVE),
        ([KeyState.FROZEN, KeyState.DECRYPT_ONLY], KeyState.ACTIVE),
    ],
)  # fmt: skip
def test_a_key_does_not_come_back(world, states, then):
    key = world.context.key
    for state in states:
        world.keys.set_state(key, state, "test")
    before = world.keys.states()
    with pytest.raises(Conflict, match="does not become"):
        world.keys.set_state(key, then, "test")
    assert world.keys.states() == before


def test_an_unfrozen_key_decrypts_again_and_takes_no_new_data(world):
    key = world.context.key
    world.keys.set_state(key, KeyState.FROZEN, "test")
    world.keys.set_state(key, KeyState.DECRYPT_ONLY, "test")
    world.ask(*world.request())
    assert world.keys.states() == {key: KeyState.DECRYPT_ONLY}


def test_the_signed_context_lies_beside_the_key(world):
    found = PublicContext.from_bytes(world.keys.context_file(world.context.key).read_bytes())
    assert found == world.context
    assert found.signer == world.keys.signer


def test_every_key_that_may_be_needed_is_tried(world, tmp_path):
    world.releases.check_opens()
    other = tmp_path / "other"
    other.write_text("another passphrase, long enough")
    other.chmod(0o400)
    known = world.releases
    wrong = Releases(known.keys, known.ledger, known.registry, other)
    with pytest.raises(Exception, match="cannot be opened with this passphrase"):
        wrong.check_opens()
    world.passphrase.chmod(0o444)
    with pytest.raises(Exception, match="read by others"):
        known.check_opens()
    world.keys.set_state(world.context.key, KeyState.RETIRED, "test")
    wrong.check_opens()
