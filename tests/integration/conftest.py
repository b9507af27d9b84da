"""Servers of a small asset for the end-to-end tests, and the proof after each test that no container of theirs is left."""

from __future__ import annotations

import pytest

from tests.town import UNHURRIED, Town, prepare, town_in, until


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, query_image):
    """A state folder with people, asset, data and policy, and the people's tokens."""
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def town(tmp_path_factory, prepared, docker_host):
    """One town for all; a test calls `up()` before it uses it, spends little, and may leave it stopped or killed."""
    with town_in(tmp_path_factory.mktemp("town"), prepared, docker_host, **UNHURRIED) as made:
        yield made


@pytest.fixture
def another_town(tmp_path, prepared, docker_host):
    """A town for one test, untouched by others."""
    with town_in(tmp_path, prepared, docker_host) as made:
        yield made


@pytest.fixture(autouse=True)
def no_container_stays():
    """After every test: no container of a server that a test started, in any state."""
    yield
    for town in Town.started:
        until(lambda town=town: not town.containers(), 10)
