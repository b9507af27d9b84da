"""Tries to get out of a container, or to take more than its share: the program that sandbox.self_check runs inside.

    python3 -I -c THIS NAME [ARGUMENT]

An attempt to get out prints one line for each breach, and nothing if the container held; an attempt on a limit prints how
much it got. Standard library only, and no import from any room: it runs where there is none. Nothing it does harms a host
that does not hold: calls are made with arguments that no kernel accepts, files are named and removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# x86-64 numbers. Each is called with null pointers and descriptors that are not open, so what lets it through answers with
# another error than "not permitted" or "no such call".
FORBIDDEN_CALLS = {
    "shmget": 29, "semget": 64, "msgget": 68, "symlink": 88, "link": 86, "chown": 92, "ptrace": 101, "mknod": 133,
    "personality": 135, "modify_ldt": 154, "pivot_root": 155, "adjtimex": 159, "chroot": 161, "settimeofday": 164, "mount": 165,
    "umount2": 166, "swapon": 167, "reboot": 169, "sethostname": 170, "iopl": 172, "ioperm": 173, "init_module": 175,
    "delete_module": 176, "quotactl": 179, "mq_open": 240, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
    "mknodat": 259, "unshare": 272, "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
    "memfd_create": 319, "bpf": 321, "userfaultfd": 323, "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442,
    "memfd_secret": 447,
}  # fmt: skip
REFUSED = (errno.EPERM, errno.ENOSYS)
CLONE_CALL, NEW_USER_NAMESPACE = 56, 0x10000000

ENGINE_SOCKETS = (
    "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock",
)  # fmt: skip
WRITABLE_ELSEWHERE = (
    "/", "/bin", "/boot", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/proc/sys/kernel", "/root", "/run", "/run/lock",
    "/sbin", "/srv", "/sys", "/usr", "/usr/local", "/var", "/var/cache", "/var/lib", "/var/lock", "/var/log", "/var/tmp",  # noqa: S108 - tried
    "/dev", "/dev/shm", "/dev/mqueue",  # noqa: S108 - tried
)  # fmt: skip
STATISTICS = (
    "/proc/loadavg",
    "/proc/stat",
    "/proc/meminfo",
    "/proc/vmstat",
    "/proc/interrupts",
    "/proc/diskstats",
    "/sys",
)
USUAL_DEVICES = {
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
    "zero",
}  # fmt: skip
OWN_MOUNTS = ("/proc", "/sys", "/dev", "/tmp")  # noqa: S108 - the container's own
# The engine's own small files, each written by it and shown read-only.
ENGINE_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


def network() -> Iterator[str]:
    """Sockets of every family that leads anywhere."""
    for name in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_BLUETOOTH", "AF_CAN"):
        family = getattr(socket, name, None)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            if family is not None:
                with contextlib.suppress(OSError), socket.socket(family, kind):
                    yield name
                    break
    with contextlib.suppress(OSError):
        yield from (f"interface {entry.name}" for entry in Path("/sys/class/net").iterdir())


def engine_socket() -> Iterator[str]:
    """The engine's own door, with which a container could start others."""
    yield from (path for path in ENGINE_SOCKETS if Path(path).exists())


def root_filesystem() -> Iterator[str]:
    """Files outside of /tmp."""
    for folder in WRITABLE_ELSEWHERE:
        path = Path(folder) / ".banyan-attempt"
        with contextlib.suppress(OSError), path.open("wb"):
            yield folder
            path.unlink()
    for name in ENGINE_FILES:
        with contextlib.suppress(OSError), Path(name).open("ab"):
            yield name


def mounts() -> Iterator[str]:
    """File systems that nobody meant to show, or that can be written."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        target, options = line.split(" ")[4:6]
        own = any(target == place or target.startswith(place + "/") for place in OWN_MOUNTS)
        if not own and target not in ("/", *ENGINE_FILES):
            yield f"unexpected {target}"
        elif not own and "ro" not in options.split(","):
            yield f"writable {target}"


def privileges() -> Iterator[str]:
    """A user, a group, a capability or a way to gain one."""
    pairs = (line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    status = {key: value.strip() for key, value in pairs}
    yield from (name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16))
    if status["NoNewPrivs"] != "1":
        yield "NoNewPrivs"
    if status["Seccomp"] != "2":
        yield "Seccomp"
    if 0 in (*os.getresuid(), *os.getresgid(), *os.getgroups()):
        yield "root"
    with contextlib.suppress(OSError):
        os.setuid(0)
        yield "setuid"


def kernel_calls() -> Iterator[str]:
    """Calls that widen the way into the kernel."""
    import ctypes  # noqa: PLC0415 - an image without it can still make the other attempts

    if platform.machine() != "x86_64":
        return
    call = ctypes.CDLL(None, use_errno=True).syscall
    for name, number in FORBIDDEN_CALLS.items():
        ctypes.set_errno(0)
        answer = call(number, *[ctypes.c_long(value) for value in (-1, 0, 0, 0, 0, 0)])
        if answer != -1 or ctypes.get_errno() not in REFUSED:
            yield name
    child = call(CLONE_CALL, *[ctypes.c_long(value) for value in (NEW_USER_NAMESPACE | signal.SIGCHLD, 0, 0, 0, 0)])
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
        yield "clone"


def devices() -> Iterator[str]:
    """Disks, memory and other machines' worth of devices."""
    yield from (entry.name for entry in Path("/dev").iterdir() if entry.name not in USUAL_DEVICES)


def other_processes() -> Iterator[str]:
    """Processes of the host or of another container: here PID 1 is this very program."""
    if os.getpid() != 1:
        yield "not alone"
    yield from (
        entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != str(os.getpid())
    )


def host_statistics() -> Iterator[str]:
    """What the whole machine is doing, and names that tell this container from the next."""
    for path in STATISTICS:
        with contextlib.suppress(OSError):
            if any(Path(path).iterdir()) if Path(path).is_dir() else Path(path).read_bytes():
                yield path
    if any(line.rpartition(":")[2] != "/" for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").split()):
        yield "/proc/self/cgroup"
    if socket.gethostname() != "sandbox":
        yield "host name"


def run_from_tmp() -> Iterator[str]:
    """A program of its own, written to the only place that can be written."""
    path = Path("/tmp/attempt")  # noqa: S108 - the container's own
    path.write_text(f"#!{sys.executable}\n", encoding="utf-8")
    path.chmod(0o700)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.execv(path, [str(path)])  # noqa: S606 - the attempt itself
        os._exit(77)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 77:
        yield "exec"


def processes(most: int) -> int:
    """How many children it could start."""
    children: list[int] = []
    try:
        while len(children) < most:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)


def memory(most: int) -> int:
    """How many bytes it could fill; a container that holds never gets to the answer."""
    filled: list[bytes] = []
    while len(filled) << 20 < most:
        filled.append(b"\x01" * (1 << 20))
    return len(filled) << 20


def disk(most: int) -> int:
    """How many bytes it could write."""
    written = 0
    with contextlib.suppress(OSError), Path("/tmp/disk").open("wb", buffering=0) as file:  # noqa: S108 - the container's own
        while written < most:
            written += file.write(bytes(1 << 16))
    return written


def inodes(most: int) -> int:
    """How many files it could make."""
    made = 0
    with contextlib.suppress(OSError):
        while made < most:
            Path(f"/tmp/inode{made}").touch()  # noqa: S108 - the container's own
            made += 1
    return made


def open_files(most: int) -> int:
    """How many files it could have open at once."""
    held: list[int] = []
    with contextlib.suppress(OSError):
        while len(held) < most:
            held.append(os.open("/dev/null", os.O_RDONLY))
    return len(held)


def stubborn(_: int) -> int:
    """Ignores every signal that can be ignored, and spins."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def mute(_: int) -> int:
    """Closes both of its streams and lives on."""
    os.close(1)
    os.close(2)
    time.sleep(3600)
    return 0


def echo(size: int) -> str:
    """The digest of `size` bytes of its instruction, and whether stdin is still open after them."""
    digest = hashlib.sha256()
    while size:
        piece = os.read(0, size)
        if not piece:
            return "short"
        size -= len(piece)
        digest.update(piece)
    os.set_blocking(0, False)
    with contextlib.suppress(BlockingIOError):
        os.read(0, 1)
        return "ended"
    return digest.hexdigest()


def out(size: int) -> str:
    """That many bytes."""
    return "x" * size


def flood(_: int) -> str:
    """Bytes without end."""
    while True:
        os.write(1, b"x" * (1 << 16))


def fail(size: int) -> str:
    """That many bytes to stderr, and exit code 1."""
    raise SystemExit("e" * size)


def sleep(seconds: int) -> str:
    """Does nothing for that long."""
    time.sleep(seconds)
    return "awake"


ESCAPES = {
    attempt.__name__: attempt
    for attempt in (
        network, engine_socket, root_filesystem, mounts, privileges, kernel_calls, devices, other_processes, host_statistics,
        run_from_tmp,
    )
}  # fmt: skip
LIMITS = {attempt.__name__: attempt for attempt in (processes, memory, disk, inodes, open_files, stubborn, mute)}
MANNERS = {program.__name__: program for program in (echo, out, flood, fail, sleep)}


def main(name: str, argument: str = "0") -> None:
    """Runs the program of that name and prints its answer."""
    if name in ESCAPES:
        answer = "\n".join(ESCAPES[name]())
    elif name in LIMITS:
        answer = str(LIMITS[name](int(argument)))
    else:
        answer = MANNERS[name](int(argument))
    sys.stdout.write(answer)
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
