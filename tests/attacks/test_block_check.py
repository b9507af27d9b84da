"""The self-check of a block says "held" on a block that is confined, and names what is open on one that is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api import doctor
from sandbox.block_check import PROMISES, block_check
from sandbox.docker_runtime import DockerRuntime
from sandbox.fake_runtime import FakeRuntime
from sandbox.hardening import engine_config
from sandbox.self_check import Verdict
from sandbox.spec import ContainerSpec, ReadOnlyMount
from tests.attacks.test_programs_weakened import Weakening

IMAGE = "sha256:" + "a" * 64


class OtherRunner(DockerRuntime):
    """Runs a changed copy of the runner in place of the image's own."""

    def __init__(self, url: str, runner: Path) -> None:
        super().__init__(url)
        self._runner = runner

    def _config(self, spec: ContainerSpec) -> dict[str, Any]:
        mount = ReadOnlyMount(str(self._runner), "/weakened")
        changed = ContainerSpec(
            **{**vars(spec), "mounts": (mount,), "command": ("python3", "-I", "/weakened/runner.py")}
        )
        return engine_config(changed)


@pytest.mark.docker
def test_a_confined_block_holds(docker_host: str, python_image: str) -> None:
    checks = block_check(DockerRuntime(docker_host), python_image, "attacks")
    assert [(check.name, check.found) for check in checks if check.verdict is not Verdict.HELD] == []
    assert len(checks) == len(PROMISES)


@pytest.mark.docker
def test_an_open_block_is_seen(docker_host: str, python_image: str, tmp_path: Path) -> None:
    measures = ("kernel_calls", "own_root", "only_its_pipes", "pid_namespace", "no_capability")
    runner = Weakening("none", "", measures).runner(tmp_path)
    checks = {check.name: check for check in block_check(OtherRunner(docker_host, runner), python_image, "attacks")}
    broken = {name.removeprefix("block: ") for name, check in checks.items() if check.verdict is Verdict.BROKEN}
    assert broken == {"kernel calls", "other files", "new processes", "descriptors", "counters", "other processes"}
    assert "pivot_root" in checks["block: kernel calls"].found
    assert "fork" in checks["block: new processes"].found


@pytest.mark.parametrize("output", [b"", b"\0" * 9, b"\0\0\0\0\0\0\0\x12\xc0" + b"\xff" * 4800, b"x" * 5000])
def test_a_block_that_answers_nothing_good_is_broken(output: bytes) -> None:
    checks = block_check(FakeRuntime(lambda *_: output, test=__name__), IMAGE, "attacks")
    assert {check.verdict for check in checks} == {Verdict.BROKEN}
    assert all(set(check.found) <= set("abcdefghijklmnopqrstuvwxyz ") for check in checks)


@pytest.mark.docker
def test_the_doctor_names_tiers_and_attempts(docker_host: str, python_image: str) -> None:
    def findings(oci_runtime: str | None) -> dict[str, doctor.Finding]:
        images = {"python": SimpleNamespace(id=python_image)}
        server: Any = SimpleNamespace(
            settings=SimpleNamespace(engine=docker_host, oci_runtime=oci_runtime),
            jobs=SimpleNamespace(host=SimpleNamespace(images=images)),
            instance="attacks",
        )
        return {finding.name: finding for finding in doctor._programs(server)}

    here = findings(None)
    assert list(here)[:2] == ["tier zygote", "tier container"]
    assert len(here) == 2 + len(PROMISES)
    assert all(finding.good for finding in here.values())
    nowhere = findings("no-such-runtime")
    assert {name: finding.good for name, finding in nowhere.items()} == {"tier zygote": False, "tier container": False}
    assert "no-such-runtime" in nowhere["tier zygote"].text
