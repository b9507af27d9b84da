"""Hostile programs against a sandbox from which one control was taken: each succeeds, so it is that control which stops it.

The runner is a changed copy, mounted beside the one in the image. Each weakened sandbox is first shown to serve honest blocks as
the whole one does, or a broken sandbox would look like a successful attack. Left out is what would harm the machine or others on it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.attack import ATTACKS
from tests.attacks.block_arena import IDLE, BlockArena, Options
from tests.attacks.test_query_container import Weakened

pytestmark = [pytest.mark.docker, pytest.mark.slow]

RUNNER = Path(__file__).resolve().parents[2] / "runtime_images" / "python"
NO_ENDING = {"attendance.py": "\n\ndef end_all_but(spared):\n    pass\n"}
# The engine's filter would otherwise refuse what the block's own filter no longer does.
NO_FILTER = {"without": frozenset({"seccomp"}), "instead": {"SecurityOpt": ["seccomp=unconfined"]}}
HOST_NETWORK = {
    "without": frozenset({"seccomp", "network_mode", "network_disabled", "hostname"}),
    "instead": {"SecurityOpt": ["seccomp=unconfined"], "NetworkMode": "host"},
}
RUNNABLE = """
SAFE = kernel.MS_NOSUID | kernel.MS_NODEV
LIBRARIES = (*LIBRARIES, "/lib", "/lib64")
"""
REMEMBER = """
_received = socket.recv_fds
_kept = []

def _remembering(*arguments):
    got = _received(*arguments)
    folder = got[0].decode().rstrip("\\0")
    if folder:
        _kept.append(Path(folder, "people.arrow").read_bytes())
    return got

socket.recv_fds = _remembering
"""


@dataclass(frozen=True)
class Weakening:
    """What is taken away, and what the attack then gets.

    measures  rows of the runner's MEASURES that are missing
    appended  text behind a module of the runner
    replaced  text in a module of the runner, in place of other text
    without   rows of HARDENING that are missing; `instead`: the engine's settings in their place
    gets      words of the breach that must then be found
    noticed   whether the honest blocks notice even without an attack that something is missing
    """

    attack: str
    gets: str
    measures: tuple[str, ...] = ()
    appended: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, tuple[str, str]] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    instead: dict[str, Any] = field(default_factory=dict)
    noticed: bool = False

    def runner(self, folder: Path) -> Path:
        """A copy of the runner without what is taken away."""
        for module in RUNNER.glob("*.py"):
            shutil.copyfile(module, folder / module.name)
        appended = dict(self.appended)
        if self.measures:
            dropped = f"\n\nMEASURES = tuple(row for row in MEASURES if row.name not in {self.measures!r})\n"
            appended["measures.py"] = appended.get("measures.py", "") + dropped
        for name, text in appended.items():
            with (folder / name).open("a") as file:
                file.write(text)
        for name, (old, new) in self.replaced.items():
            text = (folder / name).read_text()
            assert text.count(old) == 1, f"{name} no longer has: {old}"
            (folder / name).write_text(text.replace(old, new))
        folder.chmod(0o755)
        return folder


ALL_FREE = ("kernel_calls", "pid_namespace")
WEAKENINGS = (
    Weakening("other_blocks", "succeeded", ("own_root",)),
    Weakening("leftover_files", "succeeded", ("own_root",)),
    Weakening("proc_tree", "succeeded", ("own_root",)),
    Weakening("host_statistics", "succeeded", ("own_root",), without=frozenset({"masked_paths"})),
    Weakening("shared_memory", "succeeded", ("own_root",), without=frozenset({"ipc_none"})),
    Weakening(
        "disk_fill", "succeeded", ("file_size",), {"root.py": '\nTEMPORARY = "size=64m,nr_inodes=1024,mode=1777"\n'}
    ),
    Weakening("inode_fill", "succeeded", appended={"root.py": '\nTEMPORARY = "size=4m,nr_inodes=9999,mode=1777"\n'}),
    Weakening(
        "write_outside",
        "succeeded",
        replaced={"root.py": ("MS_REMOUNT | kernel.MS_RDONLY | SAFE, SKELETON", "MS_REMOUNT | SAFE, SKELETON")},
    ),
    Weakening("exec_from_tmp", "succeeded", ("kernel_calls",), {"root.py": RUNNABLE}),
    Weakening("fork_bomb", "succeeded", ("kernel_calls",)),
    Weakening("inode_counter", "succeeded", ("kernel_calls",)),
    Weakening("machine_wide_limits", "succeeded", ("kernel_calls",)),
    Weakening("page_cache_exact", "succeeded", ("kernel_calls",)),
    Weakening("namespaces_again", "succeeded", ("kernel_calls", "no_capability")),
    Weakening("mount_ids", "succeeded", ("kernel_calls", "no_capability")),
    Weakening("privileges", "succeeded", ("kernel_calls", "no_capability")),
    Weakening("stray_descriptors", "succeeded", ("only_its_pipes",), noticed=True),
    Weakening("rlimits", "succeeded", ("no_core_dump",), without=frozenset({"no_core_dump"})),
    Weakening("memory_bomb", "succeeded", ("memory",), without=frozenset({"memory", "memory_swap"})),
    Weakening("stop_the_supervisor", "a container ended", ALL_FREE),
    Weakening("read_the_supervisor", "succeeded", ALL_FREE, **NO_FILTER),
    Weakening("survivor", "after it answers otherwise", ALL_FREE, NO_ENDING),
    Weakening("file_locks", "succeeded", ALL_FREE, NO_ENDING),
    Weakening("abstract_socket_of_a_block", "succeeded", (*ALL_FREE, "network_namespace"), NO_ENDING, **NO_FILTER),
    Weakening("heap_scan", "succeeded", appended={"zygote.py": REMEMBER}),
    Weakening("supervisor_objects", "succeeded", appended={"zygote.py": REMEMBER}),
    Weakening(
        "result_too_long",
        "its own block answered",
        replaced={"runner.py": ("pipes.waiting() == 8", "pipes.waiting() >= 8")},
    ),
    Weakening(
        "heavy_to_clear",
        "after it answers otherwise",
        replaced={"runner.py": ('float(instruction["clear_seconds"])', "0.0")},
    ),
    Weakening(
        "access_times",
        "succeeded",
        replaced={
            "root.py": (
                "None, READ_ONLY | kernel.MS_NOSUID |",
                "None, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_NOSUID |",
            )
        },
    ),
    Weakening("links_and_devices", "succeeded", ("kernel_calls",), **NO_FILTER),
    Weakening("priorities_and_clocks", "succeeded", ("kernel_calls",), **NO_FILTER),
    Weakening("io_uring", "succeeded", ("kernel_calls",), **NO_FILTER),
    Weakening("kernel_doors", "succeeded", ("kernel_calls",), **NO_FILTER),
    Weakening("keyrings", "succeeded", ("kernel_calls",), **NO_FILTER),
    Weakening("calls_of_32_bits", "succeeded", ("kernel_calls",), **NO_FILTER),
    Weakening("inet_sockets", "succeeded", ("kernel_calls",), **NO_FILTER),
    Weakening("udp_datagram", "the host was reached", ("kernel_calls", "network_namespace"), **HOST_NETWORK),
    Weakening("ray_gcs", "the host was reached", ("kernel_calls", "network_namespace"), **HOST_NETWORK),
    Weakening(
        "abstract_socket_of_the_host", "the host was reached", ("kernel_calls", "network_namespace"), **HOST_NETWORK
    ),
)


@pytest.mark.parametrize("weakening", WEAKENINGS, ids=lambda weakening: weakening.attack)
def test_without_its_control_the_attack_succeeds(
    block_arena: BlockArena, docker_host: str, tmp_path: Path, weakening: Weakening
) -> None:
    (attack,) = (attack for attack in ATTACKS if attack.name == weakening.attack)
    runner = weakening.runner(tmp_path)
    runtime = Weakened(docker_host, set(weakening.without), dict(weakening.instead))
    options = Options(runner=runner, runtime=runtime)
    honest, noticed = block_arena.outcome(IDLE, "zygote", options)
    assert bool(noticed) == weakening.noticed, honest.sealed.decode(errors="replace")
    _, breaches = block_arena.outcome(attack, "zygote", options)
    assert breaches
    assert weakening.gets in "; ".join(breaches)
