"""The SDK's program jobs against the real application: its refusals point into the caller's files, its results are read and verified."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from banyan.client import Client
from banyan.errors import Refused, VerificationError
from banyan.verify import verify
from rich.cells import cell_len

from api import wiring
from jobs import lane
from tests.api_world import POLICY, ApiWorld, frame, honest
from tests.policies_world import quick_folder

PROGRAM = """\
import numpy as np
from banyan.frames import to_pandas


def analyse(tables, params):
    visits = to_pandas(tables["visits"])
    return {"age": visits["age"].mean(), "pair": [1, 2], "middle": 0.5}
"""
JOB = """\
asset: medical/visits
purpose: research
program: age.py
params: {since: 2}
outputs:
  age:    {lower: 0, upper: 110, default: 40}
  pair:   {length: 2, lower: -1, upper: 1, default: 0}
  middle: {lower: 0, upper: 1, default: 0.5, aggregate: median}
blocks: 16
seconds_per_block: 0.2
epsilon: 1
"""


class Everything:
    """An engine that can do every tier."""

    def __init__(self, *_: Any) -> None:
        pass

    def tier_for(self, floor: Any) -> Any:
        return floor


def answers(spec: Any, instruction: bytes) -> bytes:
    """In place of the image: each block answers 0.25, block 1 nothing, and a program that says so raises in all of them."""
    if not instruction:
        return b""  # the container that reads the image first
    if "/banyan/runner.py" not in spec.command:
        return b""  # what a lane does before its blocks
    body = json.loads(instruction[4:])
    if body.get("kind") != "program":
        return honest(spec, instruction)
    if "raise" in body["code"]:
        raise ValueError("line 7, in analyse: \x1b[2J")
    vector = struct.pack(">4d", *[0.25] * 4)
    return b"".join(frame(block["index"], None if block["index"] == 1 else vector) for block in body["blocks"])


@pytest.fixture(scope="module")
def world():
    with pytest.MonkeyPatch.context() as patched, quick_folder() as folder:
        patched.setattr(wiring, "Isolation", Everything)
        patched.setattr(
            lane, "_wait_until", lambda moment, cancelled: None
        )  # slots are planned times; nobody looks at a clock here
        with ApiWorld(folder, answers) as made:
            made.furnish()
            made.allow(POLICY.replace("kinds: [query]", "kinds: [program]").replace("visits-research", "programs"))
            yield made


@pytest.fixture
def client(world):
    def ask(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        answer = world.call("rob", request.method, path, content=request.content, headers=headers)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)

    with Client("http://server", world.tokens["rob"], transport=httpx.MockTransport(ask)) as found:
        yield found


def written(folder: Path, program: tuple[str, str] = ("", ""), job: tuple[str, str] = ("", "")) -> Path:
    """The job's file, with one thing written otherwise in the program or in the job."""
    (folder / "age.py").write_text(PROGRAM.replace(*program, 1))
    (folder / "age.yaml").write_text(JOB.replace(*job, 1))
    return folder / "age.yaml"


def done(world, client, folder: Path, *, mock: bool = False, **changes: Any):
    """The result of a job that was submitted and has ended."""
    job = client.submit(written(folder, **changes), mock=mock)
    world.finish()
    return client.job(job.id).result


def test_a_plan_tells_price_noise_blocks_and_isolation(client, tmp_path):
    plan = client.plan(written(tmp_path))
    assert plan.kind == "program"
    shown = str(plan)
    assert "program age.py on medical/visits v1 (level S1" in shown.replace("\n        ", " ")
    assert 'Price   ε 1 of the population "patients"' in shown
    for part in (
        "          age ",
        "          pair (2 numbers) ",
        "Blocks  16, each about 6.2 patients",
    ):
        assert part in shown
    assert "Runs    at most 0.2 s of processor time and 704 MiB of memory a block" in shown
    assert "fresh namespaces" in shown
    assert "policy programs allows it" in shown
    assert all(cell_len(line) <= 80 for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        (("numpy", "nunpy"), "program.import", ("age.py", 1, 1)),
        (("return {", "return {{"), "program.syntax", ("age.py", 7, 12)),
        (("def analyse", "def analyze"), "program.no_analyse", ("age.py", 1, 1)),
        (("tables, params", "tables"), "program.signature", ("age.py", 5, 1)),
        (("import numpy as np", "from . import np"), "program.relative_import", ("age.py", 1, 1)),
    ],
)
def test_a_program_that_cannot_run_is_refused_with_its_line(client, tmp_path, change, code, place):
    with pytest.raises(Refused) as caught:
        client.plan(written(tmp_path, program=change))
    found = caught.value.excerpt
    assert (caught.value.code, (found.file, found.line, found.column)) == (code, place)
    assert found.source in PROGRAM.replace(*change, 1).split("\n")


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        (("lower: -1", "lower: 1"), "outputs.lower", (7, 30)),
        (("lower: 0, upper: 110, ", "upper: 110, "), "outputs.lower", (6, 11)),
        (("default: 40", "default: 400"), "outputs.default", (6, 43)),
        (("length: 2", "length: two"), "outputs.length", (7, 20)),
        (("  middle:", "  Middle:"), "outputs.name", (8, 11)),
        (("aggregate: median", "aggregate: mode"), "outputs.aggregate", (8, 57)),
        (("blocks: 16", "blocks: 1.5"), "blocks.invalid", (9, 9)),
        (("blocks: 16", "accuracy: {age: 0}"), "accuracy.invalid", (9, 17)),
        (("0.2", "99"), "seconds.invalid", (10, 20)),
        (("{since: 2}", "{since: 9007199254740993}"), "params.invalid", (4, 9)),
        (("epsilon: 1", "epsilon: -1"), "epsilon.invalid", (11, 10)),
    ],
)
def test_a_declaration_that_is_refused_is_shown_in_the_job_file(client, tmp_path, change, code, place):
    with pytest.raises(Refused) as caught:
        client.submit(written(tmp_path, job=change))
    found = caught.value.excerpt
    assert (caught.value.code, (found.file, found.line, found.column)) == (code, ("age.yaml", *place))


def test_a_program_on_made_up_rows_tells_its_answers_block_by_block(world, client, tmp_path):
    result = done(world, client, tmp_path, mock=True)
    assert result.is_mock
    assert (result.mock["blocks"], result.mock["answered"]) == (8, 7)
    assert result.mock["answers"][:2] == [{"age": 0.25, "pair": [0.25, 0.25], "middle": 0.25}, None]
    failed = done(world, client, tmp_path, mock=True, program=("visits =", "raise"))
    assert (failed.mock["answered"], failed.mock["log"].strip()) == (0, "\n".join(["line 7, in analyse: \x1b[2J"] * 2))


def test_a_release_is_read_saved_and_verified_and_its_copy_says_so(world, client, tmp_path):
    result = done(world, client, tmp_path)
    again = done(world, client, tmp_path)
    assert [row["element"] for row in result.rows] == [None, 0, 1, None]
    assert result.rows[3]["value"]["low"] is None
    assert (result.mock, result.is_reused, again.is_reused) == (None, False, True)
    assert again.rows == result.rows
    assert "Reused" in str(again)
    table = pq.read_table(io.BytesIO(result.save(tmp_path / "f.parquet").read_bytes()))
    rows = list(csv.DictReader(io.StringIO(result.save(tmp_path / "f.csv").read_text())))
    of_the_server = list(csv.DictReader(io.StringIO(client.result_file(result.job_id, "csv").decode())))
    assert rows == of_the_server
    assert table.column_names == list(rows[0]) == result.flat()[0]
    assert [list(row.values()) for row in table.to_pylist()] == result.flat()[1]
    key = client.log_key()
    for each in (result, again):
        receipt = json.dumps(client.receipt(each.job_id)).encode()
        saved = each.save(tmp_path / "f.json").read_bytes()
        assert verify(receipt, key, saved).result_checked
        for forged in ({"reused": not each.is_reused}, {"mock": None}, {"more": 1}):
            with pytest.raises(VerificationError) as caught:
                verify(receipt, key, json.dumps({**each.data, **forged}).encode())
            assert caught.value.step == "9 result"


def test_a_job_names_its_program_and_the_digest_of_its_file(world, client, tmp_path):
    job = client.submit(written(tmp_path))
    world.finish()
    (listed, *_) = client.jobs()
    assert listed.id == job.id
    assert listed.kind == "program"
    assert listed.program == {"name": "age.py", "digest": f"sha256:{sha256(PROGRAM)}"}
    assert PROGRAM not in json.dumps(client.job(job.id).data)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
