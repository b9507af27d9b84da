"""The Runtime port in memory: keeps the same promises about ends, caps and leftovers, and isolates nothing at all."""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from core.errors import Invalid
from sandbox import failure
from sandbox.runtime import INSTRUCTION_BYTES, POLL_SECONDS, SEALED_BYTES, End, Outcome
from sandbox.spec import ContainerSpec, check_labels

Program = Callable[[ContainerSpec, bytes], bytes]


class NothingIsIsolated(UserWarning):
    """A FakeRuntime was made outside a test: what it runs can read, write and send whatever this process can."""


@dataclass
class _Running:
    """A program at work. `ended` is set when it has returned or raised, or was told that it is over."""

    labels: dict[str, str]
    ended: threading.Event = field(default_factory=threading.Event)
    output: bytes = b""
    sealed: bytes = b""
    failed: bool = False


class FakeRuntime:
    """The Runtime port without containers; the port's text says what it does.

    program      what runs in place of every image and command: specification and instruction in, stdout out. Raising
                 means exit code 1, and what was raised is what it wrote to stderr. It runs in a thread of its own, which goes
                 on unheard where a container would have been killed: a thread cannot be ended.
    test         the test, or kind of test, that this stands in for containers in. Without it NothingIsIsolated is warned.
    missing      image ids and names that are not there; every other one is
    reachable    whether there is an engine; may be changed later
    """

    def __init__(
        self, program: Program, *, test: str | None = None, missing: Collection[str] = (), reachable: bool = True
    ) -> None:
        if not test:
            warnings.warn(
                "FakeRuntime isolates nothing: it runs programs inside this process", NothingIsIsolated, stacklevel=2
            )
        self._program = program
        self._missing = frozenset(missing)
        self.reachable = reachable
        self._running: list[_Running] = []

    def run(self, spec: ContainerSpec, instruction: bytes, cancelled: Callable[[], bool]) -> Outcome:
        """See Runtime.run."""
        if len(instruction) > INSTRUCTION_BYTES:
            raise Invalid("container.invalid", "the instruction is too long", where={"field": "instruction"})
        if cancelled():
            return Outcome(End.CANCELLED, b"", b"")
        self._check_reachable()
        if spec.image in self._missing:
            raise failure.image_missing(spec.image)
        running = _Running(dict(spec.labels))
        self._running.append(running)
        try:
            threading.Thread(target=self._work, args=(running, spec, instruction), daemon=True).start()
            end = self._attended(running, time.monotonic() + spec.wall_seconds, cancelled)
        finally:
            self._running.remove(running)
        if end is None:
            exceeded = len(running.output) > spec.output_bytes
            end = End.OUTPUT_EXCEEDED if exceeded else failure.end_of(int(running.failed))
        return Outcome(end, running.output[: spec.output_bytes], running.sealed[:SEALED_BYTES])

    def _work(self, running: _Running, spec: ContainerSpec, instruction: bytes) -> None:
        output, sealed, failed = b"", b"", False
        try:
            output = self._program(spec, instruction)
        except Exception as problem:  # noqa: BLE001 - whatever a program raises is its exit code 1
            sealed, failed = str(problem).encode("utf-8", "backslashreplace"), True
        if not running.ended.is_set():
            running.output, running.sealed, running.failed = output, sealed, failed
            running.ended.set()

    @staticmethod
    def _attended(running: _Running, deadline: float, cancelled: Callable[[], bool]) -> End | None:
        while not running.ended.wait(max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))):
            if cancelled():
                running.ended.set()
                return End.CANCELLED
            if time.monotonic() >= deadline:
                running.ended.set()
                return End.TIMED_OUT
        return None

    def remove(self, labels: Mapping[str, str]) -> int:
        """See Runtime.remove."""
        found = self._found(labels)
        for running in found:
            running.failed = True
            running.ended.set()
            while running in self._running:
                time.sleep(POLL_SECONDS / 10)
        return len(found)

    def listing(self, labels: Mapping[str, str]) -> list[dict[str, str]]:
        """See Runtime.listing."""
        return [dict(running.labels) for running in self._found(labels)]

    def _found(self, labels: Mapping[str, str]) -> list[_Running]:
        check_labels(labels)
        self._check_reachable()
        return [running for running in list(self._running) if labels.items() <= running.labels.items()]

    def image_id(self, reference: str) -> str | None:
        """See Runtime.image_id. A name that is not an id is one for the id that its digest spells."""
        self._check_reachable()
        identity = (
            reference
            if reference.startswith("sha256:")
            else "sha256:" + hashlib.sha256(reference.encode("utf-8")).hexdigest()
        )
        return None if identity in self._missing or reference in self._missing else identity

    def _check_reachable(self) -> None:
        if not self.reachable:
            raise failure.unreachable()
