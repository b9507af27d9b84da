"""What a provider that leaves nothing at the service must not forget: which jobs it has answered, at which price, and beside whom.

It is one file beside the signing key, and two small ones: a count of answers, which tells when the file was lost or an older one was put
in its place, and a lock. An answer is on disk before anything is made for it: a crash may waste a price, and never forgets one.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from banyan.encrypt.spending import Budget
from banyan.errors import Refused
from banyan.textfile import read_text, unreadable

MEMORY, COUNT, LOCK = "contributions.json", "contributions.count", "contributions.lock"
WAIT_SECONDS = 60.0
# What a server writes: exact rationals, none so long that it takes time to read.
_RATIONAL = re.compile(r"[0-9]{1,400}(/[1-9][0-9]{0,399})?")


@dataclass
class Memory:
    """See the module.

    jobs      what was answered: by one's own signing key and the job, the population and the ρ
    partners  the signing keys of all providers: by population and name
    assets    the population of each asset that is not stored
    budgets   what answers may cost: by population
    """

    jobs: dict[str, dict[str, tuple[str, Fraction]]] = field(default_factory=dict)
    partners: dict[str, dict[str, str]] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """How many jobs were answered."""
        return sum(map(len, self.jobs.values()))

    def spent(self, population: str) -> Fraction:
        """The ρ of all answers, whoever's key signed them: the units are the same."""
        each = (answer for jobs in self.jobs.values() for answer in jobs.values())
        return sum((rho for of, rho in each if of == population), Fraction(0))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "jobs": {
                key: {job: {"population": of, "rho": str(rho)} for job, (of, rho) in jobs.items()}
                for key, jobs in self.jobs.items()
            },
            "partners": self.partners,
            "assets": self.assets,
            "budgets": {population: budget.to_json() for population, budget in self.budgets.items()},
        }

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        said = _mapping(stored)
        if set(said) != {"jobs", "partners", "assets", "budgets"}:
            raise ValueError("another form of memory")
        found = cls(
            {key: {job: _answer(each) for job, each in _mapping(jobs).items()} for key, jobs in _mapping(said["jobs"]).items()},
            {population: _texts(keys) for population, keys in _mapping(said["partners"]).items()},
            _texts(said["assets"]),
            {population: Budget.from_json(each) for population, each in _mapping(said["budgets"]).items()},
        )  # fmt: skip
        populations = {of for jobs in found.jobs.values() for of, _ in jobs.values()}
        if not populations <= set(found.budgets):
            raise ValueError("an answer is of a population without a budget")
        return found


def rational(text: object) -> Fraction:
    """A number as the server writes it. Raises ValueError for anything else, and for a number that would take time to read."""
    if not isinstance(text, str) or not _RATIONAL.fullmatch(text):
        raise ValueError("a number is a text of digits, or two with a line between")
    return Fraction(text)


def read(folder: Path) -> Memory:
    """What is remembered. Raises Refused (`call.memory`) if the file is damaged, lost or older than it was, `file.…`."""
    path, count = folder / MEMORY, _count(folder)
    if not path.exists():
        if count:
            raise _lost(
                folder, f"{path} is gone: it says which {count} jobs you have answered, and what they have cost"
            )
        return Memory()
    try:
        found = Memory.from_json(json.loads(read_text(path)))
    except ValueError:
        text = f"{path} does not say which jobs you have answered, and what they have cost"
        raise Refused(
            "call.memory", text, way_out="the file as it was; without it answer no job that you may have answered"
        ) from None
    if found.answers < count:
        raise _lost(folder, f"{path} holds {found.answers} answers, and there were {count}: it is an older one")
    return found


@contextmanager
def held(folder: Path) -> Iterator[Memory]:
    """What is remembered, for nobody else to change meanwhile; changes are on disk when the block has ended, and only if it ended well.

    Raises Refused as `read`, and `call.memory_busy`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise unreadable(folder, problem) from None
    with _locked(folder):
        memory = read(folder)
        before = _text_of(memory)
        yield memory
        after = _text_of(memory)
        if after != before:
            # The count last: with fewer than there are, nothing is lost.
            _write(folder / MEMORY, after)
            _write(folder / COUNT, f"{memory.answers}\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """SQLite's lock on an empty file: it goes with the process, whatever ends it, on every system."""
    try:
        with closing(sqlite3.connect(folder / LOCK, timeout=WAIT_SECONDS, isolation_level=None)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            yield
    except sqlite3.Error:
        text = f"{folder / LOCK} cannot be locked: another banyan is at work there, or nothing can be written"
        raise Refused("call.memory_busy", text, way_out="again when the other one has ended") from None


def _count(folder: Path) -> int:
    path = folder / COUNT
    if not path.exists():
        return 0
    text = read_text(path).strip()
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _lost(folder, f"{path} does not say how many jobs you have answered")
    return int(text)


def _text_of(memory: Memory) -> str:
    return json.dumps(memory.to_json(), indent=1)


def _lost(folder: Path, text: str) -> Refused:
    way_out = (
        f"{MEMORY} as it was, from a copy. If there is none: what was spent is not known any more, and a new account without {COUNT}"
        f" in {folder} begins at nothing"
    )
    return Refused("call.memory", text, way_out=way_out)


def _write(path: Path, text: str) -> None:
    """Whole or not at all, for its owner only; on disk when this returns."""
    fresh = path.with_suffix(".new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        if os.name == "posix":  # elsewhere a folder cannot be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as problem:
        raise unreadable(path, problem) from None


def _answer(stored: object) -> tuple[str, Fraction]:
    said = _mapping(stored)
    if set(said) != {"population", "rho"} or not isinstance(said["population"], str):
        raise ValueError("an answer is of a population, at a price")
    if (rho := rational(said["rho"])) == 0:
        raise ValueError("nothing is answered for nothing")
    return said["population"], rho


def _texts(stored: object) -> dict[str, str]:
    said = _mapping(stored)
    if not all(isinstance(text, str) for text in said.values()):
        raise ValueError("texts are expected")
    return dict(said)


def _mapping(stored: object) -> Mapping[str, Any]:
    if isinstance(stored, Mapping):
        return stored
    raise ValueError("a mapping is expected")
