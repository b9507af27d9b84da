"""What hostile programs have at hand: kernel calls by number, a count of what succeeded, and a look at their own memory.

Runs inside a block; the harness puts it into `sys.modules`, so that each program beside it can import it by name.
"""

import ctypes
import hashlib
import os
import socket
import stat

libc = ctypes.CDLL(None, use_errno=True)
libc.write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
REFUSED = (1, 38)  # EPERM, ENOSYS
PAGE = 4096


def call(number, *arguments):
    """One kernel call by its x86-64 number: 0 or more, or minus the error number."""
    ctypes.set_errno(0)
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    answer = libc.syscall(
        ctypes.c_long(number), *[ctypes.c_long(value) if isinstance(value, int) else value for value in padded]
    )
    return answer if answer != -1 else -ctypes.get_errno()


def let_through(number, *arguments):
    """Whether a call reached the kernel's own code, whatever that made of the arguments."""
    return -call(number, *arguments) not in REFUSED


def works(action):
    """Whether an action ends without an error of the system's."""
    try:
        action()
    except (OSError, ValueError):
        return False
    return True


def hits(*successes):
    """The declared result: which attempts succeeded, as a sum of powers of two; 0 is an attack that failed."""
    return {"hit": float(sum(2**index for index, success in enumerate(successes) if success))}


def reaches(family, address, kind=socket.SOCK_STREAM):
    """Whether a connection can be made."""

    def connect():
        with socket.socket(family, kind) as door:
            door.settimeout(0.05)
            door.connect(address)

    return works(connect)


def reads(path):
    """Whether a file has something to read."""
    try:
        with open(path, "rb") as file:
            return bool(file.read(1))
    except (OSError, ValueError):
        return False


def names(folder):
    """What a folder shows, empty where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def pipes():
    """Descriptors that are pipes: the one of the result, and any other that was left open."""
    found = []
    for number in range(1024):
        try:
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                found.append(number)
        except OSError:
            pass
    return found


def fork(action):
    """Starts a child that does something and ends; its process id, or None where no process can be started."""
    try:
        child = os.fork()
    except OSError:
        return None
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return child


def own_memory(anchors, reach):
    """Pieces of this process's memory around some addresses. A write from an address that is not mapped fails, so it needs no /proc."""
    fd = os.open("/tmp/.memory", os.O_RDWR | os.O_CREAT)
    size = 256 * PAGE
    try:
        for start, end in _ranges(anchors, reach):
            at = start
            while at < end:
                os.lseek(fd, 0, 0)
                got = libc.write(fd, at, min(size, end - at))
                if got <= 0:
                    at += PAGE
                    continue
                yield os.pread(fd, got, 0)
                at += got if got % PAGE == 0 else got - got % PAGE + PAGE
    finally:
        os.close(fd)
        os.unlink("/tmp/.memory")


def _ranges(anchors, reach):
    merged = []
    for start, end in sorted(((anchor - reach) & -PAGE, (anchor + reach) & -PAGE) for anchor in anchors):
        start = max(start, PAGE)
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged


def holds_secret(piece, masked_head, tail_digests):
    """Whether bytes hold a secret of another block: its head, and behind it eight bytes of which only the digest is known here.

    The head is masked in this text and the tail is known by its digest only, or every search would find itself.
    """
    head = bytes(byte ^ 0x5A for byte in bytes.fromhex(masked_head))
    at = piece.find(head)
    while at >= 0:
        tail = bytes(piece[at + len(head) : at + len(head) + 8])
        if hashlib.sha256(tail).hexdigest()[:32] in tail_digests:
            return True
        at = piece.find(head, at + 1)
    return False
