"""`make demo` does what it says, and the README shows what it prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FIGURE = re.compile(r"-?\d[\d,.]*")
pytestmark = [pytest.mark.docker, pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def demo(docker_host, query_image):
    data = CHECKOUT / ".banyan" / "demo"
    if not (data / "flights.csv").exists() or not (data / "covid_testing.csv").exists():
        pytest.skip("no demo data: run `just demo-data` first")
    return subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "demo.py"],
        cwd=CHECKOUT, env={"DOCKER_HOST": docker_host, "PATH": "/usr/bin:/bin", "COLUMNS": "100"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def shown(output, command, occurrence=0):
    """What the demo printed after a command."""
    parts = re.split(r"\n\[\w+\] \$ (banyan .*)\n", output)
    found = [text for line, text in zip(parts[1::2], parts[2::2], strict=True) if line == command]
    return re.split(r"\n─{20}", found[occurrence])[0].strip()


def readme_block(name):
    text = (CHECKOUT / "README.md").read_text()
    block = re.search(rf"<!-- {name}:begin -->\n```\n\$ (.*?)\n(.*?)```\n<!-- {name}:end -->", text, re.DOTALL)
    return block[1], block[2].strip()


def test_the_demo_ends_well_and_tells_eleven_steps(demo):
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert re.findall(r"^(\d+)\. ", demo.stdout, re.MULTILINE) == [str(number) for number in range(1, 12)]


def test_the_demo_shows_each_promise(demo):
    output = demo.stdout
    assert "unit_missing" in output
    assert "2,512" in output
    assert "refused  sql.not_allowed" in output
    assert "refused  policy.none" in output
    assert "refused  self_approval" in output
    assert "2 of 2 approvals" in output
    assert re.search(r"EWR +[\d,]+ ± [\d,]+", output)
    assert re.search(r"per_minute +[\d.]+ ± [\d.]+", output)
    assert "sample and aggregate over 88 blocks" in output
    assert "verified  r-" in output
    assert "Not proved" in output


def test_the_same_job_again_gives_the_same_bytes_and_costs_the_population_nothing(demo):
    command = "banyan submit examples/traffic/delays.yaml --wait"
    first, again = (re.findall(r"^(?:EWR|JFK|LGA).*", shown(demo.stdout, command, n), re.MULTILINE) for n in (0, 1))
    assert first == again != []
    before, after = (re.search(r"aircraft +(ε [\d.]+)", shown(demo.stdout, "banyan budget", n))[1] for n in (0, 1))
    assert before == after == "ε 7.2"


def test_nothing_is_left_running(demo):
    assert demo.returncode == 0
    state = str(CHECKOUT / ".banyan" / "demo" / "run-")
    for folder in Path("/proc").glob("[0-9]*/environ"):
        try:
            assert state not in folder.read_text(errors="replace")
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue


@pytest.mark.parametrize(("name", "occurrence"), [("plan", 1), ("result", 0)])
def test_the_readme_shows_what_the_demo_prints(demo, name, occurrence):
    """Noise changes the figures, and identifiers are random; words, columns and form must be the same."""
    command, text = readme_block(name)
    printed = shown(demo.stdout, command, occurrence)
    if name == "result":
        printed = "\n".join(line for line in printed.splitlines() if not line.startswith("j-"))
        text, printed = (
            re.sub(r"\[[^]]*\]|± #", "± #", FIGURE.sub("#", re.sub(r"\b[jr]-[2-9a-z]{16}", "ID", part)))
            for part in (text, printed)
        )
        text, printed = (re.sub(r" +", " ", part) for part in (text, printed))
    assert text == printed
