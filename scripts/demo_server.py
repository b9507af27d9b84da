"""One run of a demo: its folder, its server, its people, and the commands that they type; leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DEMO = CHECKOUT / ".banyan" / "demo"
BIN = Path(sys.executable).parent
READY_SECONDS = 60
PEOPLE = {
    "olga": ("operator", "city-data-bureau"),
    "rita": ("reviewer", "city-data-bureau"),
    "remy": ("reviewer", "health-bureau"),
    "rob": ("researcher", "university"),
    "ada": ("auditor", "audit-office"),
}


def quietly(*command: str | Path, environment: Mapping[str, str], folder: Path) -> str:
    """What one of our commands prints, run in a folder; ends the demo if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        [BIN / words[0], *words[1:]], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class Demo:
    """One run: its folder, its server, the tokens of its people."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=DEMO))
        self.port = free_port()
        self.tokens: dict[str, str] = {}
        self.server: subprocess.Popen[bytes] | None = None
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "BANYAN_STATE_FOLDER": str(self.folder / "state"),
            "BANYAN_IMAGES_FILE": str(CHECKOUT / ".banyan" / "images.json"),
            "BANYAN_ENGINE": os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
            "BANYAN_PORT": str(self.port),
            "BANYAN_SERVER": f"http://127.0.0.1:{self.port}",
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }

    def start(self) -> float:
        """Make a server with its people and start it; returns the seconds until it was ready."""
        self.quiet("banyan-server", "init")
        for name, (role, organisation) in PEOPLE.items():
            added = self.quiet(
                "banyan-server", "principal", "add", name.title(), "--role", role, "--organisation", organisation
            )
            self.tokens[name] = added.strip().splitlines()[-1]
        begun = time.monotonic()
        with (self.folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [BIN / "banyan-server", "serve"], env=self.environment, cwd=self.folder, stderr=log, stdout=log
            )
        while not self._is_ready():
            if self.server.poll() is not None or time.monotonic() - begun > READY_SECONDS:
                raise SystemExit(f"the server did not start; its log is {self.folder / 'server.log'}")
            time.sleep(0.1)
        return time.monotonic() - begun

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/health", timeout=2) as answer:
                return bool(json.load(answer)["status"] == "ready")
        except OSError:
            return False

    def stop(self) -> None:
        """End the server and wait until it is gone."""
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait(30)

    def run(self, person: str, *command: str | Path, refused: bool = False, show: bool = True) -> str:
        """Run a `banyan` command as `person`, show it and what it prints; ends the demo if it ends otherwise than expected."""
        words = [str(word) for word in command]
        if show:
            say(f"\n[{person}] $ banyan {' '.join(shortened(word) for word in words)}")
        done = subprocess.run(
            [BIN / "banyan", *words],
            env={**self.environment, "BANYAN_TOKEN": self.tokens[person]},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if show else subprocess.PIPE,
            text=True,
            check=False,
        )
        if show:
            say(done.stdout.rstrip())
        if done.returncode != (1 if refused else 0):
            say("" if show else done.stdout + done.stderr)
            raise SystemExit(f"this command should have ended with {int(refused)}, but ended with {done.returncode}")
        return done.stdout

    def quiet(self, *command: str) -> str:
        """Run a command that is not shown; ends the demo if it fails."""
        return quietly(*command, environment=self.environment, folder=self.folder)

    def digest_of(self, policy: str) -> str:
        """The content hash that an approver approves."""
        found = json.loads(self.run("olga", "policies", "show", policy, "--json", show=False))
        return str(found["digest"])

    def job_of(self, person: str) -> str:
        """The newest job of a person."""
        return str(json.loads(self.run(person, "jobs", "--json", show=False))["items"][0]["id"])


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shortened(word: str) -> str:
    """Paths of this checkout as the reader would type them."""
    return word.removeprefix(f"{CHECKOUT}/")


def say(text: str = "") -> None:
    """Print at once."""
    print(text, flush=True)


def step(number: int, title: str, *lines: str) -> None:
    """The heading of a step, in plain words."""
    say(f"\n{'─' * 78}\n{number}. {title}")
    for line in lines:
        say(f"   {line}")


def main_of(told: Callable[[Demo], None]) -> None:
    """Run a demo in a folder of its own, and leave nothing behind."""
    DEMO.mkdir(parents=True, exist_ok=True)
    demo = Demo()
    try:
        told(demo)
    finally:
        demo.stop()
    # After a failure the folder stays, with the server's log.
    shutil.rmtree(demo.folder)
