"""Each module that a guarantee rests on names its proof, and the proof is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NOTE = re.compile(r"docs/proofs/[a-z_]+\.md")
CODE = [
    path
    for folder in ("privacy", "policies", "jobs", "assets", "audit", "runtime_images", "sandbox")
    for path in sorted((CHECKOUT / folder).rglob("*.py"))
]


def imports_opendp(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] == "opendp" for name in names)


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def test_every_mechanism_names_its_proof():
    mechanisms = [path for path in CODE if imports_opendp(path)]
    assert mechanisms
    assert [str(path) for path in mechanisms if not NOTE.search(docstring(path))] == []


def test_accounting_and_bounding_name_their_proofs():
    for name in ("privacy/accountant.py", "runtime_images/query/runner.py", "policies/budget.py"):
        assert NOTE.search(docstring(CHECKOUT / name)), name


def test_every_proof_that_is_named_exists():
    named = {note: path for path in CODE for note in NOTE.findall(path.read_text())}
    assert {note: str(path) for note, path in named.items() if not (CHECKOUT / note).is_file()} == {}


def test_every_proof_is_named_by_code():
    named = {note for path in CODE for note in NOTE.findall(path.read_text())}
    written = {f"docs/proofs/{path.name}" for path in (CHECKOUT / "docs" / "proofs").glob("*.md")}
    assert written - named == set()
