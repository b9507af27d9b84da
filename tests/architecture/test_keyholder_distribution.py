"""The key holder is installed without the service: its own wheel holds all that it imports, and nothing of the other rooms."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICE = ("api", "jobs", "sandbox", "policies", "assets", "audit")
PROGRAM = f"""
import importlib.abc, sys

class NoService(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SERVICE!r}:
            raise ImportError(name)

sys.meta_path.insert(0, NoService())
sys.path[:0] = sys.argv[1:]
import keyholder.cli, keyholder.decryption
assert keyholder.__file__.startswith(sys.argv[1]), keyholder.__file__
"""


def test_its_wheel_holds_what_it_needs_and_no_room_of_the_service(tmp_path):
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    command = [
        uv,
        "build",
        "--quiet",
        "--offline",
        "--no-build-isolation",
        "--wheel",
        "--out-dir",
        tmp_path,
        CHECKOUT / "keyholder",
    ]
    subprocess.run([*command, "--python", sys.executable], check=True, capture_output=True, timeout=60)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist() if ".dist-info" not in name}
        archive.extractall(tmp_path / "site")
    assert tops == {"core", "privacy", "keyholder"}
    subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, tmp_path / "site", CHECKOUT / "client"], check=True, capture_output=True, timeout=60
    )  # fmt: skip
