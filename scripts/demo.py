"""The whole job on real data, step by step, through the commands that people use; leaves nothing running.

With `--serve` it sets everything up in the same way and then keeps the server in the foreground.
"""

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
from collections.abc import Callable
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
FLIGHTS, TESTS = CHECKOUT / "examples" / "traffic", CHECKOUT / "examples" / "medical"


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
        done = subprocess.run(
            [BIN / command[0], *command[1:]],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

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


def ingest(demo: Demo) -> None:
    """Register both assets and give them data."""
    for folder, asset, data in (
        (FLIGHTS, "traffic/flights", "flights.csv"),
        (TESTS, "medical/covid_testing", "covid_testing.csv"),
    ):
        demo.run("olga", "assets", "register", folder / f"{asset.partition('/')[2]}.yaml")
        demo.run("olga", "assets", "ingest", asset, DEMO / data)


def approve(demo: Demo) -> None:
    """Propose all policies and have them approved by others."""
    demo.run("olga", "policies", "propose", FLIGHTS / "policy.yaml")
    flights = demo.digest_of("traffic-research")
    demo.run("olga", "policies", "approve", "traffic-research", "--digest", flights, refused=True)
    demo.run("rita", "policies", "approve", "traffic-research", "--digest", flights)
    demo.run("olga", "policies", "propose", FLIGHTS / "program_policy.yaml")
    programs = demo.digest_of("traffic-programs")
    demo.run("rita", "policies", "approve", "traffic-programs", "--digest", programs)
    demo.run("olga", "policies", "propose", TESTS / "policy.yaml")
    tests = demo.digest_of("medical-covid-testing")
    demo.run("rita", "policies", "approve", "medical-covid-testing", "--digest", tests)
    demo.run("remy", "policies", "approve", "medical-covid-testing", "--digest", tests)


def tell(demo: Demo) -> None:
    """The eleven steps."""
    from demo_encrypted import Encrypted  # noqa: PLC0415 - it is built on this file

    begun = time.monotonic()
    encrypted = Encrypted(demo, banks=False)
    delays, regression, positives = FLIGHTS / "delays.yaml", FLIGHTS / "delay_regression.yaml", TESTS / "positives.yaml"
    step(1, "A server starts: keys, database, log, local Ray, and five people with tokens.")
    say(f"   ready after {demo.start():.1f} s")
    step(
        2,
        "The operator registers two real tables and gives them their data.",
        "Each row is checked against its declaration; blocks are encrypted before they reach the disk.",
    )
    ingest(demo)
    demo.run("olga", "assets", "report", "traffic/flights")
    step(3, "A researcher develops on mock data: same job file, same container, no real row, no price.")
    demo.run("rob", "run", delays, "--mock")
    step(4, "The researcher asks what the real thing would cost; no data is opened for the answer.")
    demo.run("rob", "plan", delays)
    step(5, "Two refusals, each with its way out: a query that would show one aircraft, and a job no policy covers.")
    revealing = demo.folder / "revealing.yaml"
    revealing.write_text(delays.read_text().replace("AVG(dep_delay) AS mean_delay", "MAX(dep_delay) AS latest"))
    demo.run("rob", "submit", revealing, refused=True)
    demo.run("rob", "submit", delays, refused=True)
    step(
        6,
        "The operator proposes three policies. Nobody approves their own;",
        "the medical table is of level S2, so two other people must approve.",
    )
    approve(demo)
    step(7, "The plan now says what would be left. Both jobs are submitted; every cell comes with its interval.")
    demo.run("rob", "plan", delays)
    demo.run("rob", "submit", delays, "--wait")
    first = demo.job_of("rob")
    demo.run("rob", "submit", positives, "--wait")
    step(
        8,
        "Any Python program, on the same table: it runs on disjoint blocks of aircraft, each in a process that sees one block,",
        "and only the noisy mean of their answers leaves. First on mock data, with all that it prints; then for real.",
    )
    demo.run("rob", "run", regression, "--mock")
    demo.run("rob", "plan", regression)
    demo.run("rob", "submit", regression, "--wait")
    step(
        9,
        "Three hospitals hand over no row: each encrypts bounded totals at home. The server adds ciphertexts; a key holder decrypts",
        "the noised sum only, and adds noise of its own.",
    )
    encrypted.shown()
    step(10, "What is left; and the first job again: the earlier release, free for the population.")
    demo.run("rob", "budget")
    demo.run("rob", "submit", delays, "--wait")
    demo.run("rob", "budget")
    step(11, "The auditor reads the log; then the server is stopped, and the receipt is checked without it.")
    receipt, result = demo.folder / "receipt.json", demo.folder / "delays.json"
    demo.run("rob", "receipt", first, "-o", receipt)
    demo.run("rob", "result", first, "-o", result)
    demo.run("ada", "audit", "tail")
    demo.stop()
    say("\n   The server is stopped.")
    demo.run("rob", "verify", receipt, "--result", result)
    say(f"\nDone in {time.monotonic() - begun:.0f} s; nothing is left running.")


def serve(demo: Demo) -> None:
    """Set up as the demo does, say how to use it, and stay until Ctrl-C or SIGTERM."""
    say("Setting up a server with both tables and approved policies ...")
    demo.start()
    ingest(demo)
    approve(demo)
    say(f"\nThe server answers on {demo.environment['BANYAN_SERVER']}. To use it as a person of the demo:")
    say(f"  export BANYAN_SERVER={demo.environment['BANYAN_SERVER']} PATH={BIN}:$PATH")
    for name, (role, _) in PEOPLE.items():
        say(f"  export BANYAN_TOKEN={demo.tokens[name]}   # {name}, {role}")
    say("  banyan plan examples/traffic/delays.yaml\nCtrl-C ends it.")
    signal.signal(signal.SIGTERM, lambda *_: demo.stop())
    try:
        if demo.server is not None:
            demo.server.wait()
    except KeyboardInterrupt:
        say("\nstopping")


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


if __name__ == "__main__":
    main_of(serve if "--serve" in sys.argv[1:] else tell)
