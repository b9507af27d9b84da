"""Decides the byte code of a site folder, so that two builds differ in no bit.

python -I -S bytecode.py SITE NAME_INSIDE        (a process of its own: see `code_bytes`)
"""

from __future__ import annotations

import importlib.util
import marshal
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import CodeType

UNCHECKED_HASH = 0b01  # never compared with the source: the root file system is read-only and the layer pinned
INDEPENDENT = 2


def code_bytes(code: CodeType) -> bytes:
    """Version 2 of the format depends on the code alone.

    Version 4 also notes which strings are interned, and a one-letter string is if anything in the compiling process interned
    it: six files of DuckDB and Arrow came out differently after one more import. Costs a quarter more bytes and 8 % of the
    import time of the whole scientific stack.
    """
    return marshal.dumps(code, INDEPENDENT)


def compile_file(path: Path, name_inside: str) -> None:
    source = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = compile(source, name_inside, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError):
            return  # a template or a file for another Python: nobody imports it
    target = Path(importlib.util.cache_from_source(str(path)))
    target.parent.mkdir(exist_ok=True)
    header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
    target.write_bytes(header + code_bytes(code))


def compile_site(site: Path, name_inside: str) -> None:
    sources = sorted(site.rglob("*.py"))
    names = (f"{name_inside}/{path.relative_to(site)}" for path in sources)
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(compile_file, sources, names, chunksize=50):
            pass


if __name__ == "__main__":
    compile_site(Path(sys.argv[1]), sys.argv[2])
