"""Session fixtures: the engine and the images that `make setup` left in .banyan, or a skip that says what is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

STATE = Path(__file__).resolve().parent.parent / ".banyan"


@pytest.fixture(scope="session")
def docker_host() -> str:
    """URL of the engine: DOCKER_HOST, else what set-up wrote, else the usual socket."""
    if url := os.environ.get("DOCKER_HOST"):
        return url
    written = STATE / "engine" / "host"
    return written.read_text().strip() if written.exists() else "unix:///var/run/docker.sock"


def _image(name: str) -> str:
    # BANYAN_TEST_<NAME>_IMAGE lets a developer test against an image of their own before the recipes have been built.
    if chosen := os.environ.get(f"BANYAN_TEST_{name.upper()}_IMAGE"):
        return chosen
    listing = STATE / "images.json"
    found = json.loads(listing.read_text()) if listing.exists() else {}
    entry = found.get(name, {})
    identity = entry.get("id") if isinstance(entry, dict) else entry
    if not isinstance(identity, str):
        pytest.skip(f"no {name} image: run `just images` first")
    return identity


@pytest.fixture(scope="session")
def query_image() -> str:
    """Image id (sha256:...) of the query image."""
    return _image("query")


@pytest.fixture(scope="session")
def python_image() -> str:
    """Image id (sha256:...) of the python image."""
    return _image("python")
