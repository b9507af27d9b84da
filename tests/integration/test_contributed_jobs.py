"""Three clinics that leave nothing at the service, each with a machine's worth of folders of its own: they answer one job, and only once."""

import csv
import json
import shutil
import sys
import time

import httpx
import pytest

from tests.live_server import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "scripts"))

from demo_encrypted import CLINICS, MEDICAL
from demo_providers import KeyHolder, Provider
from demo_server import DEMO, Demo

pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(600)]
JOB = MEDICAL / "cd4_by_arm_of_clinics.yaml"
COLUMNS = ("pidnum", "arms", "age", "cd40", "cd420")
POPULATION = "clinic-patients"
# A container that is late counts as a sum of nothing: on a machine with other work, plan as for a slow one.
UNHURRIED = {"BANYAN_START_SECONDS": "5", "BANYAN_SLOWNESS": "4"}


class World:
    """The service, a key holder that opens only sums with providers' own noise, and the clinics."""

    def __init__(self, demo):
        demo.environment |= UNHURRIED
        self.demo, self.holder = demo, KeyHolder(demo)
        self.signer = self.holder.init()
        with (DEMO / "actg175.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.clinics = [
            Provider(demo, name, MEDICAL / "clinic.yaml", rows[at::3], COLUMNS) for at, name in enumerate(CLINICS)
        ]

    def start(self):
        self.demo.start()
        keys = ", ".join(f"{clinic.name}: {clinic.key}" for clinic in self.clinics)
        self.holder.trust(
            {
                POPULATION: {
                    "accountant": "zcdp", "epsilon": 10, "delta": "1e-6", "min_providers": 3, "overlap": 1, "shared": "true",
                    "providers": f"{{{keys}}}",
                }
            }
        )  # fmt: skip
        self.holder.start()
        for clinic in self.clinics:
            self.demo.run("olga", "assets", "register", clinic.declaration, show=False)
            clinic.encrypt(self.signer, show=False)
        self.demo.run("olga", "policies", "propose", MEDICAL / "clinic_policy.yaml", show=False)
        digest = self.demo.digest_of("trial-clinics")
        self.demo.run("rita", "policies", "approve", "trial-clinics", "--digest", digest, show=False)

    def stop(self):
        self.holder.stop()
        self.demo.stop()

    def kept(self):
        """What the service has of contributions now: files of each job."""
        folders = self.demo.folder.glob("state/**/contributions/*")
        return {folder.name: len(list(folder.iterdir())) for folder in folders}

    def spent(self):
        told = json.loads(self.demo.run("rob", "budget", "--json", show=False))
        return next(each for each in told["items"] if each["population"] == POPULATION)["spent"]


@pytest.fixture(scope="module")
def world(docker_host):
    if not (DEMO / "actg175.csv").exists():
        pytest.skip("no demo data: run `just demo-data` first")
    made = World(Demo())
    try:
        made.start()
        yield made
    finally:
        made.stop()
    shutil.rmtree(made.demo.folder)


def job(folder, epsilon, assets="trial"):
    path = folder / "job.yaml"
    path.write_text(
        JOB.read_text().replace("epsilon: 2", f"epsilon: {epsilon}").replace("trial_clinic", f"{assets}_clinic")
    )
    return path  # fmt: skip


def submitted(world, path):
    world.demo.run("rob", "submit", path, show=False)
    return world.demo.job_of("rob")


def shown(world, name):
    return json.loads(world.demo.run("rob", "show", name, "--json", show=False))


def waited(world, name, state, seconds=120):
    until = time.monotonic() + seconds
    while (found := shown(world, name))["state"] != state:
        assert time.monotonic() < until, f"the job is {found['state']}: {found['waiting']}"
        time.sleep(0.3)
    return found


def calls_of(clinic):
    return {call["job"]: call for call in told(clinic)["items"]}


def refused(clinic, *words):
    """What the tool says to a clinic whose command ends badly."""
    with pytest.raises(SystemExit) as ended:
        clinic._banyan(*words)
    return str(ended.value)


def encrypting(world, clinic, name, output, *more):
    return ("encrypt", "rows.csv", "--asset", clinic.asset, "--job", name, "--key-holder", world.signer, "-o", output, *more)  # fmt: skip


def test_a_job_waits_for_three_clinics_and_is_released_with_a_receipt(world, tmp_path):
    before = world.spent()
    name = submitted(world, JOB)
    time.sleep(3)
    found = shown(world, name)
    assert (found["state"], found["charged"]) == ("queued", False)
    assert "its providers" in found["waiting"]
    for at, clinic in enumerate(world.clinics):
        call = calls_of(clinic)[name]
        assert not call["given"]
        assert [each["signing_key"] for each in call["partners"]] == [each.key for each in world.clinics]
        assert name in clinic._banyan("calls", clinic.asset)
        assert shown(world, name)["state"] == "queued"
        clinic.contribute(world.signer, name, show=False)
        assert at == len(CLINICS) - 1 or calls_of(clinic)[name]["given"]
    waited(world, name, "released")
    assert "counted as defaults" not in (world.demo.folder / "server.log").read_text(), (
        "the machine is too slow for this"
    )
    receipt, result = tmp_path / "receipt.json", tmp_path / "result.json"
    world.demo.run("rob", "receipt", name, "-o", receipt)
    world.demo.run("rob", "result", name, "-o", result)
    assert "verified" in world.demo.run("rob", "verify", receipt, "--result", result)
    assert json.loads(receipt.read_text())["statement"]["guarantee"]["providers"] == 3
    exact = [0, 0, 0, 0]
    for clinic in world.clinics:
        for row in clinic.rows:
            exact[int(row["arms"])] += 1
    for row, count in zip(json.loads(result.read_text())["rows"], exact, strict=True):
        assert abs(row["units"]["value"] - count) < 100, "masks have cancelled"
    assert world.kept() == {}, "nothing stays"
    assert world.spent() != before
    for clinic in world.clinics:
        assert name not in calls_of(clinic)


def test_a_second_contribution_for_the_same_job_is_refused_at_home_and_by_the_service(world, tmp_path):
    name = submitted(world, job(tmp_path, "0.5"))
    first, *others = world.clinics
    first.contribute(world.signer, name, show=False)
    assert "call.answered" in refused(first, *encrypting(world, first, name, "again.hev"))
    assert not (first.folder / "again.hev").exists()
    # Of somebody who has lost what the tool remembers, and says so: the same masks over noise drawn anew.
    memory = first.folder / "config" / "banyan"
    kept = {name: (memory / name).read_bytes() for name in ("contributions.json", "contributions.count")}
    (memory / "contributions.json").unlink()
    assert "call.memory" in refused(first, *encrypting(world, first, name, "again.hev"))
    (memory / "contributions.count").unlink()
    first._banyan(*encrypting(world, first, name, "again.hev"))
    assert "contribution.given" in refused(first, "upload", "again.hev")
    assert world.kept() == {name: 1}
    first._banyan("upload", f"{name}.hev")
    assert world.kept() == {name: 1}, "the same file may come again"
    for name_of, content in kept.items():
        (memory / name_of).write_bytes(content)
    for clinic in others:
        clinic.contribute(world.signer, name, show=False)
    waited(world, name, "released")
    assert "call.unknown" in refused(first, "upload", "again.hev")
    assert "has the contribution" in first._banyan("upload", f"{name}.hev"), "the same file, when the job is over"
    assert world.kept() == {}


def test_a_clinic_answers_within_its_own_budget_whatever_the_service_admits(world, tmp_path):
    """The budget of the population is ε 10 everywhere else; this clinic says less."""
    clinic = world.clinics[0]
    account = told(clinic)["account"]
    assert account["budget"] == {"epsilon": "10", "delta": "1/1000000"}
    spent = float(account["spent"]["epsilon"])
    name = submitted(world, job(tmp_path, "1.5"))
    cost = next(each["cost"] for each in told(clinic)["items"] if each["job"] == name)
    assert cost["fits"]
    assert 1 < float(cost["epsilon"]) < 1.5, "at the larger δ of the budget"
    said = refused(clinic, *encrypting(world, clinic, name, "small.hev", "--budget", f"{spent + 0.01:.4f}"))
    assert "call.over_budget" in said
    assert not (clinic.folder / "small.hev").exists()
    assert told(clinic)["account"] == account
    clinic._banyan(*encrypting(world, clinic, name, "answer.hev"))
    assert float(told(clinic)["account"]["spent"]["rho"]) > float(account["spent"]["rho"])
    world.demo.run("rob", "cancel", name, show=False)
    waited(world, name, "cancelled")
    assert told(clinic)["account"]["spent"] != account["spent"], "what has left the tool is spent"


def told(clinic):
    return json.loads(clinic._banyan("calls", clinic.asset, "--json"))


def test_what_was_encrypted_for_one_job_is_not_taken_for_another_or_as_a_version(world, tmp_path):
    before = world.spent()
    one, two = submitted(world, job(tmp_path, "0.3")), submitted(world, job(tmp_path, "0.31"))
    clinic = world.clinics[0]
    clinic._banyan(*encrypting(world, clinic, one, "one.hev"))
    address = f"{world.demo.environment['BANYAN_SERVER']}/v1/assets/{clinic.asset}"
    assert put(world, f"{address}/calls/{two}", clinic.folder / "one.hev") == (422, "encrypted.contribution")
    assert posted(world, f"{address}/versions?format=hev", clinic.folder / "one.hev") == (422, "encrypted.format")
    other = world.clinics[1]
    elsewhere = f"{world.demo.environment['BANYAN_SERVER']}/v1/assets/{other.asset}/calls/{one}"
    assert put(world, elsewhere, clinic.folder / "one.hev") == (422, "encrypted.terms")
    assert world.kept() == {}
    assert put(world, f"{address}/calls/{one}", clinic.folder / "one.hev")[0] == 200
    # What was given goes with the job, and nothing was charged.
    for name in (one, two):
        world.demo.run("rob", "cancel", name, show=False)
        assert not waited(world, name, "cancelled")["charged"]
    assert world.kept() == {}
    assert world.spent() == before
    assert calls_of(clinic) == {}


def put(world, address, path):
    return sent("PUT", world, address, path)


def posted(world, address, path):
    return sent("POST", world, address, path)


def sent(method, world, address, path):
    with httpx.Client(timeout=60, trust_env=False) as http:
        headers = {"Authorization": f"Bearer {world.demo.tokens['olga']}"}
        answer = http.request(method, address, headers=headers, content=path.read_bytes())
    return answer.status_code, answer.json().get("code")


def test_the_key_holder_that_demands_shared_noise_opens_no_stored_uploads(world, tmp_path):
    """The same clinics and keys, in the same population, with uploads that stay: said before anything is charged."""
    for clinic in world.clinics:
        kept = tmp_path / f"{clinic.name}.yaml"
        text = clinic.declaration.read_text().replace("stored: false", "stored: true")
        kept.write_text(text.replace("trial_clinic", "kept_clinic"))
        world.demo.run("olga", "assets", "register", kept, show=False)
    said = world.demo.run("rob", "plan", job(tmp_path, "0.5", "kept"), refused=True)
    assert "encrypted.key_holder_refuses" in said
    assert "noise of its own" in said
    world.demo.run("rob", "plan", job(tmp_path, "0.5"))
