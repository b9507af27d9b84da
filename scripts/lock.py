"""Decides what each lock file is made from, writes them, and says without a network which of them is out of date.

`lock.py` writes all locks and keeps the versions they hold, `lock.py --upgrade` takes the newest. `lock.py --check`
ends with 1 if an input has changed since its lock was written, or if a lock pins no hash or names a place.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
UV = Path(sysconfig.get_path("scripts")) / "uv"
INPUT_MARK = "# inputs: sha256:"
PROJECTS = ("pyproject.toml", "client/pyproject.toml")
DEVELOPMENT = "requirements/dev.lock"
IMAGE_OPTIONS = ("--python-platform", "x86_64-manylinux_2_28", "--constraints", DEVELOPMENT)


@dataclass(frozen=True)
class Lock:
    """One lock file: where it is, what it is made from and how."""

    path: str
    inputs: tuple[str, ...]
    options: tuple[str, ...] = ()


# In this order: later ones are held to the versions of earlier ones, so that one package has one version everywhere.
LOCKS = (
    Lock("requirements/tools.lock", ("requirements/tools.in",)),
    Lock(DEVELOPMENT, PROJECTS, ("--extra", "dev", "--constraints", "requirements/tools.lock")),
    Lock("requirements/service.lock", PROJECTS, ("--constraints", DEVELOPMENT)),
    Lock("runtime_images/query/requirements.lock", ("runtime_images/query/requirements.in",), IMAGE_OPTIONS),
    Lock("runtime_images/python/requirements.lock", ("runtime_images/python/requirements.in",), IMAGE_OPTIONS),
    Lock("runtime_images/encrypted/requirements.lock", ("runtime_images/encrypted/requirements.in",), IMAGE_OPTIONS),
    Lock("runtime_images/python/build.lock", ("runtime_images/python/build.in",)),
    Lock(
        "requirements/data.lock",
        ("requirements/data.in",),
        ("--no-deps", "--constraints", "runtime_images/python/requirements.lock"),
    ),
)


def input_digest(lock: Lock) -> str:
    """Of the requirements alone: a changed linter setting or comment does not make a lock stale."""
    wanted = [sorted(_requirements(CHECKOUT / name)) for name in lock.inputs]
    return hashlib.sha256(json.dumps([wanted, lock.options]).encode()).hexdigest()


def _requirements(path: Path) -> list[str]:
    text = path.read_text()
    if path.name == "pyproject.toml":
        project = tomllib.loads(text)["project"]
        extras = project.get("optional-dependencies", {})
        return [project["requires-python"], *project["dependencies"], *(f"{k}: {v}" for k in extras for v in extras[k])]
    return [line.partition("#")[0].strip() for line in text.splitlines() if line.partition("#")[0].strip()]


def write(lock: Lock, options: list[str]) -> None:
    sys.stderr.write(f"locking {lock.path}\n")
    command = [
        *(str(UV), "pip", "compile", "--quiet", "--python-version", "3.11", "--generate-hashes"),
        *("--no-emit-index-url", "--custom-compile-command", "just lock", "--output-file", lock.path),
        *(*lock.options, *options, *lock.inputs),
    ]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    path = CHECKOUT / lock.path
    lines = [line for line in path.read_text().splitlines() if not line.startswith(INPUT_MARK)]
    path.write_text("\n".join([INPUT_MARK + input_digest(lock), *lines]) + "\n")


def faults(lock: Lock) -> list[str]:
    path = CHECKOUT / lock.path
    if not path.exists():
        return [f"{lock.path} is missing; run: just lock"]
    text = path.read_text()
    found = []
    if not text.startswith(f"{INPUT_MARK}{input_digest(lock)}\n"):
        found.append(f"{lock.path} is older than what it is made from; run: just lock")
    for requirement in re.split(r"\n(?=[a-zA-Z0-9])", text)[1:]:
        name = requirement.split()[0]
        if "==" not in name or "--hash=sha256:" not in requirement:
            found.append(f"{lock.path}: {name} is not pinned with a hash")
    if "://" in text or "index-url" in text.replace("--no-emit-index-url", "") or "find-links" in text:
        found.append(f"{lock.path} names a place to download from")
    return found


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        found = [fault for lock in LOCKS for fault in faults(lock)]
        sys.stderr.write("".join(f"{fault}\n" for fault in found))
        sys.exit(bool(found))
    for lock in LOCKS:
        write(lock, sys.argv[1:])


if __name__ == "__main__":
    main()
