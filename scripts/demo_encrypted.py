"""Hospitals and banks that hand over no plaintext: a key holder, providers who encrypt at home, and what researchers get.

A part of the demo, and a demo of its own (`just demo-encrypted`) in which both are told, every answer stands beside the plaintext's, and
the service is searched for anything that it should not have.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from demo_providers import PASSPHRASE, KeyHolder, Provider
from demo_search import searched
from demo_server import CHECKOUT, DEMO, Demo, main_of, say, step

MEDICAL, FINANCE = CHECKOUT / "examples" / "medical", CHECKOUT / "examples" / "finance"
HOSPITALS, BANKS = ("hospital-a", "hospital-b", "hospital-c"), ("bank-a", "bank-b")
CLINICS = ("clinic-a", "clinic-b", "clinic-c")
CANARY = "481516234299"


class Encrypted:
    """All of it, on a demo whose server is not started yet. `more`: the banks, and clinics that leave nothing at the service."""

    def __init__(self, demo: Demo, *, more: bool) -> None:
        self.demo, self.holder = demo, KeyHolder(demo)
        self.signer = self.holder.init()
        trial, cards = _rows("actg175.csv"), _rows("credit_cards.csv") if more else []
        if more:
            trial[0]["pidnum"] = CANARY
        columns = ("pidnum", "arms", "age", "cd40", "cd420")
        self.hospitals = [
            Provider(demo, name, MEDICAL / "hospital.yaml", trial[at::3], columns) for at, name in enumerate(HOSPITALS)
        ]
        self.banks = [
            Provider(demo, name, FINANCE / "bank.yaml", cards[at::2], ("cardholder", "late_april", "bill_april"))
            for at, name in enumerate(BANKS if more else ())
        ]
        self.clinics = [
            Provider(demo, name, MEDICAL / "clinic.yaml", trial[at::3], columns)
            for at, name in enumerate(CLINICS if more else ())
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
        if self.clinics:
            populations["clinic-patients"] = {
                "accountant": "zcdp", "epsilon": 10, "delta": "1e-6", "min_providers": 3, "overlap": 1, "shared": "true",
                "providers": _keys(self.clinics),
            }  # fmt: skip
        self.holder.trust(populations)
        self.holder.start()

    def upload(self) -> None:
        """Register every provider's asset and have them encrypt."""
        for provider in (*self.hospitals, *self.banks, *self.clinics):
            self.demo.run("olga", "assets", "register", provider.declaration, show=False)
            provider.encrypt(self.signer, show=provider is self.hospitals[0])

    def approve(self) -> None:
        """Propose the policies and have them approved."""
        policies = {"trial-encrypted": MEDICAL / "hospital_policy.yaml"}
        if self.banks:
            policies["cards-encrypted"] = FINANCE / "bank_policy.yaml"
        if self.clinics:
            policies["trial-clinics"] = MEDICAL / "clinic_policy.yaml"
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


def released(demo: Demo, job: Path, *, show: bool = True, waiting: str | None = None) -> dict[str, dict[str, object]]:
    """Run a job, or wait for one; its rows by key."""
    if waiting is None:
        demo.run("rob", "submit", job, "--wait", show=show)
    else:
        _wait_for(demo, waiting)
        demo.run("rob", "result", waiting, show=show)
    output = demo.folder / f"{job.stem}.json"
    demo.run("rob", "result", demo.job_of("rob"), "-o", output, "--force", show=False)
    table = json.loads(output.read_text())
    key = table["columns"][0]["name"]
    return {row[key]: row for row in table["rows"]}


def _wait_for(demo: Demo, job: str) -> None:
    until = time.monotonic() + 120
    while json.loads(demo.run("rob", "show", job, "--json", show=False))["state"] in ("queued", "running"):
        if time.monotonic() > until:
            raise SystemExit(f"{job} is not released in time")
        time.sleep(0.3)


def compare(told: Mapping[str, Mapping[str, object]], column: str, exact: Mapping[str, float]) -> None:
    """Each released number beside what the plaintext says, and whether it lies within its interval."""
    say(f"\n   {column:<24} {'released':>12} {'plaintext':>12}   95 % interval")
    for key, value in exact.items():
        cell = told[key][column]
        if not isinstance(cell, dict):
            raise SystemExit("a released table of another form")
        low, high = cell["low"], cell["high"]
        if low is None:  # noise hides it: any number would do
            low, high = -math.inf, math.inf
        held = "holds it" if low <= value <= high else "does not hold it"
        say(f"   {key:<24} {cell['value']:>12,.1f} {value:>12,.1f}   {low:,.1f} to {high:,.1f} {held}")


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
    encrypted = Encrypted(demo, more=True)
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
    step(6, "Clinics that leave nothing at the service: each answers one job, with noise of its own.")
    _tell_contributions(demo, encrypted, mean_by(trial, "arms", "cd420"))
    step(7, "From level S2 on, a key holder on the service's own machine opens nothing.")
    _tell_apart(demo, encrypted)
    step(
        8, "The service's memory, files and logs are searched for what it must not have, and for one thing that it has."
    )
    secrets, known = secrets_of(encrypted), {"the public key's id": encrypted.key_id.encode()}
    found = searched(demo, secrets | known)
    for name, times in found.items():
        say(f"   {name:<24} found {times} times")
    if any(found[name] for name in secrets) or not all(found[name] for name in known):
        raise SystemExit("the service has something that it should not have, or the search is blind")
    step(9, "What the key holder has charged, by its own account.")
    say(encrypted.holder.run("status").rstrip())
    say(f"\nDone in {time.monotonic() - begun:.0f} s; nothing is left running.")


def _tell_contributions(demo: Demo, encrypted: Encrypted, exact: Mapping[str, float]) -> None:
    file = MEDICAL / "cd4_by_arm_of_clinics.yaml"
    demo.run("rob", "plan", file)
    demo.run("rob", "submit", file)
    job = demo.job_of("rob")
    for clinic in encrypted.clinics:
        clinic.contribute(encrypted.signer, job, show=clinic is encrypted.clinics[0])
    compare(released(demo, file, waiting=job), "mean_cd420", exact)


def _tell_apart(demo: Demo, encrypted: Encrypted) -> None:
    """The same declarations, one level up."""
    for provider in encrypted.hospitals:
        raised = provider.folder / "raised.yaml"
        text = provider.declaration.read_text().replace("level: S1", "level: S2").replace("epsilon: 10", "epsilon: 4")
        text = text.replace("trial-patients", "graded-patients")
        raised.write_text(text.replace("medical/trial_hospital", "medical/graded_hospital"))
        demo.run("olga", "assets", "register", raised, show=False)
    job = demo.folder / "graded.yaml"
    job.write_text((MEDICAL / "cd4_by_arm.yaml").read_text().replace("trial_hospital", "graded_hospital"))
    demo.run("rob", "plan", job, refused=True)


if __name__ == "__main__":
    main_of(tell)
