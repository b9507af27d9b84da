"""From submission to release of the flights query on a warm server: 20 different predicates, medians, and where the time goes.

Run by `just bench-latency`; needs the demo's data. The release time is fixed by the plan (design R9), so the median is that bucket plus
what lies before and after it; the work inside the bucket is measured beside it, lane by lane, and tells the margin.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from api import wiring
from core.settings import Settings
from jobs.gate import gate
from jobs.lane import LaneWork, run_lane
from jobs.model import job_with
from privacy.sql.plan_model import QueryPlan
from sandbox.docker_runtime import DockerRuntime
from tests.live_server import CHECKOUT, LiveServer

RUNS = 20
ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


def job(number: int) -> dict[str, Any]:
    """The flights query with the predicate of this number."""
    return {
        "asset": "traffic/flights",
        "purpose": "research",
        "query": "SELECT carrier, COUNT(*) AS flights, AVG(dep_delay) AS mean_delay FROM flights "
        f"WHERE day <> {number + 1} GROUP BY carrier",
        "epsilon": "0.1",
        "bounds": {"max_groups_per_unit": 2, "max_rows_per_group": 60, "clip": {"dep_delay": ["-30", "120"]}},
    }


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came back."""
    begun = time.perf_counter()
    found = action()
    return time.perf_counter() - begun, found


def row(name: str, seconds: list[float]) -> None:
    """One line: minimum, median, maximum in milliseconds."""
    ms = [1000 * each for each in seconds]
    print(f"{name:<46} {min(ms):8.0f} {statistics.median(ms):8.0f} {max(ms):8.0f}")


def lanes(server: LiveServer, jobs: list[str]) -> dict[str, list[float]]:
    """The work of each job done again, lane by lane, in this process: what the bucket has to hold."""
    parts = wiring.assemble(
        Settings(
            state_folder=server.folder / "state",
            images_file=CHECKOUT / ".banyan" / "images.json",
            engine=ENGINE,
        )
    )
    runtime = DockerRuntime(ENGINE)
    found: dict[str, list[float]] = {"lane": [], "gate": [], "start": []}
    for name in jobs:
        with parts.journal.reading() as connection:
            stored = job_with(connection, name)
            works = parts.staging.works(connection, stored)
        partials: dict[int, bytes] = {}
        for work in works:
            seconds, result = timed(lambda work=work: run_lane(work, runtime, lambda: False))
            found["lane"].append(seconds)
            partials.update(result.partials)
        plan = QueryPlan.from_json(stored.plan["query"])
        found["gate"].append(timed(lambda plan=plan, partials=partials: gate(plan, len(partials), partials))[0])
        found["start"].append(timed(lambda work=works[0]: run_lane(_empty(work), runtime, lambda: False))[0])
    parts.staging.clear()
    return found


def _empty(work: LaneWork) -> LaneWork:
    """The same lane without blocks: what starting a container and its imports cost."""
    return replace(work, tables=tuple(replace(table, blocks=(), plain={}) for table in work.tables))


def main() -> None:
    """Set up, warm up, measure, print."""
    folder = Path(tempfile.mkdtemp(prefix="banyan-bench-"))
    server = LiveServer(folder, ENGINE).init(
        olga=("operator", "city"), rita=("reviewer", "city"), rob=("researcher", "uni")
    )
    server.start()
    try:
        operator, researcher = server.client("olga"), server.client("rob")
        operator.register(CHECKOUT / "examples" / "traffic" / "flights.yaml")
        operator.ingest("traffic/flights", CHECKOUT / ".banyan" / "demo" / "flights.csv")
        policy = operator.policies.propose(CHECKOUT / "examples" / "traffic" / "policy.yaml")
        server.client("rita").policies.approve(policy["name"], policy["digest"])
        researcher.submit(job(29)).wait()
        plans, whole, names = [], [], []
        for number in range(RUNS):
            plans.append(timed(lambda number=number: researcher.plan(job(number)))[0])
            seconds, done = timed(lambda number=number: submitted(researcher, number))
            whole.append(seconds)
            names.append(done.id)
        bucket = researcher.plan(job(0)).data["seconds"]
        alarms = server.log.count("alarm")
    finally:
        server.stop()
    work = lanes(server, names[:10])
    print(f"{RUNS} predicates over 336,776 flights; planned from start to release: {bucket} s; milliseconds")
    print(f"{'':<46} {'min':>8} {'median':>8} {'max':>8}")
    row("plan, over HTTP", plans)
    row("submit to release, over HTTP", whole)
    row("  inside: one lane (decrypt, container, sums)", work["lane"])
    row("  of which a container without blocks", work["start"])
    row("  gate (noise, intervals)", work["gate"])
    print(json.dumps({"blocks that came too late": alarms}))


def submitted(researcher: Any, number: int) -> Any:
    """Submit and wait for the release."""
    done = researcher.submit(job(number))
    done.wait(timeout=60)
    return done


if __name__ == "__main__":
    main()
