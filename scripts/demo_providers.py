"""Those of the demo who are not the service: the key holder, and providers who encrypt at home, each in a folder of its own."""

from __future__ import annotations

import csv
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from demo_server import BIN, Demo, free_port, quietly, say

PASSPHRASE = "the passphrase of the demo, which is no secret"
PLACEHOLDER = "REPLACE WITH WHAT banyan provider-key SHOWS"


class KeyHolder:
    """The key holder's side: its folder, its process, and what its operator writes down."""

    def __init__(self, demo: Demo) -> None:
        self.demo, self.port = demo, free_port()
        self.folder = demo.folder / "keyholder"
        self.passphrase = demo.folder / "passphrase"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **demo.environment,
            "BANYAN_KEYHOLDER_FOLDER": str(self.folder),
            "BANYAN_KEYHOLDER_PASSPHRASE_FILE": str(self.passphrase),
        }

    def init(self) -> str:
        """Make its keys, and tell the service's operator where it is; returns its signer."""
        self.passphrase.write_text(PASSPHRASE)
        self.passphrase.chmod(0o400)
        said = self.run("init", "--name", "city key office")
        signer = said.split()[1]
        self.demo.environment |= {
            "BANYAN_KEY_HOLDER_URL": f"http://127.0.0.1:{self.port}",
            "BANYAN_KEY_HOLDER_SIGNER": signer,
        }
        return signer

    def trust(self, populations: Mapping[str, Mapping[str, object]]) -> None:
        """Pin the service, and each population with its budget and its providers' keys."""
        registry = self.demo.quiet("banyan-server", "key-holder") + "populations:\n"
        for name, said in populations.items():
            registry += f"  {name}:\n" + "".join(f"    {field}: {value}\n" for field, value in said.items())
        (self.folder / "registry.yaml").write_text(registry)

    def start(self) -> None:
        """Serve, and wait until it answers."""
        with (self.demo.folder / "keyholder.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "banyan-keyholder", "serve", "--port", str(self.port)],
                env=self.environment,
                cwd=self.demo.folder,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise SystemExit(f"the key holder did not start; its log is {self.demo.folder / 'keyholder.log'}")

    def run(self, *words: str) -> str:
        """A command of its operator."""
        return quietly("banyan-keyholder", *words, environment=self.environment, folder=self.demo.folder)

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


class Provider:
    """A hospital or bank: a folder of its own, with its rows, its signing key and its declaration."""

    def __init__(self, demo: Demo, name: str, form: Path, rows: list[dict[str, str]], columns: Iterable[str]) -> None:
        self.demo, self.name, self.rows = demo, name, rows
        self.folder = demo.folder / name
        self.folder.mkdir()
        self.environment = {**demo.environment, "XDG_CONFIG_HOME": str(self.folder / "config")}
        self.key = self._banyan("provider-key").splitlines()[0]
        text, letter = form.read_text(), name[-1]
        kind = name[:-2]
        self.asset = next(line.split()[1] for line in text.splitlines() if line.startswith("asset:"))
        self.asset = f"{self.asset[:-1]}{letter}"
        text = text.replace(f"{self.asset[:-1]}a\n", f"{self.asset}\n").replace(
            f"provider: {kind}-a", f"provider: {name}"
        )
        self.declaration = self.folder / "asset.yaml"
        self.declaration.write_text(text.replace(PLACEHOLDER, self.key))
        self.data, self.upload = self.folder / "rows.csv", self.folder / "upload.hev"
        with self.data.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def _banyan(self, *words: str | Path) -> str:
        return quietly("banyan", *words, environment=self.environment, folder=self.folder)

    def encrypt(self, signer: str, *, show: bool) -> None:
        """Fetch the public context, encrypt at home, and send what is encrypted."""
        self._encrypted("upload.hev", signer, show=show)
        self.tell("upload", "upload.hev", "--asset", self.asset, show=False)

    def contribute(self, signer: str, job: str, *, show: bool) -> None:
        """Answer what a job asks: encrypt for it alone, and send that."""
        self.tell("calls", self.asset, show=show)
        self._encrypted(f"{job}.hev", signer, "--job", job, show=show)
        self.tell("upload", f"{job}.hev", show=show)

    def _encrypted(self, output: str, signer: str, *job: str, show: bool) -> None:
        self.environment["BANYAN_TOKEN"] = self.demo.tokens["olga"]
        words = ("encrypt", "rows.csv", "--asset", self.asset, *job)
        if show:
            say(f"\n[{self.name}] $ banyan {' '.join(words)} --key-holder … -o {output}")
        told = self._banyan(*words, "--key-holder", signer, "-o", output)
        if show:
            say(told.rstrip())

    def tell(self, *words: str, show: bool) -> None:
        """Run a command as the provider."""
        told = self._banyan(*words)
        if show:
            say(f"\n[{self.name}] $ banyan {' '.join(words)}")
            say(told.rstrip())
