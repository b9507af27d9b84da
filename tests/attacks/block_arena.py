"""Runs a hostile program between two honest blocks, in the real image on the real engine, and says whether it was contained.

In the tier `zygote` the three blocks share one container, one after the other; in the tier `container` each has its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.program_schedule import clear_seconds
from sandbox.collect import framed_instruction
from sandbox.docker_runtime import DockerRuntime
from sandbox.runtime import End, Outcome
from sandbox.spec import JOB, MIB, OWNER, ContainerSpec, ReadOnlyMount
from tests.attacks.attack import ANSWERS, FAILS, PROGRAMS, Attack

BEFORE, HOSTILE, AFTER = 0, 1, 2
ROLES = {BEFORE: "before", HOSTILE: "hostile", AFTER: "after"}
ATTACKER = (PROGRAMS / "attacker.py").read_text(encoding="utf-8")
WITNESS = (PROGRAMS / "witness.py").read_text(encoding="utf-8")
RUNNER = ("python3", "-I", "/banyan/runner.py")
# What a block may use (runtime_images/python); the witness uses the larger part of it.
MEMORY_BYTES, TMPFS_BYTES, TMPFS_INODES, THREADS, OPEN_FILES = 96 * MIB, 4 * MIB, 1024, 12, 128
SHARE = {"memory_bytes": 60 * MIB, "disk_bytes": 3 * MIB, "inodes": 600, "threads": 8, "open_files": 80}
# The slot leaves room for a machine that is busy with other things.
SLOT_FOR_EACH_SECOND, SLOT_SECONDS = 1.2, 0.15
# A machine that is busy makes any block late. So what the honest blocks answer counts as changed, and a hostile one as failed, only if
# it is so again when everybody has several times as long.
PATIENCE = (1, 3, 8)
# gVisor takes longer for everything, above all for memory that is touched for the first time.
GVISOR_FACTOR = 8

IDLE = Attack("idle", "def analyse(tables, params):\n    return {'hit': 0.0}\n", "nothing", (), "none needed")

DISPATCH = """
import sys, types

def _module(name, text):
    module = types.ModuleType(name)
    exec(compile(text, name + ".py", "exec"), module.__dict__)
    sys.modules[name] = module
    return module

_module("attacker", {attacker!r})
_witness = _module("witness", {witness!r})
_attack = _module("attack", {attack!r})

if hasattr(_attack, "at_import"):
    import pyarrow
    frame = sys._getframe()
    while "mapped" not in frame.f_locals:  # there is no file of its rows, but its process knows where in memory they are
        frame = frame.f_back
    own = pyarrow.foreign_buffer(*frame.f_locals["mapped"]["people"])
    if pyarrow.ipc.open_file(own).read_all().column("role")[0].as_py() == "hostile":
        _attack.at_import()

def analyse(tables, params):
    role = tables["people"].column("role")[0].as_py()
    act = getattr(_attack, "analyse" if role == "hostile" else role, None)
    if role == "hostile":
        said = act(tables, params)
        if type(said) is not dict:
            return said
        return {{"hit": said["hit"], "seen": [said.get("said", 0.0)] + [0.0] * (_witness.WIDTH - 1)}}
    seen = _witness.witness(tables, params)
    said = act(tables, params) if act else None
    return {{"hit": 0.0, "seen": [said["said"]] + seen[1:] if said else seen}}
"""


@dataclass(frozen=True)
class Frame:
    """What the runner said of one block: `hit` and `seen` where it answered, neither where it failed."""

    raw: bytes
    hit: float | None = None
    seen: tuple[float, ...] = ()


@dataclass(frozen=True)
class Trial:
    """Three blocks: their frames by index, how the containers ended, and what the operator's log got."""

    frames: dict[int, Frame]
    ends: tuple[End, ...]
    sealed: bytes
    seconds: float
    knocked: int
    """Connections and datagrams that reached the host's doors."""


@dataclass(frozen=True)
class Options:
    """How a trial differs from the usual.

    runner    a folder with a changed copy of the runner, used in place of the image's
    runtime   one with fewer measures
    spin      what the program is told to do, where it can do two things
    patience  how many times as long everybody has
    """

    runner: Path | None = None
    runtime: DockerRuntime | None = None
    spin: bool = False
    patience: float = 1


class Doors:
    """Sockets of the host that no block may reach: TCP (as Ray's store and dashboard), UDP, a file, an abstract name."""

    def __init__(self, folder: Path) -> None:
        self.knocked = 0
        self._open: list[socket.socket] = []
        self.tcp = self._listen(socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1]
        self.udp = self._listen(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM).getsockname()[1]
        self.unix = str(folder / "plasma_store")
        self._listen(socket.AF_UNIX, self.unix)
        self.abstract = f"banyan-{secrets.token_hex(8)}"
        self._listen(socket.AF_UNIX, "\0" + self.abstract)

    def _listen(self, family: int, address: Any, kind: int = socket.SOCK_STREAM) -> socket.socket:
        door = socket.socket(family, kind)
        door.bind(address)
        if kind == socket.SOCK_STREAM:
            door.listen()
        self._open.append(door)
        threading.Thread(target=self._count, args=(door, kind), daemon=True).start()
        return door

    def _count(self, door: socket.socket, kind: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                if kind == socket.SOCK_STREAM:
                    door.accept()[0].close()
                else:
                    door.recv(512)
                self.knocked += 1

    def close(self) -> None:
        for door in self._open:
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()

    def as_params(self) -> dict[str, Any]:
        return {"tcp": self.tcp, "udp": self.udp, "unix": self.unix, "abstract": self.abstract}


class BlockArena:
    """Runs attacks on one engine with one image; keeps the honest blocks' answers to compare with."""

    def __init__(self, url: str, image: str, folder: Path) -> None:
        self.runtime: DockerRuntime = DockerRuntime(url)
        self.image, self.folder = image, folder
        self.labels = {OWNER: "attacks", JOB: f"attack-{secrets.token_hex(6)}"}
        self.doors = Doors(folder)
        self.oci_runtime: str | None = None
        self.secrets: dict[str, dict[str, Any]] = {}
        self._honest: dict[tuple[str, str | None], dict[int, bytes]] = {}
        for index, role in ROLES.items():
            self._write_block(index, role)

    def _write_block(self, index: int, role: str) -> None:
        head, tail = struct.unpack("<2d", b"".join(b"\x41" + secrets.token_bytes(5) + b"\x15\x41" for _ in range(2)))
        note = secrets.token_bytes(8).hex()
        rows = 200
        columns = {
            "role": [role] * rows, "value": [float(index + row) for row in range(rows)], "note": [note] * rows, "head": [head] * rows,
            "tail": [tail] * rows,
        }  # fmt: skip
        table = pa.table(columns)
        place = self.folder / "blocks" / str(index)
        place.mkdir(parents=True)
        with pa.OSFile(str(place / "people.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        if index == BEFORE:
            spelled = {
                "rows": (note[:8].encode(), note[8:].encode()),
                "answer": (struct.pack(">d", head), struct.pack(">d", tail)),
                "numbers": (struct.pack("<d", head), struct.pack("<d", tail)),
            }
            self.secrets = {
                name: {
                    "head": bytes(byte ^ 0x5A for byte in first).hex(),
                    "tails": [hashlib.sha256(last).hexdigest()[:32]],
                }
                for name, (first, last) in spelled.items()
            }

    def close(self) -> None:
        self.doors.close()

    def trial(self, attack: Attack, tier: str, options: Options | None = None) -> Trial:
        """Runs the attack once."""
        chosen = options or Options()
        knocked, started = self.doors.knocked, time.monotonic()
        groups = [[BEFORE, HOSTILE, AFTER]] if tier == "zygote" else [[BEFORE], [HOSTILE], [AFTER]]
        outcomes = [self._run(attack, tier, group, chosen) for group in groups]
        frames = [frame for outcome in outcomes for frame in read_exactly(outcome.output, vector_bytes())]
        return Trial(
            dict(frames),
            tuple(outcome.end for outcome in outcomes),
            b"".join(outcome.sealed for outcome in outcomes),
            time.monotonic() - started,
            self.doors.knocked - knocked,
        )

    def _run(self, attack: Attack, tier: str, blocks: list[int], options: Options) -> Outcome:
        mounts = [ReadOnlyMount(str(self.folder / "blocks" / str(index)), f"/blocks/{index}") for index in blocks]
        if options.runner is not None:
            mounts.append(ReadOnlyMount(str(options.runner), "/weakened"))
        instruction = self._instruction(attack, tier, blocks, options)
        spec = ContainerSpec(
            image=self.image,
            command=RUNNER if options.runner is None else (*RUNNER[:2], "/weakened/runner.py"),
            labels=self.labels,
            mounts=tuple(mounts),
            memory_bytes=384 * MIB,
            pids=64 if self.oci_runtime is None else 256,
            wall_seconds=instruction["wall_seconds"] + 5.0,
            namespaces=tier == "zygote",
            oci_runtime=self.oci_runtime,
        )
        asked = framed_instruction(json.dumps(instruction).encode())
        return (options.runtime or self.runtime).run(spec, asked, lambda: False)

    def _instruction(self, attack: Attack, tier: str, blocks: list[int], options: Options) -> dict[str, Any]:
        slower = options.patience * (1 if self.oci_runtime is None else GVISOR_FACTOR)
        cpu = attack.cpu * slower
        clear = clear_seconds(cpu, MEMORY_BYTES)
        slot = (SLOT_FOR_EACH_SECOND * attack.cpu + SLOT_SECONDS) * slower + clear
        params = {
            "tier": tier, "hostile": HOSTILE,
            "spin": options.spin, "doors": self.doors.as_params(), "secrets": self.secrets, "share": SHARE, "burn": attack.burn * cpu,
            "vector_bytes": vector_bytes(), "tmpfs_bytes": TMPFS_BYTES, "tmpfs_inodes": TMPFS_INODES, "threads": THREADS,
            "open_files": OPEN_FILES, "memory_bytes": 4 * MEMORY_BYTES, "slot_seconds": slot,
        }  # fmt: skip
        return {
            "kind": "program", "name": f"{attack.name}.py", "params": params, "preload": [],
            "code": DISPATCH.format(attacker=ATTACKER, witness=WITNESS, attack=attack.text),
            "outputs": [{"name": "hit", "length": None}, {"name": "seen", "length": width()}],
            "blocks": [{"index": index, "folder": f"/blocks/{index}"} for index in blocks],
            "isolation": "namespaces" if tier == "zygote" else "none", "cpu_seconds_per_block": cpu, "slot_seconds": slot,
            "clear_seconds": clear, "memory_bytes_per_block": MEMORY_BYTES, "wall_seconds": 30 + len(blocks) * slot, "trace": False,
        }  # fmt: skip

    def honest(self, tier: str) -> Mapping[int, bytes]:
        """The frames of the honest blocks where the one between them does nothing."""
        key = (tier, self.oci_runtime)
        if key not in self._honest:
            for patience in PATIENCE:
                trial = self.trial(IDLE, tier, Options(patience=patience))
                if len(trial.frames) == len(ROLES) and all(frame.hit == 0.0 for frame in trial.frames.values()):
                    break
            else:
                pytest.fail(f"honest blocks do not answer: {trial.sealed.decode(errors='replace')}")
            self._honest[key] = {index: trial.frames[index].raw for index in (BEFORE, AFTER)}
        return self._honest[key]

    def outcome(self, attack: Attack, tier: str, options: Options | None = None) -> tuple[Trial, list[str]]:
        """Runs the attack, with more patience where something was late; the last trial, and what the attack got."""
        for patience in PATIENCE:
            trial = self.trial(attack, tier, replace(options or Options(), patience=patience))
            late, got = self.late(attack, tier, trial), self.gains(attack, trial)
            if got or not late:
                break
        return trial, got + late

    def late(self, attack: Attack, tier: str, trial: Trial) -> list[str]:
        """Which honest blocks answered otherwise than beside a block that does nothing, and whether the hostile one failed unasked."""
        if trial.frames.keys() != ROLES.keys():
            return [f"blocks with a frame: {sorted(trial.frames)}"]
        honest = self.honest(tier)
        changed = [index for index in (BEFORE, AFTER) if trial.frames[index].raw != honest[index]]
        failed = attack.ends == ANSWERS and trial.frames[HOSTILE].hit is None
        return [
            *(f"the block {ROLES[index]} it answers otherwise" for index in changed),
            *(["its own block failed"] if failed else []),
        ]

    def gains(self, attack: Attack, trial: Trial) -> list[str]:
        """What the attack's own block says that it got, and what was seen from outside."""
        found = [f"a container ended {end}" for end in trial.ends if end is not End.COMPLETED]
        own = trial.frames.get(HOSTILE, Frame(b""))
        if own.hit:
            found.append(f"succeeded: {int(own.hit):#b}" if 0 < own.hit < 1 << 50 else "succeeded with another number")
        if attack.ends == FAILS and own.hit is not None:
            found.append("its own block answered")
        return [*found, *(["the host was reached"] if trial.knocked else [])]


def width() -> int:
    names: dict[str, Any] = {}
    exec(compile(WITNESS, "witness.py", "exec"), names)
    return int(names["WIDTH"])


def vector_bytes() -> int:
    """Length of a block's vector."""
    return 8 * (1 + width())


def read_exactly(output: bytes, size: int) -> Iterator[tuple[int, Frame]]:
    """Every frame of the output. Fails at the first that is not well-formed, and at bytes behind the last."""
    at = 0
    while at < len(output):
        index, status, length = struct.unpack_from(">IBI", output, at)
        assert (status, length) in ((0, size), (1, 0)), (index, status, length)
        raw = output[at : at + 9 + length]
        assert len(raw) == 9 + length
        hit, *seen = struct.unpack(f">{length // 8}d", raw[9:]) if length else (None,)
        yield index, Frame(raw, hit, tuple(seen))
        at += 9 + length
