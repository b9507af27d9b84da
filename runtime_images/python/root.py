"""What a block's process finds as its root: the libraries, a small temporary folder, and nothing else."""

from __future__ import annotations

import os  # not pathlib: this runs once a block, and pathlib costs it half a millisecond

import kernel

# Libraries, read-only in the container already; a namespace below cannot make them writable. /lib and /bin would only be needed
# to start another program, which no block may.
LIBRARIES = ("/usr", "/banyan/lib")
DEVICES = ("null", "zero", "urandom")
# It is made over this folder of the container, which every image has.
PLACE = "/tmp"
SKELETON = "size=64k,nr_inodes=64,mode=0755"
# Counts as the container's memory, so it stays well below it. And small: a kill does not interrupt the reading of a file in it.
TEMPORARY = "size=4m,nr_inodes=1024,mode=1777"
READ_ONLY = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY
SAFE = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def enter_own_root() -> None:
    """Makes the root and enters it; the container's own is gone afterwards."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("root", PLACE, "tmpfs", SAFE, SKELETON)
    for path in LIBRARIES:
        _bind(path, PLACE + path, folder=True)
    os.mkdir(PLACE + "/dev")  # noqa: PTH102
    for name in DEVICES:
        _bind(f"/dev/{name}", f"{PLACE}/dev/{name}", folder=False)
        # Whoever may write to a device file may also set its times, which all blocks see.
        kernel.mount(None, f"{PLACE}/dev/{name}", None, READ_ONLY | kernel.MS_NOSUID | kernel.MS_NOEXEC)
    os.mkdir(PLACE + "/tmp")  # noqa: PTH102
    kernel.mount("temporary", PLACE + "/tmp", "tmpfs", SAFE, TEMPORARY)
    os.mkdir(PLACE + "/old")  # noqa: PTH102
    os.chdir(PLACE)
    kernel.pivot_root(".", "old")
    os.chdir("/")
    kernel.detach("/old")
    os.rmdir("/old")  # noqa: PTH106
    kernel.mount(None, "/", None, kernel.MS_REMOUNT | kernel.MS_RDONLY | SAFE, SKELETON)


def _bind(source: str, target: str, *, folder: bool) -> None:
    if folder:
        os.makedirs(target)  # noqa: PTH103
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o444))
    kernel.mount(source, target, None, kernel.MS_BIND | (kernel.MS_REC if folder else 0))
