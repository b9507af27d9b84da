"""Hostile programs against the container that blocks are read in: each fails, and succeeds where its measure is taken away.

The second half of a test is what makes the first half mean something. Where taking a measure away would put the machine at
risk, or needs a machine that is not at hand, the test says so and looks at what the engine was told instead.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.docker_runtime import DockerRuntime
from sandbox.hardening import HARDENING, engine_config
from sandbox.runtime import End, Outcome
from sandbox.self_check import CONFINEMENT, Bench, Probe, Verdict, self_check
from sandbox.spec import JOB, MIB, OWNER, ContainerSpec, ReadOnlyMount

pytestmark = pytest.mark.docker


class Weakened(DockerRuntime):
    """A DockerRuntime without some measures, and with other settings in their place. Exists in this file only."""

    def __init__(self, url: str, without: set[str], instead: dict[str, Any]) -> None:
        super().__init__(url)
        assert without <= {row.name for row in HARDENING}
        self._without, self._instead = without, instead

    def _config(self, spec: ContainerSpec) -> dict[str, Any]:
        config = engine_config(spec, [row for row in HARDENING if row.name not in self._without])
        for key, value in self._instead.items():
            if key == "SecurityOpt":
                config["HostConfig"][key] = [*config["HostConfig"].get(key, []), *value]
            elif key in ("User", "NetworkDisabled"):
                config[key] = value
            else:
                config["HostConfig"][key] = value
        return config


class Arena:
    """Runs hostile programs in the query image, confined or weakened."""

    def __init__(self, url: str, image: str) -> None:
        self.url, self.image = url, image
        self.labels = {OWNER: "attacks", JOB: f"attack-{secrets.token_hex(6)}"}
        self.engine = docker.APIClient(base_url=url, version="auto")

    def run(
        self,
        program: str,
        *,
        without: set[str] | None = None,
        instead: dict[str, Any] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        **limits: Any,
    ) -> Outcome:
        spec = ContainerSpec(
            image=self.image,
            command=("python3", "-I", "-c", program),
            labels=self.labels,
            **({"wall_seconds": 20.0} | limits),
        )
        return Weakened(self.url, without or set(), instead or {}).run(spec, b"", cancelled)

    def said(self, program: str, **options: Any) -> str:
        outcome = self.run(program, **options)
        assert outcome.end is End.COMPLETED, outcome.sealed.decode(errors="replace")
        return outcome.output.decode().strip()

    def share(
        self, name: str, tried: int, *, without: set[str] | None = None, instead: dict[str, Any] | None = None
    ) -> int:
        """How much an attempt on a limit gets, with the limits of the self-check."""
        bench = Bench(Weakened(self.url, without or set(), instead or {}), self.image, "attacks", "python3")
        return int(bench.run(name, tried).output)

    def while_it_runs(self, look: Callable[[str], Any]) -> tuple[Callable[[], bool], list[Any]]:
        """A `cancelled` that looks at the running container once, by its id, and then ends it; and what was seen."""
        seen: list[Any] = []
        asked = iter(range(1000))

        def cancelled() -> bool:
            if next(asked) < 8:  # 400 ms: the program has started
                return False
            wanted = [f"{key}={value}" for key, value in self.labels.items()]
            (found,) = self.engine.containers(filters={"label": wanted})
            seen.append(look(found["Id"]))
            return True

        return cancelled, seen


@pytest.fixture
def arena(docker_host: str, query_image: str) -> Iterator[Arena]:
    made = Arena(docker_host, query_image)
    yield made
    left = DockerRuntime(docker_host).remove({OWNER: "attacks"})
    made.engine.close()
    assert left == 0


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs files of several owners, and so root")


@pytest.mark.parametrize("probe", CONFINEMENT, ids=lambda probe: probe.name)
def test_the_confinement_holds(arena: Arena, probe: Probe) -> None:
    (check,) = self_check(DockerRuntime(arena.url), arena.image, owner="attacks", probes=[probe])
    assert (check.verdict, check.found) == (Verdict.HELD, "")


def test_the_self_check_sees_a_container_that_does_not_hold(arena: Arena) -> None:
    weakened = Weakened(
        arena.url,
        {"read_only_root", "cap_drop", "no_new_privileges", "seccomp", "pids", "memory", "memory_swap", "ipc_none", "tmpfs", "open_files", "masked_paths", "cgroup_namespace", "hostname"},
        {"SecurityOpt": ["no-new-privileges:false", "seccomp=unconfined"], "CgroupnsMode": "host", "Tmpfs": {"/tmp": "exec"}, "User": "0:0"},
    )  # fmt: skip
    checks = {check.name: check for check in self_check(weakened, arena.image, owner="attacks", probes=CONFINEMENT)}
    broken = {name for name, check in checks.items() if check.verdict is Verdict.BROKEN}
    assert broken == {
        "network", "root filesystem", "mounts", "privileges", "kernel calls", "host statistics", "run from /tmp", "processes",
        "memory", "disk", "inodes", "open files",
    }  # fmt: skip
    assert {"unshare", "io_uring_setup", "clone"} <= set(checks["kernel calls"].found.split(", "))
    assert {"AF_INET", "AF_NETLINK"} <= set(checks["network"].found.split(", "))


def test_network_mode(arena: Arena) -> None:
    name = f"banyan-{secrets.token_hex(8)}"
    knock = f"""
import socket
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect("\\0{name}"); print("reached")
    except OSError as problem:
        print(type(problem).__name__)
"""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + name)
        listening.listen()
        assert arena.said(knock) == "ConnectionRefusedError"
        open_wide = {"without": {"network_mode", "network_disabled", "hostname"}, "instead": {"NetworkMode": "host"}}
        assert arena.said(knock, **open_wide) == "reached"


def test_network_disabled(arena: Arena) -> None:
    def sandbox_of(**options: Any) -> tuple[bool, list[str]]:
        cancelled, seen = arena.while_it_runs(
            lambda container: arena.engine.inspect_container(container)["NetworkSettings"]
        )
        arena.run("import time; time.sleep(9)", cancelled=cancelled, **options)
        return bool(seen[0]["SandboxID"]), list(seen[0]["Networks"])

    assert sandbox_of() == (False, [])
    assert sandbox_of(without={"network_disabled"}) == (True, ["none"])


def test_read_only_root(arena: Arena) -> None:
    fill = """
try:
    with open("/var/tmp/fill", "wb") as file: print(file.write(bytes(1 << 20)))
except OSError as problem:
    print(problem.errno)
"""
    assert arena.said(fill) == "30"  # EROFS
    assert arena.said(fill, without={"read_only_root"}) == str(1 << 20)


READ_SECRET = """
try:
    print(open("/blocks/secret").read())
except OSError as problem:
    print(problem.errno)
"""


def secret_of(folder: Path, owner: int) -> tuple[ReadOnlyMount, ...]:
    path = folder / "secret"
    path.write_text("the secret")
    path.chmod(0o600)
    os.chown(path, owner, owner)
    return (ReadOnlyMount(str(path), "/blocks/secret"),)


@pytest.mark.usefixtures("as_root")
def test_cap_drop(arena: Arena, tmp_path: Path) -> None:
    mounts = secret_of(tmp_path, owner=12345)
    root = {"User": "0:0"}
    assert arena.said(READ_SECRET, mounts=mounts, instead=root) == "13"  # EACCES, although root
    assert arena.said(READ_SECRET, mounts=mounts, instead=root, without={"cap_drop"}) == "the secret"


@pytest.mark.usefixtures("as_root")
def test_user(arena: Arena, tmp_path: Path) -> None:
    mounts = secret_of(tmp_path, owner=0)
    assert arena.said(READ_SECRET, mounts=mounts) == "13"
    assert arena.said(READ_SECRET, mounts=mounts, without={"user"}, instead={"User": "0:0"}) == "the secret"


@pytest.mark.usefixtures("as_root")
def test_no_new_privileges(arena: Arena, tmp_path: Path) -> None:
    # The image's own `cat`, set-user-id root, in a folder that only root can enter on this side.
    tmp_path.chmod(0o700)
    tool = tmp_path / "cat"
    tool.write_bytes(arena.run("import sys; sys.stdout.buffer.write(open('/bin/cat', 'rb').read())").output)
    tool.chmod(0o4755)
    mounts = (ReadOnlyMount(str(tool), "/blocks/cat"), *secret_of(tmp_path, owner=0))
    rise = 'import subprocess; print(subprocess.run(["/blocks/cat", "/blocks/secret"], capture_output=True, text=True).stdout)'
    # Our seccomp list has no call to change the user, which runc needs to make when new privileges are allowed: out on both sides.
    assert arena.said(rise, mounts=mounts, without={"seccomp"}) == ""
    weak = {"without": {"seccomp", "no_new_privileges"}, "instead": {"SecurityOpt": ["no-new-privileges:false"]}}
    assert arena.said(rise, mounts=mounts, **weak) == "the secret"


def test_seccomp(arena: Arena) -> None:
    doors = """
import ctypes, socket
held = []
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    try:
        socket.socket(family, socket.SOCK_DGRAM).close(); held.append(family.name)
    except PermissionError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(29, 0, 4096, 0o1600) != -1: held.append("shmget")
print(held)
"""
    assert arena.said(doors) == "[]"
    # The engine's default list takes over: still no unshare, but all of these.
    assert arena.said(doors, without={"seccomp"}) == "['AF_INET', 'AF_INET6', 'AF_NETLINK', 'shmget']"


EAT = "x = b'\\1' * (200 << 20); print(len(x))"


def test_memory(arena: Arena) -> None:
    assert arena.run(EAT, memory_bytes=64 * MIB).end is End.FAILED
    assert arena.said(EAT, memory_bytes=64 * MIB, without={"memory", "memory_swap"}) == str(200 << 20)


def test_memory_swap(arena: Arena) -> None:
    # Taking it away succeeds only on a machine with swap: what the engine makes of it tells everywhere.
    def swap_of(**options: Any) -> int:
        cancelled, seen = arena.while_it_runs(lambda container: arena.engine.inspect_container(container)["HostConfig"])
        arena.run("import time; time.sleep(9)", memory_bytes=64 * MIB, cancelled=cancelled, **options)
        return seen[0]["MemorySwap"] - seen[0]["Memory"]

    assert swap_of() == 0
    assert swap_of(without={"memory_swap"}) == 64 * MIB


def test_cpus(arena: Arena) -> None:
    burn = """
import os, time
child = os.fork()
end = time.monotonic() + 1
while time.monotonic() < end: pass
if child:
    os.waitpid(child, 0)
    spent = os.times()
    print(spent.user + spent.system + spent.children_user + spent.children_system)
else:
    os._exit(0)
"""
    assert float(arena.said(burn, cpus=0.1)) < 0.4
    # A busy machine may give less than it could: three tries.
    assert max(float(arena.said(burn, cpus=0.1, without={"cpus"})) for _ in range(3)) > 0.4


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_cpuset(arena: Arena) -> None:
    spread = """
import os
try:
    os.sched_setaffinity(0, range(os.cpu_count() or 64))
except OSError:
    pass
print(sorted(os.sched_getaffinity(0)))
"""
    assert arena.said(spread, cpuset="0") == "[0]"
    assert len(arena.said(spread, cpuset="0", without={"cpuset"}).split()) > 1


def test_pids(arena: Arena) -> None:
    assert arena.share("processes", 64) == 15
    assert arena.share("processes", 64, without={"pids"}) == 64


def test_ipc_none(arena: Arena) -> None:
    share = """
import os
try:
    with open("/dev/shm/message", "wb") as file: print(file.write(bytes(8 << 20)))
except OSError as problem:
    print(problem.errno)
"""
    assert int(arena.said(share, tmpfs_bytes=MIB)) < 100
    assert arena.said(share, tmpfs_bytes=MIB, without={"ipc_none"}) == str(8 << 20)


def test_tmpfs(arena: Arena) -> None:
    weak = {"without": {"tmpfs"}, "instead": {"Tmpfs": {"/tmp": "exec"}}}
    assert arena.share("disk", 16 * MIB) <= 4 * MIB
    assert arena.share("disk", 16 * MIB, **weak) == 16 * MIB
    assert arena.share("inodes", 1000) < 64
    assert arena.share("inodes", 1000, **weak) == 1000
    run = """
import os, subprocess, sys
with open("/tmp/x", "w") as file: file.write("#!" + sys.executable + "\\nprint('ran')")
os.chmod("/tmp/x", 0o700)
try:
    print(subprocess.run(["/tmp/x"], capture_output=True, text=True).stdout)
except PermissionError:
    print("refused")
"""
    assert arena.said(run) == "refused"
    assert arena.said(run, **weak) == "ran"


def test_open_files(arena: Arena) -> None:
    assert arena.share("open_files", 1000) < 32
    assert arena.share("open_files", 1000, without={"open_files"}) == 1000


def test_no_core_dump(arena: Arena) -> None:
    allow = """
import resource
try:
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    print("would dump")
except ValueError:
    print("refused")
"""
    assert arena.said(allow) == "refused"
    assert arena.said(allow, without={"no_core_dump"}) == "would dump"


def test_no_log(arena: Arena) -> None:
    def log(container: str) -> str:
        try:
            return arena.engine.logs(container).decode()
        except docker.errors.APIError:
            return "no log"

    def kept(**options: Any) -> str:
        cancelled, seen = arena.while_it_runs(log)
        arena.run("import time; print('a value of a row', flush=True); time.sleep(9)", cancelled=cancelled, **options)
        return seen[0].strip()

    assert kept() == "no log"
    assert kept(without={"no_log"}, instead={"LogConfig": {"Type": "json-file", "Config": {}}}) == "a value of a row"


SERVER = """
import sys
from tests.attacks.test_query_container import Weakened
from sandbox.spec import ContainerSpec
url, image, owner, program, *without = sys.argv[1:]
spec = ContainerSpec(image=image, command=("python3", "-I", "-c", program), labels={"banyan.owner": owner}, wall_seconds=60)
Weakened(url, set(without), {}).run(spec, b"", lambda: False)
"""
PID_1 = """
import os
while os.read(0, 4096): pass
"""


def states_after_kill(arena: Arena, *without: str) -> list[str]:
    """The states of the containers that are there 1.5 seconds after their server was killed with SIGKILL."""
    owner = f"killed-{secrets.token_hex(6)}"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, arena.url, arena.image, owner, PID_1, *without],
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        deadline = time.monotonic() + 30
        while not arena.engine.containers(filters={"label": f"{OWNER}={owner}"}):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        time.sleep(1.5)
        return [found["State"] for found in arena.engine.containers(all=True, filters={"label": f"{OWNER}={owner}"})]
    finally:
        server.kill()
        server.wait()
        DockerRuntime(arena.url).remove({OWNER: owner})


def test_auto_remove(arena: Arena) -> None:
    assert states_after_kill(arena) == []
    assert states_after_kill(arena, "auto_remove") == ["exited"]


def test_stdin_once(arena: Arena) -> None:
    assert states_after_kill(arena, "stdin_once") == ["running"]


def test_masked_paths(arena: Arena) -> None:
    look = """
import os
seen = [path for path in ("/proc/loadavg", "/proc/stat", "/proc/meminfo", "/proc/interrupts") if open(path).read()]
seen += ["/sys"] if os.listdir("/sys") else []
try:
    open("/dev/mqueue/file", "w").close(); seen.append("/dev/mqueue")
except OSError:
    pass
print(seen)
"""
    assert arena.said(look) == "[]"
    everything = "['/proc/loadavg', '/proc/stat', '/proc/meminfo', '/proc/interrupts', '/sys', '/dev/mqueue']"
    # /dev/mqueue is there only with an ipc namespace of its own, which `none` still has.
    assert arena.said(look, without={"masked_paths"}) == everything


def test_read_only_paths(arena: Arena) -> None:
    # As root, without capabilities. The name is the container's own, so that the host keeps its.
    rename = """
try:
    with open("/proc/sys/kernel/hostname", "w") as file: print(file.write("renamed"))
except OSError as problem:
    print(problem.errno)
"""
    assert arena.said(rename, instead={"User": "0:0"}) == "30"
    assert arena.said(rename, without={"read_only_paths"}, instead={"User": "0:0", "ReadonlyPaths": []}) == "7"


def test_cgroup_namespace(arena: Arena) -> None:
    look = "print({line.rpartition(':')[2] for line in open('/proc/self/cgroup').read().split()})"
    assert arena.said(look) == "{'/'}"
    assert len(arena.said(look, without={"cgroup_namespace"}, instead={"CgroupnsMode": "host"})) > 64


def test_hostname(arena: Arena) -> None:
    look = "import socket; print(socket.gethostname())"
    assert arena.said(look) == "sandbox"
    first, second = (arena.said(look, without={"hostname"}) for _ in range(2))
    assert first != second


@pytest.mark.usefixtures("as_root")
def test_read_only_mounts(arena: Arena, tmp_path: Path) -> None:
    below = tmp_path / "folder" / "below"
    below.mkdir(parents=True)
    (tmp_path / "folder").chmod(0o777)
    mounts = (ReadOnlyMount(str(tmp_path / "folder"), "/blocks"),)
    spoil = """
import os
try:
    open("/blocks/spoiled", "w").close(); print("written", os.listdir("/blocks/below"))
except OSError as problem:
    print(problem.errno, os.listdir("/blocks/below"))
"""
    bind = {"Type": "bind", "Source": mounts[0].source, "Target": "/blocks"}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "attack", str(below)], check=True)
    try:
        (below / "mounted").touch()
        assert arena.said(spoil, mounts=mounts) == "30 []"
        weak = {"without": {"read_only_mounts"}, "instead": {"Mounts": [bind]}}
        assert arena.said(spoil, mounts=mounts, **weak) == "written ['mounted']"
    finally:
        subprocess.run(["umount", str(below)], check=True)


# --- What no flag decides. ---------------------------------------------------------------------------------------------


def test_frames_that_lie_are_only_bytes(arena: Arena) -> None:
    lie = "import os, struct; os.write(1, struct.pack('>BxxxI', 2, 1 << 31) + b'x' * 20)"
    outcome = arena.run(lie)
    assert outcome.output == b"\x02\0\0\0\x80\0\0\0" + b"x" * 20
    assert outcome.sealed == b""


def test_a_process_left_behind_goes_with_pid_1(arena: Arena) -> None:
    leave = """
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(60)
print("done")
"""
    started = time.monotonic()
    outcome = arena.run(leave)
    assert (outcome.end, outcome.output) == (End.COMPLETED, b"done\n")
    assert time.monotonic() - started < 5


def test_a_program_that_reads_nothing_does_not_hold_us_up(arena: Arena) -> None:
    spec = ContainerSpec(image=arena.image, command=("python3", "-I", "-c", "print('done')"), labels=arena.labels)
    outcome = DockerRuntime(arena.url).run(spec, bytes(16 << 20), lambda: False)
    assert (outcome.end, outcome.output) == (End.COMPLETED, b"done\n")


def test_stderr_without_end_is_cut(arena: Arena) -> None:
    outcome = arena.run("import os\nwhile True: os.write(2, b'e' * 65536)")
    assert (outcome.end, outcome.output, outcome.sealed) == (End.OUTPUT_EXCEEDED, b"", b"e" * 65536)


def test_a_program_that_kills_its_own_pid_1_only_fails(arena: Arena) -> None:
    outcome = arena.run("import os, signal; os.abort()")
    assert (outcome.end, outcome.output) == (End.FAILED, b"")
