"""The self-check of an installation: each finding says what was looked at, whether it is good, and what to do if not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from api import wiring
from api.wiring import Server
from audit import log
from core.errors import BanyanError, Unavailable
from core.tier import Tier
from sandbox import tiers
from sandbox.block_check import block_check
from sandbox.docker_runtime import DockerRuntime
from sandbox.self_check import Check, Verdict, self_check
from sandbox.spec import OWNER, ContainerSpec

START_RUNS = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    good: bool
    text: str


def examine() -> list[Finding]:
    """Look at everything; a part that cannot be reached is a finding, not an error."""
    findings: list[Finding] = []
    server = _server(findings)
    if server is None:
        return findings
    findings += [
        _tried("log", lambda: _log_holds(server)),
        _tried("tmpfs", lambda: _staging_is_tmpfs(server.settings.staging_folder)),
    ]
    findings.append(_tried("key holder", lambda: _key_holder(server)))
    findings += [_tried("start time", lambda: _start_time(server)), *_isolation(server), *_programs(server)]
    return findings


def _server(findings: list[Finding]) -> Server | None:
    try:
        server = wiring.assemble()
    except BanyanError as problem:
        findings.append(Finding("settings, keys, database", good=False, text=f"{problem.text} ({problem.way_out})"))
        return None
    findings.append(Finding("settings, keys, database", good=True, text="can be read"))
    return server


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, good=True, text=look())
    except BanyanError as problem:
        return Finding(name, good=False, text=problem.text)


def _log_holds(server: Server) -> str:
    server.journal.check_extends()
    with server.journal.reading() as connection:
        return f"{log.size_of(connection)} entries, extends the newest signed checkpoint"


def _staging_is_tmpfs(folder: Path) -> str:
    mounts = [line.split() for line in open("/proc/mounts", encoding="utf-8")]  # noqa: SIM115, PTH123 - a kernel table
    place = str(folder.resolve())
    mount = max((entry for entry in mounts if place.startswith(entry[1])), key=lambda entry: len(entry[1]))
    if mount[2] not in {"tmpfs", "ramfs"}:
        return f"WARNING: {place} is {mount[2]}, not tmpfs: plaintext in use would reach a disk"
    return f"{place} is {mount[2]}"


def _key_holder(server: Server) -> str:
    """Whether it answers and is the pinned one; and what it is not good against, which no check here can change."""
    url = server.settings.key_holder_url
    if url is None:
        return "none is set: encrypted assets cannot be taken in"
    states = server.key_holder.keys().states.values()
    text = f"{sum(state == 'active' for state in states)} active of {len(states)} keys"
    if httpx.URL(url).host in wiring.LOOPBACK:
        text += "; WARNING: it runs on this machine, and whoever owns both can open what every provider sent"
    return f"{text}; neither this server nor it sees a total without noise, unless they act together or this server lies to it"


def _start_time(server: Server) -> str:
    """Whether the planned worst case of a start holds twice what a start takes here: late blocks are lost (design R9)."""
    runtime, seconds = DockerRuntime(server.settings.engine), []
    for _ in range(START_RUNS):
        begun = time.perf_counter()
        runtime.run(
            ContainerSpec(
                image=server.jobs.host.images["query"].id,
                command=("python3", "-I", "-c", "import duckdb, pyarrow"),
                labels={OWNER: server.instance},
            ),
            b"",
            lambda: False,
        )
        seconds.append(time.perf_counter() - begun)
    slowest, planned = max(seconds), server.settings.start_seconds
    text = f"slowest of {START_RUNS} starts {slowest:.2f} s; start_seconds is {planned}"
    if planned < slowest:
        way_out = f"set start_seconds to {2 * slowest:.1f}"
        raise Unavailable(
            "node.too_slow", f"{text}: blocks would come too late and be lost; {way_out}", way_out=way_out
        )
    return text


def _isolation(server: Server) -> Iterator[Finding]:
    try:
        checks = self_check(DockerRuntime(server.settings.engine), server.jobs.host.images["query"].id)
    except BanyanError as problem:
        yield Finding("engine", good=False, text=problem.text)
        return
    yield from map(_finding, checks)


def _programs(server: Server) -> Iterator[Finding]:
    """The tiers that this machine can do for programs and, where blocks share a container, what one of them could get."""
    settings, image = server.settings, server.jobs.host.images["python"].id
    runtime = DockerRuntime(settings.engine)
    try:
        tried = tiers.probe(runtime, image, server.instance, settings.oci_runtime)
        yield from (_tier_finding(found, tried) for found in tried.found)
        if any(found.available for found in tried.found if found.tier is Tier.ZYGOTE):
            yield from map(_finding, block_check(runtime, image, server.instance, settings.oci_runtime))
    except BanyanError as problem:
        yield Finding("programs", good=False, text=problem.text)


def _tier_finding(found: tiers.Found, tried: tiers.Tiers) -> Finding:
    """A tier that is missing is no fault where a stronger one takes its place."""
    name = f"tier {found.tier}"
    if found.available:
        return Finding(name, good=True, text="a block ran in it")
    try:
        instead = tiers.chosen(found.tier, tried)
    except BanyanError:
        return Finding(name, good=False, text=f"{found.reason}; programs that ask for it are refused")
    return Finding(name, good=True, text=f"WARNING: {found.reason}; programs that ask for it get the tier {instead}")


def _finding(check: Check) -> Finding:
    return Finding(check.name, good=check.verdict is Verdict.HELD, text=check.found or check.promise)
