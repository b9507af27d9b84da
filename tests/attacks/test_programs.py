"""Hostile researchers' programs, each between two honest blocks: none gets anything, and neither neighbour notices it."""

from __future__ import annotations

import itertools
import os

import docker
import pytest

from tests.attacks.attack import ATTACKS, Attack
from tests.attacks.block_arena import AFTER, BEFORE, HOSTILE, PATIENCE, BlockArena, Options
from tests.attacks.conftest import Row

pytestmark = pytest.mark.docker

# Rows of the table of attacks (the team's notes on isolation, §5), and what a design with blocks in one container adds.
TABLE = {
    *range(1, 39),
    "Ray",
    "heap",
    "R11 clock",
    "R11 clearing",
    "R11 counters",
    "R11 cpu",
    "R11 failure",
    "R11 leftovers",
    "R11 page cache",
    "R11 survivor",
}
CLOCK_SECONDS = 0.03


def cases() -> list[object]:
    """Every attack in every tier it is meant for. What one block may learn of another is tried in every run, the rest in the long ones."""
    found = []
    for tier, attack in itertools.product(("zygote", "container"), ATTACKS):
        if tier in attack.tiers and not attack.own_test:
            between_blocks = tier == "zygote" and any(isinstance(row, str) for row in attack.rows)
            marks = [] if between_blocks else [pytest.mark.slow]
            found.append(pytest.param(attack, tier, id=f"{attack.name}-{tier}", marks=marks))
    return found


def note(verdicts: list[Row], attack: Attack, tier: str, *, held: bool) -> None:
    kept = "residual" if attack.residual else "contained"
    verdicts.append(Row(attack.name, tier, kept if held else "NOT HELD", attack.residual or attack.control))


@pytest.mark.parametrize(("attack", "tier"), cases())
def test_a_hostile_program_gets_nothing(
    block_arena: BlockArena, verdicts: list[Row], attack: Attack, tier: str
) -> None:
    trial, breaches = block_arena.outcome(attack, tier)
    note(verdicts, attack, tier, held=not breaches)
    assert breaches == [], trial.sealed.decode(errors="replace")[-2000:]


def test_the_clock_does_not_tell_what_earlier_blocks_took(block_arena: BlockArena, verdicts: list[Row]) -> None:
    if os.getloadavg()[0] > 2 * len(os.sched_getaffinity(0)):
        pytest.skip("this machine is too busy to keep a core for the container, which is what the promise rests on")
    (attack,) = (attack for attack in ATTACKS if attack.own_test)

    def between_the_later_blocks(spin: bool, patience: float) -> float | None:
        trial = block_arena.trial(attack, "zygote", Options(spin=spin, patience=patience))
        assert (trial.frames[BEFORE].hit is None) or not spin, "the block before did not spin"
        later = [trial.frames[index].seen for index in (HOSTILE, AFTER)]
        return later[1][0] - later[0][0] if all(later) else None  # one of them was late: the machine is busy

    tries: list[float] = []
    for patience in (1, *PATIENCE):
        times = [between_the_later_blocks(spin, patience) for spin in (True, False)]
        if None not in times:
            tries.append(times[0] - times[1])
        if tries and abs(tries[-1]) < CLOCK_SECONDS:
            break
    held = bool(tries) and abs(tries[-1]) < CLOCK_SECONDS
    note(verdicts, attack, "zygote", held=held)
    assert held, tries


def test_every_kind_of_attack_is_tried() -> None:
    assert len(ATTACKS) >= 40
    assert {row for attack in ATTACKS for row in attack.rows} == TABLE
    assert all(attack.aim and attack.control for attack in ATTACKS)
    assert {row for attack in ATTACKS if attack.residual for row in attack.rows} == {30, 38}
    assert len({attack.aim for attack in ATTACKS}) == len(ATTACKS)


# --- In gVisor: one container a block, its kernel in front of the host's. ---------------------------------------------


@pytest.fixture
def gvisor_arena(block_arena: BlockArena, docker_host: str) -> BlockArena:
    if "runsc" not in known_runtimes(docker_host):
        pytest.skip("this engine has no OCI runtime called runsc: install the package runsc and run `just engine`")
    block_arena.oci_runtime = "runsc"
    return block_arena


def known_runtimes(url: str) -> set[str]:
    engine = docker.APIClient(base_url=url, version="auto")
    try:
        return set(engine.info()["Runtimes"])
    finally:
        engine.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if "container" in attack.tiers], ids=lambda attack: attack.name
)
def test_a_hostile_program_gets_nothing_in_gvisor(
    gvisor_arena: BlockArena, verdicts: list[Row], attack: Attack
) -> None:
    try:
        trial, breaches = gvisor_arena.outcome(attack, "container")
    finally:
        gvisor_arena.oci_runtime = None
    if attack.gvisor:
        verdicts.append(Row(attack.name, "container, runsc", "residual", attack.gvisor))
        assert [breach for breach in breaches if not breach.startswith("succeeded")] == []
        assert breaches, "gVisor holds here too: say so in the program"
        return
    note(verdicts, attack, "container, runsc", held=not breaches)
    assert breaches == [], trial.sealed.decode(errors="replace")[-2000:]
