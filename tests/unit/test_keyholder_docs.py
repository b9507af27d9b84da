"""What docs/key-holder.md tells its operator to type and to write is what the program takes, and its figures are the code's."""

import inspect
import re
from pathlib import Path

import pytest
import typer

from keyholder import cli, intake, strangers
from keyholder.registry import read_registry
from keyholder.request import MAX_BODY_BYTES, MAX_DOCUMENT_BYTES
from tests.unit.encrypted_world import public_line
from tests.unit.test_keyholder import HOSPITALS, World

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "key-holder.md").read_text()
COMMANDS = typer.main.get_command(cli.app).commands
TYPED = re.findall(r"^banyan-keyholder (.+)$", PAGE, re.MULTILINE)
NUMBERS = {"four": 4}


@pytest.mark.parametrize("line", TYPED)
def test_what_is_typed_is_taken(line):
    name, *words = re.findall(r'"[^"]*"|\S+', line)
    COMMANDS[name].make_context(name, words)


def test_every_command_is_told_of_and_no_other():
    table = re.findall(r"^\| `([a-z]+)[^`]*` \|", PAGE, re.MULTILINE)
    assert {*table, *(line.split()[0] for line in TYPED)} == set(COMMANDS)


def test_the_registry_is_one_that_is_believed_when_its_keys_are_filled_in(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    text = re.sub(r"log_key: .*", f"log_key: {World(tmp_path).journal.signer.verifier_key}", text)
    text = re.sub(r"manifest_key: .*", f"manifest_key: {public_line('service')}", text)
    for name in HOSPITALS:
        text = re.sub(rf"{name}: [^,}}]+", f"{name}: {public_line(name)}", text)
    (tmp_path / "registry.yaml").write_text(text)
    (population,) = read_registry(tmp_path / "registry.yaml").populations.values()
    assert set(population.providers) == set(HOSPITALS)


def figure(pattern):
    (found,) = re.findall(pattern, PAGE)
    return NUMBERS.get(found) or int(found)


def test_its_figures_are_those_of_the_code():
    assert figure(r"client_max_body_size (\d+)m;") << 20 == MAX_BODY_BYTES
    assert figure(r"masked\nsum, up to (\d+) MiB") << 20 == MAX_BODY_BYTES
    assert figure(r"of an unsigned one at most\s+(\d+) MiB") << 20 == MAX_DOCUMENT_BYTES
    assert figure(r"(\w+) bodies are in memory at once") == intake.PLACES
    assert figure(r"a body has (\d+) seconds to come") == intake.SECONDS
    assert (
        figure(r"fewer than `--daily` \((\d+)\) releases") == inspect.signature(cli.serve).parameters["daily"].default
    )
    assert strangers.EVERY.total_seconds() == 60
    assert "counted in one row a minute" in PAGE
