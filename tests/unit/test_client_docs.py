"""The client's documents say what the code does: help texts, and the README's job file, commands and program.

`python -m tests.unit.test_client_docs` writes the help texts into docs/reference/cli.md anew.
"""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from banyan.cli import main
from banyan.cli.app import app
from banyan.job import ENDED, RELEASED
from banyan.jobfile import parse_job

from tests.unit.client_contract import TOKEN, contract_server

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
README = ROOT / "client" / "README.md"
MARK = "<!-- from here on written by: python -m tests.unit.test_client_docs -->\n"


def commands() -> Iterator[tuple[str, ...]]:
    """Every command by its words, in the order of `banyan --help`."""
    for command in app.registered_commands:
        yield (command.name or command.callback.__name__,)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield (str(group.name),)
        for command in group.typer_instance.registered_commands:
            yield (str(group.name), command.name or command.callback.__name__)


def help_of(words: tuple[str, ...]) -> str:
    os.environ["COLUMNS"] = "80"
    shown = io.StringIO()
    with redirect_stdout(shown), pytest.raises(SystemExit):
        main([*words, "--help"])
    return shown.getvalue().strip()


def reference() -> str:
    parts = [f"## banyan {' '.join(words)}\n\n```\n{help_of(words)}\n```\n" for words in commands()]
    return MARK + "\n" + "\n".join(parts)


def blocks(language: str) -> list[str]:
    """The README's code blocks in one language; none is nested, so that every second fence closes one."""
    parts = README.read_text(encoding="utf-8").split("```")[1::2]
    return [text for part in parts for name, _, text in [part.partition("\n")] if name == language]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_reference_holds_the_help_of_every_command() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert MARK in text
    assert text[text.index(MARK) :] == reference()


def test_every_code_of_the_client_is_documented_and_no_other() -> None:
    written = re.compile(
        r'(?:Refused|CellFault|BanyanError|Unreachable|Unauthenticated|StillWaiting|__init__|_refused|_refusal_of)\(\s*"([a-z_.]+)"'
    )
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "client").rglob("*.py"))
    used = set(written.findall(sources)) | {"server.slow", "server.unreachable", "server.unnamed"}
    used |= {f"job.{state}" for state in ENDED - {RELEASED}}
    section = REFERENCE.read_text(encoding="utf-8").partition("## Codes of the client")[2].partition("##")[0]
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", section)) - {"errors.md"} == used


def test_the_reference_fits_into_eighty_columns() -> None:
    assert all(len(line) <= 80 for words in commands() for line in help_of(words).split("\n"))


def test_every_command_of_the_readme_exists() -> None:
    known = set(commands())
    lines = [line.partition("#")[0] for block in blocks("") for line in block.split("\n") if line.startswith("banyan ")]
    assert len(lines) == 11
    for line in lines:
        words = shlex.split(line)[1:]
        assert (words[0],) in known or tuple(words[:2]) in known
        options = {word for word in words if word.startswith("-")}
        command = tuple(words[:2]) if tuple(words[:2]) in known else (words[0],)
        assert all(option in help_of(command) for option in options)


def test_the_readmes_job_file_and_program_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,), (program,) = blocks("yaml"), blocks("python")
    assert set(parse_job(job, "delays.yaml").body) == {"asset", "purpose", "query", "epsilon", "bounds"}
    (tmp_path / "delays.yaml").write_text(job)
    monkeypatch.chdir(tmp_path)
    with contract_server() as contract:
        monkeypatch.setenv("BANYAN_SERVER", contract.url)
        monkeypatch.setenv("BANYAN_TOKEN", TOKEN)
        exec(compile(program, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "Price   ε 0.5" in shown
    assert "19,930 ± 110" in shown
    assert (tmp_path / "delays.csv").exists()


def write() -> None:
    head = REFERENCE.read_text(encoding="utf-8").partition(MARK)[0]
    REFERENCE.write_text(head + reference(), encoding="utf-8")


if __name__ == "__main__":
    write()
