"""Every implementation of the Runtime port keeps every promise of the port, by the conformance suite that we ship."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import BanyanError, Invalid
from sandbox.docker_runtime import DockerRuntime
from sandbox.fake_runtime import FakeRuntime
from sandbox.runtime import INSTRUCTION_BYTES, End, Runtime
from sandbox.self_check import CONFORMANCE, MISSING_IMAGE, Bench, Probe, Verdict, self_check
from sandbox.spec import OWNER, ContainerSpec

# name of an implementation -> probes that it is known to break; empty, and to stay so
KNOWN_FAILURES: dict[str, frozenset[str]] = {"docker": frozenset(), "fake": frozenset()}


def emulated(spec: ContainerSpec, instruction: bytes) -> bytes:
    """What escape_attempts.py does when it minds its manners, as a function."""
    name, argument = spec.command[-2], int(spec.command[-1])
    if name == "echo":
        return hashlib.sha256(instruction[:argument]).hexdigest().encode()
    if name == "out":
        return b"x" * argument
    if name == "fail":
        raise RuntimeError("e" * argument)
    assert name == "sleep"
    time.sleep(argument)
    return b"awake"


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "fake"])
def implementation(request: pytest.FixtureRequest) -> tuple[Runtime, str, str]:
    """A runtime, an image that it has, and what it is called."""
    if request.param == "docker":
        return DockerRuntime(request.getfixturevalue("docker_host")), request.getfixturevalue("query_image"), "docker"
    return FakeRuntime(emulated, test=__name__, missing={MISSING_IMAGE}), "sha256:" + "f" * 64, "fake"


@pytest.mark.parametrize("probe", CONFORMANCE, ids=lambda probe: probe.name)
def test_a_promise_is_kept(implementation: tuple[Runtime, str, str], probe: Probe) -> None:
    runtime, image, name = implementation
    (check,) = self_check(runtime, image, owner="contract", probes=[probe])
    expected = Verdict.BROKEN if probe.name in KNOWN_FAILURES[name] else Verdict.HELD
    assert (check.verdict, check.found) == (expected, "")


def test_runs_do_not_mix(implementation: tuple[Runtime, str, str]) -> None:
    runtime, image, _ = implementation
    bench = Bench(runtime, image, "contract", "python3")
    instructions = [secrets.token_bytes(50_000) for _ in range(4)]
    answers: dict[int, bytes] = {}

    def work(index: int) -> None:
        answers[index] = bench.run("echo", 50_000, instruction=instructions[index]).output

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {index: hashlib.sha256(data).hexdigest().encode() for index, data in enumerate(instructions)}
    assert runtime.listing(bench.labels) == []


def test_an_instruction_has_a_length(implementation: tuple[Runtime, str, str]) -> None:
    runtime, image, _ = implementation
    bench = Bench(runtime, image, "contract", "python3")
    with pytest.raises(Invalid) as caught:
        bench.run("echo", instruction=bytes(INSTRUCTION_BYTES + 1))
    assert caught.value.code == "container.invalid"


def test_labels_select_and_never_everything(implementation: tuple[Runtime, str, str]) -> None:
    runtime, _, _ = implementation
    for labels in ({}, {"somebody.else": "x"}):
        with pytest.raises(Invalid):
            runtime.remove(labels)
        with pytest.raises(Invalid):
            runtime.listing(labels)
    assert runtime.remove({OWNER: "nobody-has-this"}) == 0


def test_no_engine_is_a_failure_of_ours(implementation: tuple[Runtime, str, str], tmp_path: Path) -> None:
    _, image, name = implementation
    gone: Runtime = (
        DockerRuntime(f"unix://{tmp_path}/no.sock")
        if name == "docker"
        else FakeRuntime(emulated, test=__name__, reachable=False)
    )
    bench = Bench(gone, image, "contract", "python3")
    attempts = [
        lambda: bench.run("out", 1),
        lambda: gone.remove(bench.labels),
        lambda: gone.listing(bench.labels),
        lambda: gone.image_id(image),
    ]
    for attempt in attempts:
        with pytest.raises(BanyanError) as caught:
            attempt()
        assert (caught.value.code, caught.value.status) == ("engine.unreachable", 503)


def test_what_a_container_wrote_is_not_shown_by_accident(implementation: tuple[Runtime, str, str]) -> None:
    runtime, image, _ = implementation
    outcome = Bench(runtime, image, "contract", "python3").run("out", 5)
    assert outcome.output == b"xxxxx"
    assert repr(outcome) == "Outcome(end=<End.COMPLETED: 'completed'>)"
    assert str(outcome.end) == "completed"


SERVER = """
import sys
from sandbox.docker_runtime import DockerRuntime
from sandbox.spec import ContainerSpec
url, image, owner, *command = sys.argv[1:]
spec = ContainerSpec(image=image, command=tuple(command), labels={"banyan.owner": owner}, wall_seconds=60)
DockerRuntime(url).run(spec, b"\\0\\0\\1\\0half", lambda: False)
"""
# PID 1 as images are required to have it: it does something else, and ends when stdin does.
PID_1 = """
import os, select
while True:
    ready, _, _ = select.select([0], [], [], 0.1)
    if ready and not os.read(0, 4096):
        os._exit(3)
"""


def lifetime_after(ending: signal.Signals, url: str, image: str, command: tuple[str, ...]) -> float:
    """Seconds until no container is left, from the moment that its server was sent the signal; 2 if there still is one."""
    runtime, owner = DockerRuntime(url), f"killed-{secrets.token_hex(6)}"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, url, image, owner, *command],
        cwd=Path(__file__).resolve().parents[2],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not runtime.listing({OWNER: owner}):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.7)  # made, started, and its program at work
        assert len(runtime.listing({OWNER: owner})) == 1
        os.kill(server.pid, ending)
        killed = time.monotonic()
        while runtime.listing({OWNER: owner}) and time.monotonic() - killed < 2:
            time.sleep(0.02)
        return time.monotonic() - killed
    finally:
        server.kill()
        server.wait()
        runtime.remove({OWNER: owner})


@pytest.mark.docker
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_killed_server_leaves_no_container(docker_host: str, query_image: str, ending: signal.Signals) -> None:
    assert lifetime_after(ending, docker_host, query_image, ("python3", "-I", "-c", PID_1)) < 2


@pytest.mark.docker
def test_the_query_runner_ends_with_its_server(docker_host: str, query_image: str) -> None:
    assert lifetime_after(signal.SIGKILL, docker_host, query_image, ("python3", "-I", "/banyan/runner.py")) < 2


@pytest.mark.docker
def test_a_trivial_container_costs_little(docker_host: str, query_image: str) -> None:
    bench = Bench(DockerRuntime(docker_host), query_image, "contract", "python3")
    times = []
    for _ in range(7):
        started = time.monotonic()
        assert bench.run("out", 1).end is End.COMPLETED
        times.append(time.monotonic() - started)
    assert min(times) < 0.35
