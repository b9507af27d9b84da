"""Looks through everything that the demo's service has: its memory, its files, its logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from demo_server import Demo


def searched(demo: Demo, secrets: Mapping[str, bytes]) -> dict[str, int]:
    """How often each secret is found in the service's memory, files and logs."""
    found = dict.fromkeys(secrets, 0)
    for path in [*(demo.folder / "state").rglob("*"), demo.folder / "server.log"]:
        if path.is_file():
            content = path.read_bytes()
            for name, secret in secrets.items():
                found[name] += content.count(secret)
    if demo.server is None:
        raise SystemExit("there is no server to search")
    for process in _family(demo.server.pid):
        for memory in _memory(process):
            for name, secret in secrets.items():
                found[name] += memory.count(secret)
    return found


def _family(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    family = [root]
    for process in family:
        family += parents.get(process, [])
    return family


def _memory(process: int) -> Iterable[bytes]:
    """What the process may write to, where a secret could have been put."""
    try:
        maps = Path(f"/proc/{process}/maps").read_text().splitlines()
        with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
            for line in maps:
                place, rights = line.split()[:2]
                if not rights.startswith("rw"):
                    continue
                start, end = (int(part, 16) for part in place.split("-"))
                for at in range(start, end, 64 << 20):
                    try:
                        memory.seek(at)
                        yield memory.read(min(64 << 20, end - at))
                    except (OSError, ValueError, OverflowError):
                        break
    except OSError:
        return
