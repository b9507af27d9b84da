"""Shows a job while it runs: a live line with a countdown on a terminal, one line for each change in a pipe."""

from __future__ import annotations

import math

from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from banyan.cli import screen
from banyan.job import Job
from banyan.layout import clean


def follow(job: Job) -> Job:
    """Wait until the job has ended. Ctrl-C stops the watching, not the job."""
    shown = screen.console(errors=True)
    try:
        if not shown.is_terminal:
            return job.wait(on_change=lambda changed: screen.note(str(changed)))
        spinner = Spinner("dots")

        def line() -> Spinner:
            spinner.update(text=Text(clean(f"{job}{countdown(job)}")))
            return spinner

        with Live(get_renderable=line, console=shown, refresh_per_second=8, transient=True):
            job.wait()
        screen.note(str(job))
    except KeyboardInterrupt:
        screen.note(f"{job.id} goes on: banyan show {job.id}")
        raise
    return job


def countdown(job: Job) -> str:
    """` (in 4 s)` before a planned release, by the server's clock."""
    left = None if job.ended else job.seconds_left
    if left is None:
        return ""
    return f" (in {math.ceil(left)} s)" if left > 0 else " (any moment)"
