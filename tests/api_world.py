"""A whole server in this process: the real composition root, application and reconciler, on a clock that the test moves.

Containers are replaced by `FakeRuntime` running the real runner's own code; nothing here sleeps, so that a plan of many seconds is
over at once and every duration is exact.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as ThreadEvent
from types import SimpleNamespace
from typing import Any, Self

import duckdb
import httpx
import yaml

from api import wiring
from api.app import application
from audit import log
from core.clock import Clock, FrozenClock
from core.settings import Settings
from jobs.inline_scheduler import InlineScheduler
from jobs.model import Job, jobs_in
from jobs.reconciler import Reconciler
from jobs.releasing import Releasing
from jobs.transitions import JobState
from policies import identity
from sandbox.fake_runtime import FakeRuntime
from tests.gates import Immediately

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
PEOPLE = {
    "olga": ("operator", "data-bureau"),
    "rita": ("reviewer", "data-bureau"),
    "rob": ("researcher", "university"),
    "rosa": ("researcher", "hospital"),
    "ada": ("auditor", "audit-office"),
}
VISITS = """\
asset: medical/visits
title: {en: Visits, zh: 就诊}
sector: medical
level: S1
population: {name: patients, id_namespace: hospital-pid, unit: pid}
size: {rows: 300, units: 100}
columns:
  pid:    {type: string, unit: true, max_length: 8}
  age:    {type: int, lower: 0, upper: 110, nullable: true}
  cost:   {type: decimal, scale: 2, lower: 0, upper: 500}
  clinic: {type: string, max_length: 24}
  result: {type: category, values: [positive, negative], public: true}
  weight: {type: int}
budget: {accountant: basic, epsilon: 10, delta: 1e-6}
csv: {null_values: [""]}
"""
POLICY = """\
name: visits-research
purpose: research
kinds: [query]
assets: [medical/visits]
epsilon: {total: 9, per_person: 8, per_job: 4}
valid: {from: 2026-01-01, until: 2030-01-01}
"""
COUNT = {
    "asset": "medical/visits",
    "purpose": "research",
    "query": "SELECT result, COUNT(*) AS n FROM visits GROUP BY result",
    "epsilon": "0.5",
    "bounds": {"max_groups_per_unit": 2, "max_rows_per_group": 3},
}
CHECKOUT = Path(__file__).resolve().parent.parent
RUNNER = CHECKOUT / "runtime_images" / "query" / "runner.py"
ERRORS_PAGE = CHECKOUT / "docs" / "reference" / "errors.md"
DOCUMENTED = frozenset(re.findall(r"^\| `([a-z0-9_.]+)` \|", ERRORS_PAGE.read_text(), re.MULTILINE))


def job(**changes: Any) -> dict[str, Any]:
    """The counting job, with other fields; None takes one away."""
    return {name: value for name, value in (COUNT | changes).items() if value is not None}


def visits(units: Iterable[int] = range(90), rows: int = 3) -> bytes:
    """CSV of a table where unit u has `rows` rows; what each row says depends on its unit only."""
    lines = ["pid,age,cost,clinic,result,weight"]
    for unit in units:
        for row in range(rows):
            age = "" if (unit + row) % 11 == 0 else (unit * 7 + row) % 100
            result = "positive" if (unit + row) % 3 == 0 else "negative"
            lines.append(f"p{unit},{age},{unit % 50}.{row}5,clinic-{unit % 4},{result},{unit + row}")
    return ("\n".join(lines) + "\n").encode()


def without(data: bytes, unit: str) -> bytes:
    """The same CSV file without one unit's rows."""
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(f"{unit},".encode()))


def _runner() -> Any:
    spec = importlib.util.spec_from_file_location("banyan_query_runner_of_api_world", RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER_CODE = _runner()
DUCKDB = duckdb.connect(":memory:", config={"threads": 1})


def blocks_of(spec: Any, instruction: bytes) -> list[tuple[int, Path]]:
    """Index and file of every block that a container of this specification would see."""
    body = json.loads(instruction[4:])
    return [(block["index"], Path(spec.mounts[0].source) / Path(block["path"]).name) for block in body["blocks"]]


def partial_of(instruction: bytes, path: Path) -> bytes:
    """The runner's bounded pass over one block. The row stage shares one DuckDB: the runner's own, one a block, costs most of a test."""
    body = json.loads(instruction[4:])
    with DUCKDB.cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE TEMP VIEW block AS SELECT * FROM read_parquet('{path}')")
        return RUNNER_CODE.bounded(cursor.sql(body["sql"]).to_arrow_reader(65_536), body)


def frame(index: int, partial: bytes | None) -> bytes:
    data = partial or b""
    return struct.pack(">IBI", index, 1 if partial is None else 0, len(data)) + data


def honest(spec: Any, instruction: bytes) -> bytes:
    """What the query image does, without the image."""
    return b"".join(frame(index, partial_of(instruction, path)) for index, path in blocks_of(spec, instruction))


def planned_moments(found: Job) -> list[datetime]:
    """The beginning of its gate, its release, and when its cancellation shows."""
    if found.cancel_shown_at is not None:
        return [found.cancel_shown_at]
    if found.release_at is None:
        return []
    return [found.release_at - timedelta(seconds=found.plan["gate_seconds"]), found.release_at]


@contextmanager
def environment(**values: object):
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Answer:
    """One answer; `code` is that of a problem, and must be one that the reference lists."""

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers, self.body = response.status_code, response.headers, response.content
        assert self.code is None or self.code in DOCUMENTED, f"{self.code} is not in docs/reference/errors.md"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        is_problem = self.headers.get("content-type") == "application/problem+json" and self.body
        return self.json["code"] if is_problem else None

    @property
    def text(self) -> str:
        return self.body.decode()

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:300]!r}>"


class ApiWorld:
    """A server in `folder` with everybody of PEOPLE; `program` stands in for the containers."""

    def __init__(
        self,
        folder: Path | str,
        program: Callable[[Any, bytes], bytes] = honest,
        *,
        clock: Clock | None = None,
        **settings: object,
    ) -> None:
        folder = Path(folder)
        self.folder, self.state, self.staging = folder, folder / "state", folder / "staging"
        for each in (folder, self.staging):
            each.mkdir(parents=True, exist_ok=True)
        images = folder / "images.json"
        images.write_text(
            json.dumps(
                {
                    "query": {"id": "sha256:" + "a" * 64},
                    "python": {"id": "sha256:" + "b" * 64, "modules": ["numpy", "pandas", "pyarrow"]},
                    "encrypted": {"id": "sha256:" + "c" * 64},
                }
            )
        )
        self.settings = {
            "state_folder": self.state, "images_file": images, "staging_folder": self.staging, **settings,
        }  # fmt: skip
        with environment(**{f"BANYAN_{name.upper()}": value for name, value in self.settings.items()}):
            wiring.initialise()
        self.clock = clock or FrozenClock(NOW)
        self.runtime = FakeRuntime(lambda spec, instruction: self.program(spec, instruction), test="api world")
        self.program = program
        self.server = self._assembled()
        ready = ThreadEvent()
        ready.set()
        self.app = application(self.server, SimpleNamespace(ready=ready))
        self.reconciler = self._new_reconciler()
        self.tokens, self.ids = {}, {}
        for name, (role, organisation) in PEOPLE.items():
            self.add(name, role, organisation)

    def _assembled(self) -> wiring.Server:
        server = wiring.assemble(Settings(**self.settings))
        server.journal.clock = self.clock
        return replace(server, clock=self.clock)

    def _new_reconciler(self) -> Reconciler:
        server = self.server
        found = Reconciler(
            server.journal,
            InlineScheduler(self.runtime),
            self.runtime,
            server.staging,
            Releasing(server.journal, server.keys),
            Immediately(),
        )
        assert found.try_sweep()
        return found

    def close(self) -> None:
        self.reconciler.close()
        self.server.journal.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, name: str, role: str, organisation: str) -> None:
        with self.server.journal.writing() as tx:
            person = identity.add_principal(tx, name.title(), organisation, [role], "system")
            token = identity.issue_token(tx, person.id, [role], timedelta(days=90), "system")
        self.ids[name], self.tokens[name] = person.id, token.text

    # HTTP

    def call(
        self,
        person: str | None,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **request: Any,
    ) -> Answer:
        """One request over ASGI; an exception that nobody handled is an answer 500, as over the network."""
        sent = dict(headers or {})
        if person is not None:
            sent["Authorization"] = f"Bearer {self.tokens[person]}"

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, headers=sent, **request)

        return Answer(asyncio.run(ask()))

    def get(self, person: str | None, path: str, **params: Any) -> Answer:
        return self.call(person, "GET", path, params=params)

    def post(self, person: str | None, path: str, body: Any = None, **params: Any) -> Answer:
        return self.call(person, "POST", path, json=body, params=params)

    # What a server has before anybody asks it anything

    def register(self, declaration: str = VISITS) -> str:
        made = self.call("olga", "POST", "/v1/assets", content=declaration.encode())
        assert made.status == 201, made
        return made.json["asset"]

    def ingest(self, data: bytes, asset: str = "medical/visits") -> dict[str, Any]:
        made = self.call("olga", "POST", f"/v1/assets/{asset}/versions", params={"format": "csv"}, content=data)
        assert made.status == 201, made
        return made.json

    def allow(self, policy: str = POLICY, **changes: str) -> str:
        """Propose and approve a policy; `changes` replace lines."""
        lines = yaml.safe_load(policy) | {name: yaml.safe_load(text) for name, text in changes.items()}
        proposed = self.call("olga", "POST", "/v1/policies", content=yaml.safe_dump(lines, default_flow_style=False))
        assert proposed.status == 201, proposed
        name = proposed.json["name"]
        approved = self.post("rita", f"/v1/policies/{name}/approve", {"digest": proposed.json["digest"]})
        assert approved.status == 200, approved
        return name

    def furnish(self, data: bytes | None = None, declaration: str = VISITS) -> Self:
        self.register(declaration)
        self.ingest(visits() if data is None else data)
        self.allow()
        return self

    # Jobs

    def submit(self, document: Mapping[str, Any] = COUNT, person: str = "rob", **params: Any) -> str:
        made = self.post(person, "/v1/jobs", document, **params)
        assert made.status == 201, made
        return made.json["id"]

    def step(self, seconds: float = 0) -> None:
        """One step of the reconciler; the gate, which works beside the steps, is given the time it needs."""
        self.clock.advance(seconds)
        self.reconciler.step()
        active = self.reconciler._active
        if active is not None and active.noised is not None:
            active.noised.exception(timeout=60)

    def open_jobs(self) -> list[Job]:
        return self.read(jobs_in, JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)

    def finish(self) -> None:
        """Step until nothing is queued or runs, moving the clock to each moment that something is planned for."""
        for _ in range(100):
            self.step()
            open_jobs = self.open_jobs()
            if not open_jobs:
                self.step()  # publishes the checkpoint that covers the release
                return
            ahead = [at for each in open_jobs for at in planned_moments(each) if at > self.clock.now()]
            self.clock.advance((min(ahead) - self.clock.now()).total_seconds() if ahead else 0)
        raise AssertionError("jobs do not end")

    def run(self, document: Mapping[str, Any] = COUNT, person: str = "rob", **params: Any) -> str:
        """Submit a job and see it to its end; returns its id."""
        job_id = self.submit(document, person, **params)
        self.finish()
        return job_id

    def view(self, job_id: str, person: str = "rob") -> dict[str, Any]:
        return self.get(person, f"/v1/jobs/{job_id}").json

    def entries(self) -> list[dict[str, Any]]:
        """Every entry of the log."""
        with self.server.journal.reading() as connection:
            return [entry.content for entry in log.entries_from(connection, 0, 1_000_000)]

    def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with self.server.journal.reading() as connection:
            return function(connection, *arguments)
