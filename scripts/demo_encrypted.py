"""Hospitals and banks that hand over no plaintext: a key holder, providers who encrypt at home, and what researchers get.

A part of the demo, and a demo of its own (`just demo-encrypted`) in which both are told, every answer stands beside the plaintext's, and
the service is searched for anything that it should not have.
"""

from __future__ import annotations

import csv
import json
import signal
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from demo_server import BIN, CHECKOUT, DEMO, Demo, free_port, main_of, say, step

MEDICAL, FINANCE = CHECKOUT / "examples" / "medical", CHECKOUT / "examples" / "finance"
PASSPHRASE = "the passphrase of the demo, which is no secret"
PLACEHOLDER = "REPLACE WITH WHAT banyan provider-key SHOWS"
HOSPITALS, BANKS = ("hospital-a", "hospital-b", "hospital-c"), ("bank-a", "bank-b")
CANARY = "481516234299"


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
        done = subprocess.run(
            [BIN / "banyan-keyholder", *words], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"banyan-keyholder {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

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
        done = subprocess.run(
            [BIN / "banyan", *map(str, words)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"banyan {words[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def encrypt(self, signer: str, *, show: bool) -> None:
        """Fetch the public context, encrypt at home, and send what is encrypted."""
        self.environment["BANYAN_TOKEN"] = self.demo.tokens["olga"]
        words = ("encrypt", "rows.csv", "--asset", self.asset, "--key-holder", signer, "-o", "upload.hev")
        if show:
            say(f"\n[{self.name}] $ banyan {' '.join(words[:4])} --key-holder … -o upload.hev")
        told = self._banyan(*words)
        if show:
            say(told.rstrip())
        self._banyan("upload", "upload.hev", "--asset", self.asset)


class Encrypted:
    """All of it, on a demo whose server is not started yet."""

    def __init__(self, demo: Demo, *, banks: bool) -> None:
        self.demo, self.holder = demo, KeyHolder(demo)
        self.signer = self.holder.init()
        trial, cards = _rows("actg175.csv"), _rows("credit_cards.csv") if banks else []
        if banks:
            trial[0]["pidnum"] = CANARY
        columns = ("pidnum", "arms", "age", "cd40", "cd420")
        self.hospitals = [
            Provider(demo, name, MEDICAL / "hospital.yaml", trial[at::3], columns) for at, name in enumerate(HOSPITALS)
        ]
        self.banks = [
            Provider(demo, name, FINANCE / "bank.yaml", cards[at::2], ("cardholder", "late_april", "bill_april"))
            for at, name in enumerate(BANKS if banks else ())
        ]

    @property
    def key_id(self) -> str:
        """The id of the key that the providers encrypt under."""
        return f"sha256:{next(self.holder.folder.glob('*.secret')).stem}"

    def start(self) -> None:
        """Pin, now that the service has its keys, and serve."""
        populations: dict[str, dict[str, object]] = {
            "trial-patients": {
                "accountant": "basic", "epsilon": 10, "delta": "1e-6", "min_providers": 3, "overlap": 1, "shared": "false",
                "providers": _keys(self.hospitals)
            }
        }  # fmt: skip
        if self.banks:
            populations["cardholders-encrypted"] = {
                "accountant": "zcdp", "epsilon": 6, "delta": "1e-6", "min_providers": 2, "overlap": 2, "shared": "false",
                "providers": _keys(self.banks)
            }  # fmt: skip
        self.holder.trust(populations)
        self.holder.start()

    def upload(self) -> None:
        """Register every provider's asset and have them encrypt."""
        for provider in (*self.hospitals, *self.banks):
            self.demo.run("olga", "assets", "register", provider.declaration, show=False)
            provider.encrypt(self.signer, show=provider is self.hospitals[0])

    def approve(self) -> None:
        """Propose the policies and have them approved."""
        policies = {"trial-encrypted": MEDICAL / "hospital_policy.yaml"}
        if self.banks:
            policies["cards-encrypted"] = FINANCE / "bank_policy.yaml"
        for name, file in policies.items():
            self.demo.run("olga", "policies", "propose", file, show=False)
            digest = self.demo.digest_of(name)
            self.demo.run("rita", "policies", "approve", name, "--digest", digest, show=False)

    def stop(self) -> None:
        """End the key holder."""
        self.holder.stop()

    def shown(self) -> None:
        """The part of the demo: a table over the hospitals, from their rows to the release."""
        self.start()
        try:
            self.upload()
            self.approve()
            self.demo.run("rob", "plan", MEDICAL / "cd4_by_arm.yaml")
            self.demo.run("rob", "submit", MEDICAL / "cd4_by_arm.yaml", "--wait")
        finally:
            self.stop()


def _keys(providers: Iterable[Provider]) -> str:
    return "{" + ", ".join(f"{provider.name}: {provider.key}" for provider in providers) + "}"


def _rows(name: str) -> list[dict[str, str]]:
    with (DEMO / name).open(newline="") as file:
        return list(csv.DictReader(file))


def released(demo: Demo, job: Path, *, show: bool = True) -> dict[str, dict[str, object]]:
    """Run a job; its rows by key."""
    demo.run("rob", "submit", job, "--wait", show=show)
    output = demo.folder / f"{job.stem}.json"
    demo.run("rob", "result", demo.job_of("rob"), "-o", output, "--force", show=False)
    table = json.loads(output.read_text())
    key = table["columns"][0]["name"]
    return {row[key]: row for row in table["rows"]}


def compare(told: Mapping[str, Mapping[str, object]], column: str, exact: Mapping[str, float]) -> None:
    """Each released number beside what the plaintext says, and whether it lies within its interval."""
    say(f"\n   {column:<24} {'released':>12} {'plaintext':>12}   95 % interval")
    for key, value in exact.items():
        cell = told[key][column]
        if not isinstance(cell, dict):
            raise SystemExit("a released table of another form")
        held = "holds it" if cell["low"] <= value <= cell["high"] else "does not hold it"
        say(f"   {key:<24} {cell['value']:>12,.1f} {value:>12,.1f}   {cell['low']:,.1f} to {cell['high']:,.1f} {held}")


def mean_by(rows: Iterable[Mapping[str, str]], key: str, column: str) -> dict[str, float]:
    """The plaintext's means."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(float(row[column]))
    return {group: statistics.fmean(values) for group, values in sorted(groups.items())}


def least_squares(rows: list[dict[str, str]]) -> dict[str, float]:
    """The plaintext's coefficients, without bounds."""
    numbers = np.array([[1, float(row["age"]), float(row["cd40"]), float(row["cd420"])] for row in rows])
    found = np.linalg.lstsq(numbers[:, :3], numbers[:, 3], rcond=None)[0]
    return dict(zip(("intercept", "age", "cd40"), map(float, found), strict=True))


def searched(demo: Demo, secrets: Mapping[str, bytes]) -> dict[str, int]:
    """How often each secret is found in the service's memory, files and logs."""
    found = dict.fromkeys(secrets, 0)
    for path in [*(demo.folder / "state").rglob("*"), demo.folder / "server.log"]:
        if path.is_file():
            content = path.read_bytes()
            for name, secret in secrets.items():
                found[name] += content.count(secret)
    if demo.server is None:
        raise SystemExit("there is no server to search")
    for process in _family(demo.server.pid):
        for memory in _memory(process):
            for name, secret in secrets.items():
                found[name] += memory.count(secret)
    return found


def _family(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    family = [root]
    for process in family:
        family += parents.get(process, [])
    return family


def _memory(process: int) -> Iterable[bytes]:
    """What the process may write to, where a secret could have been put."""
    try:
        maps = Path(f"/proc/{process}/maps").read_text().splitlines()
        with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
            for line in maps:
                place, rights = line.split()[:2]
                if not rights.startswith("rw"):
                    continue
                start, end = (int(part, 16) for part in place.split("-"))
                for at in range(start, end, 64 << 20):
                    try:
                        memory.seek(at)
                        yield memory.read(min(64 << 20, end - at))
                    except (OSError, ValueError, OverflowError):
                        break
    except OSError:
        return


def secrets_of(encrypted: Encrypted) -> dict[str, bytes]:
    """What the service must have nowhere: a provider's plaintext, and the secret key."""
    from keyholder.sealed_key import PassphraseSealer  # noqa: PLC0415 - only the whole demo looks

    hospital = encrypted.hospitals[0]
    total = sum(min(max(int(row["cd420"]), 0), 1000) for row in hospital.rows)
    file = next(encrypted.holder.folder.glob("*.secret"))
    secret = PassphraseSealer(encrypted.holder.passphrase).open(f"sha256:{file.stem}", file.read_bytes())
    return {
        "a patient's number": CANARY.encode(),
        "a patient's row": ",".join(
            hospital.rows[1][name] for name in ("pidnum", "arms", "age", "cd40", "cd420")
        ).encode(),
        "a hospital's total": str(total).encode() + b",",
        "the secret key": secret.partition(b"\n")[2][:64],
        "the passphrase": PASSPHRASE.encode(),
    }


def tell(demo: Demo) -> None:
    """The demo of its own."""
    begun = time.monotonic()
    step(1, "A key holder makes its keys; three hospitals and two banks have rows, each in a folder of its own.")
    encrypted = Encrypted(demo, banks=True)
    try:
        _tell(demo, encrypted, begun)
    finally:
        encrypted.stop()


def _tell(demo: Demo, encrypted: Encrypted, begun: float) -> None:
    say(f"   the service is ready after {demo.start():.1f} s")
    encrypted.start()
    step(2, "The providers encrypt at home: bounded totals by group, under the key holder's key, signed.")
    encrypted.upload()
    encrypted.approve()
    step(3, "A researcher asks for a table over three hospitals; the plan says what encryption costs in accuracy.")
    demo.run("rob", "plan", MEDICAL / "cd4_by_arm.yaml")
    trial = [row for provider in encrypted.hospitals for row in provider.rows]
    compare(released(demo, MEDICAL / "cd4_by_arm.yaml"), "mean_cd420", mean_by(trial, "arms", "cd420"))
    step(4, "And for a regression, which each hospital prepares at home.")
    demo.run("rob", "plan", MEDICAL / "cd4_regression.yaml")
    compare(released(demo, MEDICAL / "cd4_regression.yaml"), "coefficient", least_squares(trial))
    step(5, "The same over two banks, where a customer may be at both.")
    cards = [row for provider in encrypted.banks for row in provider.rows]
    compare(
        released(demo, FINANCE / "bills_of_the_late.yaml"),
        "mean_bill_april",
        mean_by(cards, "late_april", "bill_april"),
    )
    step(
        6, "The service's memory, files and logs are searched for what it must not have, and for one thing that it has."
    )
    secrets, known = secrets_of(encrypted), {"the public key's id": encrypted.key_id.encode()}
    found = searched(demo, secrets | known)
    for name, times in found.items():
        say(f"   {name:<24} found {times} times")
    if any(found[name] for name in secrets) or not all(found[name] for name in known):
        raise SystemExit("the service has something that it should not have, or the search is blind")
    step(8, "What the key holder has charged, by its own account.")
    say(encrypted.holder.run("status").rstrip())
    say(f"\nDone in {time.monotonic() - begun:.0f} s; nothing is left running.")


if __name__ == "__main__":
    main_of(tell)
