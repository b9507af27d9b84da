"""No measure without a reason and a hostile program; no member of the engine's configuration without a measure."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.escape_attempts import FORBIDDEN_CALLS
from sandbox.hardening import HARDENING, engine_config, seccomp_profile
from sandbox.spec import OWNER, ContainerSpec, ReadOnlyMount

ATTACKS = Path(__file__).resolve().parent.parent / "attacks" / "test_query_container.py"
SPEC = ContainerSpec(
    image="sha256:" + "a" * 64,
    command=("python3", "-I", "/opt/runner.py"),
    labels={OWNER: "test"},
    mounts=(ReadOnlyMount("/data/0.parquet", "/blocks/0.parquet"),),
    cpus=0.5,
    cpuset="1",
    memory_bytes=100_000_000,
    pids=9,
    tmpfs_bytes=8192,
    tmpfs_inodes=7,
    open_files=33,
)


def test_the_whole_configuration_is_as_written_here() -> None:
    """A change of confinement has to be made twice: once in the code, once here, on purpose."""
    config = engine_config(SPEC)
    host = config.pop("HostConfig")
    seccomp = host["SecurityOpt"].pop(1)
    assert seccomp.startswith('seccomp={"defaultAction":"SCMP_ACT_ERRNO"')
    assert len(host.pop("MaskedPaths")) == 29
    assert config == {
        "Image": SPEC.image,
        "Entrypoint": ["python3", "-I", "/opt/runner.py"],
        "Cmd": [],
        "Env": [],
        "Labels": {"banyan.owner": "test"},
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "NetworkDisabled": True,
        "User": "65534:65534",
        "Hostname": "sandbox",
    }
    assert host == {
        "Init": False,
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": 100_000_000,
        "MemorySwap": 100_000_000,
        "NanoCpus": 500_000_000,
        "CpusetCpus": "1",
        "PidsLimit": 9,
        "IpcMode": "none",
        "Tmpfs": {"/tmp": "size=8192,nr_inodes=7,mode=1777,noexec,nosuid,nodev"},
        "Ulimits": [{"Name": "nofile", "Soft": 33, "Hard": 33}, {"Name": "core", "Soft": 0, "Hard": 0}],
        "LogConfig": {"Type": "none", "Config": {}},
        "AutoRemove": True,
        "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        "CgroupnsMode": "private",
        "Mounts": [
            {
                "Type": "bind",
                "Source": "/data/0.parquet",
                "Target": "/blocks/0.parquet",
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
            }
        ],
    }


def test_every_measure_has_a_reason_and_a_hostile_program() -> None:
    tests = {node.name for node in ast.parse(ATTACKS.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert len({row.name for row in HARDENING}) == len(HARDENING)
    for row in HARDENING:
        assert row.reason.endswith(".")
        assert len(row.reason) > 40
        assert row.attack in tests, row.name


@pytest.mark.parametrize("row", HARDENING, ids=lambda row: row.name)
def test_every_measure_changes_the_configuration(row) -> None:
    without = engine_config(SPEC, [other for other in HARDENING if other is not row])
    assert without != engine_config(SPEC)


def test_two_configurations_share_nothing() -> None:
    first, second = engine_config(SPEC), engine_config(SPEC)
    first["HostConfig"]["CapDrop"].clear()
    first["HostConfig"]["MaskedPaths"].clear()
    assert second == engine_config(SPEC)


PROFILE = json.loads(seccomp_profile())
OF_NAMESPACES = json.loads(seccomp_profile(namespaces=True))


def entries(call: str, profile: dict = PROFILE) -> list[dict]:
    return [entry for entry in profile["syscalls"] if call in entry["names"]]


def allowed(profile: dict) -> set[str]:
    return {name for entry in profile["syscalls"] if entry["action"] == "SCMP_ACT_ALLOW" for name in entry["names"]}


@pytest.mark.parametrize("profile", [PROFILE, OF_NAMESPACES], ids=["usual", "namespaces"])
def test_what_is_not_named_is_refused(profile) -> None:
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert profile["defaultErrnoRet"] == 1
    assert profile["archMap"] == [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}]  # no 32-bit, no x32
    for entry in profile["syscalls"]:
        assert entry["action"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")
        assert entry["names"]
        assert len(entry["comment"]) > 40


# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (linux/sched.h)
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000


@pytest.mark.parametrize("profile", [PROFILE, OF_NAMESPACES], ids=["usual", "namespaces"])
def test_no_process_is_started_in_a_namespace(profile) -> None:
    (clone,) = entries("clone", profile)
    assert clone["args"] == [{"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    (clone3,) = entries("clone3", profile)
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_sockets_are_local() -> None:
    for call in ("socket", "socketpair"):
        (entry,) = entries(call)
        assert entry["args"] == [{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]


def test_no_call_is_allowed_that_an_attack_wants() -> None:
    wanted = set(FORBIDDEN_CALLS) | {
        "setuid",
        "setresuid",
        "setgid",
        "setgroups",
        "capset",
        "mincore",
        "splice",
        "sysinfo",
        "symlinkat",
        "linkat",
        "fchownat",
    }
    assert not allowed(PROFILE) & wanted
    assert len(allowed(PROFILE)) < 180


def test_namespaces_add_what_the_runner_of_programs_needs_and_nothing_else() -> None:
    added = {"capset", "mount", "pivot_root", "setns", "splice", "umount2", "unshare"}
    assert allowed(OF_NAMESPACES) - allowed(PROFILE) == added
    given_up = {"accept", "accept4", "bind", "connect", "getsockname", "listen", "shutdown", "socket"}
    assert allowed(PROFILE) - allowed(OF_NAMESPACES) == given_up
    (unshare,) = entries("unshare", OF_NAMESPACES)
    # No time and no cgroup namespace, and nothing that shares or unshares anything else.
    kinds = NAMESPACES & ~0x02000000
    assert unshare["args"] == [{"index": 0, "value": ~kinds & (1 << 64) - 1, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    (setns,) = entries("setns", OF_NAMESPACES)
    assert setns["args"] == [{"index": 1, "value": 0x20000000, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]


def test_the_specification_chooses_the_profile() -> None:
    def chosen(spec: ContainerSpec) -> dict:
        (text,) = [line for line in engine_config(spec)["HostConfig"]["SecurityOpt"] if line.startswith("seccomp=")]
        return json.loads(text.removeprefix("seccomp="))

    assert chosen(SPEC) == PROFILE
    assert chosen(replace(SPEC, namespaces=True)) == OF_NAMESPACES
