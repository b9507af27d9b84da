"""Which kernel calls the code of a block may make: the filter that is put on before it, on top of the container's own.

An allow-list. What a program could shift for the block after it, or read from the block before it, is left out on purpose:
counters of the machine (pipes and sockets take inode numbers that the next block could see), caches (mincore, preadv2 with
RWF_NOWAIT, fadvise, page faults in getrusage), load (sysinfo) and the free space of the disk that the image lies on (statfs).
There are no new processes either, only threads: so the processor time of a block is the clock of one process, and nothing of
it can outlive that process. And there is no call that does much, for little processor time beforehand, before it looks whether its
process was killed meanwhile (collapsing memory into huge pages, waiting for all processors, waiting for a disk): its block would not
be gone when the next one begins.
"""

from __future__ import annotations

import functools
import struct

AUDIT_ARCH_X86_64 = 0xC000_003E
X32_BIT = 0x4000_0000
EPERM, EINVAL, ENOSYS, EOPNOTSUPP = 1, 22, 38, 95
DONE = 0  # the call answers that it did what was asked
CLONE_THREAD, NAMESPACES = 0x0001_0000, 0x7E02_0080
PR_SET_NAME = 15

# x86-64 numbers (linux/arch/x86/entry/syscalls/syscall_64.tbl).
ALLOWED: dict[str, dict[str, int]] = {
    "memory of its own": {
        "brk": 12, "mmap": 9, "mprotect": 10, "mremap": 25, "munmap": 11,
    },
    "files that are there, and the temporary folder": {
        "access": 21, "chdir": 80, "chmod": 90, "close": 3, "close_range": 436, "dup": 32, "dup2": 33, "dup3": 292,
        "faccessat": 269, "faccessat2": 439, "fallocate": 285, "fchdir": 81, "fchmod": 91, "fchmodat": 268,
        "fstat": 5, "ftruncate": 77, "getcwd": 79, "getdents64": 217, "lseek": 8, "lstat": 6,
        "mkdir": 83, "mkdirat": 258, "newfstatat": 262, "open": 2, "openat": 257, "pread64": 17, "preadv": 295,
        "pwrite64": 18, "pwritev": 296, "read": 0, "readlink": 89, "readlinkat": 267, "readv": 19, "rename": 82,
        "renameat": 264, "renameat2": 316, "rmdir": 84, "sendfile": 40, "stat": 4,
        "truncate": 76, "umask": 95, "unlink": 87, "unlinkat": 263, "utimensat": 280, "write": 1, "writev": 20,
    },
    "waiting": {
        "epoll_create1": 291, "epoll_ctl": 233, "epoll_pwait": 281, "epoll_wait": 232, "eventfd2": 290, "poll": 7,
        "ppoll": 271, "pselect6": 270, "select": 23,
    },
    "threads and its own end": {
        "exit": 60, "exit_group": 231, "futex": 202, "restart_syscall": 219, "rseq": 334, "rt_sigaction": 13,
        "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "set_robust_list": 273, "sigaltstack": 131,
        "tgkill": 234,
    },
    "what it may know of itself": {
        "getegid": 108, "geteuid": 107, "getgid": 104, "getpid": 39, "getppid": 110, "getresgid": 120, "getresuid": 118,
        "getrlimit": 97, "gettid": 186, "getuid": 102, "sched_get_priority_max": 146, "sched_get_priority_min": 147,
        "sched_getaffinity": 204, "sched_getparam": 143, "sched_getscheduler": 145, "times": 100, "uname": 63,
    },
    "time, and the kernel's randomness": {
        "clock_getres": 229, "clock_gettime": 228, "clock_nanosleep": 230, "getrandom": 318, "gettimeofday": 96,
        "nanosleep": 35,
    },
}  # fmt: skip

# Calls of which some are allowed: number, argument, and the values that this argument may have. Others are answered as in REFUSED, or
# with EPERM.
ALLOWED_VALUES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    # NORMAL, RANDOM, SEQUENTIAL, DONTNEED, NOHUGEPAGE, DONTDUMP, DODUMP
    "madvise": (28, 2, (0, 1, 2, 4, 15, 16, 17)),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_DUPFD_CLOEXEC; no leases, owners or pipe sizes
    "fcntl": (72, 1, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),
    # whether it is a terminal, and how wide: TCGETS, TIOCGWINSZ; FIONBIO, FIONREAD, FIONCLEX, FIOCLEX
    "ioctl": (16, 1, (0x5401, 0x5413, 0x5421, 0x541B, 0x5450, 0x5451)),
    "prctl": (157, 0, (PR_SET_NAME,)),
    "prlimit64": (302, 0, (0,)),  # of this process
}
# What another value of such an argument is answered: WILLNEED is a wish, which Arrow does not do without, and so is HUGEPAGE;
# no other advice is known here. FREE would go over the same pages again and again; allocators fall back to DONTNEED.
REFUSED: dict[str, tuple[dict[int, int], int]] = {"madvise": ({3: DONE, 14: DONE}, EINVAL)}
# Answers other than EPERM, by which a library knows that it has to do without.
ANSWERS: dict[str, tuple[int, int]] = {
    "clone3": (435, ENOSYS),  # its flags lie in memory, where no filter can read them; the C library falls back to clone
    "copy_file_range": (326, ENOSYS),  # shutil falls back to sendfile
    "fsync": (74, DONE), "fdatasync": (75, DONE),  # all that can be written is memory
    "membarrier": (324, ENOSYS),
    "statx": (332, ENOSYS),  # tells the numbers of mounts; the C library has stat, and Rust's falls back to it
    "getxattr": (191, EOPNOTSUPP), "lgetxattr": (192, EOPNOTSUPP), "fgetxattr": (193, EOPNOTSUPP),
    "listxattr": (194, EOPNOTSUPP), "llistxattr": (195, EOPNOTSUPP), "flistxattr": (196, EOPNOTSUPP),
}  # fmt: skip
CLONE = 56

_LOAD, _AND, _JUMP_EQUAL, _JUMP_NOT_LESS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000


@functools.cache
def filter_program() -> bytes:
    """The filter as the kernel takes it (struct sock_filter[], classic BPF)."""
    lines = [
        _line(_LOAD, 4),
        _line(_JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        _line(_RETURN, _ERRNO | EPERM),  # 32-bit calls have numbers of their own
        _line(_LOAD, 0),
        _line(_JUMP_NOT_LESS, X32_BIT, 0, 1),
        _line(_RETURN, _ERRNO | EPERM),
    ]
    for numbers in ALLOWED.values():
        for number in numbers.values():
            lines += [_line(_JUMP_EQUAL, number, 0, 1), _line(_RETURN, _ALLOW)]
    for number, error in ANSWERS.values():
        lines += [_line(_JUMP_EQUAL, number, 0, 1), _line(_RETURN, _ERRNO | error)]
    for name, (number, argument, values) in ALLOWED_VALUES.items():
        answers, otherwise = REFUSED.get(name, ({}, EPERM))
        returned = dict.fromkeys(values, _ALLOW) | {value: _ERRNO | error for value, error in answers.items()}
        tests = [[_line(_JUMP_EQUAL, value, 0, 1), _line(_RETURN, found)] for value, found in returned.items()]
        lines += _only(number, tests, argument, otherwise)
    thread = [
        _line(_AND, CLONE_THREAD | NAMESPACES),
        _line(_JUMP_EQUAL, CLONE_THREAD, 0, 1),
        _line(_RETURN, _ALLOW),
    ]
    lines += [*_only(CLONE, [thread], 0, EPERM), _line(_RETURN, _ERRNO | EPERM)]
    return b"".join(lines)


def _only(number: int, tests: list[list[bytes]], argument: int, otherwise: int) -> list[bytes]:
    """Lines for one call: its argument is looked at (the lower half; the upper half is not used by any of these)."""
    body = [
        _line(_LOAD, 16 + 8 * argument),
        *(line for test in tests for line in test),
        _line(_RETURN, _ERRNO | otherwise),
    ]
    return [_line(_JUMP_EQUAL, number, 0, len(body)), *body]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
