"""The stand-in cannot be taken for the real thing."""

from __future__ import annotations

import threading
import time
import warnings

import pytest

from core.errors import Unavailable
from sandbox.fake_runtime import FakeRuntime, NothingIsIsolated
from sandbox.runtime import End
from sandbox.self_check import CONFINEMENT, Verdict, self_check
from sandbox.spec import OWNER, ContainerSpec

SPEC = ContainerSpec(
    image="sha256:" + "a" * 64, command=("x",), labels={OWNER: "test"}, wall_seconds=0.3, output_bytes=10
)


def test_it_warns_outside_of_tests() -> None:
    with pytest.warns(NothingIsIsolated):
        FakeRuntime(lambda spec, instruction: b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FakeRuntime(lambda spec, instruction: b"", test="this one")


def test_it_does_not_pass_for_a_container() -> None:
    # The probes run nothing here: the program answers each as a host would that has no walls.
    runtime = FakeRuntime(lambda spec, instruction: b"everything is open", test=__name__)
    checks = self_check(runtime, SPEC.image, probes=CONFINEMENT)
    assert {check.verdict for check in checks} == {Verdict.BROKEN}


def test_a_late_answer_is_not_heard() -> None:
    finished = threading.Event()

    def late(spec: ContainerSpec, instruction: bytes) -> bytes:
        time.sleep(0.6)
        finished.set()
        return b"too late"

    outcome = FakeRuntime(late, test=__name__).run(SPEC, b"", lambda: False)
    assert (outcome.end, outcome.output) == (End.TIMED_OUT, b"")
    assert finished.wait(2)
    assert outcome.output == b""


def test_a_program_sees_what_a_container_would_be_told() -> None:
    seen = []
    runtime = FakeRuntime(lambda *told: seen.append(told) or b"done", test=__name__)
    assert runtime.run(SPEC, b"go", lambda: False).output == b"done"
    assert seen == [(SPEC, b"go")]


def test_names_have_stable_ids_unless_missing() -> None:
    runtime = FakeRuntime(lambda spec, instruction: b"", test=__name__, missing={"banyan/none"})
    identity = runtime.image_id("banyan/query")
    assert identity is not None
    assert identity == runtime.image_id("banyan/query") == runtime.image_id(identity)
    assert runtime.image_id("banyan/none") is None


def test_the_engine_can_go_away() -> None:
    runtime = FakeRuntime(lambda spec, instruction: b"", test=__name__)
    runtime.reachable = False
    with pytest.raises(Unavailable):
        runtime.run(SPEC, b"", lambda: False)
