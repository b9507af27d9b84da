"""Calls and their answers on the command line: what a job costs by what it asks for, what is spent and left, and what is written when."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from banyan import credentials
from banyan.encrypt import contribution, hev_writer
from banyan.encrypt.memory import COUNT, MEMORY, read
from banyan.encrypt.terms import Terms

from tests.unit.encrypted_world import public_line
from tests.unit.test_client_contribution import call
from tests.unit.test_client_encrypt_cli import ASSET, _json, house, run, server  # noqa: F401 - fixtures

POPULATION = "patients"
BUDGET = {"accountant": "zcdp", "epsilon": "4", "delta": "0.000001"}


@pytest.fixture
def clinic(house, server, run):  # noqa: F811
    """A provider whose asset is not stored, and what the server says: its catalogue and its calls."""
    server.line = run("provider-key").out.strip()
    server.catalogue |= {"budget": BUDGET, "encrypted": server.catalogue["encrypted"] | {"stored": False}}
    server.said = {}
    server.answers["GET", f"/v1/assets/{ASSET}/calls"] = lambda: _json({"items": list(server.said.values())})
    return server


def asks(clinic, job, rho, **changed):
    """The service has one more job; ρ is that of each of two vectors."""
    own = Terms.from_json(clinic.catalogue["encrypted"]["terms"])
    partners = [{"provider": "hospital-a", "signing_key": clinic.line}] + [
        {"provider": name, "signing_key": public_line(name)} for name in ("hospital-b", "hospital-c")
    ]
    said = call(own, rho=Fraction(rho), job=job, asset=ASSET, purpose="research", epsilon="0.01", until="2026-12-02T09:00:00Z", given=False)  # fmt: skip
    clinic.said[job] = said | {"partners": partners} | changed
    clinic.answers["GET", f"/v1/assets/{ASSET}/calls/{job}"] = lambda: _json(clinic.said[job])


def encrypted(run, job, *more):  # noqa: F811
    return run("encrypt", "rows.csv", "--asset", ASSET, "--job", job, "-o", f"{job}.hev", *more)


def spent():
    return read(credentials.folder()).spent(POPULATION)


def test_calls_are_listed_with_their_cost_and_what_is_spent_and_left(clinic, run):  # noqa: F811
    asks(clinic, "j-1", "1/30")
    asks(clinic, "j-2", 100)
    asks(clinic, "j-3", "1/30", given=True)
    asks(clinic, "j-4", "1/30", vectors=[{"name": "units", "rho": "much"}])
    first = run("calls", ASSET)
    rows = {words[0]: words for words in map(str.split, first.out.splitlines())}
    assert rows["j-1"][4:] == ["2.0337", "2026-12-02T09:00", "waits"]
    assert rows["j-2"][5:] == ["2026-12-02T09:00", "over", "your", "budget"]
    assert float(rows["j-2"][4]) > 200
    assert rows["j-3"][-1] == "given"
    assert rows["j-4"][3:] == ["?", "2026-12-02T09:00", "waits"]
    assert "0.01" not in first.out, "the service's word is not shown"
    assert first.out.splitlines()[-1] == (
        "spent of patients: ε 0 of ε 4 at δ 1e-6 (ρ 0 of 0.243192); left for one more job: ε 3.9999 (ρ 0.243192)"
    )  # fmt: skip
    assert encrypted(run, "j-1").code == 0
    after = run("calls", ASSET).out.splitlines()[-1]
    assert after.startswith("spent of patients: ε 2.0337 of ε 4 at δ 1e-6 (ρ 0.066667 of 0.243192)")


def test_calls_for_programs(clinic, run):  # noqa: F811
    asks(clinic, "j-1", "1/30")
    asks(clinic, "j-2", 100)
    told = json.loads(run("calls", ASSET, "--json").out)
    assert told["items"][0]["cost"] == {"rho": "0.066666666667", "epsilon": "2.0337", "fits": True}
    assert not told["items"][1]["cost"]["fits"]
    assert told["account"]["population"] == POPULATION
    assert told["account"]["budget"] == {"epsilon": "4", "delta": "1/1000000"}
    assert told["account"]["spent"] == {"rho": "0", "epsilon": "0"}
    assert told["account"]["left"]["rho"].startswith("0.243192")
    clinic.catalogue["budget"] = {"accountant": "basic", "epsilon": "4", "delta": "0"}
    told = json.loads(run("calls", ASSET, "--json").out)
    assert told["account"] is None
    assert [each["cost"] for each in told["items"]] == [None, None]
    assert "--budget" in run("calls", ASSET).out


def test_a_job_is_answered_and_what_it_costs_is_told(clinic, run):  # noqa: F811
    asks(clinic, "j-1", "1/30")
    done = encrypted(run, "j-1")
    assert done.code == 0
    assert "this job costs ε 2.0337 (ρ 0.066667)" in done.err
    assert "nothing was answered for patients before" in done.err
    assert "your budget is ε 4 at δ 1e-6, which the service says you declared" in done.err
    assert "hospital-b, hospital-c for the first time" in done.err
    assert spent() == Fraction(1, 15)
    asks(clinic, "j-2", "1/30")
    again = encrypted(run, "j-2")
    assert "before, says" not in again.err
    assert "first time" not in again.err
    assert spent() == Fraction(2, 15)


def test_a_first_answer_is_told_to_the_quiet_too(clinic, run):  # noqa: F811
    asks(clinic, "j-1", "1/30")
    asks(clinic, "j-2", "1/30")
    first = encrypted(run, "j-1", "--quiet").err
    assert MEMORY in first
    assert f"hospital-b {public_line('hospital-b')}" in first
    assert encrypted(run, "j-2", "--quiet").err == ""
    asks(clinic, "j-3", "1/30")
    joined = {"provider": "hospital-d", "signing_key": public_line("hospital-d")}
    clinic.said["j-3"]["partners"].append(joined)
    assert f"hospital-d {joined['signing_key']}" in encrypted(run, "j-3", "--quiet").err


def test_what_is_beyond_the_budget_is_refused_and_leaves_nothing(clinic, run):  # noqa: F811
    asks(clinic, "j-1", "1/10")
    asks(clinic, "j-2", "1/10")
    assert encrypted(run, "j-1").code == 0
    done = encrypted(run, "j-2")
    assert done.code != 0
    for part in ("call.over_budget", "asks for ε 3.6069", "spent is ε 3.6069", "left for one more job"):
        assert part in " ".join(done.err.split())
    assert not Path("j-2.hev").exists()
    assert encrypted(run, "j-2", "--budget", "10").code == 0
    assert "of ε 10 at δ 1e-6" in run("calls", ASSET).out
    assert "which the service says" not in done.err


def test_the_spend_is_on_disk_before_anything_is_made(clinic, run, monkeypatch):  # noqa: F811
    asks(clinic, "j-1", "1/30")

    class Killed(Exception):
        pass

    def made(*_arguments):
        assert spent() == Fraction(1, 15)
        assert (credentials.folder() / COUNT).read_text() == "1\n"
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(contribution, "contributed", made)
        with pytest.raises(Killed):
            encrypted(run, "j-1")
    assert not Path("j-1.hev").exists()
    assert "call.answered" in encrypted(run, "j-1").err
    asks(clinic, "j-2", "1/10")
    assert "call.over_budget" in encrypted(run, "j-2").err, "a crash wastes a spend and forgets none"


def test_a_file_that_cannot_be_written_has_cost_what_it_would(clinic, run, monkeypatch):  # noqa: F811
    asks(clinic, "j-1", "1/30")

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hev_writer, "_write", full)
    assert "no room left" in encrypted(run, "j-1").err
    assert spent() == Fraction(1, 15)


def test_an_asset_that_was_not_stored_gives_no_totals_when_the_service_says_it_is(clinic, run):  # noqa: F811
    version = ("encrypt", "rows.csv", "--asset", ASSET, "--force", "-o", "version.hev")
    assert "no numbers" in run(*version).out
    clinic.catalogue["encrypted"]["stored"] = True
    Path("version.hev").unlink()
    assert "call.stored" in run(*version).err
    assert not Path("version.hev").exists()


def test_a_budget_without_a_job_is_refused(clinic, run):  # noqa: F811
    assert "option.job" in run("encrypt", "rows.csv", "--asset", ASSET, "-o", "a.hev", "--budget", "4").err
    asks(clinic, "j-1", "1/30")
    assert "option.budget" in encrypted(run, "j-1", "--budget", "much").err
    assert spent() == 0
