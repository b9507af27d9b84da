"""Runs inside the `python` image: a program's answer on each block; a JSON line each on stdout.

    block_answers.py INSTRUCTION        a JSON file: name, code, params, preload, outputs, folders, and how many blocks share a process

The answer is made by the image's own block.py and answer.py. There are no walls between blocks: this measures accuracy, on public data.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

BEFORE_FORK = ("answer", "numpy", "pyarrow", "pyarrow.compute", "pyarrow.ipc")


def answers_of(instruction: dict[str, Any], folders: list[str]) -> list[str]:
    """A line for each folder, from one fresh process: the vector in hex, or null if there is none, and its processor seconds."""
    mine, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(mine)
        _answer(instruction, folders, theirs)
    os.close(theirs)
    with os.fdopen(mine, "r") as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    none = json.dumps({"vector": None, "seconds": 0.0})
    return lines + [none] * (len(folders) - len(lines))


def _answer(instruction: dict[str, Any], folders: list[str], pipe: int) -> None:
    answer, block = importlib.import_module("answer"), importlib.import_module("block")
    os.dup2(2, 1)  # what a program prints is no answer
    named = [instruction[field] for field in ("name", "code", "params", "outputs")]
    begun = 0.0  # the first block's seconds hold what the fork costs
    for folder in folders:
        try:
            vector = answer.answered(*named, block.tables_in(folder)).hex()
        except Exception:  # noqa: BLE001 - whatever it is, the block counts as its default
            vector = None
        ended = time.process_time()
        os.write(pipe, (json.dumps({"vector": vector, "seconds": ended - begun}) + "\n").encode())
        begun = ended
    os._exit(0)


def main() -> None:
    """Answer every block."""
    instruction = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for module in (*BEFORE_FORK, *instruction["preload"]):
        importlib.import_module(module)
    folders, together = instruction["folders"], instruction["together"]
    for at in range(0, len(folders), together):
        print("\n".join(answers_of(instruction, folders[at : at + together])), flush=True)


if __name__ == "__main__":
    main()
