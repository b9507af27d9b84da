"""The table that `just test-attacks` ends with: each hostile program, the tier, what stops it, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.attacks.block_arena import BlockArena


class Row(NamedTuple):
    """One line of the table."""

    attack: str
    tier: str
    verdict: str
    control: str


ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture
def verdicts(pytestconfig: pytest.Config) -> list[Row]:
    """Where a test writes down what came of an attack."""
    return pytestconfig.stash[ROWS]


@pytest.fixture(scope="session")
def block_arena(docker_host: str, python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockArena]:
    folder = tmp_path_factory.mktemp("arena")
    arena = BlockArena(docker_host, python_image, folder)
    yield arena
    arena.close()
    assert arena.runtime.remove(arena.labels) == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("hostile programs")
    first, second = max(len(row.attack) for row in rows), max(len(row.tier) for row in rows)
    for row in sorted(rows):
        terminalreporter.line(f"{row.attack:{first}}  {row.tier:{second}}  {row.verdict:9}  {row.control}")
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("contained", "residual", "NOT HELD")}
    programs = len({row.attack for row in rows})
    terminalreporter.line(
        f"{programs} hostile programs, {len(rows)} runs: {count['contained']} contained, {count['residual']} residual"
        f" (docs/threat-model.md), {count['NOT HELD']} not held"
    )
