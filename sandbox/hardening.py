"""How a container is confined: each measure with its reason, and with the hostile program that succeeds where it is missing.

`engine_config` is nothing but the plain parts of a specification plus every row of `HARDENING`, so no measure is without
a reason. tests/attacks/test_query_container.py runs the program named in `attack` twice, with the row and without it (where
running it without harms nothing but its own container), and a test asserts that every row's program is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from sandbox.spec import ContainerSpec

Config = dict[str, Any]

USER: Final = "65534:65534"
HOSTNAME: Final = "sandbox"

# The engine's own list (moby v20.10 oci/defaults.go); then what shows the whole machine at work: load, memory, interrupts
# and timings are a channel from one container to another, and from one block to the next (design R11); last /dev/mqueue,
# where files can be made that no cap of the temporary folder counts, although the calls for message queues are refused.
MASKED_PATHS: Final = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/proc/buddyinfo", "/proc/cpuinfo", "/proc/diskstats", "/proc/interrupts", "/proc/loadavg", "/proc/meminfo", "/proc/net",
    "/proc/pressure", "/proc/schedstat", "/proc/slabinfo", "/proc/softirqs", "/proc/stat", "/proc/swaps", "/proc/uptime",
    "/proc/vmallocinfo", "/proc/vmstat", "/proc/zoneinfo", "/sys", "/dev/mqueue",
)  # fmt: skip
READ_ONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True)
class Hardening:
    """One measure.

    name     what it is called in tests and by `banyan-server doctor`
    members  what it adds to the engine's container configuration (Docker Engine API, ContainerCreate)
    reason   what it stops, in one sentence
    attack   the test that tries
    """

    name: str
    members: Callable[[ContainerSpec], Config]
    reason: str
    attack: str


def _host(**members: Any) -> Config:
    return {"HostConfig": members}


def seccomp_profile(*, namespaces: bool = False) -> str:
    """The allow-list of kernel calls, as the engine takes it. seccomp.json says of each group why it is there.

    With `namespaces`, seccomp_namespaces.json changes it: what the runner of programs needs as PID 1 to confine each block, and
    less of what it does not need. The runner gives a block none of that (runtime_images/python/kernel_calls.py).
    """
    profile = _read("seccomp.json")
    if namespaces:
        change = _read("seccomp_namespaces.json")
        for entry in profile["syscalls"]:
            entry["names"] = [name for name in entry["names"] if name not in change["without"]]
        profile["syscalls"] = [entry for entry in profile["syscalls"] if entry["names"]] + change["syscalls"]
    return json.dumps(profile, separators=(",", ":"))


def _read(name: str) -> Config:
    found: Config = json.loads(resources.files("sandbox").joinpath(name).read_text(encoding="utf-8"))
    return found


_SECCOMP: Final = {namespaces: seccomp_profile(namespaces=namespaces) for namespaces in (False, True)}


def _tmpfs(spec: ContainerSpec) -> Config:
    options = f"size={spec.tmpfs_bytes},nr_inodes={spec.tmpfs_inodes},mode=1777,noexec,nosuid,nodev"
    return _host(Tmpfs={"/tmp": options})  # noqa: S108 - the container's own


def _mounts(spec: ContainerSpec) -> Config:
    return _host(
        Mounts=[
            {
                "Type": "bind",
                "Source": mount.source,
                "Target": mount.target,
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
            }
            for mount in spec.mounts
        ]
    )


def _ulimit(name: str, value: int) -> Config:
    return _host(Ulimits=[{"Name": name, "Soft": value, "Hard": value}])


HARDENING: Final[tuple[Hardening, ...]] = (
    Hardening(
        "network_mode",
        lambda _: _host(NetworkMode="none"),
        "A network namespace of its own without any interface: nothing can be sent, and abstract sockets of the host,"
        " which need no file, are out of reach.",
        "test_network_mode",
    ),
    Hardening(
        "network_disabled",
        lambda _: {"NetworkDisabled": True},
        "The engine makes no network sandbox and no endpoint at all, so nothing is there that an interface could be put into;"
        " the container also starts 100 ms sooner.",
        "test_network_disabled",
    ),
    Hardening(
        "read_only_root",
        lambda _: _host(ReadonlyRootfs=True),
        "Writable places of the image, such as /var/tmp, would fill the host's disk without any cap.",
        "test_read_only_root",
    ),
    Hardening(
        "cap_drop",
        lambda _: _host(CapDrop=["ALL"]),
        "Without capabilities even a process that became root in its container reads, owns and signals only what is its"
        " own.",
        "test_cap_drop",
    ),
    Hardening(
        "no_new_privileges",
        lambda _: _host(SecurityOpt=["no-new-privileges:true"]),
        "A set-user-id file, in an image or in a mounted folder, must not make its caller root.",
        "test_no_new_privileges",
    ),
    Hardening(
        "seccomp",
        lambda spec: _host(SecurityOpt=[f"seccomp={_SECCOMP[spec.namespaces]}"]),
        "The engine's default list leaves network and netlink sockets, io_uring, memfd_secret, keyrings of System V and"
        " chroot open; ours leaves what Python, DuckDB and Arrow need.",
        "test_seccomp",
    ),
    Hardening(
        "user",
        lambda _: {"User": USER},
        "Root in a container is root on the host for every file that is mounted: a block is readable because everyone may"
        " read it, and nothing else is.",
        "test_user",
    ),
    Hardening(
        "memory",
        lambda spec: _host(Memory=spec.memory_bytes),
        "A program that eats memory is ended by the kernel inside its own limit, not at the cost of others.",
        "test_memory",
    ),
    Hardening(
        "memory_swap",
        lambda spec: _host(MemorySwap=spec.memory_bytes),
        "Memory and swap together are no more than memory, or the engine would add as much swap again.",
        "test_memory_swap",
    ),
    Hardening(
        "cpus",
        lambda spec: _host(NanoCpus=int(spec.cpus * 1_000_000_000)),
        "Threads beyond the reserved share would take time from another lane, which could measure that.",
        "test_cpus",
    ),
    Hardening(
        "cpuset",
        lambda spec: _host(CpusetCpus=spec.cpuset or ""),
        "A lane stays on the core that is reserved for it (design R11), whatever affinity a program asks for.",
        "test_cpuset",
    ),
    Hardening(
        "pids",
        lambda spec: _host(PidsLimit=spec.pids),
        "A fork bomb ends at this number instead of at the machine's.",
        "test_pids",
    ),
    Hardening(
        "ipc_none",
        lambda _: _host(IpcMode="none"),
        "No shared memory with anyone, and no 64 MB /dev/shm that escapes the cap on temporary files.",
        "test_ipc_none",
    ),
    Hardening(
        "tmpfs",
        _tmpfs,
        "The only writable place: capped in bytes and in files, and nothing in it can be run, set-user-id or a device.",
        "test_tmpfs",
    ),
    Hardening(
        "open_files",
        lambda spec: _ulimit("nofile", spec.open_files),
        "Open files cost kernel memory, and the engine's default is a million.",
        "test_open_files",
    ),
    Hardening(
        "no_core_dump",
        lambda _: _ulimit("core", 0),
        "A crash would hand the data in memory to the host's core handler, outside of every cap.",
        "test_no_core_dump",
    ),
    Hardening(
        "no_log",
        lambda _: _host(LogConfig={"Type": "none", "Config": {}}),
        "The engine would keep what the program prints on the host's disk, uncapped and unsealed.",
        "test_no_log",
    ),
    Hardening(
        "auto_remove",
        lambda _: _host(AutoRemove=True),
        "A container whose server was killed is removed by the engine as soon as it ends.",
        "test_auto_remove",
    ),
    Hardening(
        "stdin_once",
        lambda _: {"StdinOnce": True},
        "When this process dies, the container's stdin ends, which PID 1 takes as its sign to stop.",
        "test_stdin_once",
    ),
    Hardening(
        "masked_paths",
        lambda _: _host(MaskedPaths=list(MASKED_PATHS)),
        "Load, memory and interrupts of the machine tell one block about another, and /dev/mqueue holds files beyond every cap.",
        "test_masked_paths",
    ),
    Hardening(
        "read_only_paths",
        lambda _: _host(ReadonlyPaths=list(READ_ONLY_PATHS)),
        "Settings of the kernel are not to be written, should a program become root all the same.",
        "test_read_only_paths",
    ),
    Hardening(
        "cgroup_namespace",
        lambda _: _host(CgroupnsMode="private"),
        "/proc/self/cgroup would show the container's id, by which outputs of different blocks could be told apart.",
        "test_cgroup_namespace",
    ),
    Hardening(
        "hostname",
        lambda _: {"Hostname": HOSTNAME},
        "The default name is the container's id: random, so that a program's output would depend on more than its block.",
        "test_hostname",
    ),
    Hardening(
        "read_only_mounts",
        _mounts,
        "A block is read, never written; file systems below a mounted folder stay out, because before engine 25 they would be"
        " writable.",
        "test_read_only_mounts",
    ),
)


def engine_config(spec: ContainerSpec, rows: Iterable[Hardening] = HARDENING) -> Config:
    """The engine's container configuration (Docker Engine API 1.41, body of ContainerCreate). Pure."""
    config: Config = {
        "Image": spec.image,
        # The whole command stands in the entry point: an image's own entry point and command are then both unused.
        "Entrypoint": list(spec.command),
        "Cmd": [],
        "Env": [],
        "Labels": dict(spec.labels),
        # An image may not run anything of its own beside the command.
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        # An `init` set in the daemon's configuration would take PID 1, and does not end when stdin does.
        "HostConfig": {"Init": False},
    }
    for row in rows:
        _merge(config, row.members(spec))
    return config


def _merge(config: Config, members: Mapping[str, Any]) -> None:
    for key, value in members.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        elif isinstance(value, list) and isinstance(config.get(key), list):
            config[key] = [*config[key], *value]
        else:
            config[key] = value
