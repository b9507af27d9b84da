"""The compiled pass says what a slow one in Python says, for any rows, order and cut; bounds what a unit can change; survives nonsense."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import struct
import subprocess
import tarfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from tests.unit.slow_pass import LARGEST, WORDS, Slow, some_block, some_instruction

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "runtime_images" / "query" / "bounded.c"
FUZZ = Path(__file__).with_name("bounded_fuzz.c")

_spec = importlib.util.spec_from_file_location("query_aggregate", SOURCE.with_name("aggregate.py"))
aggregate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(aggregate)


def compiled(folder: Path, *options: str, source: Path = SOURCE) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("no gcc on this machine: apt-get install gcc libc6-dev")
    target = folder / "bounded.so"
    warnings = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]
    subprocess.run(["gcc", "-fPIC", "-shared", *warnings, *options, str(source), "-o", str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """What the source becomes here; without a compiler, what `just images` left for the query image."""
    folder = tmp_path_factory.mktemp("pass")
    if shutil.which("gcc"):
        return aggregate.load(compiled(folder, "-O3", "-fno-tree-loop-distribute-patterns"))
    layers = sorted((CHECKOUT / ".banyan" / "cache").glob("query.compiled-*.tar"))
    if not layers:
        pytest.skip("no gcc on this machine and no compiled pass: run `just images` first")
    with tarfile.open(layers[0]) as layer:
        (folder / "bounded.so").write_bytes(layer.extractfile("banyan/bounded.so").read())
    return aggregate.load(folder / "bounded.so")


@pytest.fixture(scope="module")
def tying_library(tmp_path_factory):
    """Ranks of two bits: nearly every choice is decided by the bytes."""
    return aggregate.load(compiled(tmp_path_factory.mktemp("ties"), "-O2", "-DRANK_BITS=2"))


def batches_of(instruction, rows, cuts=()):
    kinds = [key["kind"] == "text" for key in instruction["keys"]]
    types = [
        pa.string() if text else aggregate._INTEGERS[key["width"]]
        for key, text in zip(instruction["keys"], kinds, strict=True)
    ]
    names = ["u", *(f"k{i}" for i in range(len(kinds))), *(f"v{i}" for i in range(instruction["values"]))]
    ends = sorted({0, len(rows), *cuts})
    for start, end in pairwise(ends):
        some = rows[start:end]
        columns = [pa.array([u for u, _, _ in some], pa.int32())]
        columns += [pa.array([keys[i] for _, keys, _ in some], kind) for i, kind in enumerate(types)]
        columns += [pa.array([values[i] for _, _, values in some], pa.int64()) for i in range(instruction["values"])]
        yield pa.RecordBatch.from_arrays(columns, names=names)


def partial_of(library, instruction, blocks, cut=lambda rows: ()):
    with aggregate.Pass(library, instruction) as running:
        for texts, rows in blocks:
            running.block(len(texts), pa.array(texts, pa.string()), batches_of(instruction, rows, cut(rows)))
        return running.partial()


@pytest.mark.parametrize("start", range(0, 400, 40))
def test_the_pass_equals_the_slow_one_for_any_order_and_cut(library, start):
    for number in range(start, start + 40):
        r = random.Random(number)
        instruction = some_instruction(r)
        blocks = [some_block(r, instruction) for _ in range(r.randint(0, 3))]
        expected = Slow(instruction, blocks).packed()
        assert partial_of(library, instruction, blocks) == expected, number
        shuffled = [(texts, r.sample(rows, len(rows))) for texts, rows in blocks]
        assert (
            partial_of(library, instruction, shuffled, lambda rows, r=r: [r.randint(0, len(rows)) for _ in range(3)])
            == expected
        ), number


def test_equal_ranks_are_decided_by_canonical_bytes(tying_library):
    for number in range(150):
        r = random.Random(number)
        instruction = some_instruction(r)
        blocks = [some_block(r, instruction)]
        assert partial_of(tying_library, instruction, blocks) == Slow(instruction, blocks, bits=2).packed(), number


def test_many_units_and_groups_over_the_size_of_a_chunk(library):
    r = random.Random(3)
    keys = [{"kind": "text", "max_bytes": 8}, {"kind": "integer", "width": 4}]
    measures = [
        {"kind": "units"},
        {"kind": "sum", "value": 0, "low": -5, "high": 9, "centre": 2},
        {"kind": "distinct", "value": 0, "k": 3},
    ]
    sets = [
        {"keys": [0, 1], "max_groups": 7, "most_groups": 10**4, "most_values": 10**6},
        {"keys": [], "max_groups": 1, "most_groups": 1, "most_values": 99},
    ]
    instruction = {"seed": "01" * 16, "max_rows": 4, "values": 1, "keys": keys, "measures": measures, "sets": sets}
    rows = [(u // 9, [f"g{r.randrange(60)}", r.randrange(40)], [r.randint(-20, 20)]) for u in range(9000)]
    blocks = [([f"u{i}" for i in range(1000)], rows), ([f"w{i}" for i in range(1000)], rows[:1500])]
    assert partial_of(library, instruction, blocks) == Slow(instruction, blocks).packed()


def test_a_unit_with_more_groups_than_are_held_at_a_time(library, tying_library):
    """Groups that were let go return, and go again; the few that stay have all their rows."""
    r = random.Random(5)
    keys = [{"kind": "code", "width": 4, "values": [f"c{i}" for i in range(300)]}, {"kind": "text", "max_bytes": 9}]
    measures = [
        {"kind": "rows"},
        {"kind": "bins", "value": 0, "low": 0, "high": 9, "step": 4},
        {"kind": "distinct", "value": 0, "k": 2},
    ]
    sets = [
        {"keys": k, "max_groups": most, "most_groups": 999, "most_values": 999}
        for k, most in (([0], 3), ([1], 3), ([1], 70), ([0], 200))
    ]
    instruction = {"seed": "05" * 16, "max_rows": 3, "values": 1, "keys": keys, "measures": measures, "sets": sets}
    rows = [(u, [r.randrange(300), f"t{r.randrange(300)}"], [r.randrange(12)]) for u in range(2) for _ in range(2500)]
    blocks = [(["first", "second"], rows)]
    assert partial_of(library, instruction, blocks) == Slow(instruction, blocks).packed()
    assert partial_of(tying_library, instruction, blocks) == Slow(instruction, blocks, bits=2).packed()


SUM = {"kind": "sum", "value": 0, "low": 0, "high": 10, "centre": 5}
PLAIN = {
    "seed": "02" * 16,
    "max_rows": 3,
    "values": 1,
    "keys": [{"kind": "code", "width": 2, "values": ["a", "b", "c", "d", "e"]}, {"kind": "text", "max_bytes": 20}],
    "measures": [
        {"kind": "units"},
        {"kind": "rows"},
        SUM,
        {"kind": "squares", **{k: v for k, v in SUM.items() if k != "kind"}},
    ],
    "sets": [
        {"keys": [0], "max_groups": 2, "most_groups": 100},
        {"keys": [0, 1], "max_groups": 2, "most_groups": 1000},
    ],
}
REACH = [1, 3, 15, 75]


def one_block(r, units):
    texts = [f"unit {i}" for i in range(units)]
    rows = [
        (u, [r.randrange(5), r.choice(WORDS[:5])], [r.randint(-5, 15)])
        for u in range(units)
        for _ in range(r.choice([1, 5, 9]))
    ]
    return texts, rows


def cells(library, instruction, block):
    """Key to values of each set, read from the partial by hand."""
    data, found, at = partial_of(library, instruction, [block]), [], 6
    for _ in range(data[5]):
        groups, width = struct.unpack_from("<IH", data, at)
        sizes = struct.unpack_from(f"<{groups}H", data, at + 6)
        at += 6 + 2 * groups
        keys = []
        for size in sizes:
            keys.append(data[at : at + size])
            at += size
        columns = [struct.unpack_from(f"<{groups}q", data, at + 8 * groups * c) for c in range(width)]
        at += 8 * groups * width
        found.append(dict(zip(keys, zip(*columns, strict=True), strict=True)))
    return found


@pytest.mark.parametrize("seed", range(30))
def test_one_unit_less_changes_no_more_than_claimed(library, seed):
    """Also where the unit taken away is the one whose group appears first, which would renumber every code (B1)."""
    r = random.Random(seed)
    texts, rows = one_block(r, 12)
    for gone in (0, r.randrange(12)):
        kept = [i for i in range(12) if i != gone]
        other = [texts[i] for i in kept], [(kept.index(u), k, v) for u, k, v in rows if u != gone]
        for entry, before, after in zip(
            PLAIN["sets"], cells(library, PLAIN, (texts, rows)), cells(library, PLAIN, other), strict=True
        ):
            zeros = (0,) * len(REACH)
            moved = [
                [abs(a - b) for a, b in zip(before.get(k, zeros), after.get(k, zeros), strict=True)]
                for k in before.keys() | after.keys()
            ]
            assert sum(any(change) for change in moved) <= entry["max_groups"]
            assert all(change <= most for row in moved for change, most in zip(row, REACH, strict=True))


MUTANTS = {
    "one group too many": ("s->most = take32(r);", "s->most = take32(r) + 1;"),
    "the first groups": ("if (!worse(p, s, order[0], order[i])) continue;", "continue;"),
    "a cell instead of the bytes": ("siphash(p->sip[GROUP], bytes, size);", "found->cell + 1 + 0 * (bytes[0] + size);"),
    "a hash without the unit": (
        "sip_word(sip_begun(p->sip[RANK]), unit_hash(p, s));",
        "sip_word(sip_begun(p->sip[RANK]), 0);",
    ),
    "rows not capped": ("held < of->cap ? held : of->cap;", "held;"),
    "truncation for floor": ("- (quotient * held > sum * cap)", ""),
    "no clamp from below": ("value = value < low ? low : value;", ""),
    "no rescaling": ("if (held <= cap) return sum;", "return sum;"),
    "NULL as 0": ("if (c.validity)\n            for", "if (0)\n            for"),
    "one distinct value too many": ("m->k = take32(r);", "m->k = take32(r); m->k += m->k > 0;"),
    "a unit over the end of its block": (
        "int problem = unit_ended(p, &p->set[i]);\n        if (problem) return p->failed",
        "int problem = 0;\n        if (problem) return p->failed",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_mistake_is_found(tmp_path, name):
    text, (old, new) = SOURCE.read_text(), MUTANTS[name]
    assert text.count(old) == 1
    (tmp_path / "bounded.c").write_text(text.replace(old, new))
    library = aggregate.load(compiled(tmp_path, "-O0", "-Wno-error", "-w", source=tmp_path / "bounded.c"))
    for number in range(400):
        r = random.Random(number)
        instruction = some_instruction(r)
        blocks = [some_block(r, instruction) for _ in range(2)]
        try:
            if partial_of(library, instruction, blocks) != Slow(instruction, blocks).packed():
                return
        except aggregate.Refused:
            return
    pytest.fail("no random plan told the mistake from the pass")


def test_totals_beyond_62_bits_are_clamped(library):
    high = 2**61
    measures = [{"kind": "sum", "value": 0, "low": -high, "high": high, "centre": 0}]
    instruction = PLAIN | {
        "max_rows": 1,
        "measures": measures,
        "keys": [],
        "sets": [{"keys": [], "max_groups": 1, "most_groups": 1}],
    }
    for sign in (1, -1):
        block = [f"u{i}" for i in range(5)], [(u, [], [sign * high]) for u in range(5)]
        assert cells(library, instruction, block) == [{b"": (sign * LARGEST,)}]


def test_texts_of_units_are_needed_only_where_a_unit_can_have_too_many_groups(library):
    rows = [(0, [1, "x"], [3])]
    every_cell = PLAIN | {"sets": [{"keys": [0], "max_groups": 6, "most_groups": 6}]}
    for instruction, passes in ((every_cell, True), (PLAIN, False)):
        with aggregate.Pass(library, instruction) as running:
            if passes:
                running.block(1, None, batches_of(instruction, rows))
                assert running.partial().startswith(b"BNYP\x02")
            else:
                with pytest.raises(aggregate.Refused):
                    running.block(1, None, batches_of(instruction, rows))


def broken(**changes):
    return {**PLAIN, **changes}


@pytest.mark.parametrize(
    "instruction",
    [
        broken(seed="02" * 15),
        broken(max_rows=0),
        broken(max_rows=2**32),
        broken(values=65),
        broken(sets=[]),
        broken(measures=[]),
        broken(sets=[{"keys": [2], "max_groups": 1, "most_groups": 1}]),
        broken(sets=[{"keys": [], "max_groups": 0, "most_groups": 1}]),
        broken(sets=[{"keys": [], "max_groups": 1, "most_groups": 0}]),
        broken(keys=[{"kind": "code", "width": 2, "values": ["a", "a"]}, {"kind": "text", "max_bytes": 1}]),
        broken(keys=[{"kind": "code", "width": 3, "values": ["a"]}, {"kind": "text", "max_bytes": 1}]),
        broken(keys=[{"kind": "text", "max_bytes": 65_000}] * 2),
        broken(keys=[{"kind": "integer", "width": 8, "low": 2**63 - 2, "count": 4}, {"kind": "text", "max_bytes": 1}]),
        broken(measures=[{"kind": "sum", "value": 1, "low": 0, "high": 1}]),
        broken(measures=[{"kind": "sum", "low": 0, "high": 1}]),
        broken(measures=[{"kind": "rows", "value": 0}]),
        broken(measures=[SUM | {"low": 11}]),
        broken(measures=[SUM | {"high": 2**62 // 3 + 6}]),
        broken(measures=[{**SUM, "kind": "squares", "high": 2**31}]),
        broken(measures=[{"kind": "bins", "value": 0, "low": 0, "high": 1024, "step": 1}]),
        broken(measures=[{"kind": "bins", "value": 0, "low": 0, "high": 9}]),
        broken(measures=[{"kind": "distinct", "value": 0, "k": 0}]),
        broken(measures=[{"kind": "nonnull", "value": 0, "k": 1}]),
    ],
)
def test_a_plan_that_could_wrap_or_is_malformed_is_refused(library, instruction):
    with pytest.raises((aggregate.Refused, ValueError, KeyError, struct.error)):
        aggregate.Pass(library, instruction)


def test_every_prefix_and_longer_form_of_a_specification_is_refused(library):
    whole = aggregate.specification(PLAIN)
    for size in range(len(whole)):
        assert library.bounded_new(whole[:size], size) is None
    assert library.bounded_new(whole + b"\x00", len(whole) + 1) is None
    assert library.bounded_new(None, 0) is None


def replaced(batch, name, column):
    return pa.RecordBatch.from_arrays(
        [column if found == name else batch.column(found) for found in batch.schema.names], names=batch.schema.names
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b.rename_columns(["u", "k1", "k0", "v0"]),
        lambda b: b.select(["u", "k0", "k1"]),
        lambda b: b.slice(1),
        lambda b: replaced(b, "u", pa.array([0, 0, 1], pa.int64())),
        lambda b: replaced(b, "u", pa.array([0, 0, 3], pa.int32())),
        lambda b: replaced(b, "u", pa.array([-1, 0, 1], pa.int32())),
        lambda b: replaced(b, "k0", pa.array([0, 1, 5], pa.int16())),
        lambda b: replaced(b, "k0", pa.array([0, -1, 1], pa.int16())),
        lambda b: replaced(b, "k1", pa.array(["a", "b", "x" * 21])),
        lambda b: replaced(b, "k1", pa.array(["a", "b", "c"], pa.large_string())),
        lambda b: replaced(b, "k1", pa.array(["a", "b", "c"]).dictionary_encode()),
        lambda b: replaced(
            b,
            "k1",
            pa.Array.from_buffers(
                pa.string(), 3, [None, pa.py_buffer(struct.pack("<4i", 0, 2, 1, 3)), pa.py_buffer(b"abc")]
            ),
        ),
        lambda b: replaced(b, "v0", pa.array([1.0, 2.0, 3.0])),
    ],
)
def test_a_batch_that_is_not_the_plans_ends_the_pass(library, spoil):
    good = next(batches_of(PLAIN, [(0, [0, "a"], [1]), (0, [1, "b"], [2]), (1, [2, "c"], [3])]))
    texts = pa.array(["x", "y"], pa.string())
    with aggregate.Pass(library, PLAIN) as running:
        running.block(2, texts, [good])
        with pytest.raises(aggregate.Refused):
            running.block(2, texts, [spoil(good)])


def test_the_pass_itself_refuses_units_that_descend(library, monkeypatch):
    monkeypatch.setattr(aggregate.Pass, "_ordered", lambda self, batches: batches)
    rows = [(u, [0, "a"], [1]) for u in (0, 2, 1)]
    for cuts in ((), (2,)):
        with aggregate.Pass(library, PLAIN) as running, pytest.raises(aggregate.Refused, match="descend"):
            running.block(3, pa.array(["x", "y", "z"]), batches_of(PLAIN, rows, cuts))


def test_an_error_of_the_pass_is_final(library):
    with aggregate.Pass(library, PLAIN) as running:
        good = next(batches_of(PLAIN, [(0, [0, "a"], [1])]))
        with pytest.raises(aggregate.Refused):
            running.block(0, pa.array([], pa.string()), [good])
        with pytest.raises(aggregate.Refused):
            running.block(1, pa.array(["x"]), [good])
        with pytest.raises(aggregate.Refused):
            running.partial()


def test_only_kept_groups_count_towards_the_most(library):
    """A unit with countless groups may not make the sheaf fail: what it does not keep takes no place."""
    keys = [{"kind": "text", "max_bytes": 20}]
    instruction = PLAIN | {"keys": keys, "sets": [{"keys": [0], "max_groups": 2, "most_groups": 2}]}
    block = ["u"], [(0, [f"group {i}"], [1]) for i in range(5000)]
    assert len(cells(library, instruction, block)[0]) == 2
    two = ["u", "v"], [*block[1], *((1, [f"other {i}"], [1]) for i in range(9))]
    with pytest.raises(aggregate.Refused, match="more groups"):
        cells(library, instruction, two)


def fuzzed(tmp_path, calls):
    program = tmp_path / "fuzz"
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if not shutil.which("gcc"):
        pytest.skip("no gcc on this machine: apt-get install gcc libc6-dev")
    subprocess.run(
        ["gcc", "-std=c11", "-O1", "-g", *sanitizers, str(SOURCE), str(FUZZ), "-o", str(program)], check=True
    )
    options = {"ASAN_OPTIONS": "allocator_may_return_null=1:max_allocation_size_mb=16:quarantine_size_mb=8"}
    done = subprocess.run(
        [str(program), str(calls), "7"], env={**os.environ, **options}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(word) for word in done.stdout.split()]


def test_malformed_calls_reach_no_byte_that_is_not_theirs(tmp_path):
    passes, accepted, refused, partials = fuzzed(tmp_path, 60_000)
    assert min(passes, accepted, refused, partials) > 200


@pytest.mark.slow
def test_a_million_malformed_calls_reach_no_byte_that_is_not_theirs(tmp_path):
    assert min(fuzzed(tmp_path, 1_000_000)) > 2000
