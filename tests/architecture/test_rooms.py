"""Each room is a top-level package of this checkout, known to the wheel, the import rules and the type checker."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
CLIENT = tomllib.loads((CHECKOUT / "client" / "pyproject.toml").read_text())
ROOMS = sorted(path.parent.name for path in CHECKOUT.glob("*/__init__.py") if path.parent.name != "tests")
PUBLIC = sorted(path.parent.name for path in (CHECKOUT / "client").glob("*/__init__.py"))
OURS = {"banyan-service", "banyan-client"}


def test_every_room_is_in_the_wheel():
    assert sorted(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == ROOMS
    assert CLIENT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == PUBLIC == ["banyan"]


def test_every_room_is_known_to_the_import_rules_and_the_type_checker():
    assert sorted(PROJECT["tool"]["importlinter"]["root_packages"]) == sorted(ROOMS + PUBLIC)
    assert sorted(PROJECT["tool"]["mypy"]["packages"]) == sorted(ROOMS + PUBLIC)


def test_every_room_stands_in_the_order_of_the_rooms():
    layers = next(c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")["layers"]
    assert sorted(room.strip() for layer in layers for room in layer.split("|")) == ROOMS


def test_the_import_rules_are_kept():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"Contracts: {len(PROJECT['tool']['importlinter']['contracts'])} kept, 0 broken." in done.stdout


def test_no_import_rule_was_dropped():
    assert len(PROJECT["tool"]["importlinter"]["contracts"]) >= 11


def found_from_elsewhere(names: list[str]) -> dict[str, str]:
    """Where a program started in another folder finds each package."""
    program = (
        "import importlib.util, json, sys; "
        "print(json.dumps({n: importlib.util.find_spec(n).origin for n in sys.argv[1:]}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program, *names], cwd="/", capture_output=True, check=True)
    return json.loads(done.stdout)


def test_each_room_comes_from_this_checkout():
    places = found_from_elsewhere(ROOMS + PUBLIC)
    expected = {name: str(CHECKOUT / name / "__init__.py") for name in ROOMS}
    expected |= {name: str(CHECKOUT / "client" / name / "__init__.py") for name in PUBLIC}
    assert places == expected


@pytest.mark.parametrize("name", [*ROOMS, *PUBLIC])
def test_no_other_distribution_claims_the_name(name):
    claimed_by = importlib.metadata.packages_distributions().get(name, [])
    assert set(claimed_by) <= OURS, f"{claimed_by} would overwrite our {name}"
