"""Which tiers of isolation this machine can do, found out by running a block in each, and which one a job gets.

Where the machine cannot do what was asked for, something stronger is taken; something weaker never.
"""

from __future__ import annotations

import errno
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.errors import Unavailable
from core.tier import Tier
from sandbox.collect import framed_instruction, read_frames
from sandbox.runtime import End, Outcome, Runtime
from sandbox.spec import MIB, OWNER, ContainerSpec

RUNNER: Final = ("python3", "-I", "/banyan/runner.py")
# A folder that every image has and that is empty: the block of a trial has no rows.
EMPTY_FOLDER: Final = "/mnt"
TRIAL: Final = "def analyse(tables, params):\n    return {'here': 1.0}\n"
_ANSWER: Final = struct.pack(">d", 1.0)
# What the runner says of a measure that is refused, before any program is loaded: the error's number and the call's name.
_REFUSAL: Final = re.compile(r"\[Errno (\d{1,4})\] ([A-Za-z_]{1,20})")
TOO_SLOW: Final = "a block took too long to start"
NO_ANSWER: Final = "a block did not answer"
WAY_OUT: Final = (
    "run banyan-server doctor on the machine of the engine; docs/known-limitations.md lists what each tier needs"
)


@dataclass(frozen=True)
class Found:
    """One tier on this machine: `reason` says in a few words why not, empty where it can be done."""

    tier: Tier
    reason: str = ""

    @property
    def available(self) -> bool:
        """Whether a block ran in it and answered."""
        return not self.reason


@dataclass(frozen=True)
class Tiers:
    """What was found out about each tier, weakest first."""

    found: tuple[Found, ...]

    @property
    def is_certain(self) -> bool:
        """Whether trying again would say the same: not if a trial gave no answer, which a busy machine can bring about."""
        return not {each.reason for each in self.found} & {TOO_SLOW, NO_ANSWER}

    def lines(self) -> list[str]:
        """A sentence for each tier that this machine cannot do; none where it can do all."""
        return [
            f"the tier {each.tier} is not available here: {each.reason}; {self._instead(each.tier)}"
            for each in self.found
            if not each.available
        ]

    def _instead(self, tier: Tier) -> str:
        stronger = _weakest_available(tier, self)
        return f"jobs that ask for it get the tier {stronger}" if stronger else "jobs that ask for it are refused"


def chosen(asked: Tier, tiers: Tiers) -> Tier:
    """The tier that was asked for, else the next stronger one that there is. Raises Unavailable (`isolation.unavailable`)."""
    taken = _weakest_available(asked, tiers)
    if taken is None:
        reasons = "; ".join(f"{each.tier}: {each.reason}" for each in tiers.found if each.reason)
        raise Unavailable(
            "isolation.unavailable",
            f"this machine can do neither the tier {asked} nor a stronger one",
            where={"tier": asked.value},
            way_out=WAY_OUT,
            detail=reasons,
        )
    return taken


def _weakest_available(asked: Tier, tiers: Tiers) -> Tier | None:
    fit = [each.tier for each in tiers.found if each.available and each.tier.strength >= asked.strength]
    return min(fit, key=lambda tier: tier.strength, default=None)


def probe(runtime: Runtime, image: str, owner: str, oci_runtime: str | None = None) -> Tiers:
    """Runs a block without rows in each tier, about a second each.

    image        id of the image for programs
    owner        the `banyan.owner` label of the containers made
    oci_runtime  the engine's OCI runtime that programs are to run in; None for its default

    Raises Unavailable where nothing can be found out: `engine.unreachable`, `engine.image_missing`.
    """
    return Tiers(
        tuple(Found(tier, _reason(runtime, specification(tier, image, owner, oci_runtime), tier)) for tier in Tier)
    )


def specification(tier: Tier, image: str, owner: str, oci_runtime: str | None) -> ContainerSpec:
    """The container of a trial."""
    return ContainerSpec(
        image=image,
        command=RUNNER,
        labels={OWNER: owner},
        memory_bytes=512 * MIB,
        pids=256,
        wall_seconds=30.0,
        namespaces=tier is Tier.ZYGOTE,
        oci_runtime=oci_runtime,
    )


def instruction(
    tier: Tier, code: str, outputs: list[dict[str, object]], params: Mapping[str, object], cpu_seconds: float = 1.0
) -> bytes:
    """One block without rows for the runner of programs, as it reads it from stdin."""
    return framed_instruction(
        json.dumps(
            {
                "kind": "program",
                "name": "trial.py",
                "code": code,
                "params": dict(params),
                "preload": [],
                "outputs": outputs,
                "blocks": [{"index": 0, "folder": EMPTY_FOLDER}],
                "isolation": "namespaces" if tier is Tier.ZYGOTE else "none",
                "cpu_seconds_per_block": cpu_seconds,
                "slot_seconds": 3 * cpu_seconds,
                "clear_seconds": cpu_seconds,
                "memory_bytes_per_block": 128 * MIB,
                "wall_seconds": 25,
                "trace": False,
            }
        ).encode()
    )


def _reason(runtime: Runtime, spec: ContainerSpec, tier: Tier) -> str:
    asked = instruction(tier, TRIAL, [{"name": "here", "length": None}], {})
    try:
        outcome = runtime.run(spec, asked, lambda: False)
    except Unavailable as problem:
        if problem.code != "engine.refused":
            raise
        return _refusal_of_the_engine(spec.oci_runtime, problem.detail or "")
    if read_frames(outcome.output, {0}, len(_ANSWER)) == {0: _ANSWER}:
        return ""
    return _refusal_of_the_kernel(outcome)


def _refusal_of_the_engine(oci_runtime: str | None, detail: str) -> str:
    if oci_runtime and "runtime" in detail.lower():
        return f"the engine has no OCI runtime called {oci_runtime}, or cannot start it"
    return "the engine refuses the container"


def _refusal_of_the_kernel(outcome: Outcome) -> str:
    """What is wrong, from our own runner's words on stderr: no other program has run in that container."""
    said = _REFUSAL.search(outcome.sealed.decode("utf-8", "replace"))
    if said is None:
        return TOO_SLOW if outcome.end is End.TIMED_OUT else NO_ANSWER
    number, call = int(said[1]), said[2]
    match call, number:
        case "unshare", errno.ENOSPC | errno.EUSERS:
            return "no more user namespaces are allowed (user.max_user_namespaces)"
        case "unshare", errno.EPERM | errno.EACCES:
            return "user namespaces are denied, by seccomp, by AppArmor or by kernel.unprivileged_userns_clone"
        case "unshare", _:
            return "the kernel has no user namespaces"
        case "mount" | "pivot_root" | "umount", errno.EPERM | errno.EACCES:
            return "mounts in a user namespace are denied, as AppArmor's profile for containers does"
        case _:
            what = call if call.islower() else "a measure"
            return f"{what} is refused ({errno.errorcode.get(number, 'unknown error')})"
