"""What is found out about this machine's tiers is what the real engine and the real image do."""

from __future__ import annotations

import pytest

from core.tier import Tier
from sandbox.docker_runtime import DockerRuntime
from sandbox.hardening import engine_config, seccomp_profile
from sandbox.spec import OWNER, ContainerSpec
from sandbox.tiers import Found, probe

pytestmark = pytest.mark.docker
OWN = "tiers-test"


class WithoutNamespaces(DockerRuntime):
    """An engine whose seccomp profile lets nobody make namespaces, as one does that does not know of our programs."""

    def _config(self, spec: ContainerSpec) -> dict[str, object]:
        config = engine_config(spec)
        options = [option for option in config["HostConfig"]["SecurityOpt"] if not option.startswith("seccomp=")]
        config["HostConfig"]["SecurityOpt"] = [*options, f"seccomp={seccomp_profile()}"]
        return config


def test_both_tiers_are_tried_and_nothing_is_left(docker_host: str, python_image: str) -> None:
    runtime = DockerRuntime(docker_host)
    tried = probe(runtime, python_image, OWN)
    assert [each.tier for each in tried.found] == list(Tier)
    assert Found(Tier.CONTAINER) in tried.found
    assert runtime.listing({OWNER: OWN}) == []


def test_where_namespaces_are_denied_the_reason_says_so(docker_host: str, python_image: str) -> None:
    zygote, container = probe(WithoutNamespaces(docker_host), python_image, OWN).found
    assert (zygote.available, container.available) == (False, True)
    assert zygote.reason == "user namespaces are denied, by seccomp, by AppArmor or by kernel.unprivileged_userns_clone"


def test_a_runtime_that_the_engine_lacks_is_named(docker_host: str, python_image: str) -> None:
    tried = probe(DockerRuntime(docker_host), python_image, OWN, "no-such-runtime")
    assert {each.reason for each in tried.found} == {
        "the engine has no OCI runtime called no-such-runtime, or cannot start it"
    }
