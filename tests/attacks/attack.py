"""What the table of hostile programs says of each: read from the program's own first lines, without running them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PROGRAMS = FOLDER / "programs"
# What hostile programs have at hand, and the honest block beside them.
NOT_ATTACKS = {"attacker", "witness"}
ANSWERS, FAILS, ANY = "answers", "fails", "any"


@dataclass(frozen=True)
class Attack:
    """One hostile program.

    name      its file's name
    text      the whole program; `analyse` returns {"hit": 0.0} where the attack failed, more where a part of it succeeded.
              `before` and `after`, where they are there, run in the honest blocks around it, ahead of the witness.
    aim       what it tries
    rows      rows of the table of attacks that it covers, or another name of what it is about
    control   what stops it
    ends      what its own block must come to: `answers` (a vector without a hit), `fails` (a failed block), or `any`
    residual  why it is not stopped, None for those that are
    tiers     where it makes sense
    cpu       processor seconds that a block has
    burn      the share of them that the witness burns
    own_test  whether it has a test of its own
    gvisor    what it gets in gVisor, and why that is no harm; None where it gets nothing there either
    """

    name: str
    text: str
    aim: str
    rows: tuple[int | str, ...]
    control: str
    ends: str = ANSWERS
    residual: str | None = None
    tiers: tuple[str, ...] = ("zygote", "container")
    cpu: float = 0.25
    burn: float = 0.0
    own_test: bool = False
    gvisor: str | None = None


def read(path: Path) -> Attack:
    """The attack in one file. Raises KeyError where it does not declare its rows or its control."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    said: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            try:
                said[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    chosen = {
        key: said[key.upper()]
        for key in ("ends", "residual", "tiers", "cpu", "burn", "own_test", "gvisor")
        if key.upper() in said
    }
    return Attack(path.stem, text, (ast.get_docstring(tree) or "").rstrip("."), said["ROWS"], said["CONTROL"], **chosen)


ATTACKS = tuple(read(path) for path in sorted(PROGRAMS.glob("*.py")) if path.stem not in NOT_ATTACKS)
