"""Whose failure it is: the program's becomes an End, ours becomes Unavailable, and nothing that the program wrote decides it.

A program controls its exit code, its streams and how long it takes, so only those may turn into an End, and never into a
failure of ours: a program that could look like a dead engine could have its job retried. The other way round, an engine that
dies is never taken for a program that failed, because a failed block is released as its default.

Not told apart, on purpose: an exit code of 137 may be a kill by the kernel for want of memory, a kill from outside, or
`exit(137)`. All three are FAILED. An engine that reports the first does so also when only a child of PID 1 was killed.
"""

from __future__ import annotations

from core.errors import Unavailable
from sandbox.runtime import End

_EXPLANATION_CHARACTERS = 300


def end_of(exit_code: int) -> End:
    """The end of a container that came to it by itself, by the exit code of its PID 1."""
    return End.COMPLETED if exit_code == 0 else End.FAILED


def unreachable(problem: BaseException | None = None) -> Unavailable:
    """No engine answers, or it stopped answering. The kind of the problem is kept for the operator, its text is not."""
    return Unavailable(
        "engine.unreachable",
        "the container engine does not answer",
        way_out="start it (`just engine`), then try again; nothing was changed",
        detail=type(problem).__name__ if problem else None,
    )


def image_missing(image: str) -> Unavailable:
    """The engine has no such image. `image` is an id that we chose, not anything from a container."""
    return Unavailable(
        "engine.image_missing",
        "the image that this work needs is not there",
        where={"image": image},
        way_out="build the images (`just images`), then try again",
    )


def refused(status: int | None, explanation: str = "") -> Unavailable:
    """The engine answers, but does not do what it was asked to.

    `explanation` is the engine's own and goes to `detail`. It is to be passed only for answers that were given before the
    program ran: later ones could quote it.
    """
    kept = "".join(character if character.isprintable() else " " for character in explanation)
    return Unavailable(
        "engine.refused",
        "the container engine refused what was asked of it",
        detail=f"status {status}: {kept[:_EXPLANATION_CHARACTERS]}",
    )
