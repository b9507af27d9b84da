"""Decides which Python packages an image holds, byte for byte: those of its lock, less what nobody runs.

Two builds with the same patch release of Python 3.11 give the same layer. (3.11.2 and 3.11.7 compile one file of DuckDB
differently.)
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from layers import digest_of, write_folder

PYTHON = (3, 11)  # bookworm's
SITE = "usr/local/lib/python3.11/dist-packages"  # on Debian's sys.path without any environment variable
# Test suites, headers and stubs are never imported by a program; `bin` holds start scripts that name this machine.
UNWANTED_FOLDERS = {"tests", "test", "include", "bin", "share"}
UNWANTED_FILES = ("*.pyi", "*.pxd", "*.pyx", "*.a", "*.h", "*.hpp")
# Written by the installer, and different on each machine.
INSTALLER_NOTES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}


def key(image: Path) -> str:
    code = [Path(__file__).with_name(name).read_bytes() for name in ("packages.py", "bytecode.py", "layers.py")]
    pins = [line for lock in sorted(image.glob("*.lock")) for line in lock.read_text().splitlines() if "#" not in line]
    return digest_of(platform.machine().encode(), *code, "\n".join(pins).encode())


def write(tar: Path, image: Path) -> None:
    """Writes the layer of the packages in the image's lock."""
    if sys.version_info[:2] != PYTHON:
        raise SystemExit("images: run me with Python 3.11, whose byte code the images hold")
    with tempfile.TemporaryDirectory(dir=tar.parent, prefix="site-") as scratch:
        site = Path(scratch) / "site"
        install(site, image)
        prune(site)
        compile_all(site)
        write_folder(tar, site, SITE)


def install(site: Path, image: Path) -> None:
    lock, build_lock = image / "requirements.lock", image / "build.lock"
    command = [
        *(str(Path(sysconfig.get_path("scripts")) / "uv"), "pip", "install", "--quiet", "--target", str(site)),
        *("--no-deps", "--require-hashes", "--link-mode", "copy", "--python", sys.executable),
        *("--python-version", "3.11", "--python-platform", f"{platform.machine()}-manylinux_2_28"),
        *("--only-binary", ":all:", "-r", str(lock)),
    ]
    if build_lock.exists():
        names = source_only(image)
        command += [*(word for name in names for word in ("--no-binary", name)), "--build-constraints", str(build_lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"images: installing {lock} failed:\n{done.stderr[-3000:]}")


def source_only(image: Path) -> list[str]:
    """Packages published without a wheel, listed in the image's `build.in` as `# builds: NAME`."""
    lines = (image / "build.in").read_text().splitlines()
    return [line.removeprefix("# builds: ").strip() for line in lines if line.startswith("# builds: ")]


def prune(site: Path) -> None:
    for folder, folders, files in os.walk(site):
        for name in UNWANTED_FOLDERS.intersection(folders):
            shutil.rmtree(Path(folder) / name)
            folders.remove(name)
        for name in INSTALLER_NOTES.intersection(files):
            if folder.endswith(".dist-info"):
                (Path(folder) / name).unlink()
    for pattern in UNWANTED_FILES:
        for path in site.rglob(pattern):
            path.unlink()


def compile_all(site: Path) -> None:
    script = Path(__file__).with_name("bytecode.py")
    subprocess.run([sys.executable, "-I", "-S", str(script), str(site), f"/{SITE}"], check=True)
