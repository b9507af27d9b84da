"""The port to whatever runs containers: its text is the specification that every implementation is tested against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from sandbox.spec import ContainerSpec

# `cancelled` is asked this often, in seconds.
POLL_SECONDS = 0.05
# Bytes of stderr that are kept for the operator's sealed log.
SEALED_BYTES = 64 * 1024
# Bytes of stderr after which a program is held to flood the machine. Between the two they are read and thrown away.
FLOOD_BYTES = 16 << 20
# Longest instruction, in bytes.
INSTRUCTION_BYTES = 16 << 20


class End(StrEnum):
    """How a container came to its end: what was noticed first, where several things happened."""

    CANCELLED = "cancelled"
    """`cancelled()` said so."""
    TIMED_OUT = "timed out"
    """It was still there after `wall_seconds`, and was killed."""
    OUTPUT_EXCEEDED = "output exceeded"
    """It wrote more than `output_bytes` to stdout, or flooded stderr, and was killed."""
    FAILED = "failed"
    """Its PID 1 ended with another code than 0: an error of its own, the kernel for want of memory, or `remove`."""
    COMPLETED = "completed"
    """Its PID 1 ended with code 0. A part of its work may have failed all the same: the frames say so."""


@dataclass(frozen=True)
class Outcome:
    """What one container left behind. All bytes are hostile, and none may reach a log line, an error or a person unvetted.

    end     how it ended
    output  the first `output_bytes` bytes of stdout, whatever the end: work done before a failure counts
    sealed  the first 64 KiB of stderr, for the operator's sealed log only
    """

    end: End
    output: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


class Runtime(Protocol):
    """Runs containers to their specification and leaves none behind. Safe to call from several threads at once.

    Ours and theirs are kept apart: what the program does (fails, floods, sleeps, eats its memory) is an Outcome; what the
    engine does is core.errors.Unavailable, whose text, `where` and `detail` never hold a byte that the program wrote.

        engine.unreachable    no engine answers, or it stopped answering
        engine.image_missing  the engine has no image of this id
        engine.refused        the engine answers but would not make or start this container
    """

    def run(self, spec: ContainerSpec, instruction: bytes, cancelled: Callable[[], bool]) -> Outcome:
        """Runs one container from its start to its removal.

        Before: `instruction` has at most 16 MiB. `cancelled` is quick, and may be called from this thread only.
        During: `instruction` is written to stdin as it is, and stdin then stays open, so that its end means that this process
            is gone; PID 1 of an image must end when it sees that. `cancelled` is asked at least every 50 ms while the
            container runs, and once before it is made. Ends by force are SIGKILL.
        After, also when anything was raised, `cancelled` itself included: no container of this call exists, in any state.
            If this process is killed with SIGKILL, the container ends through its stdin and is removed by the engine, at
            the latest after about a second; if it is killed between making and starting one, `remove` finds it.
        Not idempotent: each call is another container.
        Time: returns within about a second after `wall_seconds`, or after `cancelled` turned true.
        Raises: Unavailable. Invalid (`container.invalid`) for an instruction that is too long.
        """
        ...

    def remove(self, labels: Mapping[str, str]) -> int:
        """Kills and removes every container that carries all of `labels`, whoever started it, and in whatever state it is.

        After: none of those that existed at the call exists. A `run` that waits for one of them ends FAILED.
        Idempotent. Returns how many there were. Raises Unavailable; Invalid (`container.invalid`) if `labels` is empty or
        holds a name that is not one of ours: both could take other people's containers.
        """
        ...

    def listing(self, labels: Mapping[str, str]) -> list[dict[str, str]]:
        """The labels of ours (sandbox.spec.LABELS) of every container that carries all of `labels`, in any state, one entry each.

        Changes nothing. Raises as `remove` does.
        """
        ...

    def image_id(self, reference: str) -> str | None:
        """The id that a ContainerSpec takes, of the image that the engine knows by this name or id; None where it has none.

        Changes nothing, and fetches nothing from anywhere. Raises Unavailable.
        """
        ...
