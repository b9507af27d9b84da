"""Decides what the C files of an image become, byte for byte, whoever compiles them.

The bytes are pinned in `NAME.sha256` beside `NAME.c`, one line a machine. This machine's compiler may make them, if it gives what is
pinned; else one in a Debian tree that is made for this and thrown away. After a change of the source:

    python runtime_images/compiled.py    (writes the pins of this machine from what the Debian tree makes)
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import base
from layers import digest_of, written_tar

IMAGES = Path(__file__).resolve().parent
# Nothing of the machine that compiles may show: no notes of the compiler, no build id, no start files of its C library.
FLAGS = [
    *(
        "-std=c11",
        "-O3",
        "-fPIC",
        "-shared",
        "-fno-plt",
        "-fno-tree-loop-distribute-patterns",
        "-fno-ident",
        "-nostartfiles",
        "-Wall",
        "-Wextra",
        "-Werror",
    ),
    *("-s", "-Wl,--build-id=none", "-Wl,-z,relro,-z,now,-z,noexecstack"),
]
MACHINE_FLAGS = {"x86_64": ["-march=x86-64-v2"]}


def sources(image: Path) -> list[Path]:
    return sorted(image.glob("*.c"))


def key(image: Path) -> str:
    """Digest of what the compiled layer is made from; empty where there is nothing to compile."""
    files = [file for source in sources(image) for file in (source, source.with_suffix(".sha256")) if file.exists()]
    code = Path(__file__).read_bytes()
    return digest_of(platform.machine().encode(), code, *(file.read_bytes() for file in files)) if files else ""


def write(tar: Path, image: Path) -> None:
    """Writes the layer of the image's shared objects, each at /banyan."""
    objects = {f"banyan/{source.stem}.so": library(source) for source in sources(image)}
    tar.write_bytes(written_tar(objects))


def pin(source: Path) -> str | None:
    """The SHA-256 that this machine's file must have; None where none is written down."""
    file = source.with_suffix(".sha256")
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return {machine: digest for digest, machine in lines}.get(platform.machine())


def library(source: Path) -> bytes:
    """The shared object of a C file."""
    pinned = pin(source)
    if pinned is None:
        return in_debian(source)
    for made in (here, in_debian):
        found = made(source)
        if found is not None and hashlib.sha256(found).hexdigest() == pinned:
            return found
    raise SystemExit(
        f"images: {source.name} does not become what {source.stem}.sha256 pins for {platform.machine()}. "
        f"If you changed the source, run `python runtime_images/compiled.py` and commit the new pin."
    )


def command(compiler: str, source: str, target: str) -> list[str]:
    return [compiler, *FLAGS, *MACHINE_FLAGS.get(platform.machine(), []), source, "-o", target]


def here(source: Path) -> bytes | None:
    """What this machine's compiler makes; None where there is none, or it fails."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(prefix="compile-") as scratch:
        shutil.copy(source, scratch)
        words = command(compiler, source.name, "made.so")
        done = subprocess.run(words, cwd=scratch, capture_output=True, check=False)
        return (Path(scratch) / "made.so").read_bytes() if done.returncode == 0 else None


def in_debian(source: Path) -> bytes:
    """What the compiler of the images' own Debian makes, in a tree that holds it and nothing else."""
    with tempfile.TemporaryDirectory(prefix="compile-") as scratch:
        out = Path(scratch) / "made.so"
        if not shutil.which("mmdebstrap"):
            subprocess.run([str(base.CHECKOUT / "scripts" / "system_packages.sh"), "mmdebstrap"], check=True)
        compiling = " ".join(command("gcc", source.name, "made.so"))
        words = [
            *(
                "mmdebstrap",
                "--quiet",
                "--format=null",
                "--variant=minbase",
                "--include=gcc,libc6-dev",
                "--skip=output/dev",
            ),
            *(f"--aptopt={line}" for line in base.proxies()),
            f"--customize-hook=copy-in {source} /tmp",
            f"--customize-hook=chroot \"$1\" sh -c 'cd /tmp && {compiling}'",
            f"--customize-hook=download /tmp/made.so {out}",
            *(base.SUITE, "-", *base.mirrors()),
        ]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"images: compiling {source.name} failed; the last words:\n{done.stderr[-3000:]}")
        return out.read_bytes()


def main() -> None:
    for source in sorted(IMAGES.glob("*/*.c")):
        file = source.with_suffix(".sha256")
        lines = file.read_text().splitlines() if file.exists() else []
        kept = [line for line in lines if line.split()[1] != platform.machine()]
        digest = hashlib.sha256(in_debian(source)).hexdigest()
        file.write_text("".join(f"{line}\n" for line in sorted([*kept, f"{digest}  {platform.machine()}"])))


if __name__ == "__main__":
    main()
