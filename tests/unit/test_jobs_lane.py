"""One lane: its blocks and no others lie in the clear while it runs, nothing of them does afterwards, and only checked partials leave."""

import json
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from assets.blocks import Block, Place, close_block, digest_of, new_version_key
from assets.object_store import LocalObjectStore
from assets.physical import parquet_bytes
from core.errors import Unavailable
from jobs.lane import LaneWork, TableShare, run_lane
from jobs.query_lane import QueryForm
from sandbox.fake_runtime import FakeRuntime
from tests.api_world import blocks_of, frame, honest, partial_of
from tests.policies_world import quick_folder
from tests.unit.sql_world import arrow_of, plan_of, some_rows

PLAN = plan_of("SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward")
PRIVATE = plan_of("SELECT surname, COUNT(*) AS n FROM visits GROUP BY surname")
COUNT = 4
SIZE = 64 * 1024
MARK = "ZQX-778"


@pytest.fixture
def folder():
    with quick_folder() as name:
        yield Path(name)


@pytest.fixture
def work(folder):
    """A lane with all four blocks of a version."""
    key, store, blocks = new_version_key(), LocalObjectStore(folder / "store"), []
    for index in range(COUNT):
        rows = sorted(some_rows(30, index), key=lambda row: row["person"])
        sealed = close_block(parquet_bytes(arrow_of(rows)), SIZE, key, Place("v-1", index, COUNT))
        store.put(f"blocks/v-1/{index}.block", sealed)
        blocks.append(Block(index, f"blocks/v-1/{index}.block", len(sealed), digest_of(sealed)))
    return LaneWork(
        job="j-1", attempt=1, lane=0, lanes=2, owner="test", image="sha256:" + "a" * 64, engine="none", staging=str(folder / "staging"),
        form=QueryForm(PLAN), seed=b"\x05" * 32, store=str(folder / "store"), seconds=5.0, lane_seconds=9.0, block_seconds=2.0, memory_bytes=64 << 20,
        tables=(TableShare("visits", "person", "v-1", COUNT, tuple(blocks), key, {}),),
    )  # fmt: skip


def share(work, **changes):
    """The same lane with another share of its table."""
    return replace(work, tables=(replace(work.tables[0], **changes),))


def run(work, program=honest, cancelled=lambda: False, **runtime):
    return run_lane(work, FakeRuntime(program, test="lane", **runtime), cancelled)


def test_it_gives_a_partial_for_each_of_its_blocks(work):
    result = run(work)
    assert sorted(result.partials) == [0, 1, 2, 3]
    assert result.end == "completed"


def test_blocks_lie_in_the_clear_only_while_it_runs_and_only_its_own(work):
    seen = {}

    def look(spec, instruction):
        source = Path(spec.mounts[0].source)
        seen["files"] = {path.name: stat.S_IMODE(path.stat().st_mode) for path in source.iterdir()}
        seen["targets"] = [mount.target for mount in spec.mounts]
        return honest(spec, instruction)

    mine = replace(share(work, blocks=work.tables[0].blocks[1::2]), lane=1)
    assert sorted(run(mine, look).partials) == [1, 3]
    assert seen == {"files": {"1.parquet": 0o444, "3.parquet": 0o444}, "targets": ["/blocks"]}
    assert list(Path(work.staging).iterdir()) == []


def test_the_specification_holds_what_the_plan_says(work):
    seen = []
    run(work, lambda spec, instruction: seen.append((spec, json.loads(instruction[4:]))) or b"")
    (spec, asked) = seen[0]
    assert spec.image == work.image
    assert spec.labels == {"banyan.owner": "test", "banyan.job": "j-1", "banyan.lane": "0"}
    assert (spec.cpus, spec.cpuset, spec.memory_bytes, spec.wall_seconds) == (1.0, "0", 64 << 20, 5.0)
    assert spec.output_bytes == COUNT * (PLAN.max_partial_bytes + 9)
    assert asked["seed"] == work.seed.hex()
    assert work.tables[0].key.hex() not in json.dumps(asked)


def crash(spec, instruction):
    raise ValueError(f"row of {MARK}")


def loud(spec, instruction):
    return honest(spec, instruction) + b"\x00" * (64 << 10) * COUNT


def hang(spec, instruction):
    time.sleep(1.2)
    return honest(spec, instruction)


@pytest.mark.parametrize(
    ("program", "end"),
    [(crash, "failed"), (loud, "output exceeded"), (hang, "timed out"), (lambda *_: b"", "completed"), (lambda *_: b"\xff" * 99, "completed")],
)  # fmt: skip
def test_whatever_the_container_does_the_lane_ends_and_forgets(work, program, end):
    result = run(replace(work, seconds=0.5), program)
    assert result.end == end
    assert list(Path(work.staging).iterdir()) == []
    if program is not loud:
        assert result.partials == {}


def test_what_it_wrote_to_stderr_is_sealed_and_in_no_repr(work):
    result = run(work, crash)
    assert MARK.encode() in result.sealed
    assert MARK not in repr(result)


def test_what_was_done_before_the_flood_counts(work):
    assert sorted(run(work, loud).partials) == [0, 1, 2, 3]


def test_an_engine_that_is_gone_is_told_to_the_operator_only(work):
    for runtime, end in (
        ({"reachable": False}, "engine.unreachable"),
        ({"missing": [work.image]}, "engine.image_missing"),
    ):
        result = run(work, **runtime)
        assert (result.partials, result.end, result.sealed) == ({}, end, b"")
        assert list(Path(work.staging).iterdir()) == []


def test_a_tmpfs_that_is_full_is_told_to_the_operator_only(work, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(work).end == "staging.failed"


def damage(work, index, change):
    path = Path(work.store) / work.tables[0].blocks[index].path
    data = bytearray(path.read_bytes())
    path.chmod(0o600)
    changed = change(data)
    path.unlink() if changed is None else path.write_bytes(changed)


def flipped(data):
    data[len(data) // 2] ^= 1
    return data


@pytest.mark.parametrize(
    "change", [flipped, lambda data: data[:-1], lambda data: data[:5], lambda data: b"", lambda data: None]
)
def test_a_damaged_block_counts_as_its_default_and_takes_no_other_with_it(work, change):
    damage(work, 2, change)
    result = run(work)
    assert sorted(result.partials) == [0, 1, 3]
    assert result.end == "completed"


def test_a_block_in_the_place_of_another_does_not_open(work):
    """Digest and place both guard it: even when the catalogue's digests were swapped as well, the key does not fit."""
    first, second = work.tables[0].blocks[:2]
    swapped = (
        replace(first, path=second.path, digest=second.digest),
        replace(second, path=first.path, digest=first.digest),
    )
    assert sorted(run(share(work, blocks=(*swapped, *work.tables[0].blocks[2:]))).partials) == [2, 3]
    assert sorted(run(share(work, blocks=(replace(first, path=second.path), *work.tables[0].blocks[1:]))).partials) == [
        1,
        2,
        3,
    ]


def test_a_block_of_another_version_does_not_open(work):
    assert run(share(work, version="v-2")).partials == {}
    assert run(share(work, key=new_version_key())).partials == {}


def test_all_blocks_damaged_still_ends_as_a_lane(work):
    for index in range(COUNT):
        damage(work, index, flipped)
    assert run(work).end == "completed"


def test_a_cancelled_lane_forgets_too(work):
    result = run(work, cancelled=lambda: True)
    assert (result.partials, result.end) == ({}, "cancelled")
    assert list(Path(work.staging).iterdir()) == []


def test_an_exception_from_outside_leaves_nothing_in_the_clear(work):
    """ray.cancel raises KeyboardInterrupt inside the lane."""

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work, cancelled=interrupted)
    assert list(Path(work.staging).iterdir()) == []


HOSTILE = {
    "of another plan": lambda index, good: frame(index, good[:5] + b"\x00\x00\x00\x00\x00\x09"),
    "without its end": lambda index, good: frame(index, good[:-1]),
    "with more behind": lambda index, good: frame(index, good + b"\x00"),
    "too long": lambda index, good: frame(index, good + b"\x00" * PRIVATE.max_partial_bytes),
    "of a block that was not asked for": lambda index, good: frame(index + 100, good),
    "given twice": lambda index, good: frame(index, good) * 2,
    "that failed": lambda index, good: frame(index, None),
    "with a status of its own": lambda index, good: frame(index, good)[:4] + b"\x07" + frame(index, good)[5:],
    "with a count below zero": lambda index, good: frame(index, good[:-16] + b"\xff" * 16),
    "with a count beyond all bounds": lambda index, good: frame(index, good[:-16] + b"\x7f" + b"\xff" * 15),
    "pickled": lambda index, good: frame(index, b"\x80\x04\x95cos\nsystem\n."),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_partial_does_not_leave_the_lane(work, kind):
    """The container's own blocks before it count; the lane's owner gets bytes of the fixed form or nothing (R18)."""

    def hostile(spec, instruction):
        output = b""
        for index, path in blocks_of(spec, instruction):
            good = partial_of(instruction, path)
            output += HOSTILE[kind](index, good) if index == 3 else frame(index, good)
        return output

    assert sorted(run(replace(work, form=QueryForm(PRIVATE)), hostile).partials) == [0, 1, 2]


def test_mock_blocks_need_no_key_and_no_store(work):
    plain = {index: parquet_bytes(arrow_of(some_rows(9, index))) for index in (0, 2)}
    mock = replace(share(work, blocks=(), key=b"", version="", plain=plain), store="/nonexistent")
    assert sorted(run(mock).partials) == [0, 2]


def test_secrets_are_in_no_repr(work):
    shown = repr(share(work, plain={0: b"PLAINTEXT"}))
    for secret in (work.tables[0].key, work.seed, b"PLAINTEXT"):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_private_keys_leave_as_partials_and_nowhere_else(work, capfd, caplog):
    """Group values come out of the container in partials, for the gate; no log line and no stream of ours shows them."""
    result = run(replace(work, form=QueryForm(PRIVATE)))
    assert any(b"Zyx" in data for data in result.partials.values())
    said = capfd.readouterr()
    assert said.out + said.err + caplog.text == ""
    assert "Zyx" not in repr(result)


def test_an_unreachable_store_is_like_damage(work):
    Path(work.store).rename(work.store + "-away")
    assert run(work).partials == {}
    with pytest.raises(Unavailable):
        LocalObjectStore(Path(work.store)).get(work.tables[0].blocks[0].path)
