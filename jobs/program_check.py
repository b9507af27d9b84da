"""Whether a program can run at all: said at plan time, with its line, before anything is charged."""

from __future__ import annotations

import difflib
import json
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import Invalid, Unavailable
from jobs import program_reader
from sandbox.limited import ReaderLimits, validated

# Ours, in the image beside the packages: client/banyan/frames.py.
OWN_MODULES = frozenset({"banyan"})
MAX_PRELOADED = 40
# However many ask at once: the cores that would read are the lanes' too. Few may wait, since a waiting one keeps a thread of the server.
_ONE_AT_A_TIME, _WAITING = threading.Lock(), threading.BoundedSemaphore(4)
# Of which nobody takes more than one place, or one person could keep all others from planning.
_PERSON: ContextVar[str] = ContextVar("person")
_READING: set[str] = set()
_CHANGING = threading.Lock()
# Niceness: what runs in the lanes goes first. So the time on the clock is long, and it is the processor time that ends a reading.
_LIMITS = ReaderLimits(memory_bytes=1 << 30, cpu_seconds=5, output_bytes=1 << 20, wall_seconds=60.0, niceness=10)


@contextmanager
def planned_for(person: str) -> Iterator[None]:
    """Says whose programs are planned in here."""
    said = _PERSON.set(person)
    try:
        yield
    finally:
        _PERSON.reset(said)


@contextmanager
def _place() -> Iterator[None]:
    """A place among those who wait. Raises Unavailable (`program.busy`) where there is none, or the same person has one."""
    person = _PERSON.get("")
    with _CHANGING:
        if person and person in _READING:
            text = "another program of yours is being read now"
            raise Unavailable("program.busy", text, way_out="try again when that is answered")
        if not _WAITING.acquire(blocking=False):
            text = "several programs are being read now"
            raise Unavailable("program.busy", text, way_out="try again in a few seconds")
        _READING.add(person)
    try:
        yield
    finally:
        with _CHANGING:
            _READING.discard(person)
            _WAITING.release()


def checked_imports(text: str, modules: frozenset[str]) -> tuple[str, ...]:
    """The library modules that the program imports, in its order; `modules` are the top-level ones that the image has.

    Raises Invalid (`program.syntax`, `program.no_analyse`, `program.signature`, `program.relative_import`, `program.import`) with
    the place in the program; Unavailable (`program.busy`) while several others are read, or another one of the same person.
    """
    found: dict[str, Any] = json.loads(_read(text))
    if "problem" in found:
        raise _told(found)
    return _library_modules(found["imports"], modules)


@lru_cache(maxsize=64)
def _read(text: str) -> bytes:
    """What the reader says of a program: its refusals are remembered like everything else, but not that it reached a limit."""
    with _place(), _ONE_AT_A_TIME:
        answer = validated(Path(program_reader.__file__), [], text.encode(), _LIMITS)
    if answer is None:
        raise Invalid(
            "program.syntax", "the program is too large or too deeply nested to be read", where={"field": "program"}
        )
    return answer


def _library_modules(imports: Iterable[dict[str, Any]], modules: Collection[str]) -> tuple[str, ...]:
    library = []
    for entry in imports:
        top = entry["module"].partition(".")[0]
        if top in modules:
            library.append(entry["module"])
        elif not entry["guarded"] and top not in sys.stdlib_module_names and top not in OWN_MODULES:
            near = difflib.get_close_matches(top, modules, 1)
            way_out = f"did you mean {near[0]}? " if near else ""
            listed = ", ".join(sorted(name for name in modules if not name.startswith("_")))
            raise _refused("program.import", f"the image has no {top[:60]}", entry, f"{way_out}it has {listed}")
    return tuple(dict.fromkeys(library))[:MAX_PRELOADED]


def _refused(code: str, text: str, found: dict[str, Any], way_out: str | None) -> Invalid:
    where = {"field": "program", "line": found["line"], "column": found["column"]}
    return Invalid(code, text, where=where, way_out=way_out)


def _told(found: dict[str, Any]) -> Invalid:
    """What the reader found wrong; each code stands here once more, so that the reference lists it."""
    text = str(found["text"])
    match found["problem"]:
        case "program.no_analyse":
            return _refused("program.no_analyse", text, found, _EXAMPLE)
        case "program.signature":
            return _refused("program.signature", text, found, _EXAMPLE)
        case "program.relative_import":
            return _refused("program.relative_import", text, found, "put everything into the one file")
        case _:
            return _refused("program.syntax", text, found, None)


_EXAMPLE = "def analyse(tables, params): return {...}"
