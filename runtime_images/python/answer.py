"""What one block answers: runs the researcher's program on its tables and packs the declared numbers. Runs confined."""

from __future__ import annotations

import linecache
import os
import struct
import sys
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any

MODULE = "program"  # what the researcher's file is called among the modules


def answered(
    name: str,
    code: str,
    params: Mapping[str, Any],
    outputs: Sequence[Mapping[str, Any]],
    mapped: Mapping[str, tuple[int, int]],
) -> bytes:
    """The vector: for each output its numbers as big-endian doubles. Raises whatever the program raises, or ValueError."""
    analyse = loaded(name, code)
    found = analyse(tables_of(mapped), dict(params))
    numbers = numbers_of(found, outputs)
    return struct.pack(f">{len(numbers)}d", *numbers)


def loaded(name: str, code: str) -> Any:
    """The `analyse` of the program, run in a fresh module."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # tracebacks show its lines
    module = types.ModuleType(MODULE)
    module.__file__ = name
    sys.modules[MODULE] = module
    exec(compile(code, name, "exec", dont_inherit=True), module.__dict__)
    analyse = module.__dict__.get("analyse")
    if not callable(analyse):
        raise TypeError("the program has no function analyse(tables, params)")
    return analyse


def tables_of(mapped: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Each table that was mapped, by its name; of each the address and bytes of its file's memory."""
    import pyarrow as pa  # noqa: PLC0415 - loaded before the fork

    options = pa.ipc.IpcReadOptions(use_threads=False)
    tables = {}
    for name, (address, size) in mapped.items():
        with pa.BufferReader(pa.foreign_buffer(address, size)) as source:
            tables[name] = pa.ipc.open_file(source, options=options).read_all()
    return tables


def numbers_of(found: Any, outputs: Sequence[Mapping[str, Any]]) -> list[float]:
    """The declared numbers, in the order of `outputs`. Raises ValueError or TypeError, saying what was returned instead."""
    if not isinstance(found, Mapping):
        raise TypeError(f"analyse must return a dict of its outputs, not {_kind(found)}")
    names = [output["name"] for output in outputs]
    if set(found) != set(names):
        raise ValueError(
            f"analyse must return exactly {', '.join(names)}; it returned {', '.join(map(str, found)) or 'nothing'}"
        )
    numbers: list[float] = []
    for output in outputs:
        name, length, value = output["name"], output["length"], found[output["name"]]
        if length is None:
            numbers.append(_number(name, value))
            continue
        values = _elements(name, value)
        if len(values) != length:
            raise ValueError(f"{name} must have {length} numbers, not {len(values)}")
        numbers += [_number(f"{name}[{index}]", each) for index, each in enumerate(values)]
    return numbers


def _elements(name: str, value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.ndim == 1:
        return list(value)
    raise TypeError(f"{name} must be a list, a tuple or a one-dimensional numpy array, not {_kind(value)}")


def _number(name: str, value: Any) -> float:
    numpy = sys.modules.get("numpy")
    real: tuple[type, ...] = (int, float) if numpy is None else (int, float, numpy.integer, numpy.floating)
    if isinstance(value, bool) or not isinstance(value, real):
        raise TypeError(f"{name} must be a number, not {_kind(value)}")
    return float(value)


def _kind(value: Any) -> str:
    return type(value).__name__


def explain(problem: BaseException, name: str) -> None:
    """Writes the traceback to stderr, from the researcher's file on."""
    described = traceback.TracebackException.from_exception(problem)
    own = [index for index, frame in enumerate(described.stack) if frame.filename == name]
    if own:
        del described.stack[: own[0]]
    else:
        described.stack.clear()
    sys.stderr.write("".join(described.format()))


def reseed() -> None:
    """Gives this process a randomness of its own: the libraries were loaded once for all blocks."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(int.from_bytes(os.urandom(4), "big"))
