#!/usr/bin/env python3
"""Decides which Docker engine this checkout speaks to, and starts and stops a private one where there is none.

    engine.py start              use an engine that answers, else start a private one; prints the DOCKER_HOST to use
    engine.py run COMMAND...     start, then run a command with that engine in DOCKER_HOST and BANYAN_ENGINE
    engine.py demo COMMAND...    the same, and afterwards stop the private engine unless somebody else is using it
    engine.py stop               end what `run` is running, then the private engine of this checkout, and only that
    engine.py host               print the DOCKER_HOST to use, or exit 1 if no engine answers

BANYAN_PRIVATE_ENGINE=1 ignores every engine but the private one. Standard library only: it runs before anything is
installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import leases
import leftovers

CHECKOUT = Path(__file__).resolve().parent.parent
STATE = CHECKOUT / ".banyan" / "engine"
HOST_FILE = STATE / "host"
USERS = STATE / "users"
SYSTEM_SOCKET = "unix:///var/run/docker.sock"
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
READY_SECONDS = 60
STOP_SECONDS = 40
USER_STOP_SECONDS = 45


def runtime_folder() -> Path:
    """A short place for sockets: a path in AF_UNIX holds 107 bytes, and a checkout may lie deeper than that."""
    mark = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:10]
    parent = Path("/run") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")
    return parent / f"banyan-{mark}"


RUNTIME = runtime_folder()
CONFIG_FILE = STATE / "daemon.json"
PID_FILE = RUNTIME / "docker.pid"
PRIVATE_SOCKET = f"unix://{RUNTIME}/docker.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(host: str, method: str, path: str, timeout: float = 5) -> tuple[int, bytes]:
    connection = _UnixConnection(host.removeprefix("unix://"), timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def answers(host: str) -> bool:
    """Only Unix sockets count: blocks are mounted from this machine, so an engine elsewhere cannot see them."""
    if not host.startswith("unix://"):
        return False
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(host, "GET", "/_ping")[0] == http.HTTPStatus.OK
    return False


def say(text: str) -> None:
    sys.stderr.write(f"engine: {text}\n")
    sys.stderr.flush()


def fail(text: str) -> None:
    say(text)
    raise SystemExit(1)


def private_is_forced() -> bool:
    return os.environ.get("BANYAN_PRIVATE_ENGINE") == "1"


def find_engine() -> str | None:
    """The engine to use now: the one asked for, else our own if it runs, else the machine's."""
    asked = os.environ.get("DOCKER_HOST", "")
    candidates = [PRIVATE_SOCKET] if private_is_forced() else [asked, PRIVATE_SOCKET, SYSTEM_SOCKET]
    return next((host for host in candidates if host and answers(host)), None)


def install_missing() -> None:
    """Installs what the private engine needs, or says in one line how to."""
    wanted = {"dockerd": "docker.io"}
    if apparmor_is_on():
        wanted["apparmor_parser"] = "apparmor"  # dockerd loads its profile with it and otherwise starts no container
    missing = [package for program, package in wanted.items() if not shutil.which(program, path=SYSTEM_PATH)]
    if missing:
        subprocess.run([str(CHECKOUT / "scripts" / "system_packages.sh"), *missing], check=True)


def apparmor_is_on() -> bool:
    switch = Path("/sys/module/apparmor/parameters/enabled")
    return switch.exists() and switch.read_text().startswith("Y")


def private_config() -> dict[str, object]:
    """No bridge, no forwarding, no firewall rules: no container of ours has a network, and the host's stays as it is.

    The storage driver is left to dockerd, so that a checkout on a file system without overlay support still works.
    """
    return {
        **runtimes(),
        "hosts": [PRIVATE_SOCKET],
        "data-root": str(STATE / "data"),
        "exec-root": str(RUNTIME / "exec"),
        "pidfile": str(PID_FILE),
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "ip-masq": False,
        "log-driver": "none",
        "no-new-privileges": True,
    }


def runtimes() -> dict[str, object]:
    """gVisor, if it is installed, as an OCI runtime that programs can be given (the setting `oci_runtime`).

    Without --network=none it refuses every container that the engine gives no network sandbox.
    """
    runsc = shutil.which("runsc", path=SYSTEM_PATH)
    return {"runtimes": {"runsc": {"path": runsc, "runtimeArgs": ["--network=none"]}}} if runsc else {}


def private_pid() -> int | None:
    """The process id of this checkout's dockerd, checked against its command line: process ids are used again."""
    try:
        pid = int(PID_FILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(CONFIG_FILE).encode() in command else None


def start_private() -> str:
    if os.geteuid() != 0:
        fail(
            "no Docker engine answers, and only root can start a private one. "
            "Run as root, or start Docker and join its group: sudo usermod -aG docker $USER"
        )
    install_missing()
    if not private_is_forced() and answers(SYSTEM_SOCKET):
        say("the packages brought up the machine's own engine; using that")
        return SYSTEM_SOCKET
    if private_pid() is None:
        launch()
    wait_until_ready()
    return PRIVATE_SOCKET


def launch() -> None:
    say(f"starting a private Docker engine (data in {STATE / 'data'})")
    leftovers.clear(RUNTIME, STATE / "data")  # of a dockerd that was killed; a new one would wait for them in vain
    shutil.rmtree(RUNTIME, ignore_errors=True)
    RUNTIME.mkdir(mode=0o700, parents=True)
    CONFIG_FILE.write_text(json.dumps(private_config(), indent=2) + "\n")
    dockerd = shutil.which("dockerd", path=SYSTEM_PATH)
    if dockerd is None:
        fail("dockerd is still missing after installing docker.io")
    environment = {**os.environ, "PATH": SYSTEM_PATH}
    environment.pop("DOCKER_HOST", None)
    with (STATE / "dockerd.log").open("wb") as log:
        subprocess.Popen(
            [str(dockerd), "--config-file", str(CONFIG_FILE)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
        )


def wait_until_ready() -> None:
    started = time.monotonic()
    while time.monotonic() - started < READY_SECONDS:
        if answers(PRIVATE_SOCKET):
            say(f"ready after {time.monotonic() - started:.1f} s")
            return
        time.sleep(0.1)
    log = (STATE / "dockerd.log").read_text(errors="replace").splitlines()[-8:]
    stop_private()
    fail("the private engine did not become ready; the end of its log:\n  " + "\n  ".join(log))


def remove_containers() -> None:
    """Ends every container of the private engine first: dockerd would give each of them ten seconds to leave."""
    status, body = ask(PRIVATE_SOCKET, "GET", "/containers/json?all=1")
    if status == http.HTTPStatus.OK:
        for container in json.loads(body):
            ask(PRIVATE_SOCKET, "DELETE", f"/containers/{container['Id']}?force=1&v=1", timeout=30)


def stop_private() -> bool:
    pid = private_pid()
    if pid is not None:
        say("stopping the private Docker engine")
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            remove_containers()
        leases.end(pid, STOP_SECONDS)
    leftovers.clear(RUNTIME, STATE / "data")
    shutil.rmtree(RUNTIME, ignore_errors=True)
    if HOST_FILE.exists() and HOST_FILE.read_text().strip() == PRIVATE_SOCKET:
        HOST_FILE.unlink()
    return pid is not None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Two makes at once must not start two engines."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start() -> str:
    with alone():
        asked = os.environ.get("DOCKER_HOST")
        if asked and not private_is_forced() and not answers(asked):
            say(f"DOCKER_HOST={asked} is no answering Unix socket; looking elsewhere")
        host = find_engine() or start_private()
        if not (HOST_FILE.exists() and HOST_FILE.read_text().strip() == host):
            HOST_FILE.write_text(host + "\n")
    return host


def run(command: list[str]) -> int:
    """Runs a command that uses the engine; its lease keeps others from stopping the engine under it."""
    host = start()
    with leases.held(USERS):
        child = subprocess.Popen(command, env={**os.environ, "DOCKER_HOST": host, "BANYAN_ENGINE": host})
        with leases.passing_signals_to(child.pid):
            status = child.wait()
    return status if status >= 0 else 128 - status


def run_then_stop(command: list[str]) -> int:
    try:
        return run(command)
    finally:
        with alone():
            if not leases.holders(USERS):
                stop_private()


def stop() -> None:
    """Ends users before engine: a server that ends by itself leaves no container and no half-done job."""
    for pid in leases.holders(USERS):
        say("ending what is still using the engine")
        leases.end(pid, USER_STOP_SECONDS)
    with alone():
        if not stop_private():
            say("no private engine of this checkout is running")


def print_host() -> None:
    host = find_engine()
    if host is None:
        fail("no Docker engine answers; start one with: just engine")
    sys.stdout.write(f"{host}\n")


def main() -> None:
    match sys.argv[1:]:
        case ["start"]:
            sys.stdout.write(start() + "\n")
        case ["stop"]:
            stop()
        case ["host"]:
            print_host()
        case ["run", _, *_]:
            sys.exit(run(sys.argv[2:]))
        case ["demo", _, *_]:
            sys.exit(run_then_stop(sys.argv[2:]))
        case _:
            fail("usage: engine.py start | run COMMAND... | demo COMMAND... | stop | host")


if __name__ == "__main__":
    main()
