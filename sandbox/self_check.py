"""Whether a runtime keeps its word on this machine: each promise of the port and of the confinement, tried for real.

Shipped with the product, so that an operator runs on their own kernel and engine what our tests run on ours: `banyan-server
doctor` prints it. `CONFORMANCE` holds for every implementation of the port, `CONFINEMENT` for those that isolate.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any, Final

from core.errors import BanyanError, Unavailable
from sandbox.runtime import SEALED_BYTES, End, Outcome, Runtime
from sandbox.spec import JOB, MIB, OWNER, ContainerSpec

MISSING_IMAGE: Final = "sha256:" + "0" * 64
OUTPUT_BYTES: Final = 100_000
BREACH: Final = re.compile(r"[A-Za-z0-9_./ -]{1,60}")
_PROGRAM: Final = resources.files("sandbox").joinpath("escape_attempts.py").read_text(encoding="utf-8")


class Verdict(StrEnum):
    """What a check found."""

    HELD = "held"
    BROKEN = "broken"


@dataclass(frozen=True)
class Check:
    """One promise, tried once.

    name     what the probe is called
    promise  what ought to hold, in one sentence
    verdict  whether it held; a probe that could not be carried out counts as broken
    found    what was found instead, empty where it held; only words of ours, nothing that a program wrote freely
    seconds  how long it took
    """

    name: str
    promise: str
    verdict: Verdict
    found: str
    seconds: float


@dataclass(frozen=True)
class Probe:
    """One promise and how it is tried: `attempt` says what is broken, or nothing."""

    name: str
    promise: str
    attempt: Callable[[Bench], str | None]


class Bench:
    """Where probes are carried out: one runtime, one image, labels of their own."""

    def __init__(self, runtime: Runtime, image: str, owner: str, python: str) -> None:
        self.runtime, self._image, self._python = runtime, image, python
        self.labels = {OWNER: owner, JOB: f"self-check-{secrets.token_hex(6)}"}

    def run(
        self, program: str, argument: int = 0, *, instruction: bytes = b"", cancelled: Callable[[], bool] | None = None,
        **limits: Any,
    ) -> Outcome:  # fmt: skip
        """Runs a program of escape_attempts.py in small limits, some of them changed by `limits`."""
        return self.runtime.run(self.spec(program, argument, **limits), instruction, cancelled or (lambda: False))

    def spec(self, program: str, argument: int = 0, **limits: Any) -> ContainerSpec:
        """The specification of such a run."""
        chosen: dict[str, Any] = {
            "image": self._image, "memory_bytes": 96 * MIB, "pids": 16, "tmpfs_bytes": 4 * MIB, "tmpfs_inodes": 64,
            "open_files": 32, "wall_seconds": 30.0, "output_bytes": OUTPUT_BYTES,
        } | limits  # fmt: skip
        return ContainerSpec(
            command=(self._python, "-I", "-c", _PROGRAM, program, str(argument)), labels=self.labels, **chosen
        )


def self_check(
    runtime: Runtime, image: str, *, owner: str = "self-check", python: str = "python3", probes: Iterable[Probe] | None = None
) -> tuple[Check, ...]:  # fmt: skip
    """Carries out the probes, one after the other, and says of each whether it held. About ten seconds for all.

    image   id of an image with Python in it
    owner   the `banyan.owner` label of the containers made
    python  what Python is called in the image
    probes  which; all of CONFORMANCE and CONFINEMENT if None

    Raises Unavailable only where the very first step, asking for the image, finds no engine or no image.
    """
    if runtime.image_id(image) is None:
        raise Unavailable("engine.image_missing", "the image to check with is not there", where={"image": image})
    chosen = (*CONFORMANCE, *CONFINEMENT) if probes is None else probes
    return tuple(_checked(probe, Bench(runtime, image, owner, python)) for probe in chosen)


def _checked(probe: Probe, bench: Bench) -> Check:
    started = time.monotonic()
    try:
        found = probe.attempt(bench)
        if found is None and bench.runtime.listing(bench.labels):
            found = "a container was left behind"
    except BanyanError as problem:
        found = problem.code
    verdict = Verdict.HELD if found is None else Verdict.BROKEN
    return Check(probe.name, probe.promise, verdict, found or "", time.monotonic() - started)


def _expected(outcome: Outcome, end: End, output: bytes | None = None) -> str | None:
    if outcome.end is not end:
        return f"ended {outcome.end}"
    return "another output" if output is not None and outcome.output != output else None


def _instruction_arrives(bench: Bench) -> str | None:
    instruction = secrets.token_bytes(300_000)
    outcome = bench.run("echo", len(instruction), instruction=instruction)
    return _expected(outcome, End.COMPLETED, hashlib.sha256(instruction).hexdigest().encode())


def _failure_is_an_outcome(bench: Bench) -> str | None:
    outcome = bench.run("fail", 2 * SEALED_BYTES)
    wrong = None if outcome.sealed == b"e" * SEALED_BYTES else "another sealed text"
    return _expected(outcome, End.FAILED, b"") or wrong


def _output_up_to_the_cap(bench: Bench) -> str | None:
    return _expected(bench.run("out", OUTPUT_BYTES), End.COMPLETED, b"x" * OUTPUT_BYTES)


def _output_over_the_cap(bench: Bench) -> str | None:
    return _expected(bench.run("out", OUTPUT_BYTES + 1), End.OUTPUT_EXCEEDED, b"x" * OUTPUT_BYTES)


def _wall_limit(bench: Bench) -> str | None:
    return _within(3.0, lambda: _expected(bench.run("sleep", 5, wall_seconds=1.0), End.TIMED_OUT))


def _cancelled_in_time(bench: Bench) -> str | None:
    asked_at: list[float] = []

    def cancelled() -> bool:
        asked_at.append(time.monotonic())
        return asked_at[-1] - asked_at[0] > 1.0

    wrong = _within(4.0, lambda: _expected(bench.run("sleep", 5, cancelled=cancelled), End.CANCELLED))
    return wrong or (None if len(asked_at) >= 10 else "was seldom asked")


def _cancelled_before(bench: Bench) -> str | None:
    return _expected(bench.run("out", 1, cancelled=lambda: True), End.CANCELLED, b"")


def _cancelled_raises(bench: Bench) -> str | None:
    started = time.monotonic()

    def cancelled() -> bool:
        if time.monotonic() - started > 0.5:
            raise _Interrupted
        return False

    try:
        bench.run("sleep", 5, cancelled=cancelled)
    except _Interrupted:
        return None
    return "was not raised"


class _Interrupted(Exception):
    """Stands for whatever ends the caller of a run."""


def _removed_from_outside(bench: Bench) -> str | None:
    outcomes: list[Outcome] = []

    def sleeping() -> None:
        with contextlib.suppress(BanyanError):
            outcomes.append(bench.run("sleep", 20))

    thread = threading.Thread(target=sleeping, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not bench.runtime.listing(bench.labels) and time.monotonic() < deadline:
        time.sleep(0.02)
    seen = bench.runtime.listing(bench.labels)
    removed, left = bench.runtime.remove(bench.labels), bench.runtime.listing(bench.labels)
    again = bench.runtime.remove(bench.labels)
    thread.join(10)
    if (seen, removed, left, again) != ([bench.labels], 1, [], 0):
        return "another container was listed or removed"
    return _expected(outcomes[0], End.FAILED) if outcomes else "the run did not end"


def _missing_image(bench: Bench) -> str | None:
    try:
        bench.run("out", 1, image=MISSING_IMAGE)
    except Unavailable as problem:
        return None if problem.code == "engine.image_missing" else problem.code
    return "something ran"


def _unknown_reference(bench: Bench) -> str | None:
    return None if bench.runtime.image_id(MISSING_IMAGE) is None else "an image was found"


def _within(seconds: float, attempt: Callable[[], str | None]) -> str | None:
    started = time.monotonic()
    return attempt() or (None if time.monotonic() - started < seconds else "too late")


def _escape(name: str) -> Callable[[Bench], str | None]:
    def attempt(bench: Bench) -> str | None:
        outcome = bench.run(name)
        if outcome.end is not End.COMPLETED:
            return f"the attempt ended {outcome.end}"
        breaches = outcome.output.decode("ascii", "replace").splitlines()
        return ", ".join(breach if BREACH.fullmatch(breach) else "unreadable" for breach in breaches) or None

    return attempt


def _share(name: str, tried: int, allowed: int) -> Callable[[Bench], str | None]:
    def attempt(bench: Bench) -> str | None:
        outcome = bench.run(name, tried)
        if outcome.end is not End.COMPLETED:
            return f"the attempt ended {outcome.end}"
        got = int(outcome.output) if outcome.output.isdigit() else tried
        return None if 0 < got <= allowed else f"{got} instead of at most {allowed}"

    return attempt


def _memory_limit(bench: Bench) -> str | None:
    return _expected(bench.run("memory", 192 * MIB), End.FAILED, b"")


def _stubborn(bench: Bench) -> str | None:
    return _within(4.0, lambda: _expected(bench.run("stubborn", wall_seconds=1.0), End.TIMED_OUT))


def _mute(bench: Bench) -> str | None:
    return _within(4.0, lambda: _expected(bench.run("mute", wall_seconds=1.0), End.TIMED_OUT))


def _flood(bench: Bench) -> str | None:
    return _within(4.0, lambda: _expected(bench.run("flood"), End.OUTPUT_EXCEEDED, b"x" * OUTPUT_BYTES))


CONFORMANCE: Final[tuple[Probe, ...]] = (
    Probe("instruction", "The instruction arrives as it was given, and stdin stays open after it.", _instruction_arrives),
    Probe("failure", "A program that fails is an outcome; what it says on stderr is sealed, and capped.", _failure_is_an_outcome),
    Probe("output up to the cap", "As much output as allowed arrives whole.", _output_up_to_the_cap),
    Probe("output over the cap", "One byte more ends the container, and what came before is kept.", _output_over_the_cap),
    Probe("wall limit", "A container that takes too long is killed.", _wall_limit),
    Probe("cancelled", "A container ends soon after its caller says so, and the caller is asked often.", _cancelled_in_time),
    Probe("cancelled before", "Nothing is made for a caller that has already cancelled.", _cancelled_before),
    Probe("interrupted", "A container is gone when its caller was interrupted.", _cancelled_raises),
    Probe("removed", "Containers are found and removed by their labels, once.", _removed_from_outside),
    Probe("missing image", "A missing image is a failure of ours, named as such.", _missing_image),
    Probe("unknown image", "An unknown image has no id, and is not fetched from anywhere.", _unknown_reference),
)  # fmt: skip

CONFINEMENT: Final[tuple[Probe, ...]] = (
    Probe("network", "No socket can be made that leads out.", _escape("network")),
    Probe("engine socket", "The engine's socket is not there.", _escape("engine_socket")),
    Probe("root filesystem", "Nothing can be written outside of /tmp.", _escape("root_filesystem")),
    Probe("mounts", "Nothing of the host is mounted that was not asked for.", _escape("mounts")),
    Probe("privileges", "No root, no capability, and no way to gain one.", _escape("privileges")),
    Probe("kernel calls", "Calls that widen the way into the kernel are refused.", _escape("kernel_calls")),
    Probe("devices", "There are no devices but the usual harmless ones.", _escape("devices")),
    Probe("other processes", "Processes outside cannot be seen.", _escape("other_processes")),
    Probe("host statistics", "The machine's load and this container's id cannot be read.", _escape("host_statistics")),
    Probe("run from /tmp", "What a program writes cannot be run.", _escape("run_from_tmp")),
    Probe("processes", "A fork bomb ends at the limit.", _share("processes", 64, 15)),
    Probe("memory", "A program that takes more memory than it may is killed.", _memory_limit),
    Probe("disk", "Temporary files end at the limit.", _share("disk", 16 * MIB, 4 * MIB)),
    Probe("inodes", "The number of temporary files ends at the limit.", _share("inodes", 1000, 64)),
    Probe("open files", "The number of open files ends at the limit.", _share("open_files", 1000, 32)),
    Probe("stubborn", "Ignoring signals does not help against the wall limit.", _stubborn),
    Probe("mute", "Closing its streams does not help against the wall limit.", _mute),
    Probe("flood", "Output without end is cut.", _flood),
)
