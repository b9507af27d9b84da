"""Who signs checkpoints, and what it refuses: any tree that does not extend the newest one it has signed (design R17).

The newest checkpoint lives with the signer, outside the database, so that a database restored from a backup is found out before
data is touched.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from audit.checkpoint import TreeHead, opened, sign, verifier_key
from audit.merkle import is_consistent
from core.errors import Conflict, Unavailable
from core.signing_key import create_signing_key, open_signing_key

ROLLED_BACK = "log.rolled_back"
KEY_FILE = "log.key"
Growth = Callable[[TreeHead | None], tuple[TreeHead, Sequence[bytes]]]


class Signer(Protocol):
    """The port. An implementation keeps its newest tree head durably and never signs one that does not extend it."""

    @property
    def origin(self) -> str:
        """The log's name."""
        ...

    @property
    def verifier_key(self) -> str:
        """The vkey text that checks its notes."""
        ...

    def newest(self) -> TreeHead | None:
        """The newest tree head signed; None before the first."""
        ...

    def sign(self, growth: Growth) -> tuple[TreeHead, str]:
        """Sign the log's present tree head and make it durable as the newest; returns it with its note.

        `growth(newest)` gives the present head and the consistency proof from `newest` (empty if the sizes are equal or there is none).
        It is called while the signer holds its lock, so that a head read earlier by a slower process is never mistaken for a
        rollback. Raises Conflict (`log.rolled_back`) if the present head does not extend the newest; nothing is changed then.
        """
        ...


class FileSigner:
    """A key file (0400) and the newest checkpoint in one folder; a lock file serialises several processes."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder, self._origin = folder, origin
        try:
            self._key = open_signing_key(folder / KEY_FILE)
        except (OSError, ValueError):
            raise Unavailable(
                "signer.unreadable", "the log's signing key cannot be read; run banyan-server init"
            ) from None

    @staticmethod
    def create(folder: Path) -> None:
        """Make the folder (0700) and a fresh key, unless there is one."""
        create_signing_key(folder / KEY_FILE)

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._origin

    @property
    def _public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    @property
    def verifier_key(self) -> str:
        """The vkey text that checks its notes."""
        return verifier_key(self._origin, self._public)

    def newest(self) -> TreeHead | None:
        """The newest tree head signed; raises Unavailable when the file is there but is not a checkpoint of ours."""
        try:
            note = (self._folder / "checkpoint").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return opened(note, self._origin, self._public)
        except ValueError:
            raise Unavailable("signer.unreadable", "the signer's newest checkpoint cannot be read") from None

    def sign(self, growth: Growth) -> tuple[TreeHead, str]:
        """See the port."""
        with self._locked():
            newest = self.newest()
            head, proof = growth(newest)
            if newest is not None and not is_consistent(newest.size, newest.root, head.size, head.root, proof):
                raise rolled_back()
            note = sign(head, self._origin, self._key)
            if head != newest:
                self._persist(note)
            return head, note

    def _persist(self, note: str) -> None:
        temporary = self._folder / "checkpoint.new"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._folder / "checkpoint")
        except OSError:
            raise Unavailable("signer.unwritable", "the signer's newest checkpoint cannot be stored") from None
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = (self._folder / "lock").open("w")
        except OSError:
            raise Unavailable("signer.unreadable", "the signer's folder cannot be used") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def rolled_back() -> Conflict:
    """The refusal that a log earns which does not extend the newest checkpoint outside the database."""
    return Conflict(
        ROLLED_BACK,
        "the log does not extend the newest signed checkpoint: the database was rolled back or replaced",
        way_out="restore the newest database; no data is touched until then",
    )
