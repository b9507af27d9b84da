"""A receipt that this server makes is accepted by the client's verifier, which shares no code with it, and no changed one is."""

import base64
import copy
import json

import pytest
from banyan.verify import VerificationError, verify

from tests.api_world import COUNT, ApiWorld, job
from tests.policies_world import quick_folder


class Made:
    """A receipt, its log's key, and the result that it speaks of."""

    def __init__(self, world, job_id):
        self.receipt = world.get("rob", f"/v1/jobs/{job_id}/receipt").json
        self.result = world.get("rob", f"/v1/jobs/{job_id}/result").body
        self.key = world.get("rob", "/v1/log/key").text.strip()

    def accepts(self, receipt=None, result=None, key=None):
        try:
            verify(json.dumps(receipt or self.receipt).encode(), key or self.key, result or self.result)
        except VerificationError:
            return False
        return True

    def changed(self, change):
        receipt = copy.deepcopy(self.receipt)
        change(receipt)
        assert receipt != self.receipt
        return receipt


@pytest.fixture(scope="module")
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        made.furnish()
        made.job = made.run()
        # Entries and checkpoints after it: a receipt does not change with them.
        for epsilon in ("0.3", "0.2"):
            made.run(job(epsilon=epsilon))
        yield made


@pytest.fixture(scope="module")
def made(world):
    return Made(world, world.job)


def every_byte(text):
    """The base64 `text` with each of its bytes changed in turn."""
    data = base64.b64decode(text)
    for at in range(len(data)):
        yield base64.b64encode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).decode()


def every_character(text):
    for at, char in enumerate(text):
        yield text[:at] + ("0" if char != "0" else "1") + text[at + 1 :]


def leaves(value, path=()):
    """The path of every part of a JSON value, the whole excepted."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield (*path, name)
        yield from leaves(part, (*path, name))


def put(value, path, new):
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new


def test_it_is_accepted(world, made):
    found = verify(json.dumps(made.receipt).encode(), made.key, made.result)
    assert (found.release, found.job, found.result_checked) == (made.receipt["release"], world.job, True)


def test_it_binds_what_it_should(world, made):
    statement, view = made.receipt["statement"], world.view(world.job)
    assert statement["asset"] == "medical/visits"
    assert statement["purpose"] == "research"
    assert statement["policy"]["name"] == "visits-research"
    assert statement["submitted_by"] == world.ids["rob"]
    assert statement["image"] == view["plan"]["image"]
    assert statement["guarantee"]["epsilon"] == "0.5"
    assert statement["ledger"] == {
        "population": "patients",
        "position": 1,
        "charged": {"delta": "0", "epsilon": "0.5", "rho": "0"},
    }
    for name in ("code", "request", "plan", "version_root"):
        assert statement[name].startswith("sha256:")


def test_a_changed_entry_is_rejected(made):
    for text in every_byte(made.receipt["entry"]["bytes"]):
        assert not made.accepts(made.changed(lambda receipt, text=text: receipt["entry"].update(bytes=text)))
    for index in (made.receipt["entry"]["index"] + step for step in (-1, 1, 2**40)):
        assert not made.accepts(made.changed(lambda receipt, index=index: receipt["entry"].update(index=index)))


def test_a_changed_proof_is_rejected(made):
    proof = made.receipt["inclusion"]
    assert len(proof) >= 3
    for at, node in enumerate(proof):
        for text in every_byte(node):
            assert not made.accepts(
                made.changed(lambda receipt, at=at, text=text: put(receipt, ("inclusion", at), text))
            )
    for other in (proof[:-1], proof[1:], [*proof, proof[0]], proof[::-1], []):
        assert not made.accepts(made.changed(lambda receipt, other=other: receipt.update(inclusion=other)))


def test_a_changed_checkpoint_is_rejected(made):
    note = made.receipt["checkpoint"]
    for text in (*every_character(note), note + "\n", note.replace("\n", "\r\n"), note[:-1], "x" + note):
        assert not made.accepts(made.changed(lambda receipt, text=text: receipt.update(checkpoint=text))), text


def test_a_changed_statement_is_rejected(made):
    paths = list(leaves(made.receipt["statement"], ("statement",)))
    assert len(paths) > 25
    for path in paths:
        for new in ("other", None, 7, {}):
            changed = copy.deepcopy(made.receipt)
            put(changed, path, new)
            assert changed == made.receipt or not made.accepts(changed), path
    for path in paths:
        value = made.receipt
        for step in path:
            value = value[step]
        if isinstance(value, str) and value:
            for text in every_character(value):
                assert not made.accepts(made.changed(lambda receipt, path=path, text=text: put(receipt, path, text))), (
                    path
                )
    assert not made.accepts(made.changed(lambda receipt: receipt["statement"].update(more=1)))


def test_a_changed_output_is_rejected(made):
    for part in ("salt", "digest"):
        for text in every_character(made.receipt["output"][part]):
            changed = made.changed(lambda receipt, part=part, text=text: receipt["output"].update({part: text}))
            assert not made.accepts(changed), (part, text)


def test_another_release_or_job_is_rejected(made):
    for part in ("release", "job"):
        for text in every_character(made.receipt[part]):
            assert not made.accepts(made.changed(lambda receipt, part=part, text=text: receipt.update({part: text})))


def test_a_changed_result_is_rejected(made):
    table = json.loads(made.result)
    paths = [path for part in ("rows", "columns", "notes") for path in leaves(table[part], (part,))]
    for path in paths:
        changed = copy.deepcopy(table)
        put(changed, path, "other")
        assert not made.accepts(result=json.dumps(changed).encode()), path
    del table["rows"][0]
    assert not made.accepts(result=json.dumps(table).encode())


def test_another_logs_key_is_rejected(made, tmp_path):
    with ApiWorld(tmp_path) as other:
        key = other.get("rob", "/v1/log/key").text.strip()
    assert not made.accepts(key=key)
    assert not made.accepts(made.changed(lambda receipt: receipt.update(log_key=key)), key=key)
    for text in every_character(made.key):
        assert not made.accepts(key=text)


def test_a_receipt_of_another_job_does_not_fit_the_result(world, made):
    other = Made(world, world.run(job(epsilon="0.3", purpose="research", query=COUNT["query"] + " ")))
    assert other.accepts()
    assert not other.accepts(result=made.result)
    mixed = copy.deepcopy(other.receipt)
    mixed["statement"] = made.receipt["statement"]
    assert not other.accepts(mixed)


def test_it_does_not_change_when_the_log_grows(world, made):
    world.run(job(epsilon="0.1"))
    assert world.get("rob", f"/v1/jobs/{world.job}/receipt").json == made.receipt


def test_there_is_none_until_a_checkpoint_covers_it(world):
    pending = world.submit(job(epsilon="0.15"))
    place = f"/v1/jobs/{pending}/receipt"
    assert (world.get("rob", place).status, world.get("rob", place).code) == (409, "receipt.pending")
    world.finish()
    assert world.get("rob", place).status == 200


def test_the_output_is_salted_afresh(world):
    """Two releases of one table must not show by their digests that they are one."""
    ids = [world.run(person=person) for person in ("rob", "rosa")]
    made = [
        world.get(person, f"/v1/jobs/{each}/receipt").json for person, each in zip(("rob", "rosa"), ids, strict=True)
    ]
    rows = [
        world.get(person, f"/v1/jobs/{each}/result").json["rows"]
        for person, each in zip(("rob", "rosa"), ids, strict=True)
    ]
    assert rows[0] == rows[1]
    assert len({receipt["output"]["salt"] for receipt in made}) == 2
    assert len({receipt["output"]["digest"] for receipt in made}) == 2
    assert len(bytes.fromhex(made[0]["output"]["salt"])) >= 16
