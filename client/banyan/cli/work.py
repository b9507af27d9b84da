"""The commands that take a job file: run (on mock data), plan, submit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from banyan import figures, mock_report
from banyan.cli import screen
from banyan.cli.account import Json
from banyan.cli.jobs import say_result
from banyan.cli.saving import Force, Output, check_output
from banyan.cli.waiting import follow
from banyan.client import Client
from banyan.errors import BanyanError
from banyan.job import RELEASED, Job

File = Annotated[Path, typer.Argument(help="The job, a YAML file.", metavar="FILE")]


def run(
    file: File,
    mock: Annotated[bool, typer.Option("--mock", help="Run on made-up rows.")] = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """Run a job on made-up rows. Free, and with the result's real form.

    Of a program it shows what its blocks printed and raised, too: they run as they would on real rows, and nothing about made-up rows
    is secret.
    """
    if not mock:
        raise typer.BadParameter("`run` is for made-up rows: add --mock. The real thing: banyan submit")
    check_output(output, force=force, inputs=(file,))
    with Client() as client:
        job = ended(follow(client.submit(file, mock=True)))
        result = client.result(job.id)
        if result.mock is not None:
            screen.say(mock_report.lines(result, screen.width()))
            _check_answered(result.mock)
        say_result(client, result, output=output)


def _check_answered(report: Mapping[str, Any]) -> None:
    if not mock_report.valid_answers(report):
        raise BanyanError(
            "mock.no_answer",
            f"none of the {figures.count(report.get('blocks'))} made-up blocks gave an answer that counts; on real data all of them "
            "would count as the defaults, and that would be paid for",
            "What the blocks raised is printed above. Mend the program, and run it again: it is free.",
        )


def plan(file: File, as_json: Json = False) -> None:
    """Say what a job would cost and give. Touches no data and costs nothing."""
    with Client() as client:
        found = client.plan(file)
    if as_json:
        screen.say_json(found.data)
    else:
        screen.say(found.lines(screen.width()))


def submit(
    file: File,
    wait: Annotated[bool, typer.Option("--wait", help="Watch until it has ended, and show the result.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a job. What it costs is what its plan says."""
    with Client() as client:
        job = client.submit(file)
        if not wait:
            _say_submitted(job, as_json)
            return
        follow(job)
        if as_json:
            screen.say_json(job.data)
        job = ended(job)
        if not as_json:
            say_result(client, client.result(job.id))


def _say_submitted(job: Job, as_json: bool) -> None:
    if as_json:
        screen.say_json(job.data)
        return
    screen.say(f"submitted  {job}")
    screen.say(f"watch it: banyan show {job.id}   ·   when released: banyan result {job.id}")


def ended(job: Job) -> Job:
    """The job, if it ended with a release; else the error that says how it ended."""
    if job.state == RELEASED:
        return job
    if job.refusal is not None:
        raise job.refusal
    raise BanyanError(f"job.{job.state}", f"{job.id} ended without a release")
