"""One value of the data, looked for everywhere while real containers run over it and fail on it: it is in no place but the sealed log (T12).

Places: every answer to every role, the server's log, events, receipts, Ray's session, the tmpfs, command lines and environments of
our processes, what the engine tells of the containers while they run, names of files, the bytes of the whole state folder, and every
file that anybody wrote meanwhile where programs of this machine leave things.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import sqlite3
import stat
import subprocess
import tempfile
import threading
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
from tests.town import BLOCKS, answered, check_all_answered, town_in

pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(280)]
# Of this run only, so that what an earlier one or another test left is not taken for a leak.
MARK = f"ZQX-{secrets.randbelow(10**9):09}"
FIGURE = f"77{secrets.randbelow(10**18):018}"  # what DuckDB quotes when a number does not fit
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
# Where programs leave logs, temporary files and what they were told.
ANYWHERE = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/log", "/var/crash", "/var/lib/docker/containers")
LARGEST = 64 << 20


class Watched:
    """A server, and everything that anybody got out of it."""

    def __init__(self, town):
        self.town, self.said, self.live, self.begun = town, [], {}, time.time()
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
        made, over = self.call("POST", "/v1/jobs", document).json["id"], threading.Event()
        watching = threading.Thread(target=self.look_at_containers, args=(made, over))
        watching.start()
        try:
            self.researcher.follow(made, made)
        finally:
            over.set()
            watching.join()
        self.researcher.settle(made)
        return made

    def look_at_containers(self, made, over):
        """What the engine tells of a job's containers to whoever may ask it, as long as they are there."""
        while not over.wait(0.05):
            for container in self.town.containers(job=made):
                for asked in ("inspect", "logs", "top"):
                    done = subprocess.run(
                        ["docker", "-H", self.town.engine, asked, container], capture_output=True, check=False
                    )
                    if done.returncode == 0 or asked == "logs":
                        self.live[f"docker {asked} of {made}: {container}"] = done.stdout + done.stderr

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


def forms_of(mark):
    """The value in every form that a program writes bytes in: as they are, in two bytes a character, in hex, and inside base64."""
    text = mark.encode()
    yield from (
        text,
        mark.encode("utf-16-le"),
        mark.encode("utf-16-be"),
        text.hex().encode(),
        text.hex().upper().encode(),
    )
    for before in range(3):
        # Of its characters those that depend on nothing that stands before or behind.
        inside = base64.b64encode(b"\0" * before + text)[-(-8 * before // 6) : 8 * (before + len(text)) // 6]
        yield from (inside, inside.replace(b"+", b"-").replace(b"/", b"_"))


SOUGHT = frozenset(form for mark in (MARK, FIGURE) for form in forms_of(mark))


def betrays(data):
    """Whether bytes or text hold one of the two values."""
    data = data.encode() if isinstance(data, str) else data
    return any(form in data for form in SOUGHT)


def written_since(moment, places=ANYWHERE):
    """Path and bytes of every file in these places that was written since."""
    for place in places:
        for folder, _, names in os.walk(place):
            for path in (Path(folder, name) for name in names):
                with contextlib.suppress(OSError):
                    about = path.lstat()
                    if stat.S_ISREG(about.st_mode) and about.st_mtime >= moment - 1 and about.st_size <= LARGEST:
                        yield str(path), path.read_bytes()


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
        seen.elsewhere = [path for path, data in written_since(seen.begun) if betrays(data) or betrays(path)]
        town.stop()
        yield seen


@pytest.mark.parametrize("mark", [MARK, FIGURE])
def test_what_is_looked_for_would_be_found(mark):
    """In each form, wherever it begins, and in a file that some program left somewhere."""
    assert not betrays(DATA.replace(MARK.encode(), b"ZQX-") + FIGURE[:-1].encode())
    for before in range(7):
        data = b"x" * before + mark.encode() + b"yz"
        for planted in (data, data.hex(), data.hex().upper(), base64.b64encode(data), base64.urlsafe_b64encode(data)):
            assert betrays(planted), planted
    for planted in (json.dumps({"detail": mark}), mark.encode("utf-16"), mark.encode("utf-16-be"), f"{mark}.csv"):
        assert betrays(planted), planted
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder, "deep", "core")
        left.parent.mkdir()
        left.write_bytes(b"\0" * 5000 + mark.encode())
        assert [path for path, data in written_since(begun, (folder,)) if betrays(data)] == [str(left)]


def test_the_containers_did_run_over_the_value(watched):
    """Otherwise nothing here would mean anything."""
    check_all_answered(watched.sealed(watched.counted))
    released = next(body for label, body in watched.said if label == f"rob GET /v1/jobs/{watched.counted}/result")
    assert b'"schema":"banyan.table/1"' in released


def test_what_a_container_wrote_to_stderr_is_in_the_sealed_log(watched):
    sealed = watched.sealed(watched.failed)
    assert FIGURE in "".join(lane["stderr"] for lane in sealed.values())
    assert sorted(index for lane in sealed.values() for index in answered(lane)) == [
        index for index in range(BLOCKS) if index != 5
    ]


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
    """A group that passed the threshold is a release like any other; everything else must not even hint.

    The operator's own reading of the sealed log is the one other place where it belongs.
    """
    allowed = {f"rob GET /v1/jobs/{watched.counted}/result{form}" for form in ("", "?format=csv", "?format=parquet")}
    allowed.add(f"olga GET /v1/jobs/{watched.failed}/sealed")
    asked = {label for label, _ in watched.said}
    assert allowed <= asked
    hits = [label for label, body in watched.said if betrays(body) and label not in allowed]
    assert hits == []
    assert {f"{person} GET /v1/jobs/{watched.failed}/sealed" for person in PERSONS} <= asked
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


def test_the_engine_tells_it_to_nobody_while_the_containers_run(watched):
    """Not in their command, environment, labels, mounts or processes; and the engine keeps no log of theirs."""
    for made in (watched.counted, watched.failed):
        seen = {name: data for name, data in watched.live.items() if name.startswith(f"docker inspect of {made}:")}
        assert any(b'"Env"' in data and b'"Mounts"' in data for data in seen.values()), "none was met while it ran"
    logs = [data for name, data in watched.live.items() if name.startswith("docker logs of ")]
    assert logs
    assert all(data.startswith(b"Error response from daemon: ") for data in logs), logs


def test_no_file_that_was_written_meanwhile_on_this_machine_holds_it(watched):
    assert watched.elsewhere == []


def test_no_file_of_the_state_folder_holds_it_in_the_clear(watched):
    """Database, blocks, sealed logs, signer, all of them byte by byte, and their names."""
    files = contents(watched.town.state)
    assert {"banyan.db", "master.key", "instance", "checkpoint"} <= {Path(name).name for name in files}
    assert sum(map(len, files.values())) > 1 << 20
    assert [name for name, data in files.items() if betrays(data) or betrays(name)] == []


def test_nothing_stays_in_the_tmpfs(watched):
    assert watched.town.plaintext() == []
