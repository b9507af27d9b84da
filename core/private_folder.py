"""Folders that only this user may enter, in places where everybody may make one (a tmpfs)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from core.errors import Unavailable


def private_folder(path: Path) -> Path:
    """Make `path` (0700) unless it is there, and return it.

    Raises Unavailable (`folder.not_private`) unless it is a real folder of this user that nobody else may enter: somebody may have
    made one of that name before us, to read what we put there.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError:
        raise Unavailable(
            "folder.not_private", f"the folder {path} cannot be made", way_out="look who owns its name"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Unavailable(
            "folder.not_private", f"the folder {path} is not ours alone", way_out="remove it, and look who made it"
        )
    return path
