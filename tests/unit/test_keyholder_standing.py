"""What its operator is told: how populations stand, what of the registry may not be meant so, and plain sentences for mistakes."""

import re
import stat
from dataclasses import replace
from fractions import Fraction

import pytest
from typer.testing import CliRunner

from core.errors import Conflict
from jobs.key_holder import release_body
from keyholder import cli
from keyholder.ledger import Ledger, unanswered_in
from keyholder.registry import Registry
from keyholder.request import Refused
from keyholder.standing import check_accountants, lines, warnings
from privacy.accountant import Accountant, Capacity, Loss
from privacy.encrypted.manifest import Manifest
from tests.unit.encrypted_world import public_line
from tests.unit.test_keyholder import HOSPITALS, World

DELTA = Fraction(1, 10**6)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def told(world, monkeypatch):
    """A command of the operator: its exit code, and all that it says. It leaves this process as it is, and serves nothing."""
    monkeypatch.setattr(cli, "close_doors", lambda: None)
    monkeypatch.setattr(cli, "lock_memory", lambda: None)
    monkeypatch.setattr(cli.uvicorn, "run", lambda *_, **__: print("it serves"))
    monkeypatch.setattr(cli.logging, "basicConfig", lambda **_: None)

    def run(*words, folder=world.keys.folder):
        environment = {
            "BANYAN_KEYHOLDER_FOLDER": str(folder),
            "BANYAN_KEYHOLDER_PASSPHRASE_FILE": str(world.passphrase),
        }
        done = CliRunner().invoke(cli.app, list(words), env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return run


def pin(world, populations=("patients",), **changed):
    said = {
        "accountant": "basic",
        "epsilon": "4",
        "delta": "0",
        "min_providers": "3",
        "overlap": "1",
        "shared": "false",
    } | changed
    fields = "".join(f"    {name}: {value}\n" for name, value in said.items())
    providers = "".join(f"      {name}: {public_line(name)}\n" for name in HOSPITALS)
    known = world.releases.registry.service
    (world.keys.folder / "registry.yaml").write_text(
        f"service:\n  log_key: {world.journal.signer.verifier_key}\n  manifest_key: {known.manifest_key}\n  host: elsewhere\n  uid: 1\n"
        "populations:\n" + "".join(f"  {name}:\n{fields}    providers:\n{providers}" for name in populations)
    )  # fmt: skip


def spend(world, epsilon="1", job="j-1", **changed):
    """Charged, as after a release."""
    manifest = Manifest.from_json(world.request()[0]["manifest"])
    manifest = replace(manifest, job=job, **({"loss": Loss(epsilon=Fraction(epsilon))} | changed))
    world.releases.ledger.enter(
        manifest, Capacity.of(Accountant.BASIC, Fraction(100), Fraction(0)) if manifest.loss.epsilon else zcdp(), b"x"
    )


def zcdp(epsilon=4):
    return Capacity.of(Accountant.ZCDP, Fraction(epsilon), DELTA)


def registry_of(world, **populations):
    patients = world.releases.registry.populations["patients"]
    return Registry(
        world.releases.registry.service, {name: replace(patients, **said) for name, said in populations.items()}
    )


def test_what_is_spent_of_what_and_what_is_left(world):
    spend(world, "1.5")
    assert lines(world.releases.registry, world.releases.ledger) == [
        "spent  patients: epsilon 1.5, delta 0 of epsilon 4, delta 0; left: epsilon 2.5, delta 0"
    ]
    pinned = registry_of(world, clinics={"accountant": Accountant.ZCDP, "capacity": zcdp()})
    (line,) = lines(pinned, world.releases.ledger)
    rho = float(zcdp().limit.rho)
    assert line.startswith("spent  clinics: epsilon 0, delta 0 of epsilon 4, delta 1e-06; left: rho ")
    assert re.search(r"left: rho ([0-9.]+), delta 5e-07$", line)[1] == f"{rho:.6g}"


def test_an_accountant_that_was_changed_after_a_release_is_refused_either_way(world):
    spend(world)
    changed = registry_of(world, patients={"accountant": Accountant.ZCDP, "capacity": zcdp()})
    with pytest.raises(Conflict, match="under another accountant than zcdp") as caught:
        check_accountants(changed, world.releases.ledger)
    assert caught.value.where == {"field": "populations.patients.accountant"}
    check_accountants(world.releases.registry, world.releases.ledger)
    spend(world, job="j-2", population="clinics", loss=Loss(rho=Fraction(1, 100)))
    with pytest.raises(Conflict, match="clinics: was released from under another accountant than basic"):
        check_accountants(registry_of(world, clinics={}), world.releases.ledger)


def test_nothing_to_look_at_is_nothing_said(world):
    spend(world, "4")
    assert warnings(world.releases.registry, world.releases.ledger) == []


def test_a_budget_below_what_is_spent_is_told(world):
    spend(world, "2")
    capacity = Capacity.of(Accountant.BASIC, Fraction(199, 100), Fraction(0))
    (warning,) = warnings(registry_of(world, patients={"capacity": capacity}), world.releases.ledger)
    assert warning == "patients: more is released than registry.yaml allows; nothing more will be"


def test_one_signing_key_under_two_populations_is_told_whatever_the_provider_is_called(world):
    others = {"clinic-a": public_line("clinic-a"), "ward": public_line("hospital-b")}
    two = registry_of(
        world, patients={}, again={"providers": others}, apart={"providers": {"clinic": public_line("c")}}
    )
    assert warnings(two, world.releases.ledger) == [
        "patients and again: one signing key for hospital-b; whoever is in both loses what both have lost"
    ]


def test_a_population_that_was_renamed_is_told(world):
    spend(world)
    (warning,) = warnings(registry_of(world, **{"patients-again": {}}), world.releases.ledger)
    assert warning.startswith("patients: was released from, and registry.yaml names it no more")


COMMANDS = [("serve",), ("rotate",), ("status",), ("incidents",), ("unfreeze", "sha256:0"), ("retire", "sha256:0")]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_folder_without_a_key_holder_is_a_plain_sentence(told, tmp_path, words):
    nowhere = tmp_path / "nowhere"
    code, said = told(*words, folder=nowhere)
    assert code == 1
    assert said.splitlines() == [
        f"refused  folder.unknown  folder {nowhere}",
        "  there is no key holder in this folder",
        "  What would pass: its folder, or init for a new one",
    ]
    assert not nowhere.exists()


@pytest.mark.parametrize("words", COMMANDS)
def test_a_damaged_ledger_is_a_plain_sentence(world, told, words):
    (world.keys.folder / "keyholder.db").write_bytes(b"not a database, and long enough to be taken for one" * 100)
    for file in world.keys.folder.glob("keyholder.db-*"):
        file.unlink()
    code, said = told(*words)
    assert code == 1
    assert "ledger.unusable" in said
    assert "damaged" in said


@pytest.mark.parametrize("words", [("unfreeze", "sha256:0"), ("retire", "sha256:0")])
def test_a_key_that_is_not_there_is_a_plain_sentence(told, words):
    code, said = told(*words)
    assert (code, said) == (1, "refused  key.unknown\n  there is no such key here\n")


def test_a_missing_registry_is_a_plain_sentence_after_what_can_be_said_without(world, told):
    code, said = told("status")
    assert code == 1
    assert f"key    {world.context.key}  sum34, active" in said
    assert f"refused  registry.unreadable  file {world.keys.folder / 'registry.yaml'}" in said


def test_status_tells_what_is_pinned_spent_and_left_and_what_to_look_at(world, told):
    pin(world, ("patients", "patients-again"), epsilon="2")
    spend(world, "2.5")
    world.releases.ledger.refuse("something")
    world.releases.ledger.count_strangers(7, "too short")
    code, said = told("status")
    assert code == 0
    assert said.splitlines()[1:] == [
        "spent  patients: epsilon 2.5, delta 0 of epsilon 2, delta 0; left: epsilon 0, delta 0",
        "spent  patients-again: epsilon 0, delta 0 of epsilon 2, delta 0; left: epsilon 2, delta 0",
        "look   patients: more is released than registry.yaml allows; nothing more will be",
        f"look   patients and patients-again: one signing key for {', '.join(HOSPITALS)}; whoever is in both loses what both have lost",
        "log    none seen",
        # Of the tests' clock, which is not the command's: its day is another one.
        "refused or put off in 24 hours: 0, and 0 that the service has not signed",
        "incidents: 0",
        "begun and never answered: 0",
    ]


def test_a_changed_accountant_is_told_by_status_and_serve_does_not_start(world, told):
    pin(world, accountant="zcdp", delta="1e-6")
    spend(world)
    sentence = "patients: was released from under another accountant than zcdp, which registry.yaml says"
    code, said = told("status")
    assert code == 0
    assert f"spent  {sentence}\n" in said
    code, said = told("serve")
    assert code == 1
    assert said.splitlines() == [
        "refused  registry.accountant  field populations.patients.accountant",
        f"  {sentence}",
        "  What would pass: the accountant that it had: it never changes",
    ]


def test_serve_warns_in_its_log_of_what_may_not_be_meant(world, told, caplog):
    pin(world, ("patients", "patients-again"), epsilon="2")
    spend(world, "2.5")
    code, said = told("serve")
    assert (code, said) == (0, "it serves\n")
    assert "patients: more is released than registry.yaml allows" in caplog.text
    assert f"one signing key for {', '.join(HOSPITALS)}" in caplog.text


def test_incidents_name_the_uploads(world, told):
    world.releases.ledger.open_incident("log.forked", None, "j-1")
    world.releases.ledger.open_incident(
        "ciphertext.out_of_range", world.context.key, "j-2", "medical/hospital_a version 1 of hospital-a"
    )
    code, said = told("incidents")
    assert code == 0
    assert "log.forked" in said.splitlines()[0]
    assert said.splitlines()[1].endswith(f"ciphertext.out_of_range  {world.context.key}  j-2")
    assert said.splitlines()[2] == "  uploads: medical/hospital_a version 1 of hospital-a"


def test_what_was_begun_and_answered_later_is_not_told(world, told, monkeypatch):
    pin(world)
    document, masked = world.request()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "enter", lambda *_: (_ for _ in ()).throw(ValueError("gone")))
        with pytest.raises(Refused):
            world.releases.answer(release_body(document, masked))
    capacity = world.releases.registry.populations["patients"].capacity
    for number in range(7):
        world.clock.advance(1)
        world.releases.ledger.intend(replace(Manifest.from_json(document["manifest"]), job=f"k-{number}"), capacity)
    assert told("status")[1].endswith("begun and never answered: 8 (newest k-2, k-3, k-4, k-5, k-6)\n")
    world.ask(document, masked)
    assert unanswered_in(world.keys.engine) == [f"k-{number}" for number in range(7)]


def test_a_new_key_is_made_for_a_key_holder_that_is_there(world, told):
    code, said = told("rotate", "--profile", "sum34", "--days", "3")
    assert code == 0
    (new,) = (each for each in world.keys.contexts() if each.key != world.context.key)
    assert said.startswith(f"key    {new.key}  sum34, takes data until ")
    assert stat.S_IMODE(world.keys.secret_file(new.key).stat().st_mode) == 0o400
