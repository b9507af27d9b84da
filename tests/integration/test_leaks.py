"""One value of the data, looked for everywhere while real containers run over it and fail on it: it is in no place but the sealed log (T12).

Places: every answer to every role, the server's log, events, receipts, Ray's session, the tmpfs, command lines and environments of
our processes, names of files, and the bytes of the whole state folder.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from decimal import Decimal
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.blocks import Place, close_block, digest_of, open_block, padded_bytes
from assets.declaration import parse_declaration
from assets.keys import KeyRing
from assets.physical import parquet_bytes
from core.clock import SystemClock
from jobs.staging import open_sealed_log
from tests.api_world import VISITS, Answer, ApiWorld, job, visits
from tests.neighbours import ADDRESSES, PLACES, REFUSED, Researcher
from tests.town import town_in

pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(280)]
MARK = "ZQX-778"
FIGURE = "77877877877877877877"  # what DuckDB quotes when a number does not fit
DATA = visits(range(90)).replace(b"clinic-3", MARK.encode())
# One row each that breaks the declaration in a column: what is reported of it is its number only.
REJECTED = f"p1,{MARK},1.00,c,positive,1\np2,1,{MARK},c,positive,1\np3,1,1.00,{MARK * 9},positive,1\np4,1,1.00,c,{MARK},1\np{MARK},1,1,c,positive,1\n"
UNREADABLE = {
    "a ragged row": DATA + f"{MARK},1\n".encode(),
    "another encoding": DATA + f"p1,1,1,{MARK}\xff,positive,1\n".encode("latin-1"),
    "an open quote": DATA + f'p1,1,1,"{MARK},positive,1\n'.encode(),
    "no header": f"{MARK},1,1\n".encode() + DATA,
}
BY_CLINIC = job(
    query="SELECT clinic, COUNT(*) AS n, AVG(cost) AS mean FROM visits GROUP BY clinic", epsilon="0.5", delta="1e-8"
)
MEAN = job(query="SELECT result, AVG(cost) AS mean FROM visits GROUP BY result", epsilon="0.4")
PERSONS = ("olga", "rita", "rob", "rosa", "ada")


class Watched:
    """A server, and everything that anybody got out of it."""

    def __init__(self, town):
        self.town, self.said, self.live = town, [], {}
        self.client = httpx.Client(base_url=town.address, timeout=60)
        self.researcher = Researcher(self.call, lambda: time.sleep(0.1))

    def call(self, method, path, body=None, person="rob", **sent):
        if body is not None:
            sent["json"] = body
        answer = Answer(
            self.client.request(method, path, headers={"Authorization": f"Bearer {self.town.tokens[person]}"}, **sent)
        )
        self.said.append((f"{person} {method} {path}", str(answer.headers).encode() + answer.body))
        return answer

    def ingest(self, data):
        return self.call("POST", "/v1/assets/medical/visits/versions?format=csv", person="olga", content=data)

    def run(self, document):
        made = self.call("POST", "/v1/jobs", document).json["id"]
        self.researcher.follow(made, made)
        self.researcher.settle(made)
        return made

    def ask_everything(self, jobs):
        for person in PERSONS:
            for address in (*ADDRESSES, "/v1/log/entries?limit=1000", "/v1/assets/medical/visits/versions/2/report"):
                self.call("GET", address, person=person)
            for made in jobs:
                for place in PLACES:
                    self.call("GET", f"/v1/jobs/{made}{place}", person=person)
        for document in REFUSED.values():
            self.call("POST", "/v1/jobs", document)

    def look_at_the_living(self):
        """What is there only while the server is: Ray's session, our processes, the tmpfs."""
        for folder in self.town.temporary_folders():
            self.live |= contents(folder)
        for pid, _ in self.town.processes():
            for part in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    self.live[f"{pid}/{part}"] = Path(f"/proc/{pid}/{part}").read_bytes()
        for folder in Path("/dev/shm").glob(f"banyan-{self.town.instance}*"):
            self.live |= contents(folder)

    def sealed(self, made):
        (path,) = (self.town.state / "sealed").glob(f"{made}-*")
        return open_sealed_log(KeyRing.open(self.town.state / "master.key"), path)


def betrays(data):
    """Whether bytes or text hold one of the two values, in any of the forms that a program writes them in."""
    data = data.encode() if isinstance(data, str) else data
    return any(mark.encode(form) in data for mark in (MARK, FIGURE) for form in ("ascii", "utf-16-le"))


def contents(folder):
    """Name and bytes of every file below a folder."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found[str(path)] = path.read_bytes() if path.is_file() else b""
    return found


def poison(town):
    """Put a number that does not fit inside a block that is otherwise in order: the container's SQL fails on it, and DuckDB's message
    quotes it. No ingest would make such a block; this is done with the server's own keys."""
    keys = KeyRing.open(town.state / "master.key")
    with contextlib.closing(sqlite3.connect(town.state / "banyan.db", timeout=30)) as database, database:
        version, wrapped = database.execute(
            "SELECT id, wrapped_key FROM asset_versions ORDER BY number DESC"
        ).fetchone()
        path, count = database.execute("SELECT path, (SELECT count(*) FROM asset_blocks WHERE version = ?1) FROM asset_blocks WHERE version = ?1 AND position = 5", (version,)).fetchone()  # fmt: skip
        key, place, file = keys.unwrap(version, wrapped), Place(version, 5, count), town.state / "blocks" / path
        table = pq.read_table(pa.BufferReader(open_block(file.read_bytes(), key, place)))
        column, amounts = table.schema.get_field_index("cost"), [Decimal(FIGURE)] * len(table)
        table = table.set_column(column, "cost", pa.array(amounts, pa.decimal128(38, 2)))
        sealed = close_block(
            parquet_bytes(table), padded_bytes(parse_declaration(VISITS, "v").schema, count), key, place
        )
        file.write_bytes(sealed)
        database.execute(
            "UPDATE asset_blocks SET digest = ? WHERE version = ? AND position = 5", (digest_of(sealed), version)
        )


@pytest.fixture(scope="module")
def watched(tmp_path_factory, query_image, docker_host):
    """A server after everything happened to it that should not betray the value; it has stopped when the tests look."""
    with ApiWorld(tmp_path_factory.mktemp("prepared"), clock=SystemClock()) as world:
        world.furnish()
        world.server.journal.publish_checkpoint()
    folder = tmp_path_factory.mktemp("leaks")
    # Time enough for a container on a busy machine: what is looked for must have been there.
    with contextlib.ExitStack() as stack:
        town = stack.enter_context(town_in(folder, (world.state, world.tokens), docker_host, start_seconds=3.4))
        town.start()
        seen = Watched(town)
        stack.callback(seen.client.close)
        seen.refused = {name: seen.ingest(data) for name, data in UNREADABLE.items()}
        seen.kept = seen.ingest(DATA + REJECTED.encode())
        seen.counted = seen.run(BY_CLINIC)
        poison(town)
        seen.failed = seen.run(MEAN)
        seen.ask_everything((seen.counted, seen.failed))
        seen.look_at_the_living()
        town.stop()
        yield seen


def test_the_containers_did_run_over_the_value(watched):
    """Otherwise nothing here would mean anything."""
    done = watched.sealed(watched.counted)
    assert {lane["end"] for lane in done.values()} == {"completed"}
    assert sorted(index for lane in done.values() for index in lane["blocks"]) == list(range(8))
    released = next(body for label, body in watched.said if label == f"rob GET /v1/jobs/{watched.counted}/result")
    assert b'"schema":"banyan.table/1"' in released


def test_what_a_container_wrote_to_stderr_is_in_the_sealed_log(watched):
    sealed = watched.sealed(watched.failed)
    assert FIGURE in "".join(lane["stderr"] for lane in sealed.values())
    assert sorted(index for lane in sealed.values() for index in lane["blocks"]) == [0, 1, 2, 3, 4, 6, 7]


def test_the_failed_job_is_released_like_any_other(watched):
    """At its time, with its schema, charged; the alarm says that something was wrong, not what (T04)."""
    views = {job["id"]: job for job in watched.town.rows("SELECT id, state FROM jobs")}
    assert views[watched.failed]["state"] == views[watched.counted]["state"] == "released"
    assert f"alarm: blocks of job {watched.failed} counted as defaults; see its sealed log" in watched.town.log
    assert f"alarm: blocks of job {watched.counted}" not in watched.town.log


def test_a_file_that_cannot_be_read_is_refused_without_a_word_of_it(watched):
    for name, answer in watched.refused.items():
        assert (answer.status, answer.code) == (422, "ingest.unreadable"), name
        assert MARK not in answer.text
    assert watched.kept.status == 201


def test_the_report_counts_rejected_rows_and_quotes_none(watched):
    report = next(
        body for label, body in watched.said if label == "olga GET /v1/assets/medical/visits/versions/2/report"
    )
    assert report.count(b'"rows":1') >= 4
    assert MARK.encode() not in report


def test_no_answer_to_anybody_holds_the_value_but_the_released_group(watched):
    """A group that passed the threshold is a release like any other; everything else must not even hint."""
    results = f"/v1/jobs/{watched.counted}/result"
    hits = [label for label, body in watched.said if betrays(body) and results not in label]
    assert hits == []
    assert len(watched.said) > 180


def test_the_servers_log_does_not_hold_it(watched):
    assert not betrays(watched.town.log)
    assert "counted as defaults" in watched.town.log


def test_ray_our_processes_and_the_tmpfs_do_not_hold_it(watched):
    assert any("/session_latest/logs/" in name or "/logs/" in name for name in watched.live), (
        "Ray's logs were looked at"
    )
    assert any(name.endswith("/cmdline") for name in watched.live)
    assert [name for name, data in watched.live.items() if betrays(data) or betrays(name)] == []


def test_no_file_of_the_state_folder_holds_it_in_the_clear(watched):
    """Database, blocks, sealed logs, signer, all of them byte by byte, and their names."""
    files = contents(watched.town.state)
    assert {"banyan.db", "master.key", "instance", "checkpoint"} <= {Path(name).name for name in files}
    assert sum(map(len, files.values())) > 1 << 20
    assert [name for name, data in files.items() if betrays(data) or betrays(name)] == []


def test_nothing_stays_in_the_tmpfs(watched):
    assert watched.town.plaintext() == []
