"""What a Ray that was killed has left is ended and removed by the next one of the same server, and by no other."""

import os
import signal
import subprocess

import pytest

from jobs.ray_scheduler import TEMPORARY, RayScheduler
from tests.town import until

pytestmark = pytest.mark.ray


def left_by(owner):
    """A folder and a process as a killed Ray leaves them."""
    folder = TEMPORARY / f"bny-{owner}-left"
    folder.mkdir()
    (folder / "token").write_text("secret")
    worker = subprocess.Popen(["sleep", "60"], env={**os.environ, "RAY_AUTH_TOKEN_PATH": str(folder / "token")})
    return folder, worker


def test_a_scheduler_ends_what_an_earlier_one_of_its_server_left_and_leaves_nothing_itself():
    mine, others = os.urandom(6).hex(), os.urandom(6).hex()
    (folder, worker), (other_folder, other_worker) = left_by(mine), left_by(others)
    try:
        scheduler = RayScheduler(1, mine)
        try:
            assert worker.wait(5) == -signal.SIGKILL
            assert not folder.exists()
            assert (other_worker.poll(), other_folder.exists()) == (None, True)
            assert scheduler.is_usable()
            (there,) = TEMPORARY.glob(f"bny-{mine}-*")
            assert there.stat().st_mode & 0o777 == 0o700
        finally:
            scheduler.close()
        until(lambda: not list(TEMPORARY.glob(f"bny-{mine}-*")), 5)
    finally:
        other_worker.kill()
        other_worker.wait()
        (other_folder / "token").unlink()
        other_folder.rmdir()
