"""How one mapping of a declaration is read: typed fields are taken from it, and everything wrong is collected, not only the first."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from core.errors import Invalid
from core.yaml_positions import Document, nearest, shown
from core.yaml_positions import Path as FieldPath

MAX_PROBLEMS = 50


class Problems:
    """What is wrong with one file, in the order in which it was found."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: list[Invalid] = []

    def add(self, code: str, path: FieldPath, text: str, way_out: str | None = None) -> None:
        """Note a problem of the field at `path`; `code` is the part after `declaration.`."""
        self._found.append(self._document.invalid(f"declaration.{code}", path, text, way_out=way_out))

    def check(self) -> None:
        """Raise the first problem, if any, as Invalid. Where there are several, `where["problems"]` lists them all, by line."""
        if not self._found:
            return
        found = sorted(self._found, key=lambda problem: (problem.where["line"], problem.where["column"]))
        first = found[0]
        if len(found) > 1:
            first.where["problems"] = [
                {
                    "code": problem.code,
                    "text": problem.text,
                    **{name: problem.where[name] for name in ("line", "column", "field")},
                    **({"way_out": problem.way_out} if problem.way_out else {}),
                }
                for problem in found[:MAX_PROBLEMS]
            ]
        raise first


class Fields:
    """One mapping of the file. A method that finds something wrong notes it and returns None."""

    def __init__(self, problems: Problems, path: FieldPath, given: Mapping[str, Any]) -> None:
        self.problems, self.path, self.given = problems, path, given

    def wrong(self, name: str, code: str, text: str, way_out: str | None = None) -> None:
        """Note a problem of one field of this mapping."""
        self.problems.add(code, (*self.path, name), text, way_out)

    def has(self, name: str) -> bool:
        """Whether the field is there with a value."""
        return self.given.get(name) is not None

    def check_known(self, known: Collection[str], others: Mapping[str, str] | None = None) -> None:
        """Note every field that is not known; `others` says of some why they cannot stand here."""
        for name in self.given:
            if name in known:
                continue
            if others and name in others:
                self.wrong(name, "field_misplaced", others[name])
                continue
            way_out = nearest(name, known) or f"the fields here are {', '.join(known)}"
            self.wrong(name, "unknown_field", f"there is no field {shown(name)} here", way_out)

    def value(self, name: str, form: str, *, required: bool = True) -> Any:
        """The field's value; notes a missing one, saying that it should look like `form`."""
        found = self.given.get(name)
        if found is None and required:
            self.wrong(name, "missing_field", f"the field {name} is missing", f"add {form}")
        return found

    def section(self, name: str, form: str, *, required: bool = True) -> Fields | None:
        """A field that is a mapping."""
        found = self.value(name, form, required=required)
        if found is None:
            return None
        if not isinstance(found, Mapping):
            self.wrong(name, "structure", f"{name} must be a mapping of fields", f"write it as {form}")
            return None
        return Fields(self.problems, (*self.path, name), found)

    def text(self, name: str, form: str, pattern: str | None = None, *, required: bool = True) -> str | None:
        """A field that is one line of text and matches `pattern` wholly."""
        found = self.value(name, form, required=required)
        if found is None:
            return None
        if not isinstance(found, str) or not found.strip() or len(found) > 200 or not found.isprintable():
            self.wrong(
                name, "text", f"{name} must be one line of text of at most 200 characters", f"write it as {form}"
            )
            return None
        if pattern is not None and not re.fullmatch(pattern, found):
            self.wrong(name, "name", f"{shown(found)} cannot be the {name}", f"write it as {form}")
            return None
        return found

    def choice(self, name: str, choices: Collection[str], form: str, *, required: bool = True) -> str | None:
        """A field that is one of some words."""
        found = self.value(name, form, required=required)
        if found is None:
            return None
        if not isinstance(found, str) or found not in choices:
            text = f"{shown(found)} is not one of {', '.join(choices)}"
            self.wrong(name, name, text, nearest(str(found), choices) or f"write it as {form}")
            return None
        return found

    def whole(self, name: str, form: str, lowest: int, highest: int, *, required: bool = True) -> int | None:
        """A field that is a whole number within limits."""
        found = self.value(name, form, required=required)
        if found is None:
            return None
        if not isinstance(found, int) or isinstance(found, bool) or not lowest <= found <= highest:
            self.wrong(name, name, f"{name} must be a whole number from {lowest} to {highest}", f"write it as {form}")
            return None
        return found

    def flag(self, name: str) -> bool:
        """A field that is true or false, and false where it is missing."""
        found = self.given.get(name)
        if found is None or isinstance(found, bool):
            return bool(found)
        self.wrong(name, "flag", f"{name} must be true or false")
        return False
