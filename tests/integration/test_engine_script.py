"""The private engine: started where none answers, found again, and gone without a trace when stopped."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import docker
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = ("engine.py", "leases.py", "leftovers.py", "system_packages.sh")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a private engine")
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not shutil.which("dockerd", path="/usr/sbin:/usr/bin:/usr/local/bin"), reason="no dockerd here"),
]


class Checkout:
    """A folder with nothing but the scripts, deeper than a socket's path may be long."""

    def __init__(self, folder: Path):
        self.folder = folder / ("d" * 60) / ("e" * 60)
        (self.folder / "scripts").mkdir(parents=True)
        for name in SCRIPTS:
            shutil.copy(CHECKOUT / "scripts" / name, self.folder / "scripts" / name)
        self.environment = {**os.environ, "BANYAN_PRIVATE_ENGINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, *words):
        return [sys.executable, str(self.folder / "scripts" / "engine.py"), *words]

    def engine(self, *words, **environment):
        return subprocess.run(
            self.command(*words),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def daemons(self):
        """Processes of this checkout's engine, by command line."""
        marks = [str(self.folder).encode(), self.runtime().encode()]
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes()
            except OSError:
                continue
            if b"scripts/engine.py" not in line and any(mark in line for mark in marks):
                found.append(line.replace(b"\0", b" ").decode())
        return found

    def runtime(self):
        program = "import engine; print(engine.RUNTIME)"
        return subprocess.run(
            [sys.executable, "-c", program], cwd=self.folder / "scripts", capture_output=True, text=True, check=True
        ).stdout.strip()


def processes_with(mark):
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [line for line in [entry.read_bytes()] if mark.encode() in line]
    return found


def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sleeping_image() -> bytes:
    """An image of one program and the libraries it is linked to."""
    program = shutil.which("sleep")
    libraries = re.findall(
        r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(os.path.realpath(program), "sleep")
        for library in libraries:
            tar.add(os.path.realpath(library), library)
    return buffer.getvalue()


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path)
    yield made
    made.engine("stop")
    assert made.daemons() == []


@needs_root
def test_start_find_and_stop(checkout):
    assert checkout.engine("host").returncode == 1
    started = checkout.engine("start")
    assert started.returncode == 0, started.stderr
    host = started.stdout.strip()
    assert len(host.removeprefix("unix://")) < 107
    assert (checkout.folder / ".banyan" / "engine" / "host").read_text().strip() == host
    assert checkout.engine("host").stdout.strip() == host
    again = checkout.engine("start")
    assert (again.stdout.strip(), again.stderr) == (host, "")
    assert len([line for line in checkout.daemons() if line.split()[0].endswith("dockerd")]) == 1

    assert checkout.engine("stop").returncode == 0
    assert checkout.daemons() == []
    assert not Path(checkout.runtime()).exists()
    assert not (checkout.folder / ".banyan" / "engine" / "host").exists()
    assert checkout.engine("stop").returncode == 0


@needs_root
def test_an_engine_that_was_killed_leaves_nothing(checkout):
    """A killed dockerd leaves containerd, shims, containers and mounts; both `start` and `stop` deal with them."""
    private = docker.DockerClient(base_url=checkout.engine("start").stdout.strip())
    image = private.api.import_image_from_data(sleeping_image(), repository="sleep", tag="1")
    assert "error" not in image
    seconds = str(time.time_ns() % 10**6 + 10**6)
    for last in ("start", "stop"):
        private.containers.run("sleep:1", ["/sleep", seconds], detach=True, network_disabled=True, network_mode="none")
        within(
            10, lambda: processes_with(seconds)
        )  # the engine says "started" shortly before the program replaces its starter
        os.kill(int((Path(checkout.runtime()) / "docker.pid").read_text()), signal.SIGKILL)
        time.sleep(0.3)
        assert checkout.engine("host").returncode == 1
        done = checkout.engine(last)
        assert done.returncode == 0, done.stderr
        assert processes_with(seconds) == []
    private.close()
    assert checkout.daemons() == []
    assert str(checkout.folder) not in Path("/proc/self/mountinfo").read_text()


@needs_root
def test_a_command_gets_the_engine_and_gives_its_exit_code(checkout):
    done = checkout.engine("demo", "sh", "-c", 'echo "$DOCKER_HOST $BANYAN_ENGINE"; exit 7')
    assert done.returncode == 7
    assert done.stdout.split() == [f"unix://{checkout.runtime()}/docker.sock"] * 2
    assert checkout.daemons() == []


@needs_root
def test_a_demo_leaves_the_engine_to_whoever_uses_it_and_stop_ends_both(checkout):
    user = subprocess.Popen(
        checkout.command("run", "sleep", "60"),
        env=checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    leases = checkout.folder / ".banyan" / "engine" / "users"
    within(30, lambda: leases.exists() and list(leases.iterdir()))
    assert checkout.engine("demo", "true").returncode == 0
    assert checkout.engine("host").returncode == 0
    assert checkout.engine("stop").returncode == 0
    assert user.wait(timeout=10) == 128 + 15
    assert checkout.daemons() == []


def test_the_machines_engine_is_used_where_it_answers(checkout, docker_host):
    environment = {"BANYAN_PRIVATE_ENGINE": "", "DOCKER_HOST": docker_host}
    assert checkout.engine("start", **environment).stdout.strip() == docker_host
    assert checkout.daemons() == []


def test_a_dead_lease_holds_nothing(tmp_path):
    program = (
        "import leases, os, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[1]); folder.mkdir()\n"
        "(folder / '999999').write_text('1')\n"
        "(folder / str(os.getpid())).write_text('another start time')\n"
        "assert leases.holders(folder) == []\n"
        "assert list(folder.iterdir()) == []\n"
        "with leases.held(folder):\n"
        "    assert leases.holders(folder) == [os.getpid()]\n"
        "assert leases.holders(folder) == []\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "users")], cwd=CHECKOUT / "scripts", check=True)
