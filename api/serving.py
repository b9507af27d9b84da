"""`serve`: the API in this process, the reconciler in a child; both ready, both ended together."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from pathlib import Path

import uvicorn

from api.app import application
from api.processes import ReconcilerProcess
from api.wiring import Server

READY_SECONDS = 30
_log = logging.getLogger("banyan.server")


def serve(server: Server) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    _clear_uploads_of_the_dead(server.uploads)
    server.ingest.remove_orphans()
    reconciler = ReconcilerProcess()
    config = uvicorn.Config(
        application(server, reconciler),
        host=server.settings.host,
        port=server.settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    # uvicorn puts our handler back when it is done and raises the signal once more; the default one would end us before the clean-up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reconciler.start()
    threading.Thread(target=_announce, args=(server, reconciler), daemon=True).start()
    try:
        uvicorn.Server(config).run()
    except KeyboardInterrupt:
        pass
    finally:
        reconciler.stop()
        shutil.rmtree(server.uploads, ignore_errors=True)
    return 0


def _clear_uploads_of_the_dead(uploads: Path) -> None:
    """What a killed server left in the clear; a server beside this one on the same state folder keeps its own."""
    stem, _, _ = uploads.name.rpartition("-")
    for folder in uploads.parent.glob(f"{stem}-*"):
        process = folder.name.rpartition("-")[2]
        if folder == uploads or not Path(f"/proc/{process}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _announce(server: Server, reconciler: ReconcilerProcess) -> None:
    if reconciler.ready.wait(READY_SECONDS):
        _log.info("ready on http://%s:%s", server.settings.host, server.settings.port)
    else:
        _log.critical("the reconciler is not ready; jobs stay queued")
