"""The Scheduler on Ray: one task a lane, never retried. The only module that speaks Ray.

Embedded mode: a local Ray on loopback only, with token authentication, without dashboard, without spilling to disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

# Ray reads these when it is imported. The misnamed "OSX cluster" switch is what makes a local Ray listen on loopback only.
os.environ.update(
    {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
)

import ray

from jobs.lane import LaneResult, LaneWork, run_lane
from sandbox.docker_runtime import DockerRuntime

# Short, since sockets lie below; on a tmpfs, since Ray falls back to files there when its store is full.
TEMPORARY = Path("/dev/shm")  # noqa: S108 - see above
STORE_BYTES = 256 << 20
LOST = LaneResult({}, "lost", b"")
_runtimes: dict[str, DockerRuntime] = {}


def _lane_task(work: LaneWork) -> LaneResult:
    """In a Ray worker: one Docker client a process, since making one costs ten times the task."""
    runtime = _runtimes.setdefault(work.engine, DockerRuntime(work.engine))
    # ray.cancel raises inside the polling loop of the runtime, whose own clean-up then removes the container.
    return run_lane(work, runtime, lambda: False)


def _imported() -> bool:
    """In a Ray worker: by the time this can be called, everything a lane needs is imported."""
    return True


class RayScheduler:
    """Starts a local Ray and stops it with `close`. One at a time for one `owner`: what a killed one left is ended and removed."""

    def __init__(self, lanes: int, owner: str) -> None:
        # AF_UNIX paths are at most 107 bytes and Ray's session name takes most of them.
        _end_earlier(owner)
        # Ray opens its own folders to everybody; the one around them stays ours (0700, as mkdtemp makes it).
        self._folder = Path(tempfile.mkdtemp(prefix=f"bny-{owner}-", dir=TEMPORARY))
        token = self._folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        ray.init(
            address="local",
            num_cpus=lanes,
            include_dashboard=False,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
            object_store_memory=STORE_BYTES,
            _temp_dir=str(self._folder / "r"),
            _system_config={"automatic_object_spilling_enabled": False},
        )
        self._task = ray.remote(num_cpus=1, max_retries=0)(_lane_task)
        self._running: dict[str, dict[int, Any]] = {}
        self._warm(lanes)

    def _warm(self, lanes: int) -> None:
        """Have a worker with everything imported for each lane before the first job comes."""
        ray.get([ray.remote(num_cpus=1, max_retries=0)(_imported).remote() for _ in range(lanes)])

    def start(self, works: tuple[LaneWork, ...]) -> None:
        """See the port."""
        for work in works:
            self._running.setdefault(work.job, {})[work.lane] = self._task.remote(work)

    def ended(self, job: str) -> dict[int, LaneResult]:
        """See the port."""
        tasks = self._running.get(job, {})
        if not tasks:
            return {}
        ready, _ = ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=0)
        return {lane: _result(task) for lane, task in tasks.items() if task in ready}

    def stop(self, job: str) -> None:
        """See the port."""
        for task in self._running.pop(job, {}).values():
            ray.cancel(task)

    def is_usable(self) -> bool:
        """See the port. Ray itself does not say: without its raylet every task is lost, and without its GCS none begins."""
        node: Any = ray._private.worker._global_node  # noqa: SLF001 - the public API asks the very processes that may be gone
        return not {kind for kind, _ in node.dead_processes()} & {"raylet", "gcs_server"}

    def close(self) -> None:
        """See the port."""
        for job in list(self._running):
            self.stop(job)
        ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


def _end_earlier(owner: str) -> None:
    """Workers outlive a Ray that is killed by some seconds, and could still start a container."""
    mark = f"RAY_AUTH_TOKEN_PATH={TEMPORARY}/bny-{owner}-".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    for left in TEMPORARY.glob(f"bny-{owner}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _result(task: Any) -> LaneResult:
    try:
        result = ray.get(task)
    except (ray.exceptions.RayError, KeyboardInterrupt):
        return LOST
    return result if isinstance(result, LaneResult) else LOST
