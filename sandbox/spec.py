"""What a container may be: everything that a caller can choose about it, checked, with the safe choice as default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.errors import Invalid

_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,120}")
_CPUSET = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*")
_OCI_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")

OWNER = "banyan.owner"
JOB = "banyan.job"
LANE = "banyan.lane"
LABELS = frozenset({OWNER, JOB, LANE})

# A mount of one of these would hand the container the machine; of one below the second set, the kernel or the engine.
_NEVER_MOUNTED = frozenset({"/", "/dev", "/dev/shm", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var"})  # noqa: S108 - refused, not used
_NEVER_MOUNTED_BELOW = ("/boot", "/etc", "/proc", "/sys")
# The image's own places: a mount there would replace what the image was vetted with.
_NEVER_COVERED_BELOW = tuple(
    "/banyan /bin /boot /dev /etc /lib /lib32 /lib64 /opt /proc /root /run /sbin /sys /tmp /usr /var".split()  # noqa: SIM905 - one line a place would be longer
)

MIB = 1 << 20


def _refused(field_name: str, text: str) -> Invalid:
    return Invalid("container.invalid", f"{field_name}: {text}", where={"field": field_name})


def _plain_path(name: str, text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if not path.is_absolute() or str(path) != text or ".." in path.parts or not text.isprintable():
        raise _refused(name, "must be an absolute path in its shortest form")
    return path


def _lies_below(path: PurePosixPath, places: tuple[str, ...]) -> bool:
    return any(path == PurePosixPath(place) or PurePosixPath(place) in path.parents for place in places)


@dataclass(frozen=True)
class ReadOnlyMount:
    """One file or folder of this machine, shown read-only at `target`.

    The container's user is 65534:65534, so a file must be readable by everyone; the folders above it need not be. File
    systems mounted below `source` are not shown. There is no writable mount: results leave through stdout only.
    """

    source: str
    target: str

    def __post_init__(self) -> None:
        source, target = _plain_path("mount source", self.source), _plain_path("mount target", self.target)
        if self.source in _NEVER_MOUNTED or _lies_below(source, _NEVER_MOUNTED_BELOW):
            raise _refused("mount source", "is a place that no container may see")
        if source.suffix == ".sock":
            raise _refused("mount source", "is a socket")
        if len(target.parts) == 1 or _lies_below(target, _NEVER_COVERED_BELOW):
            raise _refused("mount target", "would cover a part of the image")


@dataclass(frozen=True)
class ContainerSpec:
    """One container, complete. Nothing about it is decided later, and no field can open it to the outside.

    image            image id, `sha256:` and 64 hex digits; never a name, which could come to mean another image
    command          the program and its arguments; replaces the image's own entry point and command
    labels           `banyan.owner` (the server instance), and where they apply `banyan.job` and `banyan.lane`; no others
    mounts           read-only, in any order, targets distinct and none inside another
    cpus             cores, 0.01 to 512: a quota of processor time a second of wall time
    cpuset           the cores it may run on, as in "0" or "2-3,6"; None for any
    memory_bytes     bytes, at least 6 MiB: memory, page cache and tmpfs together; there is no swap
    pids             processes and threads together, PID 1 included
    tmpfs_bytes      bytes that /tmp holds; they count as memory too
    tmpfs_inodes     files and folders that /tmp holds
    open_files       file descriptors of one process
    wall_seconds     seconds from start to SIGKILL
    output_bytes     bytes of stdout that are kept; one more ends the container
    namespaces       whether PID 1 may make namespaces and mounts inside the container: for the runner of programs, which
                     confines each of its blocks further and leaves these calls to none
    oci_runtime      name of an OCI runtime that the engine has (runsc, kata, crun); None for the runtime's own choice. gVisor
                     counts its own threads too: below 256 `pids` it does not start

    There is no environment to set: what a program needs is in its instruction.
    Raises Invalid (`container.invalid`) naming the field.
    """

    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    mounts: tuple[ReadOnlyMount, ...] = ()
    cpus: float = 1.0
    cpuset: str | None = None
    memory_bytes: int = 512 * MIB
    pids: int = 64
    tmpfs_bytes: int = 32 * MIB
    tmpfs_inodes: int = 1024
    open_files: int = 256
    wall_seconds: float = 60.0
    output_bytes: int = 16 * MIB
    namespaces: bool = False
    oci_runtime: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", dict(self.labels))
        if not _IMAGE_ID.fullmatch(self.image):
            raise _refused("image", "must be an image id such as sha256:5f70bf18...")
        if not self.command or any(not word or "\0" in word for word in self.command):
            raise _refused("command", "must name a program, without empty words")
        if OWNER not in self.labels:
            raise _refused("labels", f"must have {OWNER}, or nobody could find the container again")
        check_labels(self.labels)
        self._check_mounts()
        if self.cpuset is not None and not _CPUSET.fullmatch(self.cpuset):
            raise _refused("cpuset", 'must look like "0" or "2-3,6"')
        if not isinstance(self.namespaces, bool):
            raise _refused("namespaces", "must be true or false")
        if self.oci_runtime is not None and not _OCI_RUNTIME.fullmatch(self.oci_runtime):
            raise _refused("oci_runtime", 'must look like "runsc"')
        for name, lowest, highest in _LIMITS:
            value = getattr(self, name)
            # `not (a <= b)` rather than `a > b`: NaN fails it too.
            if isinstance(value, bool) or not lowest <= value <= highest:
                raise _refused(name, f"must be from {lowest} to {highest}")
            if name not in _FRACTIONAL and not isinstance(value, int):
                raise _refused(name, "must be a whole number")

    def _check_mounts(self) -> None:
        targets = [PurePosixPath(mount.target) for mount in self.mounts]
        if len(set(targets)) != len(targets) or any(a in b.parents for a in targets for b in targets):
            raise _refused("mounts", "targets must be distinct, and none inside another")


_FRACTIONAL = frozenset({"cpus", "wall_seconds"})
_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("cpus", 0.01, 512),
    ("memory_bytes", 6 * MIB, 1 << 50),
    ("pids", 1, 1 << 20),
    ("tmpfs_bytes", 4096, 1 << 50),
    ("tmpfs_inodes", 2, 1 << 40),
    ("open_files", 16, 1 << 20),
    ("wall_seconds", 0.1, 7 * 86_400),
    ("output_bytes", 0, 1 << 32),
)


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises Invalid (`container.invalid`) unless there is at least one label and each is one of ours, short and plain.

    An empty selection would match every container on the machine, other people's included.
    """
    if not labels:
        raise _refused("labels", "must not be empty")
    for key, value in labels.items():
        if key not in LABELS or not _LABEL_VALUE.fullmatch(value):
            raise _refused("labels", f"must be of {', '.join(sorted(LABELS))}, each with a short plain value")
