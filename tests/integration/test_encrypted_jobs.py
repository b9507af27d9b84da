"""Hospitals, a service and a key holder, each with processes of its own: one release and one charge, whatever is killed in between."""

import json
import os
import random
import signal
import sqlite3
import sys
import time

import httpx
import pytest

from tests.live_server import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "scripts"))

from demo_encrypted import MEDICAL, Encrypted, searched, secrets_of
from demo_server import DEMO, Demo

pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(280)]
# Against the whole way in, a container each; the strict reader alone is given two thousand (tests/unit/test_encrypted_hev.py).
MUTATED_UPLOADS = int(os.environ.get("BANYAN_MUTATED_UPLOADS", "100"))
ASSETS = [f"medical/trial_hospital_{letter}" for letter in "abc"]


@pytest.fixture(scope="module")
def world(docker_host, tmp_path_factory):
    if not (DEMO / "actg175.csv").exists():
        pytest.skip("no demo data: run `just demo-data` first")
    demo = Demo()
    encrypted = Encrypted(demo, more=False)
    try:
        demo.start()
        encrypted.start()
        encrypted.upload()
        encrypted.approve()
        yield encrypted
    finally:
        encrypted.stop()
        demo.stop()


@pytest.fixture
def demo(world):
    if world.holder.process.poll() is not None:
        world.holder.start()
    return world.demo


def job(folder, epsilon, compute="{count: true}", assets=ASSETS):
    path = folder / "job.yaml"
    path.write_text(f"assets: [{', '.join(assets)}]\npurpose: research\ncompute: {compute}\nepsilon: {epsilon}\n")
    return path


def answers(world):
    with sqlite3.connect(f"file:{world.holder.folder / 'keyholder.db'}?mode=ro", uri=True) as connection:
        return connection.execute("SELECT job, answer FROM answers ORDER BY number").fetchall()


def submitted(demo, path):
    demo.run("rob", "submit", path, show=False)
    return demo.job_of("rob")


def shown(demo, job):
    return json.loads(demo.run("rob", "show", job, "--json", show=False))


def waited(demo, job, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = shown(demo, job)
        if found["state"] in ("released", "failed", "refused", "cancelled"):
            return found
        time.sleep(0.2)
    raise AssertionError(f"the job is {found['state']}: {found['waiting']}")


def spent(demo):
    told = json.loads(demo.run("rob", "budget", "--json", show=False))
    return next(each for each in told["items"] if each["population"] == "trial-patients")["spent"]


def kill(world):
    world.holder.process.send_signal(signal.SIGKILL)
    world.holder.process.wait()


def test_a_table_over_three_hospitals_is_released_with_a_receipt(world, demo, tmp_path):
    demo.run("rob", "submit", MEDICAL / "cd4_by_arm.yaml", "--wait")
    found, receipt, result = demo.job_of("rob"), tmp_path / "receipt.json", tmp_path / "result.json"
    demo.run("rob", "receipt", found, "-o", receipt)
    demo.run("rob", "result", found, "-o", result)
    assert "verified" in demo.run("rob", "verify", receipt, "--result", result)
    assert json.loads(receipt.read_text())["statement"]["guarantee"]["providers"] == 3
    table = json.loads(result.read_text())
    exact = [0, 0, 0, 0]
    for provider in world.hospitals:
        for row in provider.rows:
            exact[int(row["arms"])] += 1
    for row, count in zip(table["rows"], exact, strict=True):
        assert abs(row["units"]["value"] - count) < 100


def test_while_the_key_holder_is_away_nothing_is_touched_and_others_go_first(world, demo, tmp_path):
    before, charged = len(answers(world)), spent(demo)
    world.holder.stop()
    time.sleep(4)
    found = submitted(demo, job(tmp_path, "0.2"))
    demo.run("rob", "run", job(tmp_path, "0.2"), "--mock", show=False)
    assert (shown(demo, found)["state"], shown(demo, found)["charged"]) == ("queued", False)
    world.holder.start()
    assert waited(demo, found)["state"] == "released"
    assert len(answers(world)) == before + 1
    assert _difference(charged, spent(demo)) == pytest.approx(0.2)


@pytest.mark.slow
def test_a_key_holder_that_stops_in_the_middle_delays_the_release_and_changes_nothing_else(world, demo, tmp_path):
    before, charged = len(answers(world)), spent(demo)
    found = submitted(demo, job(tmp_path, "0.25"))
    until = time.monotonic() + 20
    while shown(demo, found)["state"] != "running":
        assert time.monotonic() < until
        time.sleep(0.1)
    world.holder.stop()
    time.sleep(12)
    assert shown(demo, found)["state"] == "running"
    world.holder.start()
    assert waited(demo, found)["state"] == "released"
    assert len(answers(world)) == before + 1
    assert _difference(charged, spent(demo)) == pytest.approx(0.25)


def test_killed_in_the_middle_of_a_release_it_answers_once_and_charges_once(world, demo, tmp_path):
    before, charged = len(answers(world)), spent(demo)
    found = submitted(demo, job(tmp_path, "0.3"))
    until = time.monotonic() + 40
    kills = 0
    while shown(demo, found)["state"] == "running" or kills < 4:
        time.sleep(random.uniform(0.2, 1.2))
        if kills < 6:
            kill(world)
            kills += 1
            world.holder.start()
        assert time.monotonic() < until + 40
    assert waited(demo, found)["state"] == "released"
    assert [name for name, _ in answers(world)[before:]] == [found]
    assert _difference(charged, spent(demo)) == pytest.approx(0.3)


def _difference(before, after):
    return float(after["epsilon"]) - float(before["epsilon"])


@pytest.mark.slow
def test_the_identical_job_again_gets_the_earlier_release_without_the_key_holder(world, demo, tmp_path):
    first = submitted(demo, job(tmp_path, "0.35"))
    waited(demo, first)
    count = len(answers(world))
    world.holder.stop()
    second = submitted(demo, job(tmp_path, "0.35"))
    assert waited(demo, second)["state"] == "released"
    assert len(answers(world)) == count
    one, two = (json.loads(demo.run("rob", "result", each, "--json", show=False)) for each in (first, second))
    assert one["rows"] == two["rows"]


@pytest.mark.parametrize(
    ("compute", "assets", "code"),
    [
        ("{count: true}", ASSETS[:2], "encrypted.too_few_providers"), ("{sum: [age]}", ASSETS, "compute.column"),
        ("{variance: [cd40]}", ASSETS, "compute.column"), ("{}", ASSETS, "compute.invalid"), ("{least_squares: true, count: true}", ASSETS, "compute.least_squares"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_before_anything_is_charged(world, demo, tmp_path, compute, assets, code):
    charged = spent(demo)
    assert code in demo.run("rob", "submit", job(tmp_path, "0.2", compute, assets), refused=True)
    assert spent(demo) == charged


def test_rows_are_not_taken_for_an_encrypted_asset_and_no_query_reads_one(world, demo, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("pidnum,arms,age,cd40,cd420\n1,0,30,300,300\n")
    assert "asset.encrypted" in demo.run("olga", "assets", "ingest", ASSETS[0], rows, refused=True)
    query = tmp_path / "query.yaml"
    query.write_text(
        f"asset: {ASSETS[0]}\npurpose: research\nquery: SELECT COUNT(*) AS n FROM trial_hospital_a\n"
        "bounds: {max_groups_per_unit: 1, max_rows_per_group: 1}\nepsilon: 0.1\n"
    )
    assert "job.kind" in demo.run("rob", "plan", query, refused=True)


def uploaded(world, path, asset=ASSETS[0]):
    """Straight to the server: the provider's tool would refuse much of this itself."""
    answer = httpx.post(
        f"{world.demo.environment['BANYAN_SERVER']}/v1/assets/{asset}/versions", params={"format": "hev"}, content=path.read_bytes(),
        headers={"Authorization": f"Bearer {world.demo.tokens['olga']}"}, timeout=60,
    )  # fmt: skip
    return answer.status_code, answer.json().get("code", "")


def test_an_upload_of_another_provider_or_with_another_signature_is_refused(world, demo, tmp_path):
    other = world.hospitals[1]
    assert uploaded(world, other.upload) == (422, "encrypted.terms")
    whole = world.hospitals[0].upload.read_bytes()
    at = whole.rindex(b'"signature":"') + 13
    changed = tmp_path / "changed.hev"
    changed.write_bytes(whole[:at] + (b"A" if whole[at : at + 1] != b"A" else b"B") + whole[at + 1 :])
    assert uploaded(world, changed) == (422, "encrypted.signature")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mutated_uploads_are_refused_with_code_and_reason_and_change_nothing(world, demo, tmp_path):
    whole, chance = world.hospitals[0].upload.read_bytes(), random.Random(5)
    version = json.loads(demo.run("olga", "assets", "show", ASSETS[0], "--json", show=False))["version"]
    for number in range(MUTATED_UPLOADS):
        blob = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            near_the_ends = chance.choice([chance.randrange(4096), len(blob) - 1 - chance.randrange(4096)])
            blob[chance.choice([chance.randrange(len(blob)), near_the_ends])] ^= 1 << chance.randrange(8)
        if number % 5 == 0:
            del blob[chance.randrange(len(blob)) :]
        path = tmp_path / "mutated.hev"
        path.write_bytes(blob)
        status, code = uploaded(world, path)
        if status == 201:  # a change between the parts of the file is none
            version += 1
            continue
        assert status == 422
        assert code.startswith("encrypted.")
    assert json.loads(demo.run("olga", "assets", "show", ASSETS[0], "--json", show=False))["version"] == version


def test_the_service_has_no_plaintext_and_no_secret_key(world, demo):
    secrets = {name: value for name, value in secrets_of(world).items() if name != "a patient's number"}
    found = searched(demo, secrets | {"the key's id": world.key_id.encode()})
    assert found.pop("the key's id") > 0, "the search sees what is there"
    assert not any(found.values()), found


def test_after_a_rotation_old_uploads_answer_mixed_ones_are_refused_and_new_ones_answer(world, demo, tmp_path):
    """Last, since it changes what the providers' uploads are under."""
    world.holder.run("rotate")
    found = submitted(demo, job(tmp_path, "0.4"))
    assert waited(demo, found)["state"] == "released"
    first, *others = world.hospitals
    assert uploaded(world, first.upload) == (409, "encrypted.key_expired")
    first.upload.unlink()
    first.encrypt(world.signer, show=False)
    assert "encrypted.key_mismatch" in demo.run("rob", "submit", job(tmp_path, "0.41"), refused=True)
    for provider in others:
        provider.upload.unlink()
        provider.encrypt(world.signer, show=False)
    again = submitted(demo, job(tmp_path, "0.41"))
    assert waited(demo, again)["state"] == "released"
