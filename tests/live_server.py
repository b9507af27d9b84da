"""A real server for tests: its own state folder, port and people; real API, reconciler, Ray and containers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import banyan

CHECKOUT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
READY_SECONDS = 60


class LiveServer:
    """One state folder and, between `start` and `stop` or `kill`, the processes that serve it.

    `settings` are further BANYAN_ variables by lower-case name. Several may share a state folder with `beside`.
    """

    def __init__(self, folder: Path, engine: str, **settings: object) -> None:
        self.folder, self.engine, self.settings = folder, engine, settings
        self.tokens: dict[str, str] = {}
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._clients: list[banyan.Client] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "BANYAN_STATE_FOLDER": str(self.folder / "state"),
            "BANYAN_IMAGES_FILE": str(CHECKOUT / ".banyan" / "images.json"),
            "BANYAN_ENGINE": self.engine,
            "BANYAN_PORT": str(self.port),
            **{f"BANYAN_{name.upper()}": str(value) for name, value in self.settings.items()},
        }

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / f"server-{self.port}.log").read_text()

    @property
    def instance(self) -> str:
        return (self.folder / "state" / "instance").read_text()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "banyan-server", *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def init(self, **people: tuple[str, str]) -> LiveServer:
        """`banyan-server init`, and a person per keyword: name=(role, organisation)."""
        assert self.command("init").returncode == 0
        for name, (role, organisation) in people.items():
            added = self.command("principal", "add", name, "--role", role, "--organisation", organisation)
            assert added.returncode == 0, added.stderr
            self.tokens[name] = added.stdout.strip()
        return self

    def beside(self) -> LiveServer:
        """Another server on the same state folder, with the same people."""
        other = LiveServer(self.folder, self.engine, **self.settings)
        other.tokens = self.tokens
        return other

    def start(self, *, wait: bool = True) -> LiveServer:
        with (self.folder / f"server-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "banyan-server", "serve"], env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )
        begun = time.monotonic()
        while self.health() != "ready" if wait else self.health() is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() - begun < READY_SECONDS, self.log
            time.sleep(0.05)
        return self

    def health(self) -> str | None:
        try:
            with urllib.request.urlopen(f"{self.address}/v1/health", timeout=5) as answer:
                return json.load(answer)["status"]
        except OSError:
            return None

    def reconciler_pid(self) -> int:
        """The reconciler that this server's API started."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "api.reconcile"], capture_output=True, text=True, check=True
        )
        return int(found.stdout.split()[0])

    def stop(self) -> int | None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self.process = None
        return code

    def kill(self) -> None:
        """kill -9 of the API's process."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def client(self, person: str) -> banyan.Client:
        client = banyan.Client(self.address, self.tokens[person])
        self._clients.append(client)
        return client


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
