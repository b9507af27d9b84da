"""The kernel calls that Python has no name for. Each raises OSError, naming the call."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_THP_DISABLE = 1, 4, 22, 24, 41
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
SECCOMP_MODE_FILTER = 2
PROT_READ, MAP_PRIVATE = 1, 2
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x2008_0522
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)
# Declared, since making a C integer in Python for each of the sixty calls that confine a block takes longer than the calls.
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.mmap.restype = ctypes.c_void_p
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def give_back_memory() -> None:
    """Returns what the allocator holds and does not use to the kernel; where it cannot, nothing happens."""
    with contextlib.suppress(AttributeError):
        _libc.malloc_trim(0)


def _checked(answer: int, call: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def prctl(option: int, value: int = 0, third: int = 0) -> None:
    """One setting of this process, or of this thread."""
    _checked(_libc.prctl(option, value, third, 0, 0), f"prctl {option}")


def unshare(flags: int) -> None:
    """New namespaces for this process, or for its children."""
    _checked(_libc.unshare(flags), f"unshare {flags:#x}")


def setns(descriptor: int, kind: int) -> None:
    """Joins the namespace that a descriptor stands for."""
    _checked(_libc.setns(descriptor, kind), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mounts, binds or changes a mount."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    answer = _libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3])
    _checked(answer, f"mount {kind or source} at {target}")


def detach(target: str) -> None:
    """Takes a mount and everything below it out of this namespace."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Makes `new` the root and puts the old one at `old`, a folder below it."""
    _checked(_libc.syscall(PIVOT_ROOT[os.uname().machine], new.encode(), old.encode()), "pivot_root")


def mapped(path: str) -> tuple[int, int]:
    """Address and bytes of a file's memory, to be read. No descriptor of it stays open, as one does behind Python's own mmap."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        address = _libc.mmap(None, size, PROT_READ, MAP_PRIVATE, descriptor, 0)
    finally:
        os.close(descriptor)
    if address in (None, ctypes.c_void_p(-1).value):
        _checked(-1, f"mmap {path}")
    return int(address), size


def drop_capabilities() -> None:
    """Empties every set of capabilities, the bounding set included. Needs CAP_SETPCAP for the latter."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError as problem:
            if number == 0 or "Invalid" not in str(problem):  # EINVAL: this kernel has no more of them
                raise
            break
    header, sets = struct.pack("II", CAPABILITY_VERSION_3, 0), bytes(24)
    _checked(_libc.capset(header, sets), "capset")


def load_filter(program: bytes) -> None:
    """Puts a seccomp filter (struct sock_filter[]) on this thread for good; calls it refuses answer with an error number."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    described = _Filter(len(program) // 8, program)
    _checked(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(described), 0, 0), "seccomp")
