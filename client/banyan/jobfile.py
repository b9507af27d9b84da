"""Decides what a job file says, and where in that file a thing that the server refused stands.

The server sees the query as text of its own; the file holds it inside YAML, indented, folded or quoted. Folding and quoting only
change white space and escapes, so the n-th visible character of the value is the n-th visible character of its source.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from banyan.errors import Excerpt, Refused
from banyan.textfile import place_of, place_told, read_text

FIELDS = ("asset", "purpose", "policy", "query", "epsilon", "delta", "bounds")
REQUIRED = ("asset", "purpose", "query", "epsilon")
BOUNDS = ("max_groups_per_unit", "max_rows_per_group", "clip")
_WHITE = " \t\r\n\x85\u2028\u2029"
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_WHITE_ESCAPES = "tnrNLP \t"


@dataclass(frozen=True)
class JobFile:
    """A job: `body` is what is sent; `name`, `text` and `nodes` say where each field stands, if it came from a file."""

    body: Mapping[str, Any]
    name: str = "job"
    text: str = ""
    nodes: Mapping[str, yaml.Node] = field(default_factory=dict)

    def located(self, refused: Refused) -> Refused:
        """The same refusal, knowing its place in this file if it has one."""
        if refused.excerpt is None:
            refused.excerpt = self.excerpt(refused.where)
        return refused

    def excerpt(self, where: Mapping[str, Any]) -> Excerpt | None:
        """The place in this file that a server's `where` (field, and line and column within the field's text) means."""
        line, column = where.get("line"), where.get("column", 1)
        name = str(where.get("field") or "")
        inside = isinstance(line, int) and isinstance(column, int)
        if inside and name not in self.nodes:
            name = "query"
        node = self.nodes.get(name)
        if node is None:
            return place_told("query", str(self.body.get("query", "")), where) if inside else None
        if isinstance(node, yaml.ScalarNode):
            at = (int(line), int(column)) if isinstance(line, int) and isinstance(column, int) else (1, 1)
            return place_of(self.name, self.text, _index_of(self.text, node, *at))
        return place_of(self.name, self.text, node.start_mark.index)


def load_job(job: str | Path | Mapping[str, Any]) -> JobFile:
    """A job from the path of a YAML file, or from a mapping with the same fields. Raises Refused."""
    if isinstance(job, Mapping):
        body = {name: _plain(value) for name, value in job.items() if value is not None}
        for name in body:
            _check_name(name, FIELDS, JobFile(body), None)
        for name in body.get("bounds", {}) if isinstance(body.get("bounds"), Mapping) else ():
            _check_name(name, BOUNDS, JobFile(body), None)
        _check_complete(body, "the job")
        return JobFile(body)
    path = Path(job)
    return parse_job(read_text(path), path.name)


def parse_job(text: str, name: str) -> JobFile:
    """A job from the text of a YAML file called `name`. Raises Refused with the place of what is wrong."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        raise Refused(
            "job.not_yaml",
            f"this is not YAML: {problem.problem or problem.context}",
            excerpt=place_of(name, text, mark.index) if mark else None,
        ) from None
    except (yaml.YAMLError, RecursionError):
        raise Refused("job.not_yaml", f"{name} is not YAML") from None
    file = JobFile({}, name, text)
    if not isinstance(root, yaml.MappingNode):
        raise Refused("job.not_a_mapping", f"{name} must hold fields, one a line", way_out=f"start with {FIELDS[0]}: …")
    nodes: dict[str, yaml.Node] = {}
    body = _mapping(root, file, nodes, FIELDS, "")
    _check_complete(body, name)
    return JobFile(body, name, text, nodes)


def _mapping(
    root: yaml.MappingNode, file: JobFile, nodes: dict[str, yaml.Node], known: tuple[str, ...], prefix: str
) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for key, value in root.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        _check_name(name, known, file, key)
        if prefix + name in nodes:
            raise _refused_at(file, key, "job.duplicate_field", f"{name} is given twice", "keep one of the two")
        nodes[prefix + name] = value
        found = _value(name, value, file, nodes, prefix)
        if found is not None:
            body[name] = found
    return body


def _value(name: str, node: yaml.Node, file: JobFile, nodes: dict[str, yaml.Node], prefix: str) -> Any:
    """A field's value. Numbers stay the text that the person wrote, so that 0.3 means 3/10 everywhere."""
    if name == "bounds" and isinstance(node, yaml.MappingNode):
        return _mapping(node, file, nodes, BOUNDS, "bounds.")
    if name == "clip" and prefix:
        return _clip(node, file, nodes)
    if not isinstance(node, yaml.ScalarNode) or name == "bounds":
        wanted = f"{BOUNDS[0]} and {BOUNDS[1]}" if name == "bounds" else "one value"
        raise _refused_at(file, node, "job.wrong_shape", f"{prefix}{name} must hold {wanted}", None)
    if node.tag.endswith(":null"):
        return None
    if name in BOUNDS and node.tag.endswith(":int"):
        return yaml.safe_load(node.value)
    return node.value


def _clip(node: yaml.Node, file: JobFile, nodes: dict[str, yaml.Node]) -> dict[str, list[str]]:
    """The ends by column; numbers stay the text that the person wrote."""
    found: dict[str, list[str]] = {}
    for key, ends in node.value if isinstance(node, yaml.MappingNode) else [(node, node)]:
        nodes[f"bounds.clip.{key.value}"] = ends
        pair = ends.value if isinstance(ends, yaml.SequenceNode) else []
        if len(pair) != 2 or not all(isinstance(end, yaml.ScalarNode) for end in pair):
            raise _refused_at(
                file,
                ends,
                "job.wrong_shape",
                "bounds.clip must hold two numbers a column",
                "clip: {dep_delay: [-30, 120]}",
            )
        found[str(key.value)] = [end.value for end in pair]
    return found


def _plain(value: Any) -> Any:
    """A value of a mapping given in Python, as JSON says it; floats and Decimals by their shortest text, never rounded."""
    if isinstance(value, Mapping):
        return {str(name): _plain(found) for name, found in value.items() if found is not None}
    if isinstance(value, list | tuple):
        return [_plain(found) for found in value]
    return value if isinstance(value, int | str) else str(value)


def _check_name(name: str, known: tuple[str, ...], file: JobFile, node: yaml.Node | None) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    way_out = f'write "{near[0]}"' if near else "the fields are " + ", ".join(known)
    text = f'"{name}" is not a field of {"a job" if known is FIELDS else "bounds"}'
    if node is None:
        raise Refused("job.unknown_field", text, {"field": name}, way_out)
    raise _refused_at(file, node, "job.unknown_field", text, way_out)


def _check_complete(body: Mapping[str, Any], name: str) -> None:
    missing = [field for field in REQUIRED if body.get(field) in (None, "")]
    if missing:
        raise Refused(
            "job.missing",
            f"{name} lacks {' and '.join(missing)}",
            {"field": missing[0]},
            f"add {' and '.join(f'{field}: …' for field in missing)}",
        )


def _refused_at(file: JobFile, node: yaml.Node, code: str, text: str, way_out: str | None) -> Refused:
    return Refused(code, text, None, way_out, excerpt=place_of(file.name, file.text, node.start_mark.index))


def _index_of(text: str, node: yaml.ScalarNode, line: int, column: int) -> int:
    """The index in `text` of the character at `line` and `column` of the scalar's value (at its start if they cannot be matched)."""
    value: str = node.value
    seen = [found for found in value if found not in _WHITE]
    sources = list(_visible(text, node))[: len(seen)]
    if not seen or [shown for shown, _ in sources] != seen:
        return int(node.start_mark.index)
    lines = value.split("\n")
    before = "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]]) if 0 < line <= len(lines) else value
    at = sum(found not in _WHITE for found in before)
    return sources[at][1] if at < len(sources) else sources[-1][1] + 1


def _visible(text: str, node: yaml.ScalarNode) -> Iterator[tuple[str, int]]:
    """Each visible character of the scalar's value with the index in `text` where it is written."""
    at, end = node.start_mark.index, node.end_mark.index
    while text[at] in "&!":  # an anchor or a tag stands before the scalar itself
        while text[at] not in _WHITE:
            at += 1
        while text[at] in _WHITE:
            at += 1
    if node.style in ("|", ">"):
        at = text.find("\n", at, end) + 1 or end
    elif node.style in ("'", '"'):
        at, end = at + 1, end - 1
    while at < end:
        shown, length = _escaped(text, at) if node.style == '"' and text[at] == "\\" else (text[at], 1)
        if node.style == "'" and text[at : at + 2] == "''":
            length = 2
        if shown not in _WHITE:
            yield shown, at
        at += length


def _escaped(text: str, at: int) -> tuple[str, int]:
    """What the escape sequence at `at` of a double-quoted scalar stands for (white space as a space), and its length."""
    letter = text[at + 1]
    if letter in _HEX_ESCAPES:
        length = 2 + _HEX_ESCAPES[letter]
        return chr(int(text[at + 2 : at + length], 16)), length
    if letter in _WHITE_ESCAPES or letter in _WHITE:
        return " ", 2
    return {"0": "\0", "a": "\a", "b": "\b", "v": "\v", "f": "\f", "e": "\x1b", "_": "\xa0"}.get(letter, letter), 2
