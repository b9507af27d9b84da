"""Builds the images that are missing from the engine, and writes down which image a name stands for.

    python runtime_images/build.py [query] [python] [encrypted]        (no name: all)

An image is made of layers: the base, its packages, what its C files become, and its runner, if it has them. Each layer is kept under
the digest of what it was made from, so nothing is built twice; the tag of an image is the digest of its whole recipe. The result is
`.banyan/images.json`: name -> reference, id, recipe, diff_ids, modules. It uses the standard library and uv, and no registry.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import quote

import base
import compiled
import layers
import packages
from layers import Layer, digest_of

IMAGES = Path(__file__).resolve().parent
STATE = IMAGES.parent / ".banyan"
CACHE = STATE / "cache"
MAPPING = STATE / "images.json"
# Files that an image has in common with what is outside, from one source (place in the image -> file): what a program may import on its
# author's machine too, and how the service reads and adds ciphertexts.
_ENCRYPTED = IMAGES.parent / "privacy" / "encrypted"
SHARED: dict[str, dict[str, Path]] = {
    "python": {"banyan/lib/banyan/frames.py": IMAGES.parent / "client" / "banyan" / "frames.py"},
    "encrypted": {f"banyan/{name}": _ENCRYPTED / name for name in ("hev.py", "sums.py")},
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# What a container starts with unless told otherwise: as nobody, with no writable place but /tmp.
SETTINGS: dict[str, object] = {
    "User": "65534:65534",
    "WorkingDir": "/",
    "Env": [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "LANG=C.UTF-8",
        "HOME=/tmp",
        "MPLCONFIGDIR=/tmp",  # lifelines brings matplotlib, which looks for a writable folder
        "PYTHONDONTWRITEBYTECODE=1",
    ],
    "Cmd": ["/usr/bin/python3"],
}
HEARTBEAT_SECONDS = 10
STARTED = time.monotonic()


def say(text: str) -> None:
    sys.stderr.write(f"images: {text} ({time.monotonic() - STARTED:.0f} s)\n")
    sys.stderr.flush()


class Engine:
    """The three words of the Docker API that loading needs, over its Unix socket."""

    def __init__(self, host: str) -> None:
        if not host.startswith("unix://"):
            raise SystemExit(f"images: the engine must be a Unix socket on this machine, not {host!r}")
        self._path = host.removeprefix("unix://")

    def _ask(self, method: str, path: str, body: Iterable[bytes] | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.sock.connect(self._path)
            headers = {"Content-Type": "application/x-tar"} if body is not None else {}
            connection.request(method, path, body=body, headers=headers, encode_chunked=body is not None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as problem:
            raise SystemExit(f"images: no Docker engine answers at {self._path} ({problem})") from problem
        finally:
            connection.close()

    def inspect(self, reference: str) -> dict[str, object] | None:
        status, body = self._ask("GET", f"/images/{quote(reference, safe='/:')}/json")
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        found = json.loads(body)
        return {"id": found["Id"], "diff_ids": found["RootFS"]["Layers"]}

    def load(self, archive: Iterable[bytes]) -> None:
        status, body = self._ask("POST", "/images/load?quiet=1", archive)
        if status != http.HTTPStatus.OK or b'"error"' in body:
            raise SystemExit(f"images: the engine refused the image: {body.decode(errors='replace')[-500:]}")


def recipe(name: str) -> str:
    """Digest of everything the image is made from."""
    return digest_of(
        base.key().encode(),
        packages.key(IMAGES / name).encode(),
        *([compiled.key(IMAGES / name).encode()] if compiled.sources(IMAGES / name) else []),
        runner_tar(name),
        json.dumps(SETTINGS, sort_keys=True).encode(),
        (IMAGES / "layers.py").read_bytes(),
    )


def reference_of(name: str) -> str:
    return f"banyan/{name}:{recipe(name)[:12]}"


def runner_tar(name: str) -> bytes:
    """The runner with its modules at /banyan, and what the image shares with the outside; empty without a runner."""
    content = {f"banyan/{path.name}": path.read_bytes() for path in (IMAGES / name).glob("*.py")}
    for place, file in SHARED.get(name, {}).items():
        content[f"{Path(place).parent}/__init__.py"] = b""
        content[place] = file.read_bytes()
    return layers.written_tar(content) if content else b""


def runner_layer(name: str) -> list[Layer]:
    """The runner alone in the last layer, so that a change of it costs no second package layer."""
    content = runner_tar(name)
    if not content:
        return []
    return [layers.cached_layer(CACHE, f"{name}.runner", digest_of(content), lambda tar: _write(tar, content))]


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def build_layers(names: list[str]) -> dict[str, list[Layer]]:
    """Base and packages of all images at the same time: one waits for the mirror while the other unpacks."""
    with ThreadPoolExecutor() as pool:
        bottom = pool.submit(_timed, "base", base.key(), base.write)
        tops = {name: pool.submit(_package_layer, name) for name in names}
        objects = {name: pool.submit(_compiled_layer, name) for name in names if compiled.sources(IMAGES / name)}
        _wait([bottom, *tops.values(), *objects.values()])
        made = {name: [objects[name].result()] if name in objects else [] for name in names}
        return {name: [bottom.result(), tops[name].result(), *made[name], *runner_layer(name)] for name in names}


def _package_layer(name: str) -> Layer:
    image = IMAGES / name
    return _timed(f"{name}.packages", packages.key(image), lambda tar: packages.write(tar, image))


def _compiled_layer(name: str) -> Layer:
    image = IMAGES / name
    return _timed(f"{name}.compiled", compiled.key(image), lambda tar: compiled.write(tar, image))


def _timed(name: str, key: str, write: Callable[[Path], None]) -> Layer:
    def announced(tar: Path) -> None:
        say(f"building {name}")
        write(tar)
        say(f"built {name}, {tar.stat().st_size / 1e6:.0f} MB")

    return layers.cached_layer(CACHE, name, key, announced)


def _wait(futures: list[Future[Layer]]) -> None:
    """Says now and then that work goes on: a mirror can be slow, and silence looks like a hang."""
    while waiting := wait(futures, timeout=HEARTBEAT_SECONDS, return_when=FIRST_EXCEPTION).not_done:
        if any(future.done() and future.exception() for future in futures):
            return
        say(f"still building {len(waiting)} of {len(futures)} layers")


def settings(name: str) -> dict[str, object]:
    return {**SETTINGS, "Labels": {"banyan.image": "1", "banyan.image.recipe": recipe(name)}}


def ensure(engine: Engine, names: list[str]) -> dict[str, dict[str, object]]:
    missing = [name for name in names if engine.inspect(reference_of(name)) is None]
    if missing:
        architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        for name, parts in build_layers(missing).items():
            say(f"loading {reference_of(name)} into the engine")
            config = layers.image_config(parts, settings(name), architecture)
            engine.load(layers.image_archive(reference_of(name), config, parts))
        say(f"ready: {', '.join(missing)}")
    return {name: describe(engine, name) for name in names}


def describe(engine: Engine, name: str) -> dict[str, object]:
    found = engine.inspect(reference_of(name))
    if found is None:
        raise SystemExit(f"images: {reference_of(name)} is not in the engine after loading it")
    return {"reference": reference_of(name), "recipe": recipe(name), "modules": modules_of(name), **found}


def modules_of(name: str) -> list[str]:
    """The top-level modules that an image's packages bring, as its recipe lists them."""
    listed = IMAGES / name / "modules.txt"
    lines = listed.read_text().splitlines() if listed.exists() else []
    return [line for line in lines if not line.startswith("#")]


def write_mapping(entries: dict[str, dict[str, object]]) -> None:
    known = json.loads(MAPPING.read_text()) if MAPPING.exists() else {}
    unfinished = MAPPING.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(json.dumps({**known, **entries}, indent=2, sort_keys=True) + "\n")
    unfinished.replace(MAPPING)


def main() -> None:
    available = sorted(path.parent.name for path in IMAGES.glob("*/requirements.lock"))
    names = sys.argv[1:] or available
    if unknown := sorted(set(names) - set(available)):
        raise SystemExit(f"images: no recipe for {', '.join(unknown)}; there are {', '.join(available)}")
    STATE.mkdir(exist_ok=True)
    write_mapping(ensure(Engine(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"), names))


if __name__ == "__main__":
    main()
