"""The operator's log: one line an event on stderr, ours only; nothing that came out of a container is ever given to it."""

from __future__ import annotations

import logging
import sys


def configure() -> None:
    """Send `banyan.*` to stderr with time and level; other libraries only when something is wrong."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    logging.getLogger("banyan").setLevel(logging.INFO)
