"""Calls the kernel through the door for 32-bit programs, by machine code of its own."""

import ctypes
import mmap

from attacker import hits

ROWS = (24,)
CONTROL = "both seccomp filters look at the architecture: a call of another one kills or is refused"
ENDS = "any"


def analyse(tables, params):
    # mov eax, 0x14 (getpid of the 32-bit table); int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))
    getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return hits(getpid() > 0)
