"""No file of the repository names a package registry or mirror, a path of one machine, or holds a large blob."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
THIS = Path(__file__).resolve()
# Hosts where packages, images and archives are fetched from. (`docker.io` alone is the name of a Debian package.)
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|(?<![\w.])(?:index|registry-1|registry)\.[\w-]+\.[a-z]{2,}|docker\.io/|ghcr\.io|quay\.io"
    r"|gcr\.io|mcr\.microsoft|(?:deb|security|snapshot)\.debian\.org|registry\.npmjs|conda\.anaconda|"
    r"--(?:extra-)?index-url[= ]|--find-links[= ]",
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(r"(?<![\w.~/-])/(?:root|home/\w+|work|Users/\w+|opt/(?:wheels|pypi))/\.?\w")
LARGEST_BYTES = 600_000


def tracked() -> list[Path]:
    """What git tracks, or would; in a copy without git, everything that is not set aside by a leading dot."""
    if shutil.which("git") and (CHECKOUT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listing = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True).stdout.decode()
        paths = [CHECKOUT / name for name in listing.split("\0") if name]
    else:
        hidden = (".", "__pycache__")
        paths = [p for p in CHECKOUT.rglob("*") if not any(x.startswith(hidden) for x in p.relative_to(CHECKOUT).parts)]
    return [path for path in paths if path.is_file() and path != THIS]


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()[:100]}")
    return found


def test_no_registry_or_mirror_is_named():
    assert lines_matching(REGISTRIES) == []


def test_no_path_of_one_machine_is_named():
    assert lines_matching(MACHINE_PATHS) == []


@pytest.mark.parametrize("text", ["https://pypi.org/simple", "FROM docker.io/library/python", "registry.example.com/x"])
def test_the_registry_guard_sees(text):
    assert REGISTRIES.search(text)


@pytest.mark.parametrize("text", ["/root/.venv", "see /home/anna/x", 'Path("/work/main")', "/opt/wheels/a"])
def test_the_path_guard_sees(text):
    assert MACHINE_PATHS.search(text)


@pytest.mark.parametrize(
    "text", ["apt-get install docker.io", "/usr/lib", "a/work/b", "/workspace", "the ~/work/it folder", '"/root"']
)
def test_the_guards_let_pass(text):
    assert not REGISTRIES.search(text)
    assert not MACHINE_PATHS.search(text)


def test_nothing_large_is_tracked():
    assert [str(path) for path in tracked() if path.stat().st_size > LARGEST_BYTES] == []
