"""Modules stay small, are named for what they decide and say it in a docstring."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in CHECKOUT.glob("*/__init__.py") if path.parent.name != "tests")
FOLDERS += [CHECKOUT / name for name in ("client/banyan", "runtime_images", "scripts", "benchmarks", "examples")]
MODULES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py") if "migrations/versions" not in str(path))
NAMES_THAT_DECIDE_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
LONGEST = 400
LONGEST_MEDIAN = 120


def named(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def test_the_guards_look_at_the_modules():
    assert len(MODULES) > 60


def test_no_module_is_longer_than_the_cap():
    lengths = {named(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_half_of_the_modules_are_short():
    lengths = [sum(1 for line in path.read_text().splitlines() if line.strip()) for path in MODULES]
    assert statistics.median(length for length in lengths if length) <= LONGEST_MEDIAN


def test_modules_are_named_for_what_they_decide():
    parts = {part for path in MODULES for part in (*path.relative_to(CHECKOUT).parent.parts, path.stem)}
    assert parts & NAMES_THAT_DECIDE_NOTHING == set()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_what_it_decides(path):
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{named(path)} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_is_left_undone(path):
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "NotImplementedError" not in names
    assert "TODO" not in path.read_text()
