"""Writes the pages of docs/reference that are read off the code: errors.md and settings.md. `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from error_codes import codes_in, sources_of

from api.errors import FRAMEWORK
from core import errors
from core.errors import NotFound
from core.settings import Settings
from policies.model import ResourceKind
from policies.refusals import REFUSALS

CHECKOUT = Path(__file__).resolve().parent.parent
ROOMS = ("api", "jobs", "sandbox", "policies", "assets", "privacy", "audit", "core")
KINDS = {
    name: kind.status
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.BanyanError)
}


def all_codes() -> dict[str, tuple[int, str]]:
    """Every code that can be met over HTTP or on a command line of the server, with its status and what it says."""
    found = codes_in(sources_of(CHECKOUT, ROOMS), KINDS)
    for kind in ResourceKind:
        if kind is not ResourceKind.SERVICE:
            word = kind.value.lower()
            found.setdefault(f"{word}.unknown", (NotFound.status, f"there is no {word} … that you may see"))
    found |= {code: (refusal.error.status, _template(refusal.text)) for code, refusal in REFUSALS.items()}
    return found | {code: (status, text) for status, (code, text) in FRAMEWORK.items()}


def errors_page() -> str:
    """Every code with its HTTP status and the sentence that comes with it."""
    lines = [
        "# Errors",
        "",
        "Written by `scripts/reference.py` from the code. Every refusal has a stable code, says where and what is wrong, and, where",
        "there is one, the smallest change that would pass (`way_out`). Nothing in it depends on protected data. Over HTTP it is",
        "`application/problem+json` (RFC 9457) with the members `type`, `title`, `status`, `code`, `where`, `way_out`.",
        "",
        "| code | status | says |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{code}` | {status} | {_cell(text)} |" for code, (status, text) in sorted(all_codes().items())]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _template(text: str) -> str:
    return text.replace("{", "‹").replace("}", "›")


def settings_page() -> str:
    """Every setting with its type, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Written by `scripts/reference.py` from `core/settings.py`. A setting comes from the environment (`BANYAN_` and the name in",
        "capitals) or from one TOML file that `BANYAN_CONFIG` names; the environment wins. Unknown names in the file are refused.",
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
