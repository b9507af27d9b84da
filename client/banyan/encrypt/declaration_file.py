"""How the parts of a declaration file that a provider needs are taken from it, and where in the file one stands that does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from banyan.errors import Excerpt, Refused
from banyan.textfile import place_of, read_text

_WHOLE = re.compile(r"[1-9][0-9]{0,17}|0", re.ASCII)


@dataclass(frozen=True)
class Field:
    """A value in the file. What it is asked for and is not, it refuses with its place (`declaration.…`)."""

    file: str
    source: str
    path: str
    node: yaml.Node

    def refused(self, text: str, way_out: str | None = None) -> Refused:
        """The refusal for this value."""
        return Refused("declaration.value", self._told(text), way_out=way_out, excerpt=self._place)

    def members(self) -> Iterator[tuple[str, Field]]:
        """Names and values of a mapping, each name once."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.refused("a mapping is expected")
        seen = set()
        for name, value in self.node.value:
            within = Field(self.file, self.source, f"{self.path}.{name.value}".lstrip("."), name)
            if not isinstance(name, yaml.ScalarNode) or name.value in seen:
                raise within.refused("a name is given twice, or is none")
            seen.add(name.value)
            yield str(name.value), Field(self.file, self.source, within.path, value)

    def get(self, name: str) -> Field | None:
        """A member, if it is there with a value."""
        found = dict(self.members()).get(name)
        return None if found is None or found.is_null else found

    def member(self, name: str) -> Field:
        """A member that has to be there."""
        found = self.get(name)
        if found is None:
            raise Refused("declaration.missing_field", self._told(f"{name} is missing"), excerpt=self._place)
        return found

    def text(self) -> str:
        """A single value, as it is written."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.refused("a single value is expected")
        return str(self.node.value)

    def whole(self) -> int:
        """A whole number that is not negative."""
        if not _WHOLE.fullmatch(self.text()):
            raise self.refused("a whole number is expected")
        return int(self.text())

    def truth(self) -> bool:
        """True or false."""
        if self.text() not in ("true", "false"):
            raise self.refused("true or false is expected")
        return self.text() == "true"

    def texts(self) -> list[str]:
        """A list of single values."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.refused("a list is expected")
        return [Field(self.file, self.source, self.path, item).text() for item in self.node.value]

    @property
    def _place(self) -> Excerpt:
        return place_of(self.file, self.source, self.node.start_mark.index)

    def _told(self, text: str) -> str:
        return f"{self.path}: {text}" if self.path else text

    @property
    def is_null(self) -> bool:
        """Whether the name is there and its value is not."""
        return (
            isinstance(self.node, yaml.ScalarNode) and self.node.style is None and self.node.value in ("", "~", "null")
        )


def read_declaration(path: Path) -> Field:
    """The whole file. Raises Refused (`declaration.syntax`, `file.…`)."""
    text = read_text(path)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        excerpt = place_of(path.name, text, mark.index) if mark else None
        raise Refused("declaration.syntax", f"this is not YAML: {problem.problem}", excerpt=excerpt) from None
    except (yaml.YAMLError, RecursionError):
        raise Refused("declaration.syntax", f"{path.name} is not YAML") from None
    if root is None:
        raise Refused("declaration.syntax", f"{path.name} is empty")
    return Field(path.name, text, "", root)
