"""Writes the pages of docs/reference that are read off the code: errors.md and settings.md. `--check` only compares."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from core import errors
from core.settings import Settings
from policies.refusals import REFUSALS

CHECKOUT = Path(__file__).resolve().parent.parent
ROOMS = ("api", "jobs", "sandbox", "policies", "assets", "privacy", "audit", "core")
KINDS = {
    name: kind.status
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.BanyanError)
}


def errors_page() -> str:
    """Every code that can be met, with its HTTP status and the sentence that comes with it."""
    found: dict[str, tuple[int, str]] = {
        code: (refusal.error.status, _template(refusal.text)) for code, refusal in REFUSALS.items()
    }
    for room in ROOMS:
        for path in sorted((CHECKOUT / room).rglob("*.py")):
            found.update(_raised_in(ast.parse(path.read_text(encoding="utf-8"))))
    lines = [
        "# Errors",
        "",
        "Written by `just reference` from the code. Every refusal has a stable code, says where and what is wrong, and, where there is",
        "one, the smallest change that would pass (`way_out`). Nothing in it depends on protected data. Over HTTP it is",
        "`application/problem+json` (RFC 9457) with the members `type`, `title`, `status`, `code`, `where`, `way_out`.",
        "",
        "| code | status | says |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{code}` | {status} | {text} |" for code, (status, text) in sorted(found.items())]
    return "\n".join(lines) + "\n"


def _raised_in(tree: ast.Module) -> dict[str, tuple[int, str]]:
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, tuple[int, str]] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args):
            continue
        code = _literal(node.args[0], constants)
        if code is not None:
            text = _sentence(node.args[1]) if len(node.args) > 1 else "…"
            found[code] = (KINDS[node.func.id], text)
    return found


def _literal(node: ast.expr, constants: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return constants.get(node.id) if isinstance(node, ast.Name) else None


def _sentence(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return "…"


def _template(text: str) -> str:
    return text.replace("{", "‹").replace("}", "›")


def settings_page() -> str:
    """Every setting with its type, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Written by `just reference` from `core/settings.py`. A setting comes from the environment (`BANYAN_` and the name in capitals)",
        "or from one TOML file that `BANYAN_CONFIG` names; the environment wins. Unknown names in the file are refused.",
        "",
        "| name | type | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        kind = getattr(field.annotation, "__name__", str(field.annotation)).replace("|", "or")
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{name}` | {kind} | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


PAGES = {"errors.md": errors_page, "settings.md": settings_page}


def stale() -> list[str]:
    """The pages that do not say what the code says."""
    folder = CHECKOUT / "docs" / "reference"
    return [
        name
        for name, page in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != page()
    ]


def main() -> int:
    """Write, or with --check compare."""
    if "--check" in sys.argv[1:]:
        return 1 if stale() else 0
    for name, page in PAGES.items():
        (CHECKOUT / "docs" / "reference" / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
