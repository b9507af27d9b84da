"""Decides the bytes of a layer and of an image: the same content always gives the same digest."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

EPOCH = 1735689600  # 2025-01-01, the moment written on everything, so that no build differs by its clock
CREATED = "2025-01-01T00:00:00Z"
CHUNK = 1 << 20
BLOCK = 512


@dataclass(frozen=True)
class Layer:
    """A tar file and its DiffID (SHA-256 of the tar)."""

    tar: Path
    diff_id: str


def digest_of(*parts: bytes) -> str:
    """SHA-256 over length-prefixed parts, so that moving a byte from one part to the next changes it."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_layer(cache: Path, name: str, key: str, write: Callable[[Path], None]) -> Layer:
    """The layer called `name` made from inputs with digest `key`: from the cache, or written now.

    A layer appears under its final name only when it is whole, and takes the place of older ones of that name.
    """
    cache.mkdir(parents=True, exist_ok=True)
    tar = cache / f"{name}-{key[:16]}.tar"
    note = tar.with_suffix(".diff_id")
    if not (tar.exists() and note.exists()):
        unfinished = tar.with_suffix(f".{os.getpid()}.part")
        try:
            write(unfinished)
            note.write_text("sha256:" + file_digest(unfinished))
            unfinished.replace(tar)
        finally:
            unfinished.unlink(missing_ok=True)
        for old in cache.glob(f"{name}-*"):
            if old not in {tar, note}:
                old.unlink(missing_ok=True)
    return Layer(tar, note.read_text())


def write_folder(tar: Path, folder: Path, prefix: str) -> None:
    """Writes `folder` as a layer under `prefix`: sorted, owned by root, one time stamp, no suid or sgid bit."""
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT, bufsize=CHUNK) as archive:
        for parent in reversed(Path(prefix).parents[:-1]):
            _add(archive, folder, str(parent))
        _add(archive, folder, prefix)
        for path in sorted(folder.rglob("*")):
            _add(archive, path, f"{prefix}/{path.relative_to(folder)}")


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    entry = archive.gettarinfo(path, name)
    executable = entry.mode & stat.S_IXUSR
    entry.mode = 0o755 if entry.isdir() or executable else 0o644
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = EPOCH
    if entry.isreg():
        entry.type = tarfile.REGTYPE
        with path.open("rb") as content:
            archive.addfile(entry, content)
    else:
        archive.addfile(entry)


def image_config(layers: list[Layer], settings: dict[str, object], architecture: str) -> bytes:
    """The image's configuration; its SHA-256 is the image id, so the id is a function of the content alone."""
    config = {
        "architecture": architecture,
        "config": settings,
        "created": CREATED,
        "history": [{"created": CREATED, "created_by": layer.tar.name.rpartition("-")[0]} for layer in layers],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()


def image_archive(reference: str, config: bytes, layers: list[Layer]) -> Iterator[bytes]:
    """The image as `docker load` reads it, made on the fly so that no second copy of the layers is written."""
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": names}]
    for name, layer in zip(names, layers, strict=True):
        yield _header(name, layer.tar.stat().st_size)
        with layer.tar.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield _padding(layer.tar.stat().st_size)
    for name, content in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
        yield _header(name, len(content)) + content + _padding(len(content))
    yield bytes(2 * BLOCK)


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mtime = EPOCH
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def written_tar(content: dict[str, bytes]) -> bytes:
    """A layer of a few files given as bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted({str(parent) for name in content for parent in Path(name).parents} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, EPOCH
            archive.addfile(entry)
        for name, data in sorted(content.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, EPOCH
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
