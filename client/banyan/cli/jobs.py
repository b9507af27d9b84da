"""The commands about submitted jobs: jobs, show, cancel, result, receipt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from banyan import figures, layout
from banyan.cli import screen
from banyan.cli.account import Json
from banyan.cli.saving import Force, Output, check_output
from banyan.client import Client
from banyan.job import RELEASED, Job, moment
from banyan.result import Result
from banyan.textfile import unreadable

JobId = Annotated[str, typer.Argument(help="A job's id, such as j-7f3k….", metavar="JOB")]
_ROWS_ON_SCREEN = 50


def jobs(as_json: Json = False) -> None:
    """List your jobs, newest first."""
    with Client() as client:
        found = client.jobs()
        now = client.server_now()
    if as_json:
        screen.say_json({"items": [job.data for job in found]})
        return
    rows = [[job.id, _status(job), _what(job), _epsilon(job), _shortly(job, now)] for job in found]
    screen.say_table(("job", "state", "what", "ε", "submitted"), rows, (3, 4))


def show(job_id: JobId, as_json: Json = False) -> None:
    """Show one job: its state, what it waits for, and its plan."""
    with Client() as client:
        job = client.job(job_id)
    if as_json:
        screen.say_json(job.data)
        return
    screen.say(f"{job.id}  {_status(job)}")
    what = f"{_what(job, whole=True)}, ε {_epsilon(job)}, submitted {_submitted(job)}"
    screen.say(layout.hanging("", what, screen.width()))
    paid = "charged" if job.data.get("charged") else "not charged"
    screen.say(f"for {job.data.get('purpose')}, policy {job.data.get('policy') or 'none'}, {paid}")
    screen.say(_code(job))
    if job.refusal is not None:
        screen.say(str(job.refusal).split("\n"))
    if job.data.get("plan"):
        screen.say(["", *job.plan.lines(screen.width())])
    if job.state == RELEASED:
        screen.say(f"result: banyan result {job.id}")


def cancel(job_id: JobId) -> None:
    """End a job. What was paid once data was touched stays paid."""
    with Client() as client:
        job = client.cancel(job_id)
    screen.say(str(job))


def result(
    job_id: JobId,
    output: Output = None,
    receipt: Annotated[bool, typer.Option("--receipt", help="Save the receipt too, beside FILE.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show what a job released, or save it."""
    check_output(output, force=force)
    with Client() as client:
        if as_json:
            screen.say_json(client.result(job_id).data)
        else:
            say_result(client, client.result(job_id), output=output, with_receipt=receipt, force=force)


def receipt(
    job_id: JobId,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where. Without it: the release's name here.", metavar="FILE")
    ] = None,
    force: Force = False,
) -> None:
    """Save the signed proof of how a job's release came about."""
    check_output(output, force=force)
    with Client() as client:
        found = client.receipt(job_id)
    path = output or Path(f"{_name(found)}.json")
    screen.say(layout.hanging("Receipt    ", _kept(found, path, force=force), screen.width()))


def say_result(
    client: Client, found: Result, *, output: Path | None = None, with_receipt: bool = False, force: bool = False
) -> None:
    """The table with its guarantee, or the file that it was saved in; then the receipt."""
    width = screen.width()
    if output is not None:
        screen.say(f"{len(found.rows):,} rows in {found.save(output)}")
    else:
        screen.say(found.lines(width, None if width is None else _ROWS_ON_SCREEN))
        if width is not None and len(found.rows) > _ROWS_ON_SCREEN:
            screen.say(f"all rows: banyan result {found.job_id} -o FILE.csv")
    if found.receipt_id is None:
        return
    line = f"{found.receipt_id} (save it: banyan receipt {found.job_id})"
    if with_receipt:
        receipt = client.receipt(found.job_id)
        folder = Path() if output is None else output.parent
        line = _kept(receipt, folder / f"{_name(receipt)}.json", force=force)
    screen.say(layout.hanging("Receipt    ", line, width))


def _kept(receipt: Mapping[str, Any], path: Path, *, force: bool) -> str:
    """Where the receipt is kept. The server named it, and must not write over a file of another content with that name."""
    content = json.dumps(receipt, ensure_ascii=False, indent=1) + "\n"
    try:
        if force or not path.exists() or path.read_bytes() != content.encode():
            check_output(path, force=force)
            path.write_text(content, encoding="utf-8")
    except OSError as problem:
        raise unreadable(path, problem) from None
    entry, note = receipt.get("entry"), str(receipt.get("checkpoint"))
    index = entry.get("index") if isinstance(entry, Mapping) else None
    size = note.partition("\n")[2].partition("\n")[0]
    return f"{path} (log entry {figures.count(index)} of {figures.count(size)})\ncheck it offline: banyan verify {path}"


def _name(receipt: Mapping[str, Any]) -> str:
    """The release's id as a file name: a server never chooses a folder."""
    found = Path(str(receipt.get("release"))).name
    return found if found.strip(".") else "receipt"


def _status(job: Job) -> str:
    return f"{job.status} (mock)" if job.data.get("mode") == "mock" else job.status


def _what(job: Job, *, whole: bool = False) -> str:
    """What is computed on what; of several assets how many and the first, or the `whole` list."""
    first, *others = [str(asset) for asset in (job.data.get("asset"), *(job.data.get("joined") or []))]
    shown = f"{len(others) + 1} assets: {first}" if others else first
    assets = ", ".join([first, *others]) if whole else shown
    return f"{(job.program or {}).get('name') or job.kind} on {assets}"


def _code(job: Job) -> list[str]:
    """The query, or the statistics asked; of a program, which may be long, the digest of its file."""
    if job.program is not None:
        return [f"  {job.program.get('digest')}"]
    compute = job.data.get("compute")
    if isinstance(compute, Mapping):
        return [f"  {name}: {value}" for name, value in screen.flat(compute)]
    return [f"  {line}" for line in str(job.data.get("query") or "").splitlines()]


def _epsilon(job: Job) -> str:
    return figures.amount(job.data.get("epsilon"), figures.UP)


def _shortly(job: Job, now: datetime | None) -> str:
    """When it was submitted: the day and the time, or of another year the date."""
    at = moment(job.data.get("submitted_at"))
    if at is None:
        return "–"
    at, this_year = at.astimezone(), None if now is None else now.astimezone().year
    return f"{at:%d %b %H:%M}" if at.year == this_year else f"{at:%d %b %Y}"


def _submitted(job: Job) -> str:
    at = moment(job.data.get("submitted_at"))
    return "–" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M}"
