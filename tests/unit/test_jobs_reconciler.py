"""The reconciler on a real journal, with containers in memory and a clock that stands still: every way a job can go (design §5, R9, R17)."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import struct
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from assets.catalogue import register
from assets.ingest import Ingest
from assets.keys import KeyRing
from assets.object_store import LocalObjectStore
from assets.source import Format
from audit import log
from audit.log import Journal
from audit.signer import FileSigner
from core.clock import FrozenClock
from core.database import changing, engine_for, metadata
from core.errors import BanyanError, Conflict, Unavailable
from jobs.inline_scheduler import InlineScheduler
from jobs.kind import Host, Image
from jobs.lane import run_lane
from jobs.model import job_with
from jobs.ray_scheduler import LOST
from jobs.reconciler import HELD, INFRASTRUCTURE, MAX_ATTEMPTS, SWEEP_EVERY, Reconciler
from jobs.records import jobs, releases
from jobs.releasing import Releasing
from jobs.schedule import SEAL_SECONDS, Node
from jobs.service import JobService
from jobs.staging import Staging, open_sealed_log
from jobs.transitions import JobState
from policies import budget, identity, lifecycle
from policies.policy_file import parse_policy
from policies.populations import create_population
from policies.statement import spent_by
from sandbox.fake_runtime import FakeRuntime
from sandbox.spec import ContainerSpec
from tests.assets_builders import csv_of, declared, visit
from tests.gates import Immediately
from tests.policies_world import quick_folder
from tests.unit.sql_world import runner

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
IMAGE = "sha256:" + "a" * 64
TICK = 0.2
NODE = Node(lanes=2, lane_memory_bytes=256 << 20, start_seconds=1.0, slowness=1.0, cancel_seconds=3.0)
HOST = Host({"query": Image(IMAGE), "python": Image(IMAGE)}, NODE, lambda floor: floor)
POLICY = """
name: ward-research
purpose: research
kinds: [query]
assets: [medical/visits]
epsilon: {total: 4, per_person: 4, per_job: 1}
valid: {from: 2026-01-01, until: 2030-01-01}
"""
ROWS = [visit(pid=f"p{i % 30}", result="positive" if i % 3 else "negative") for i in range(90)]


def job_file(**changes):
    return {
        "asset": "medical/visits",
        "purpose": "research",
        "query": "SELECT result, COUNT(*) AS visits FROM visits GROUP BY result",
        "epsilon": "0.5",
        "bounds": {"max_groups_per_unit": 2, "max_rows_per_group": 4},
    } | changes


def honest(spec, instruction):
    """What the query image does with its blocks."""
    asked = json.loads(instruction[4:])
    output = b""
    for block in asked["blocks"]:
        path = Path(spec.mounts[0].source) / f"{block['index']}.parquet"
        partial = runner.bounded(runner.rows_of(str(path), asked["sql"], 256 << 20), asked)
        output += struct.pack(">IBI", block["index"], 0, len(partial)) + partial
    return output


class WatchedSigner(FileSigner):
    """Remembers how large the log was at each signature."""

    def __init__(self, folder):
        super().__init__(folder, "test/log")
        self.signed = []

    def sign(self, growth):
        head, note = super().sign(growth)
        self.signed.append(head.size)
        return head, note


class Threads(InlineScheduler):
    """Lanes that go on while the reconciler steps, as Ray's do; `stop` ends them as `ray.cancel` does."""

    def __init__(self, runtime):
        super().__init__(runtime)
        self.stopped = threading.Event()
        self.threads = []

    def start(self, works):
        for work in works:
            self.threads.append(threading.Thread(target=self._run, args=(work,), daemon=True))
            self.threads[-1].start()

    def _run(self, work):
        result = run_lane(work, self._runtime, self.stopped.is_set)
        self._results.setdefault(work.job, {})[work.lane] = result

    def stop(self, job):
        self.stopped.set()
        super().stop(job)


class Hospital:
    """One database with an asset, a policy and a researcher; any number of reconcilers one after another, as after crashes."""

    def __init__(self, folder):
        self.folder, self.clock = folder, FrozenClock(NOW)
        FileSigner.create(folder / "signer")
        KeyRing.create(folder / "master.key")
        self.keys = KeyRing.open(folder / "master.key")
        self.open()
        with changing(self.journal.engine) as connection:
            metadata.create_all(connection)
        self.proposer, self.approver = self.person("Olga", "operator"), self.person("Rita", "operator")
        self.researcher = self.person("Rob", "researcher")
        self._register()
        self.ingest()
        self.policy = self.write(lifecycle.propose, parse_policy(POLICY, "policy.yaml", NOW), self.proposer, "S1")
        self.write(lifecycle.approve, "ward-research", self.policy.digest, self.approver, "S1")

    def open(self):
        """Open the database, as a process does when it starts."""
        self.signer = WatchedSigner(self.folder / "signer")
        self.journal = Journal(engine_for(f"sqlite:///{self.folder / 'banyan.db'}"), self.clock, self.signer)
        self.service = JobService(self.journal, self.keys, HOST)
        self.staging = Staging(
            keys=self.keys,
            node=NODE,
            engine="none",
            store=self.folder / "store",
            folder=self.folder / "staging",
            sealed=self.folder / "sealed",
            owner="hospital",
        )

    def _register(self):
        declaration = declared(level="S1")
        with self.journal.writing() as tx:
            asset = register(tx, declaration, self.proposer.id)
            create_population(
                tx,
                declaration.population.name,
                id_namespace=declaration.population.id_namespace,
                unit=declaration.population.unit,
                accountant=declaration.budget.accountant,
                epsilon=declaration.budget.epsilon,
                delta=declaration.budget.delta,
                block_count=asset.block_count,
                actor=self.proposer.id,
            )

    def ingest(self):
        ingest = Ingest(self.journal, LocalObjectStore(self.folder / "store"), self.keys, self.folder / "aside")
        return ingest.version("medical/visits", csv_of(*ROWS), Format.CSV, self.proposer.id)

    def close(self):
        self.journal.engine.dispose()

    def write(self, function, *arguments):
        with self.journal.writing() as tx:
            return function(tx, *arguments)

    def person(self, name, role):
        return self.write(identity.add_principal, name, "health-bureau", [role], "system")

    def process(self, runtime=None, scheduler=None, *, sweep=True, gating=None):
        """A reconciler as a new process would make it."""
        runtime = runtime or FakeRuntime(honest, test=__name__)
        made = Reconciler(
            self.journal,
            scheduler or InlineScheduler(runtime),
            runtime,
            self.staging,
            Releasing(self.journal, self.keys),
            gating or Immediately(),
        )
        if sweep:
            assert made.try_sweep()
        return made

    def submit(self, **changes):
        return self.service.submit(self.researcher, job_file(**changes))["id"]

    def view(self, job):
        return self.service.read(self.researcher, job)

    def state(self, job):
        return self.view(job)["state"]

    def job(self, job):
        with self.journal.reading() as connection:
            return job_with(connection, job)

    def spent(self):
        with self.journal.reading() as connection:
            return spent_by(connection, "patients")[0]

    def spend_state(self, job):
        with self.journal.reading() as connection:
            return budget.spend_of(connection, job).state

    def sealed(self, job):
        with self.journal.reading() as connection:
            return connection.execute(select(releases).where(releases.c.job == job)).first()

    def entries(self, *kinds):
        with self.journal.reading() as connection:
            found = [entry.content for entry in log.entries_from(connection, 0, 10_000)]
        return [entry for entry in found if not kinds or entry["type"] in kinds]

    def of_job(self, job):
        """The types of the events of one job, its spend and its release."""
        return [entry["type"] for entry in self.entries() if job in (entry["subject"], entry["facts"].get("job"))]

    def run_until(self, reconciler, job, *, at_most=60):
        """Step and let time pass until the job is final."""
        for _ in range(int(at_most / TICK)):
            reconciler.step()
            if self.job(job).state in (JobState.RELEASED, JobState.CANCELLED, JobState.REFUSED, JobState.FAILED):
                return self.state(job)
            self.clock.advance(TICK)
        raise AssertionError(f"the job is still {self.state(job)}")

    def until_gate(self, reconciler, job):
        """Step until the noise is drawn and sealed, and no further."""
        while self.sealed(job) is None:
            self.clock.advance(TICK)
            reconciler.step()
        assert self.state(job) == "running"


@pytest.fixture
def hospital():
    with quick_folder() as folder:
        made = Hospital(Path(folder))
        yield made
        made.close()
        assert not list(made.staging.folder.glob("*")), "plaintext was left"


def timeline(hospital, reconciler, job):
    """What the researcher and the public log show of a job, step after step, until a while after it is final."""
    shown, final = [], None
    while final is None or len(shown) < final + 8:
        reconciler.step()
        view = hospital.view(job)
        shown.append({**view, "id": None})
        if final is None and view["state"] not in ("queued", "running"):
            final = len(shown)
        assert len(shown) < 400
        hospital.clock.advance(TICK)
    return shown, [(entry["type"], entry["time"]) for entry in hospital.entries()]


# The way of a job that meets nothing


def test_a_job_is_touched_after_its_commit_sealed_at_the_gate_and_released_at_its_time(hospital):
    opened = []

    def program(spec, instruction):
        opened.append(hospital.of_job(job)[-1])
        # What was spent cannot be forgotten from here on: the signer has seen the commit (design R17).
        assert hospital.signer.newest().size > hospital.entries("budget:committed")[0]["index"]
        return honest(spec, instruction)

    job = hospital.submit()
    reconciler = hospital.process(FakeRuntime(program, test=__name__))
    assert hospital.spend_state(job) is budget.SpendState.RESERVED
    reconciler.step()
    assert opened == ["budget:committed"] * 2
    assert hospital.spend_state(job) is budget.SpendState.COMMITTED
    seconds = hospital.job(job).plan["seconds"]
    assert (hospital.job(job).release_at - NOW).total_seconds() == seconds
    hospital.until_gate(reconciler, job)
    passed = (hospital.clock.now() - NOW).total_seconds()
    assert seconds - hospital.job(job).plan["gate_seconds"] <= passed < seconds
    with pytest.raises(Conflict) as early:
        hospital.service.result(hospital.researcher, job)
    assert early.value.code == "result.not_released"
    assert hospital.run_until(reconciler, job) == "released"
    assert (hospital.clock.now() - NOW).total_seconds() == seconds
    assert hospital.of_job(job) == [
        "job:submitted", "budget:reserved", "job:started", "budget:committed", "release:sealed", "release:issued",
    ]  # fmt: skip
    result = hospital.service.result(hospital.researcher, job)
    assert {row["result"] for row in result["rows"]} == {"positive", "negative", "不明"}
    assert hospital.service.receipt(hospital.researcher, job)["output"]["digest"] == hospital.sealed(job).output


def test_one_job_runs_at_a_time_and_the_next_starts_only_after_the_release_of_the_one_before(hospital):
    first, second = hospital.submit(), hospital.submit(epsilon="0.4")
    reconciler = hospital.process()
    while hospital.state(first) != "released":
        reconciler.step()
        assert hospital.state(second) == "queued"
        hospital.clock.advance(TICK)
    assert hospital.run_until(reconciler, second) == "released"
    started = [entry["time"] for entry in hospital.entries("job:started")]
    assert started[1] >= hospital.entries("release:issued")[0]["time"]


def test_an_identical_job_gets_the_earlier_release_without_touching_anything(hospital):
    runs = []
    runtime = FakeRuntime(lambda *given: runs.append(given) or honest(*given), test=__name__)
    reconciler = hospital.process(runtime)
    first = hospital.submit()
    hospital.run_until(reconciler, first)
    spent, containers = hospital.spent(), len(runs)
    again = hospital.submit()
    begun = hospital.clock.now()
    assert hospital.run_until(reconciler, again) == "released"
    assert (hospital.clock.now() - begun).total_seconds() == hospital.job(again).plan["seconds"]
    assert (hospital.spent(), len(runs)) == (spent, containers)
    one, other = (hospital.service.result(hospital.researcher, job) for job in (first, again))
    assert one["rows"] == other["rows"]
    assert one["receipt"] != other["receipt"]


def test_a_mock_job_goes_the_same_way_and_costs_nothing(hospital):
    job = hospital.service.submit_mock(hospital.researcher, job_file())["id"]
    assert hospital.run_until(hospital.process(), job) == "released"
    assert (hospital.spent(), hospital.entries("budget:reserved")) == (0, [])
    assert hospital.service.result(hospital.researcher, job)["mode"] == "mock"


# After touch nothing changes the schedule (R9)


class Unlucky(FakeRuntime):
    """Raises what `problem` makes, the first `times` times that lane 0 runs."""

    def __init__(self, problem, times):
        super().__init__(honest, test=__name__)
        self.problem, self.times, self.instructions = problem, times, []

    def run(self, spec, instruction, cancelled):
        if spec.labels["banyan.lane"] == "0":
            self.instructions.append(instruction)
            if len(self.instructions) <= self.times:
                raise self.problem
        return super().run(spec, instruction, cancelled)


class Losing(InlineScheduler):
    """Loses the worker of lane 0 the first `times` times."""

    def __init__(self, runtime, times):
        super().__init__(runtime)
        self.times = times

    def start(self, works):
        super().start(works)
        for work in works:
            if work.lane == 0 and self.times:
                self.times -= 1
                self._results[work.job][0] = LOST


class Late(InlineScheduler):
    """Lane 0 never ends."""

    def start(self, works):
        super().start(tuple(work for work in works if work.lane != 0))


def boom(_spec, _instruction):
    raise ValueError("ZQX-778 is in the data")


def half(spec, instruction):
    return honest(spec, instruction)[:100]


def plain(program):
    return lambda: (FakeRuntime(program, test=__name__), None)


def lost(times):
    def made():
        runtime = FakeRuntime(honest, test=__name__)
        return runtime, Losing(runtime, times)

    return made


def late():
    runtime = FakeRuntime(honest, test=__name__)
    return runtime, Late(runtime)


def away(code, times):
    return lambda: (Unlucky(Unavailable(code, "gone"), times), None)


# Name -> (what happens, whether blocks count as defaults in the end)
MISFORTUNES = {
    "raises": (plain(boom), True),
    "writes rubbish": (plain(lambda *_: secrets.token_bytes(5000)), True),
    "writes nothing": (plain(lambda *_: b""), True),
    "is cut off": (plain(half), True),
    "floods": (plain(lambda *_: b"x" * (65 << 20)), True),
    "its worker is lost once": (lost(1), False),
    "its worker is lost again": (lost(2), True),
    "its lane is late": (late, True),
    "the engine is away once": (away("engine.unreachable", 1), False),
    "the engine refuses twice": (away("engine.refused", 2), True),
}


@pytest.fixture(scope="module")
def usual():
    """The timeline of a job that meets nothing."""
    with quick_folder() as folder:
        made = Hospital(Path(folder))
        found = timeline(made, made.process(), made.submit())
        made.close()
    assert found[0][-1]["state"] == "released"
    return found


@pytest.mark.parametrize("name", MISFORTUNES)
def test_whatever_happens_after_touch_the_job_shows_the_same_at_the_same_times(hospital, usual, caplog, name):
    make, defaulted = MISFORTUNES[name]
    caplog.set_level(logging.INFO, "banyan")
    job = hospital.submit()
    runtime, scheduler = make()
    assert timeline(hospital, hospital.process(runtime, scheduler), job) == usual
    assert hospital.spend_state(job) is budget.SpendState.COMMITTED
    alarms = [record.getMessage() for record in caplog.records if "defaults" in record.getMessage()]
    assert len(alarms) == defaulted
    assert "ZQX-778" not in caplog.text


def test_what_a_program_wrote_to_stderr_is_in_the_sealed_log_only(hospital):
    job = hospital.submit()
    hospital.run_until(hospital.process(FakeRuntime(boom, test=__name__)), job)
    (path,) = hospital.staging.sealed.iterdir()
    sealed = open_sealed_log(hospital.keys, path)
    assert sealed["0"] == {"end": "failed", "blocks": "", "stderr": "ZQX-778 is in the data"}
    assert b"ZQX" not in path.read_bytes()
    assert "ZQX" not in json.dumps([hospital.view(job), hospital.entries()])


@pytest.mark.parametrize("code", [code for code in INFRASTRUCTURE if code != "lost"])
def test_a_lane_that_the_machine_lost_is_run_again_with_the_same_seed_within_the_same_release_time(hospital, code):
    runtime = Unlucky(Unavailable(code, "gone"), 1) if code != "staging.failed" else Unlucky(OSError(), 1)
    job = hospital.submit()
    reconciler = hospital.process(runtime)
    reconciler.step()
    planned = hospital.job(job).release_at
    assert hospital.run_until(reconciler, job) == "released"
    assert hospital.clock.now() == planned
    first, second = runtime.instructions
    assert first == second
    sealed = open_sealed_log(hospital.keys, next(hospital.staging.sealed.iterdir()))
    assert {lane["end"] for lane in sealed.values()} == {"completed"}
    assert [sealed[lane]["blocks"] for lane in sorted(sealed)] == ["0, 2, 4, 6", "1, 3, 5, 7"]


def test_a_program_that_fails_is_not_run_again(hospital):
    """Its failure may be a function of data; a second run could only tell more."""
    runs = []
    job = hospital.submit()
    hospital.run_until(hospital.process(FakeRuntime(lambda *_: runs.append(1) or b"", test=__name__)), job)
    assert len(runs) == 2


def test_an_engine_that_is_away_at_the_gate_delays_no_release_and_is_swept_when_it_is_back(hospital):
    runtime = FakeRuntime(honest, test=__name__)
    job = hospital.submit()
    reconciler = hospital.process(runtime)
    reconciler.step()
    planned = hospital.job(job).release_at
    runtime.reachable = False
    assert hospital.run_until(reconciler, job) == "released"
    assert hospital.clock.now() == planned
    runtime.reachable = True
    leave_container(runtime, job)
    hospital.clock.advance(SWEEP_EVERY.total_seconds() + 1)
    reconciler.step()
    assert runtime.listing({"banyan.owner": "hospital"}) == []


def test_a_container_that_was_left_is_gone_before_the_next_job_starts_and_after_the_end(hospital):
    there = []
    runtime = FakeRuntime(lambda *given: there.append(len(runtime.listing(OWNED))) or honest(*given), test=__name__)
    reconciler = hospital.process(runtime)
    reconciler.step()
    leave_container(runtime, "j-earlier")
    job = hospital.submit()
    assert hospital.run_until(reconciler, job) == "released"
    assert there == [1, 1]
    leave_container(runtime, job)
    reconciler.close()
    assert runtime.listing(OWNED) == []


OWNED = {"banyan.owner": "hospital"}


def leave_container(runtime, job):
    """What an engine that went away may still have when it comes back, or a task that was killed has made."""
    begun = threading.Event()
    program, runtime._program = runtime._program, lambda *_: begun.set() or threading.Event().wait(20)
    spec = ContainerSpec(
        image=IMAGE,
        command=("true",),
        labels=OWNED | {"banyan.job": job, "banyan.lane": "0"},
        mounts=(),
        cpus=1.0,
        cpuset="0",
        memory_bytes=256 << 20,
        wall_seconds=60,
    )
    threading.Thread(target=runtime.run, args=(spec, b"", lambda: False), daemon=True).start()
    assert begun.wait(10)
    runtime._program = program


# What a public checkpoint may tell


class Slowly(Executor):
    """Gates that are done `seconds` after they began."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def submit(self, function, /, *arguments, **named):
        done, begun, clock, seconds = Future(), self.clock.now(), self.clock, self.seconds

        class Pending(Future):
            def done(self):
                return (clock.now() - begun).total_seconds() >= seconds

            def exception(self, timeout=None):
                return done.exception(timeout)

            def result(self, timeout=None):
                return done.result(timeout)

        done.set_result(function(*arguments, **named))
        return Pending()


def signed_and_shown(share):
    """State, log size as signed, and events with their times, step after step, of a job whose gate takes this share of its time."""
    with quick_folder() as folder:
        hospital = Hospital(Path(folder))
        job = hospital.submit()
        plan, seen = hospital.job(job).plan, []
        reconciler = hospital.process(gating=Slowly(hospital.clock, share * (plan["gate_seconds"] - SEAL_SECONDS)))
        while hospital.state(job) == "queued" or hospital.state(job) == "running":
            reconciler.step()
            passed = round((hospital.clock.now() - NOW).total_seconds(), 2)
            seen.append((passed, hospital.state(job), hospital.signer.newest().size))
            hospital.clock.advance(0.05)
        events = [(entry["type"], entry["time"]) for entry in hospital.entries()]
        hospital.close()
    assert seen[-1][:2] == (plan["seconds"], "released")
    return seen, events


def test_nobody_can_tell_how_long_the_gate_took():
    """States, log and checkpoint sizes are the same at the same times, whether the gate is done at once or just in time (R9)."""
    at_once = signed_and_shown(0.0)
    assert signed_and_shown(0.5) == signed_and_shown(0.99) == at_once


def test_a_gate_that_is_late_delays_the_release_by_a_whole_plan_and_not_until_it_happens_to_be_done(hospital, caplog):
    job = hospital.submit()
    plan = hospital.job(job).plan
    reconciler = hospital.process(gating=Slowly(hospital.clock, plan["gate_seconds"] + 1))
    assert hospital.run_until(reconciler, job) == "released"
    assert (hospital.clock.now() - NOW).total_seconds() == pytest.approx(2 * plan["seconds"], abs=TICK)
    assert len(hospital.entries("job:delayed")) == len(hospital.entries("release:sealed")) == 1
    assert "took longer than planned" in caplog.text


class EndsWithItsJob(FakeRuntime):
    """Containers that do not go away before they are let go: a process in them is in a call that no kill interrupts."""

    def __init__(self):
        super().__init__(honest, test=__name__)
        self.let_go, self.asked = threading.Event(), threading.Event()

    def remove(self, labels):
        if "banyan.job" in labels:
            self.asked.set()
            assert self.let_go.wait(60)
        return super().remove(labels)


def test_containers_that_are_slow_to_end_delay_no_release_but_the_next_job(hospital):
    """When they go is a block's choice: a release that waited for them would tell what a block saw, to whoever looks at the clock."""
    runtime, first, second = EndsWithItsJob(), hospital.submit(), hospital.submit(epsilon="0.4")
    with ThreadPoolExecutor(4) as gating:
        reconciler = hospital.process(runtime, gating=gating)
        while hospital.state(first) != "released":
            reconciler.step()
            active = reconciler._active
            if active is not None and active.noised is not None:
                active.noised.exception(timeout=60)
            hospital.clock.advance(0.05)
            assert (hospital.clock.now() - NOW).total_seconds() < hospital.job(first).plan["seconds"] + 1
        assert runtime.asked.wait(60)
        released = hospital.entries("release:issued")[0]["time"]
        assert released == hospital.job(first).release_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for _ in range(3):
            reconciler.step()
        assert hospital.state(second) == "queued"
        runtime.let_go.set()
        reconciler._ended.exception(timeout=60)
        reconciler.step()
        assert hospital.state(second) == "queued", "not as soon as they are gone: that would tell when"
        hospital.clock.advance(HELD.total_seconds())
        reconciler.step()
        assert hospital.state(second) == "running"


def test_containers_that_no_engine_removed_are_swept_before_the_next_job_starts(hospital):
    runtime, first = FakeRuntime(honest, test=__name__), hospital.submit()
    reconciler = hospital.process(runtime)
    reconciler.step()
    runtime.reachable = False
    assert hospital.run_until(reconciler, first) == "released"
    second = hospital.submit(epsilon="0.4")
    runtime.reachable = True
    leave_container(runtime, first)
    runtime.reachable = False
    reconciler.step()
    assert hospital.state(second) == "queued"
    runtime.reachable = True
    reconciler.step()
    assert hospital.state(second) == "running"
    assert all(each["banyan.job"] != first for each in runtime.listing({"banyan.owner": "hospital"}))


def test_a_sealed_log_that_cannot_be_kept_leaves_neither_containers_nor_rows(hospital, monkeypatch, caplog):
    def fail(*_):
        raise Unavailable("folder.not_private", "the folder is open to others")

    monkeypatch.setattr(Staging, "keep_sealed", fail)
    runtime, job = FakeRuntime(honest, test=__name__), hospital.submit()
    reconciler = hospital.process(runtime)
    assert hospital.run_until(reconciler, job) == "released"
    assert "sealed log" in caplog.text
    assert runtime.listing({"banyan.owner": "hospital"}) == []
    assert reconciler.halted is None


def test_a_plan_of_an_earlier_version_is_refused_before_anything_is_charged(hospital):
    job = hospital.submit()
    with changing(hospital.journal.engine) as connection:
        stored = json.loads(connection.execute(select(jobs.c.plan).where(jobs.c.id == job)).scalar_one())
        del stored["query"]
        connection.execute(update(jobs).where(jobs.c.id == job).values(plan=json.dumps(stored)))
    assert hospital.run_until(hospital.process(), job) == "refused"
    assert hospital.view(job)["refusal"]["code"] == "job.plan_outdated"


# Crashes


def test_noise_is_drawn_once_a_process_that_takes_over_issues_what_was_sealed(hospital):
    job = hospital.submit()
    first = hospital.process()
    first.step()
    hospital.until_gate(first, job)
    before = hospital.sealed(job)
    planned = hospital.job(job).release_at
    second = hospital.process(FakeRuntime(boom, test=__name__))
    assert hospital.run_until(second, job) == "released"
    assert hospital.clock.now() == planned
    after = hospital.sealed(job)
    assert (after.id, after.sealed, after.output, after.salt) == (before.id, before.sealed, before.output, before.salt)
    assert hospital.entries("release:issued")[0]["facts"]["output"] == before.output
    assert [len(hospital.entries(kind)) for kind in ("release:sealed", "job:restarted")] == [1, 0]


def test_a_process_killed_with_its_noise_drawn_but_not_sealed_leaves_none_of_it(hospital):
    job = hospital.submit()
    drawn = []

    class Kept(Immediately):
        def submit(self, function, /, *arguments, **named):
            drawn.append(super().submit(function, *arguments, **named))
            return drawn[-1]

    first = hospital.process(gating=Kept())
    while not drawn:
        first.step()
        hospital.clock.advance(0.05)
    assert hospital.sealed(job) is None
    assert hospital.run_until(hospital.process(), job) == "released"
    assert len(hospital.entries("release:sealed")) == 1
    shown = hospital.service.result(hospital.researcher, job)
    assert shown["rows"] != drawn[0].result().table["rows"]


def test_sealing_again_keeps_the_first_noise(hospital):
    job = hospital.submit()
    reconciler = hospital.process()
    reconciler.step()
    hospital.until_gate(reconciler, job)
    before = hospital.sealed(job)
    releasing = Releasing(hospital.journal, hospital.keys)
    releasing.seal(hospital.job(job), releasing.noised(hospital.job(job), {}))
    assert hospital.sealed(job).sealed == before.sealed
    assert len(hospital.entries("release:sealed")) == 1
    hospital.run_until(reconciler, job)


def test_a_job_whose_process_was_killed_is_run_again_with_its_seed_and_its_spend(hospital):
    instructions = []
    runtime = FakeRuntime(lambda *given: instructions.append(given[1]) or honest(*given), test=__name__)
    job = hospital.submit()
    hospital.process(runtime).step()
    hospital.clock.advance(1)
    second = hospital.process(runtime)
    second.step()
    again = hospital.job(job)
    assert (again.state, again.attempt) == (JobState.RUNNING, 2)
    assert (again.release_at - hospital.clock.now()).total_seconds() == again.plan["seconds"]
    assert len(instructions) == 4
    assert sorted(instructions[:2]) == sorted(instructions[2:])
    assert hospital.run_until(second, job) == "released"
    assert hospital.of_job(job).count("budget:committed") == hospital.of_job(job).count("budget:reserved") == 1
    assert hospital.spent() * 2 == 1


def test_a_process_killed_right_after_the_commit_leaves_a_job_that_runs(hospital):
    class Killed(BaseException):
        pass

    def killed(_works):
        raise Killed

    job = hospital.submit()
    reconciler = hospital.process()
    reconciler._scheduler.start = killed
    with pytest.raises(Killed):
        reconciler.step()
    assert hospital.spend_state(job) is budget.SpendState.COMMITTED
    assert hospital.run_until(hospital.process(), job) == "released"
    assert hospital.spent() * 2 == 1


def test_a_job_whose_processes_are_killed_again_and_again_fails_stays_charged_and_makes_way(hospital, caplog):
    job, other = hospital.submit(), hospital.submit(epsilon="0.25")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        hospital.process().step()
        assert (hospital.state(job), hospital.job(job).attempt) == ("running", attempt)
    last = hospital.process()
    last.step()
    assert hospital.state(job) == "failed"
    assert hospital.entries("job:failed")[0]["facts"] == {"code": "job.infrastructure"}
    assert hospital.spend_state(job) is budget.SpendState.COMMITTED
    assert "alarm" in caplog.text
    assert hospital.run_until(last, other) == "released"
    assert hospital.spent() * 4 == 3


def test_a_reused_release_survives_a_crash_as_well(hospital):
    first = hospital.submit()
    hospital.run_until(hospital.process(), first)
    again = hospital.submit()
    hospital.process().step()
    assert hospital.state(again) == "running"
    assert hospital.run_until(hospital.process(FakeRuntime(boom, test=__name__)), again) == "released"
    one, other = (hospital.service.result(hospital.researcher, job)["rows"] for job in (first, again))
    assert one == other
    assert hospital.spent() * 2 == 1


def test_a_new_process_removes_containers_and_plaintext_before_its_first_step(hospital):
    release = threading.Event()
    runtime = FakeRuntime(lambda *given: release.wait(20) and b"", test=__name__)
    job = hospital.submit()
    hospital.process(runtime, Threads(runtime)).step()
    wait_for(lambda: len(runtime.listing({"banyan.owner": "hospital"})) == 2)
    assert list(hospital.staging.folder.iterdir())
    second = hospital.process(runtime, Late(runtime), sweep=False)
    assert second.try_sweep()
    assert runtime.listing({"banyan.owner": "hospital"}) == []
    wait_for(lambda: not hospital.staging.folder.exists())
    release.set()
    assert hospital.run_until(second, job) == "released"


def test_a_process_that_is_told_to_stop_leaves_nothing_and_the_job_goes_on_in_the_next(hospital):
    release = threading.Event()
    runtime = FakeRuntime(lambda *given: release.wait(20) and b"", test=__name__)
    job = hospital.submit()
    first = hospital.process(runtime, Threads(runtime))
    first.step()
    wait_for(lambda: len(runtime.listing({"banyan.job": job})) == 2)
    first.close()
    wait_for(lambda: runtime.listing({"banyan.job": job}) == [])
    wait_for(lambda: not hospital.staging.folder.exists())
    release.set()
    assert hospital.run_until(hospital.process(), job) == "released"
    assert hospital.job(job).attempt == 2


def test_without_an_engine_a_process_that_is_told_to_stop_ends_its_tasks_and_its_plaintext_all_the_same(hospital):
    release = threading.Event()
    runtime = FakeRuntime(lambda *given: release.wait(20) and b"", test=__name__)
    scheduler = Threads(runtime)
    job = hospital.submit()
    reconciler = hospital.process(runtime, scheduler)
    reconciler.step()
    wait_for(lambda: len(runtime.listing({"banyan.job": job})) == 2)
    runtime.reachable = False
    reconciler.close()
    assert scheduler.stopped.is_set()
    wait_for(lambda: not any(thread.is_alive() for thread in scheduler.threads))
    wait_for(lambda: not hospital.staging.folder.exists())
    release.set()


# Cancelling


def test_cancelled_before_start_the_reservation_comes_back(hospital):
    job = hospital.submit()
    reconciler = hospital.process()
    hospital.service.cancel(hospital.researcher, job)
    begun = hospital.clock.now()
    assert hospital.run_until(reconciler, job) == "cancelled"
    assert (hospital.clock.now() - begun).total_seconds() == NODE.cancel_seconds
    assert (hospital.spent(), hospital.spend_state(job)) == (0, budget.SpendState.RELEASED)
    assert hospital.entries("job:started") == []
    assert hospital.entries("job:cancelled")[0]["facts"] == {"touched": False}


def test_cancelled_after_touch_the_containers_go_at_once_the_word_comes_at_its_time_and_the_charge_stays(hospital):
    release = threading.Event()
    runtime = FakeRuntime(lambda *given: release.wait(20) and b"", test=__name__)
    job = hospital.submit()
    reconciler = hospital.process(runtime, Threads(runtime))
    reconciler.step()
    wait_for(lambda: len(runtime.listing({"banyan.job": job})) == 2)
    hospital.service.cancel(hospital.researcher, job)
    begun = hospital.clock.now()
    reconciler.step()
    wait_for(lambda: runtime.listing({"banyan.job": job}) == [], seconds=2)
    assert hospital.state(job) == "running"
    assert hospital.view(job)["waiting"].startswith("cancelling: shown ")
    assert hospital.run_until(reconciler, job) == "cancelled"
    assert (hospital.clock.now() - begun).total_seconds() == NODE.cancel_seconds
    release.set()
    assert hospital.spend_state(job) is budget.SpendState.COMMITTED
    assert hospital.spent() * 2 == 1
    assert hospital.entries("job:cancelled")[0]["facts"] == {"touched": True}
    assert hospital.sealed(job) is None


def test_cancelled_is_not_written_while_a_container_is_there(hospital):
    class Stubborn(FakeRuntime):
        there = True

        def listing(self, labels):
            return [dict(labels)] if self.there and "banyan.job" in labels else super().listing(labels)

    runtime = Stubborn(honest, test=__name__)
    job = hospital.submit()
    reconciler = hospital.process(runtime)
    reconciler.step()
    hospital.service.cancel(hospital.researcher, job)
    for _ in range(40):
        hospital.clock.advance(TICK)
        reconciler.step()
        assert hospital.state(job) == "running"
    runtime.there = False
    reconciler.step()
    assert hospital.state(job) == "cancelled"


def test_a_cancel_is_carried_out_by_the_process_that_takes_over(hospital):
    job = hospital.submit()
    hospital.process().step()
    hospital.service.cancel(hospital.researcher, job)
    assert hospital.run_until(hospital.process(), job) == "cancelled"
    assert hospital.job(job).attempt == 1


def test_a_cancelled_mock_job_needs_no_ledger(hospital):
    job = hospital.service.submit_mock(hospital.researcher, job_file())["id"]
    hospital.service.cancel(hospital.researcher, job)
    assert hospital.run_until(hospital.process(), job) == "cancelled"


def test_a_cancel_that_comes_while_the_job_is_being_started_is_not_lost(hospital):
    class Meanwhile(FakeRuntime):
        """Asked between the reconciler's look at the queue and its start of the job."""

        looked = 0

        def remove(self, labels):
            self.looked += 1
            if self.looked == 2:  # the first is the sweep of a new process
                assert hospital.state(job) == "queued"
                hospital.service.cancel(hospital.researcher, job)
            return super().remove(labels)

    runs = []
    job = hospital.submit()
    reconciler = hospital.process(Meanwhile(lambda *_: runs.append(1) or b"", test=__name__))
    assert hospital.run_until(reconciler, job) == "cancelled"
    assert (runs, hospital.entries("job:started")) == ([], [])
    assert hospital.spend_state(job) is budget.SpendState.RELEASED


def test_a_cancel_that_comes_while_the_release_is_being_issued_is_not_lost(hospital):
    job = hospital.submit()
    reconciler = hospital.process()
    reconciler.step()
    hospital.until_gate(reconciler, job)
    seen = hospital.job(job)
    hospital.service.cancel(hospital.researcher, job)
    Releasing(hospital.journal, hospital.keys).issue(seen)
    assert hospital.run_until(reconciler, job) == "cancelled"
    assert hospital.entries("release:issued") == []


def test_a_cancel_that_comes_while_the_job_is_being_restarted_is_not_lost(hospital):
    class Meanwhile(FakeRuntime):
        def remove(self, labels):
            if "banyan.job" in labels and hospital.job(job).state is JobState.RUNNING:
                hospital.service.cancel(hospital.researcher, job)
            return super().remove(labels)

    job = hospital.submit()
    hospital.process().step()
    assert hospital.run_until(hospital.process(Meanwhile(honest, test=__name__)), job) == "cancelled"
    assert hospital.entries("job:restarted") == []


# Policies that end meanwhile


def test_a_policy_suspended_before_start_refuses_the_job_and_charges_nothing(hospital):
    runs = []
    job = hospital.submit()
    hospital.write(lifecycle.suspend, "ward-research", hospital.policy.digest, hospital.approver, "an audit")
    reconciler = hospital.process(FakeRuntime(lambda *_: runs.append(1) or b"", test=__name__))
    assert hospital.run_until(reconciler, job) == "refused"
    assert (runs, hospital.spent(), hospital.entries("job:started")) == ([], 0, [])
    assert hospital.spend_state(job) is budget.SpendState.RELEASED
    assert hospital.view(job)["refusal"]["code"].startswith("policy.")


def test_a_policy_revoked_after_touch_refuses_the_job_at_its_time_and_what_is_spent_stays_spent(hospital):
    job = hospital.submit()
    reconciler = hospital.process()
    reconciler.step()
    planned = hospital.job(job).release_at
    hospital.write(lifecycle.revoke, "ward-research", hospital.policy.digest, hospital.approver, "misuse")
    assert hospital.run_until(reconciler, job) == "refused"
    assert hospital.clock.now() == planned
    assert hospital.spent() * 2 == 1
    with pytest.raises(Conflict):
        hospital.service.result(hospital.researcher, job)
    assert hospital.entries("release:issued") == []
    assert hospital.view(job)["refusal"]["code"].startswith("policy.")


# An engine that is away


def test_without_an_engine_jobs_stay_queued_uncharged_and_run_when_it_is_back(hospital, caplog):
    runtime = FakeRuntime(honest, test=__name__, reachable=False)
    job = hospital.submit()
    reconciler = hospital.process(runtime, sweep=False)
    assert not reconciler.try_sweep()
    runtime.reachable = True
    assert reconciler.try_sweep()
    runtime.reachable = False
    for _ in range(20):
        reconciler.step()
        hospital.clock.advance(TICK)
    assert (hospital.state(job), reconciler.halted) == ("queued", "engine.unreachable")
    assert hospital.spend_state(job) is budget.SpendState.RESERVED
    assert caplog.text.count("halted: engine.unreachable") == 1
    runtime.reachable = True
    assert hospital.run_until(reconciler, job) == "released"
    assert reconciler.halted is None


def test_a_restart_waits_for_the_engine_and_uses_up_no_attempt(hospital):
    runtime = FakeRuntime(honest, test=__name__)
    job = hospital.submit()
    hospital.process(runtime).step()
    second = hospital.process(runtime)
    runtime.reachable = False
    for _ in range(10):
        second.step()
    assert (hospital.state(job), hospital.job(job).attempt) == ("running", 1)
    runtime.reachable = True
    assert hospital.run_until(second, job) == "released"
    assert hospital.job(job).attempt == 2


def test_cancelling_a_queued_job_without_an_engine_delays_no_release(hospital):
    runtime = FakeRuntime(honest, test=__name__)
    running, queued = hospital.submit(), hospital.submit(epsilon="0.25")
    reconciler = hospital.process(runtime)
    reconciler.step()
    planned = hospital.job(running).release_at
    runtime.reachable = False
    hospital.service.cancel(hospital.researcher, queued)
    assert hospital.run_until(reconciler, running) == "released"
    assert hospital.clock.now() == planned
    assert hospital.run_until(reconciler, queued) == "cancelled"


def test_a_job_whose_image_has_gone_is_refused_before_touch_and_the_next_one_is_not_held_up(hospital):
    runs = []
    runtime = FakeRuntime(lambda *given: runs.append(1) or honest(*given), test=__name__, missing=[IMAGE])
    real, mock = hospital.submit(), hospital.service.submit_mock(hospital.researcher, job_file())["id"]
    reconciler = hospital.process(runtime)
    assert [hospital.run_until(reconciler, job) for job in (real, mock)] == ["refused"] * 2
    assert hospital.view(real)["refusal"]["code"] == "engine.image_missing"
    assert (runs, hospital.spent(), hospital.entries("job:started")) == ([], 0, [])


def test_with_another_master_key_nothing_is_charged_and_the_job_waits_for_the_right_one(hospital):
    runs = []
    runtime = FakeRuntime(lambda *given: runs.append(1) or honest(*given), test=__name__)
    job, right = hospital.submit(), hospital.staging
    hospital.staging = replace(right, keys=KeyRing(secrets.token_bytes(32)))
    reconciler = hospital.process(runtime)
    for _ in range(5):
        reconciler.step()
    assert (runs, hospital.state(job), reconciler.halted) == ([], "queued", "keys.mismatch")
    assert hospital.spend_state(job) is budget.SpendState.RESERVED
    hospital.staging = right
    assert hospital.run_until(hospital.process(runtime), job) == "released"


# A database that was rolled back (R17)


def test_on_a_restored_database_nothing_is_touched(hospital):
    runs = []
    queued = hospital.submit(epsilon="0.25")
    hospital.close()
    shutil.copy(hospital.folder / "banyan.db", hospital.folder / "backup.db")
    hospital.open()
    hospital.run_until(hospital.process(), queued)
    spent = hospital.spent()
    hospital.close()
    for path in hospital.folder.glob("banyan.db*"):
        path.unlink()
    shutil.copy(hospital.folder / "backup.db", hospital.folder / "banyan.db")
    hospital.open()
    reconciler = hospital.process(FakeRuntime(lambda *_: runs.append(1) or b"", test=__name__))
    for _ in range(3):
        reconciler.step()
        assert reconciler.halted == "log.rolled_back"
        with pytest.raises(Conflict) as refused:
            hospital.submit(epsilon="0.3")
        assert refused.value.code == "log.rolled_back"
        # The restored log may grow: other events than submissions are written. It never becomes the one that was signed.
        for _ in range(4):
            hospital.person("Someone", "auditor")
    assert (runs, hospital.state(queued), spent * 4) == ([], "queued", 1)
    assert hospital.entries("budget:committed") == []


def test_if_the_commit_cannot_be_made_unforgettable_nothing_is_touched(hospital):
    runs = []
    job = hospital.submit()
    reconciler = hospital.process(FakeRuntime(lambda *given: runs.append(1) or honest(*given), test=__name__))
    sign = hospital.signer.sign

    def away(growth):
        if hospital.entries("budget:committed"):
            raise Unavailable("signer.unreadable", "the signer is away")
        return sign(growth)

    hospital.signer.sign = away
    reconciler.step()
    assert (runs, reconciler.halted, hospital.state(job)) == ([], "signer.unreadable", "running")
    hospital.signer.sign = sign
    assert hospital.run_until(reconciler, job) == "released"
    assert hospital.spent() * 2 == 1


def test_what_only_a_programming_error_could_cause_ends_the_process_loudly(hospital):
    job = hospital.submit()
    reconciler = hospital.process()
    hospital.write(budget.release_reservation, job)
    with pytest.raises(BanyanError):
        reconciler.step()


def wait_for(true, seconds=10):
    """Wait for what other threads do."""
    waited = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if true():
            return
        waited.wait(0.01)
    raise AssertionError("it did not happen in time")
