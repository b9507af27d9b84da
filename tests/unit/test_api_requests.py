"""Requests that no honest client sends: each is refused cleanly (4xx, problem+json), quickly, and harms nothing."""

import asyncio
import json
import time
import tracemalloc

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from api.bodies import JOB_BYTES
from core.database import metadata
from core.yaml_positions import MAX_BYTES
from tests.api_world import COUNT, POLICY, VISITS, ApiWorld, job
from tests.policies_world import quick_folder

GOOD = json.dumps(COUNT)
JSON = {"Content-Type": "application/json"}
JOB_PATHS = ("/v1/plans", "/v1/jobs", "/v1/jobs?mock=true")
# The log and its tree grow by the note of a refused job; everything else must stay as it is.
LOG = {"log_entries", "log_nodes", "log_checkpoints"}


@pytest.fixture(scope="module")
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        yield made.furnish()


def state_of(world):
    with world.server.journal.reading() as connection:
        tables = [table for table in metadata.sorted_tables if table.name not in LOG]
        return {table.name: connection.execute(select(table)).all() for table in tables}


@pytest.fixture(autouse=True)
def _unharmed(world):
    """Whatever a test sends: the state stays, the log gets refusals only, and the server goes on serving."""
    before, size = state_of(world), len(world.entries())
    yield
    assert state_of(world) == before
    assert {entry["type"] for entry in world.entries()[size:]} <= {"job:refused", "version:refused", "log:read"}
    assert not list(world.server.uploads.glob("*")), "an upload was left in the clear"
    assert world.post("rob", "/v1/plans", COUNT).status == 200


def refused(answer, *codes):
    assert 400 <= answer.status < 500, answer
    assert answer.code, answer
    assert not codes or answer.code in codes, answer
    assert len(answer.body) < 4096, "a refusal repeats what it was sent"
    return answer.code


def with_bounds(text):
    return GOOD.replace('"max_rows_per_group"', text + ', "max_rows_per_group"').encode()


MALFORMED = {
    "nothing": b"",
    "half": GOOD[:-1].encode(),
    "two": (GOOD + GOOD).encode(),
    "a list": b"[]",
    "a text": b'"job"',
    "null": b"null",
    "a number": b"1",
    "deep": b'{"asset":' * 9000 + b"1" + b"}" * 9000,
    "deep list": b"[" * 100_000,
    "deep enough to be read": (GOOD[:-1] + ',"x":' + "[" * 900 + "]" * 900 + "}").encode(),
    "a number of 5,000 digits": GOOD.replace('"0.5"', "1" + "0" * 5000).encode(),
    "a field twice": (GOOD[:-1] + ',"epsilon":"0.1"}').encode(),
    "Latin-1": GOOD.replace("n FROM", "é FROM").encode("latin-1"),
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-32": GOOD.encode("utf-32-le"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "half a character": GOOD.encode() + b"\xe2\x82",
    "YAML": POLICY.encode(),
    "half a surrogate pair as a field": b'{"\\ud800":1}',
    "half a surrogate pair as a policy": (GOOD[:-1] + ',"policy":"\\ud800"}').encode(),
    "half a surrogate pair as a column": with_bounds('"clip":{"\\udfff":[1,2]}'),
}
MEANINGLESS = {
    "NaN": GOOD.replace('"0.5"', "NaN").encode(),
    "infinity": GOOD.replace('"0.5"', "1e999").encode(),
    "minus infinity": GOOD.replace('"0.5"', "-Infinity").encode(),
    "a number of 4,000 digits": GOOD.replace('"0.5"', "1" + "0" * 4000).encode(),
    "NaN as an end": with_bounds('"clip":{"weight":[NaN,2]}'),
    "epsilon in a list": GOOD.replace('"0.5"', "[[[[1]]]]").encode(),
    "epsilon as fields": GOOD.replace('"0.5"', "{}").encode(),
    "a column of 5,000 letters": with_bounds(f'"clip":{{"{"x" * 5000}":[1,2]}}'),
    "a field of 5,000 letters": (GOOD[:-1] + f',"{"x" * 5000}":1}}').encode(),
    "a policy in a list": (GOOD[:-1] + ',"policy":["a"]}').encode(),
    "a policy of 5,000 letters": (GOOD[:-1] + f',"policy":"{"x" * 5000}"}}').encode(),
    "an asset of 5,000 letters": json.dumps(job(asset="medical/" + "x" * 5000)).encode(),
    "a NUL": GOOD.replace("SELECT", "\\u0000SELECT").encode(),
    "brackets": json.dumps(job(query="SELECT " + "(" * 5000)).encode(),
    "many words": json.dumps(job(query="SELECT COUNT(*) AS n FROM visits WHERE " + " AND ".join(["age > 1"] * 9000))).encode(),
    "a long list": json.dumps(job(query=f"SELECT COUNT(*) AS n FROM visits WHERE age IN ({'1,' * 50_000}1)")).encode(),
    "a path as an asset": json.dumps(job(asset="../../etc/passwd")).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_body_that_is_no_job_is_refused(world, name):
    for path in JOB_PATHS:
        refused(world.call("rob", "POST", path, content=MALFORMED[name], headers=JSON), "request.malformed")


@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_job_that_means_nothing_is_refused(world, name):
    begun = time.monotonic()
    for path in JOB_PATHS:
        code = refused(world.call("rob", "POST", path, content=MEANINGLESS[name], headers=JSON))
        assert code != "request.malformed"
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/yaml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json", "application/jsonx"],
)  # fmt: skip
def test_a_body_of_another_kind_is_refused(world, kind):
    for path in JOB_PATHS:
        answer = world.call("rob", "POST", path, content=GOOD.encode(), headers={"Content-Type": kind})
        refused(answer, "request.malformed")
        assert "application/json" in answer.json["way_out"]


def test_a_kind_with_a_charset_is_still_json(world):
    kind = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert world.call("rob", "POST", "/v1/plans", content=GOOD.encode(), headers=kind).status == 200


@pytest.mark.parametrize("path", [*JOB_PATHS, "/v1/assets", "/v1/policies", "/v1/policies/visits-research/suspend"])
def test_a_body_without_an_end_is_cut_off(world, path):
    """Chunks without a declared length, 1 GiB in all: the server stops reading soon after the most that it takes."""
    sent = []

    async def endless():
        chunk = b" " * 65536
        for _ in range(16384):
            sent.append(len(chunk))
            yield chunk

    async def ask():
        headers = JSON | {"Authorization": f"Bearer {world.tokens['olga']}"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://server") as client:
            return await client.post(path, content=endless(), headers=headers)

    tracemalloc.start()
    answer = asyncio.run(ask())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")
    assert sum(sent) <= (JOB_BYTES if path in JOB_PATHS else MAX_BYTES) + 2 * 65536
    assert peak < 16 << 20


def test_a_program_of_a_mebibyte_is_read_and_a_longer_one_refused_by_name(world):
    """It travels as JSON, in which each line break takes two bytes and each letter of another script up to six."""
    head = "def analyse(tables, params): return {}\n"
    for size in (1 << 20, (1 << 20) + 1):
        text = head + "#\n" * ((size - len(head)) // 2) + "#" * ((size - len(head)) % 2)
        assert len(text) == size
        outputs = {"age": {"lower": 5, "upper": 1, "default": 0}}
        asked = job(query=None, bounds=None, program={"name": "a.py", "text": text}, outputs=outputs)
        answer = world.post("rob", "/v1/plans", asked)
        assert answer.status == 422
        assert answer.code == ("outputs.lower" if size == 1 << 20 else "program.too_long")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/%00",
        "/v1/jobs/j-%ff",
        "/v1/jobs/..%2f..%2fwhoami",
        "/v1/jobs/" + "x" * 20_000,
        "/v1/jobs/j-2222222222222222%27%20OR%201=1",
        "/v1/assets/%ff/%fe",
        "/v1/assets/%00/b",
        "/v1/assets/medical/" + "x" * 20_000,
        "/v1/assets?search=" + "x" * 201,
        "/v1/assets/medical/visits/mock?rows=0",
        "/v1/assets/medical/visits/mock?rows=1000001",
        "/v1/assets/medical/visits/mock?rows=1e3",
        "/v1/assets/medical/visits/mock?rows=" + "9" * 5000,
        "/v1/assets/medical/visits/mock?seed=-1",
        "/v1/assets/medical/visits/mock?seed=9007199254740992",
        "/v1/assets/medical/visits/mock?format=exe",
        "/v1/jobs/x/result?format=xml",
        "/v1/policies/%00",
        "/v1/policies/" + "x" * 20_000,
        "/v1/log/entries?start=-1",
        "/v1/log/entries?start=99999999999999999999999",
        "/v1/log/entries?limit=0",
        "/v1/log/entries?limit=1001",
        "/v1/assets/medical/visits/versions/0/report",
        "/v1/assets/medical/visits/versions/-1/report",
        "/v1/assets/medical/visits/versions/99999999999999999999999/report",
        "/v1/assets/medical/visits/versions/x/report",
    ],
)
def test_an_address_that_means_nothing_is_refused(world, path):
    for person in ("rob", "olga", "ada"):
        refused(world.call(person, "GET", path))


@pytest.mark.parametrize("search", ["%ff%fe%00", "'%20OR%20'1'='1", "%25", "_"])
def test_a_search_is_only_words(world, search):
    answer = world.call("rob", "GET", f"/v1/assets?search={search}")
    assert answer.status == 200
    assert answer.json["items"] == []
    assert world.get("rob", "/v1/assets", search="visits").json["items"], "words are found"


TEXTS = {
    "nothing": b"",
    "bytes": bytes(range(256)),
    "aliases": b"a: &a [x, x]\nb: [*a, *a]",
    "deep": b"a: " + b"[" * 50_000,
    "large": b"a: " + b"x" * 300_000,
    "a NUL": b"name: \x00",
    "Latin-1": "name: é".encode("latin-1"),
    "a tag": b"name: !!python/object/apply:os.system [id]",
    "two documents": b"a: 1\n---\nb: 2",
    "half a surrogate pair": POLICY.replace("visits-research", '"\\ud800"').encode(),
    "a title with a NUL": (POLICY + 'title: "\\u0000"\n').encode(),
    "categories with a NUL": VISITS.replace("[positive, negative]", '["\\u0000", a]').replace("/visits", "/other").encode(),
    "a number of 10^9 digits": VISITS.replace("rows: 300", "rows: 1e999999999").replace("/visits", "/other").encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_is_no_declaration_or_policy_is_refused(world, name):
    for path in ("/v1/assets", "/v1/policies"):
        for filename in ("file.yaml", "%ff%00" + "x" * 3000):
            refused(world.call("olga", "POST", f"{path}?filename={filename}", content=TEXTS[name]))


@pytest.mark.parametrize(
    "verdict",
    [b"", b"{}", b"[]", b'{"digest":1}', b'{"digest":"x","more":1}', b'{"digest":"\\ud800"}', b'{"digest":"x","reason":"\\ud800"}',
     b'{"digest":"' + b"x" * 100 + b'"}', b'{"digest":"x","reason":"' + b"x" * 501 + b'"}', b"[" * 100_000],
)  # fmt: skip
def test_a_verdict_that_says_nothing_is_refused(world, verdict):
    for step in ("approve", "reject", "suspend", "revoke", "explode"):
        refused(world.call("olga", "POST", f"/v1/policies/visits-research/{step}", content=verdict, headers=JSON))


def test_bounds_that_are_equal_are_refused_at_registration(world):
    """A column whose values are all one number would be summed without noise (T06)."""
    for bounds in ("lower: 0, upper: 0", "lower: 7, upper: 7", "lower: 9, upper: 3"):
        text = VISITS.replace("lower: 0, upper: 110", bounds).replace("/visits", "/other")
        assert refused(world.call("olga", "POST", "/v1/assets", content=text.encode())) == "declaration.bounds"


UPLOADS = {
    "nothing": b"",
    "bytes": bytes(range(256)) * 40,
    "a ragged row": b"pid,age,cost,clinic,result,weight\np1,1\n",
    "another encoding": b"pid,age,cost,clinic,result,weight\np1,1,1,\xff,positive,1\n",
    "an open quote": b'pid,age,cost,clinic,result,weight\np1,"1,1,c,positive,1\n' * 3,
    "other columns": b"pid\np1\n",
    "one column twice": b"pid,pid,age,cost,clinic,result,weight\np1,p1,1,1,c,positive,1\n",
}


@pytest.mark.parametrize("name", UPLOADS)
@pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "xls", ""])
def test_a_file_that_is_no_table_is_refused(world, name, form):
    path = f"/v1/assets/medical/visits/versions?format={form}"
    refused(world.call("olga", "POST", path, content=UPLOADS[name]), "ingest.unreadable", "request.malformed")


def test_a_file_larger_than_allowed_is_cut_off():
    with quick_folder() as folder, ApiWorld(folder, upload_bytes=1000) as small:
        small.register()
        answer = small.call("olga", "POST", "/v1/assets/medical/visits/versions?format=csv", content=b"x" * 1001)
        assert (answer.status, answer.code) == (413, "ingest.upload_too_large")
        assert not list(small.server.uploads.glob("*"))
        assert small.get("olga", "/v1/assets/medical/visits").json["version"] is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("asset", "purpose", "policy", "query", "epsilon", "delta", "bounds", "other")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, min_size=1, max_size=3))
def test_no_job_of_odd_values_is_an_error_of_ours(world, changes):
    """Plans only: a few odd jobs are good ones, and would be admitted."""
    body = json.dumps(COUNT | changes).encode()
    answer = world.call("rob", "POST", "/v1/plans", content=body, headers=JSON)
    assert answer.status == 200 or refused(answer)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(body=st.binary(max_size=200))
def test_no_bytes_are_an_error_of_ours(world, body):
    refused(world.call("rob", "POST", "/v1/jobs", content=body, headers=JSON), "request.malformed")
    refused(world.call("olga", "POST", "/v1/policies", content=body))
