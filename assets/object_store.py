"""Where ciphertext lies: the port, and a local folder behind it. Nothing is half there: an object is whole and durable, or absent."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from core.errors import Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ObjectStore(Protocol):
    """The port. Paths are relative, with `/` between parts; objects are never changed once put."""

    def put(self, path: str, content: bytes) -> None:
        """Store an object. When this returns, it survives a crash of the machine.

        Raises Unavailable (`ingest.storage_full`) if there is no room, or `storage.unreachable`; nothing new is at `path` then, and what
        was there stays: an object is never replaced.
        """
        ...

    def has(self, path: str) -> bool:
        """Whether there is an object. Raises Unavailable (`storage.unreachable`) where that cannot be said."""
        ...

    def get(self, path: str) -> bytes:
        """The object's bytes. Raises Unavailable (`storage.unreachable`) if it is not there or cannot be read."""
        ...

    def remove_folder(self, path: str) -> None:
        """Remove all objects below `path`; idempotent."""
        ...

    def folders(self, path: str) -> dict[str, float]:
        """The folders below `path`, with the time of their last change in seconds since 1970."""
        ...


class LocalObjectStore:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, path: str, content: bytes) -> None:
        """See the port: written beside its place, synced, and only then given its name."""
        target = self._at(path)
        temporary = target.with_name(f".{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o444)  # for the containers that it is shown to; nobody else may enter the folders above
            os.link(temporary, target)  # unlike a renaming, it replaces nothing
            temporary.unlink()
            self._sync_folders(target.parent)
        except OSError as problem:
            with suppress(OSError):
                temporary.unlink()
            raise storage_problem(problem) from None

    def has(self, path: str) -> bool:
        """See the port."""
        try:
            self._at(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as problem:
            raise storage_problem(problem) from None
        return True

    def get(self, path: str) -> bytes:
        """See the port."""
        try:
            return self._at(path).read_bytes()
        except OSError as problem:
            raise storage_problem(problem) from None

    def remove_folder(self, path: str) -> None:
        """See the port."""
        shutil.rmtree(self._at(path), ignore_errors=True)

    def folders(self, path: str) -> dict[str, float]:
        """See the port."""
        folder = self._at(path)
        if not folder.is_dir():
            return {}
        return {entry.name: entry.stat().st_mtime for entry in os.scandir(folder) if entry.is_dir()}

    def _at(self, path: str) -> Path:
        if not all(part and not part.startswith(".") for part in path.split("/")):
            raise ValueError("not a path of an object")
        return self._root / path

    def _sync_folders(self, folder: Path) -> None:
        """A new name is durable once its folder is; a new folder once the one above it is."""
        depth = len(folder.relative_to(self._root).parts)
        for each in (folder, *folder.parents)[: depth + 1]:
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def storage_full() -> Unavailable:
    """The refusal of an ingest for which there is no room."""
    text = "the storage is full; nothing was kept of this file, and earlier versions are as they were"
    return Unavailable("ingest.storage_full", text, way_out="make room and send the file again")


def storage_problem(problem: OSError) -> Unavailable:
    """What to raise where a disk refused: `ingest.storage_full` or `storage.unreachable`."""
    if problem.errno in _FULL:
        return storage_full()
    return Unavailable("storage.unreachable", "the storage cannot be reached", detail=os.strerror(problem.errno or 0))
