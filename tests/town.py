"""A small asset in a state folder that is ready to serve, its servers, and what can be seen of them from outside."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import create_engine

from api import wiring
from assets.catalogue import register
from assets.declaration import parse_declaration
from assets.keys import KeyRing
from assets.source import Format
from audit.events import SYSTEM
from core.clock import moment_of
from core.settings import Settings
from jobs.staging import open_sealed_log
from policies import identity, lifecycle
from policies.policy_file import parse_policy
from policies.populations import create_population
from tests.live_server import CHECKOUT, LiveServer
from tests.policies_world import books_from_log, books_of

RIDES = """
asset: traffic/rides
title: {en: Rides, zh: 行程}
sector: traffic
level: S1
population: {name: riders, id_namespace: rider-card, unit: rider}
size: {rows: 600, units: 100}
columns:
  rider:   {type: string, unit: true, max_length: 8}
  line:    {type: category, values: [north, south], public: true}
  minutes: {type: int, lower: 0, upper: 240}
budget: {accountant: basic, epsilon: 1, delta: 1e-7}
csv: {null_values: [""]}
"""
POLICY = """
name: rides-research
purpose: research
kinds: [query]
assets: [traffic/rides]
epsilon: {total: 10, per_person: 10, per_job: 1}
valid: {from: 2026-01-01, until: 2030-01-01}
"""
PEOPLE = {
    "olga": "operator",
    "rita": "reviewer",
    "ada": "auditor",
    "rob": "researcher",
    "rosa": "researcher",
    "ravi": "researcher",
    "ruth": "researcher",
}
RESEARCHERS = [name for name, role in PEOPLE.items() if role == "researcher"]
ROWS = "rider,line,minutes\n" + "".join(
    f"c{i % 97},{'north' if i % 3 else 'south'},{i * 7 % 241}\n" for i in range(600)
)
FINAL = {"released", "refused", "cancelled", "failed"}
# No test waits longer for anything; none expects a thing sooner than it is promised.
PATIENCE = 90
STOP_SECONDS = 20
BLOCKS = 8
# Jobs are planned to take eight seconds: time for every container, and for one more, on a machine that is busy.
UNHURRIED = {"start_seconds": 2}


def job_file(minutes=60, epsilon="0.01", **changes):
    """A job; another number of minutes is another query."""
    query = f"SELECT line, COUNT(*) AS rides FROM rides WHERE minutes <= {minutes} GROUP BY line"
    bounds = {"max_groups_per_unit": 2, "max_rows_per_group": 6}
    return {
        "asset": "traffic/rides",
        "purpose": "research",
        "query": query,
        "epsilon": epsilon,
        "bounds": bounds,
    } | changes


def until(true, seconds=PATIENCE, every=0.02):
    """Wait for something to hold; returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)
    return found


class Town(LiveServer):
    """A server of the small asset, and what can be seen of it from outside: its processes, containers, folders, database."""

    started: ClassVar[list[Town]] = []
    behind: str | None = None  # the engine itself, where `engine` is only a door to it

    def beside(self):
        other = type(self)(self.folder, self.engine, **self.settings)
        other.tokens, other.behind = self.tokens, self.behind
        return other

    def start(self, *, wait=True):
        if self not in Town.started:
            Town.started.append(self)
        return super().start(wait=wait)

    def up(self, *, wait=True):
        """Start it unless it runs."""
        return self if self.process is not None and self.process.poll() is None else self.start(wait=wait)

    @property
    def state(self):
        return self.folder / "state"

    # What it does

    def submit(self, minutes=60, *, person="rob", **changes):
        """Submit without waiting; the job as the SDK shows it."""
        return self.client(person).submit(job_file(minutes, **changes))

    def wait(self, job, seconds=PATIENCE):
        """Wait for the job's end in the database, whether the API is up or not; returns its state."""
        until(lambda: self.job(job)["state"] in FINAL, seconds)
        return self.job(job)["state"]

    # What is in its database

    def rows(self, statement, *values):
        with sqlite3.connect(f"file:{self.state / 'banyan.db'}?mode=ro", uri=True, timeout=30) as connection:
            connection.row_factory = sqlite3.Row
            found = [dict(row) for row in connection.execute(statement, values)]
        connection.close()
        return found

    def job(self, job):
        (found,) = self.rows("SELECT * FROM jobs WHERE id = ?", job)
        return found

    def sealed(self, job):
        found = self.rows("SELECT id, sealed, output, salt FROM releases WHERE job = ?", job)
        return found[0] if found else None

    def events(self, *kinds):
        entries = [json.loads(row["entry"]) for row in self.rows('SELECT entry FROM log_entries ORDER BY "index"')]
        return [entry for entry in entries if not kinds or entry["type"] in kinds]

    def of_job(self, job):
        """The types of the events of one job, its spend and its release."""
        return [entry["type"] for entry in self.events() if job in (entry["subject"], entry["facts"].get("job"))]

    def sealed_log(self, job):
        """How each lane of the job's newest attempt ended and which blocks it answered."""
        paths = (self.state / "sealed").glob(f"{job}-*")
        newest = max(paths, key=lambda path: int(path.name.rpartition("-")[2]))
        return open_sealed_log(KeyRing.open(self.state / "master.key"), newest)

    def check_nothing_defaulted(self, *jobs):
        """What was released of these jobs was computed from all of their blocks: nothing was lost and made up for by defaults.

        The last check of a test: if lanes were late on a machine that could not keep up, it is skipped, since then they should be.
        """
        logs = "".join(path.read_text() for path in self.folder.glob("server-*.log"))
        for job in jobs:
            lanes = self.sealed_log(job)
            assert {lane["end"] for lane in lanes.values()} <= {"completed"}, lanes
            if f"alarm: blocks of job {job} " in logs and (self.lateness(job) > 0.3 or overloaded()):
                pytest.skip("this machine is too busy to tell whether blocks may be missing")
            check_all_answered(lanes)
            assert f"alarm: blocks of job {job} " not in logs

    def lateness(self, job):
        """Seconds from the planned moment of a job's release to the moment when it was issued."""
        scheduled = ("job:started", "job:restarted", "job:delayed")
        planned = [e["facts"]["release_at"] for e in self.events(*scheduled) if e["subject"] == job]
        (issued,) = [e["time"] for e in self.events("release:issued") if e["facts"]["job"] == job]
        return (moment_of(issued) - moment_of(planned[-1])).total_seconds()

    def check_charged_once(self, *jobs):
        """Each of these jobs has one spend, committed once; and the ledger's sums are those that the log alone gives."""
        for job in jobs:
            assert self.rows("SELECT state FROM ledger_spends WHERE job = ?", job) == [{"state": "committed"}]
            events = self.of_job(job)
            assert [events.count(f"budget:{done}") for done in ("reserved", "committed", "released")] == [1, 1, 0], (
                events
            )
        engine = create_engine(f"sqlite:///{self.state / 'banyan.db'}")
        with engine.connect() as connection:
            books = books_of(connection)
        engine.dispose()
        assert books == books_from_log([(e["type"], e["subject"], e["facts"]) for e in self.events()])

    # What of it is in the world

    def containers(self, *, status=None, **labels):
        """Ids of containers in any or one state that carry this server's label (and others: job=...)."""
        wanted = {"owner": self.instance, **labels}
        filters = [word for name, value in wanted.items() for word in ("--filter", f"label=banyan.{name}={value}")]
        filters += ["--filter", f"status={status}"] if status else []
        return docker(self.behind or self.engine, "ps", "-aq", "--no-trunc", *filters).split()

    def processes(self, *, agents=False):
        """(pid, start time) -> command of every process that serves this state folder: by its environment, or by its parents.

        Two idle agents of Ray are left out: they take a minute to notice that their raylet was killed.
        """
        table = {}
        mark = f"BANYAN_STATE_FOLDER={self.state}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                environment = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if fields[0] not in "ZX":
                table[int(entry.name)] = (int(fields[1]), mark in environment, (int(entry.name), fields[19]), command)
        ours = {pid for pid, (_, marked, _, _) in table.items() if marked}
        while more := {pid for pid, (parent, *_) in table.items() if parent in ours} - ours:
            ours |= more
        return {table[pid][2]: table[pid][3] for pid in ours if agents or "Agent" not in table[pid][3]}

    def process_with(self, *words):
        """The pid of one of its processes: the first word decides that is in the command of any."""
        found = self.processes()
        return next((pid for word in words for (pid, _), command in found.items() if word in command), None)

    def temporary_folders(self):
        """Ray's folders."""
        return [path for place in ("/tmp", "/dev/shm") for path in Path(place).glob(f"bny-{self.instance}-*")]

    def plaintext(self):
        """Everything of this server in the tmpfs."""
        return [
            path
            for path in Path("/dev/shm").glob(f"banyan-{self.instance}*")
            if not path.is_dir() or any(path.iterdir())
        ]


def overloaded():
    """Whether so much else runs on this machine that no time can be kept."""
    return os.getloadavg()[0] > 3 * len(os.sched_getaffinity(0))


def answered(lane):
    """The numbers of the blocks that a lane of a sealed log answered: a list, or runs as people read them (0-3, 7)."""
    if isinstance(lane["blocks"], list):
        return lane["blocks"]
    runs = [[int(end) for end in run.split("-")] for run in lane["blocks"].split(", ") if run]
    return [index for run in runs for index in range(run[0], run[-1] + 1)]


def check_all_answered(lanes):
    """Every container of a sealed log came to its end, and all blocks were answered."""
    assert {lane["end"] for lane in lanes.values()} == {"completed"}, lanes
    assert sorted(index for lane in lanes.values() for index in answered(lane)) == list(range(BLOCKS)), lanes


def docker(engine, *words):
    """The docker command's answer."""
    done = subprocess.run(["docker", "-H", engine, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def alive(processes):
    """Those of {(pid, start time): command} that still run."""
    found = {}
    for (pid, started), command in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX" and fields[19] == started:
            found[pid, started] = command
    return found


def prepare(folder):
    """A state folder with people, asset, data and policy, and the people's tokens; made without a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_STATE_FOLDER", str(folder / "state"))
        patch.setenv("BANYAN_IMAGES_FILE", str(CHECKOUT / ".banyan" / "images.json"))
        wiring.initialise()
        server = wiring.assemble(Settings())
    tokens, people = {}, {}
    with server.journal.writing() as tx:
        for name, role in PEOPLE.items():
            people[name] = identity.add_principal(tx, name.title(), "city", [role], SYSTEM)
            tokens[name] = identity.issue_token(tx, people[name].id, [role], timedelta(days=1), SYSTEM).text
        declaration = parse_declaration(RIDES, "rides.yaml")
        asset = register(tx, declaration, people["olga"].id)
        create_population(
            tx,
            declaration.population.name,
            id_namespace=declaration.population.id_namespace,
            unit=declaration.population.unit,
            accountant=declaration.budget.accountant,
            epsilon=declaration.budget.epsilon,
            delta=declaration.budget.delta,
            block_count=asset.block_count,
            actor=people["olga"].id,
        )
    server.ingest.version("traffic/rides", ROWS.encode(), Format.CSV, people["olga"].id)
    with server.journal.writing() as tx:
        found = lifecycle.propose(tx, parse_policy(POLICY, "policy.yaml", server.clock.now()), people["olga"], "S1")
        lifecycle.approve(tx, "rides-research", found.digest, people["rita"], "S1")
    server.journal.publish_checkpoint()
    server.journal.engine.dispose()
    return folder / "state", tokens


@contextmanager
def town_in(folder, prepared, docker_host, **settings):
    """A town of its own in `folder`; ended, and found to be gone without a trace, on leaving."""
    state, tokens = prepared
    shutil.copytree(state, folder / "state")
    (folder / "state" / "instance").write_text(secrets.token_hex(6))
    # Short release times: most of these tests do not mind if blocks come late and count as defaults.
    made = Town(folder, docker_host, **{"start_seconds": 0.6} | settings)
    made.tokens, seen = tokens, {}
    try:
        yield made
        seen = made.processes()
        for town in [town for town in Town.started if town.folder == folder]:
            Town.started.remove(town)
            assert town.stop() in (0, None)
        assert alive(seen) == {}
        assert made.processes() == {}
        assert made.temporary_folders() == []
        assert made.containers() == []
        assert made.plaintext() == []
    finally:
        # Also where a fixture failed half-way: what it started must not go on beside other tests.
        Town.started[:] = [town for town in Town.started if town.folder != folder]
        _put_away({**seen, **made.processes(agents=True)}, made)


def _put_away(processes, town):
    """What a failed test left, so that it disturbs no other."""
    for pid, _ in alive(processes):
        os.kill(pid, signal.SIGKILL)
    for path in town.temporary_folders():
        shutil.rmtree(path, ignore_errors=True)
    if left := town.containers():
        docker(town.behind or town.engine, "rm", "-f", *left)
