"""What runs inside an image imports no room, and no room imports it: they share bytes, not code."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGES = CHECKOUT / "runtime_images"

ROOMS = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")} | {"banyan"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_the_image_code_imports_no_room():
    files = list(IMAGES.rglob("*.py"))
    assert files
    assert {str(path): imported(path) & ROOMS for path in files if imported(path) & ROOMS} == {}


def test_the_build_needs_nothing_but_the_standard_library():
    own = {path.stem for path in IMAGES.glob("*.py")}
    for path in IMAGES.glob("*.py"):
        assert imported(path) - own <= set(sys.stdlib_module_names), path


def test_a_runner_needs_only_what_its_image_holds():
    sys.path.insert(0, str(IMAGES))  # its modules import each other by their names
    build = importlib.import_module("build")
    runners = list(IMAGES.glob("*/runner.py"))
    assert len(runners) == 3
    for runner in runners:
        lock = (runner.parent / "requirements.lock").read_text()
        files = [*runner.parent.glob("*.py"), *build.SHARED.get(runner.parent.name, {}).values()]
        own = {path.stem for path in files}
        assert not own & set(sys.stdlib_module_names)  # they lie in front of it on the path
        for path in files:
            for name in imported(path) - own - set(sys.stdlib_module_names):
                assert f"\n{name}==" in lock, f"{path} imports {name}"


def test_no_room_imports_the_image_code():
    for room in ROOMS - {"tests", "banyan"}:
        for path in (CHECKOUT / room).rglob("*.py"):
            assert "runtime_images" not in imported(path), path
