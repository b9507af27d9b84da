"""Decides the operating system inside the images: Debian bookworm with its Python and nothing else."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from layers import EPOCH, digest_of

SUITE = "bookworm"
CHECKOUT = Path(__file__).resolve().parent.parent

# Removed from the tree after installation. Suid and sgid bits: `no-new-privileges` already makes them useless, and
# without them a forgotten flag does no harm. Package sources: they name the mirror of the machine that built the image.
# The byte code of Debian's packaging scripts: it is the one thing that came out differently on a second machine.
CLEANING = (
    'find "$1" -xdev -type f -perm /6000 -exec chmod ug-s {} +; '
    'find "$1"/usr/share/python3 -name __pycache__ -prune -exec rm -rf {} +; '
    'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/var/cache/*/* "$1"/usr/share/locale '
    '"$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/info'
)


def key() -> str:
    return digest_of(Path(__file__).read_bytes(), platform.machine().encode())


def write(tar: Path) -> None:
    """Writes the base layer. On one state of the mirror the result is the same to the bit."""
    if not shutil.which("mmdebstrap"):
        _run([str(CHECKOUT / "scripts" / "system_packages.sh"), "mmdebstrap"])
    excluded = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
    command = [
        "mmdebstrap",
        "--quiet",
        "--format=tar",
        "--variant=minbase",
        "--include=python3",
        "--skip=output/dev",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in excluded),
        *(f"--aptopt={line}" for line in proxies()),
        f"--customize-hook={CLEANING}",
        SUITE,
        str(tar),
        *mirrors(),
    ]
    _run(command)


def mirrors() -> list[str]:
    """The Debian archives this machine already uses, in the form of sources.list."""
    known = _debian_sources()
    if not known and os.geteuid() == 0:
        _run(["apt-get", "update", "-q"])  # a machine whose package lists were cleaned does not know its origins
        known = _debian_sources()
    if not known:
        raise SystemExit("images: apt on this machine knows no Debian archive to build the base from")
    return sorted(known)


def _debian_sources() -> set[str]:
    wanted = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"
    listing = _output(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"])
    sources = set()
    for line in listing.splitlines():
        origin, codename, uri, component = line.split("|")
        if origin == "Debian" and component == "main":
            _, dash, pocket = codename.partition("-")
            if pocket in {"", "updates", "security"}:
                sources.add(f"deb {uri} {SUITE}{dash}{pocket} main")
    return sources


def proxies() -> list[str]:
    """The proxy settings of the machine's apt, which mmdebstrap's own apt would not read."""
    dump = _output(["apt-config", "dump"])
    settings = ("acquire::http::proxy ", "acquire::https::proxy ")
    return [line for line in dump.splitlines() if line.lower().startswith(settings)]


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _run(command: list[str]) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        words = done.stdout.decode(errors="replace")[-3000:]
        raise SystemExit(f"images: `{command[0]}` failed; its last words:\n{words}")
