"""Locks pin every package with a hash, name no place, are as new as their inputs, and agree with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([a-zA-Z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
LOCKS = sorted([*CHECKOUT.glob("requirements/*.lock"), *CHECKOUT.glob("runtime_images/*/*.lock")])


def pins(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text()))


def check(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/lock.py", "--check"], cwd=checkout, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path):
    for path in [*LOCKS, *CHECKOUT.glob("requirements/*.in"), *CHECKOUT.glob("runtime_images/*/*.in")]:
        (tmp_path / path.relative_to(CHECKOUT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(CHECKOUT))
    for name in ("pyproject.toml", "client/pyproject.toml", "scripts/lock.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    return tmp_path


def test_the_locks_are_as_new_as_what_they_are_made_from(copy):
    done = check(copy)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_new_dependency_makes_its_locks_stale(copy):
    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace('  "alembic",\n', '  "alembic",\n  "attrs",\n'))
    done = check(copy)
    assert done.returncode == 1
    assert "requirements/service.lock is older" in done.stderr
    assert "requirements/dev.lock is older" in done.stderr
    assert "data.lock" not in done.stderr


def test_a_comment_makes_no_lock_stale(copy):
    source = copy / "requirements" / "tools.in"
    source.write_text("# another word\n" + source.read_text())
    assert check(copy).returncode == 0


def test_a_pin_without_hash_is_seen(copy):
    lock = copy / "requirements" / "tools.lock"
    lock.write_text(re.sub(r" \\\n    --hash=sha256:\w+", "", lock.read_text()))
    assert "is not pinned with a hash" in check(copy).stderr


def test_a_place_in_a_lock_is_seen(copy):
    lock = copy / "requirements" / "tools.lock"
    lock.write_text(lock.read_text() + "-f https://example.org/simple\n")
    assert "names a place" in check(copy).stderr


def test_one_package_has_one_version():
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in pins(lock).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_service_installs_nothing_that_only_an_image_or_a_test_needs():
    service = pins(CHECKOUT / "requirements" / "service.lock")
    unwanted = {
        "duckdb",
        "pandas",
        "scipy",
        "matplotlib",
        "pytest",
        "hypothesis",
        "mypy",
        "ruff",
        "polars",
        "lifelines",
    }
    assert unwanted & set(service) == set()


def test_every_dependency_is_explained():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    client = tomllib.loads((CHECKOUT / "client" / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["dev"], *client["dependencies"]}
    for source in [*CHECKOUT.glob("requirements/*.in"), *CHECKOUT.glob("runtime_images/*/*.in")]:
        lines = (line.partition("#")[0].strip() for line in source.read_text().splitlines())
        wanted |= {line for line in lines if line}
    names = {re.match(r"[a-zA-Z0-9._-]+", requirement).group() for requirement in wanted}
    explained = set(re.findall(r"^\| `([^`]+)` \|", (CHECKOUT / "docs" / "dependencies.md").read_text(), re.MULTILINE))
    assert names - explained == set(), "add a line to docs/dependencies.md"
    assert explained - names == set(), "docs/dependencies.md explains what is not used"
