"""Decides what a job file says, and where in it, or in the program it names, a thing that the server refused stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from banyan.errors import Excerpt, Refused
from banyan.job_form import (
    JOB,
    Each,
    Flag,
    Form,
    Group,
    Params,
    Text,
    Texts,
    Whole,
    added,
    missing,
    of_another_kind,
    unknown,
)
from banyan.job_params import params_of
from banyan.program_file import Program, read_program
from banyan.python_nodes import node_of
from banyan.textfile import place_of, place_told, read_text
from banyan.yaml_places import index_of

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True)
class JobFile:
    """A job: `body` is what is sent; `name`, `text` and `nodes` say where each field stands, if it came from a file."""

    body: Mapping[str, Any]
    name: str = "job"
    text: str = ""
    nodes: Mapping[str, yaml.Node] = field(default_factory=dict)
    program: Program | None = None

    def located(self, refused: Refused) -> Refused:
        """The same refusal, knowing its place in this file, or in the program, if it has one."""
        if refused.excerpt is None:
            refused.excerpt = self.excerpt(refused.where)
        return refused

    def excerpt(self, where: Mapping[str, Any]) -> Excerpt | None:
        """The place that a server's `where` means: a field, and line and column within the field's text."""
        line, column = where.get("line"), where.get("column", 1)
        inside = isinstance(line, int) and isinstance(column, int)
        code = "query" if self.program is None else "program"
        name = str(where.get("field") or (code if inside else ""))
        if self.program is not None and inside and name == code:
            return self.program.excerpt(where)
        if not self.text:
            return place_told("query", str(self.body.get("query", "")), where) if inside else None
        if inside and name not in self.nodes:
            name = "query"
        node = self._nearest(name)
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode):
            at = (int(line), int(column)) if isinstance(line, int) and isinstance(column, int) else (1, 1)
            return place_of(self.name, self.text, index_of(self.text, node, *at))
        return place_of(self.name, self.text, node.start_mark.index)

    def _nearest(self, name: str) -> yaml.Node | None:
        """The field, or the one around it where it was not given."""
        while name and name not in self.nodes:
            name = name.rpartition(".")[0]
        return self.nodes.get(name)


def load_job(job: str | Path | Mapping[str, Any]) -> JobFile:
    """A job from the path of a YAML file, or from a mapping with the same fields. Raises Refused.

    A program is the path of its file, from the job file's folder (in a mapping: from here), or a mapping of its name and text.
    """
    if isinstance(job, Mapping):
        program = _inlined(job.get("program"))
        try:
            root = node_of(job if program is None else {**job, "program": program.name})
        except RecursionError:
            raise Refused("job.wrong_shape", "the job is nested without end") from None
        file = _Reader(JobFile({}, "the job")).read(root)
        return _with_its_program(file, Path()) if program is None else _with_program(file, program)
    path = Path(job)
    return _with_its_program(parse_job(read_text(path), path.name), path.parent)


def parse_job(text: str, name: str) -> JobFile:
    """A job from the text of a YAML file called `name`; a program in it is not read. Raises Refused with the place of what is wrong."""
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
    return _Reader(JobFile({}, name, text)).read(root)


def _inlined(program: Any) -> Program | None:
    is_pair = isinstance(program, Mapping) and set(program) == {"name", "text"}
    return Program(**program) if is_pair and all(isinstance(part, str) for part in program.values()) else None


def _with_its_program(file: JobFile, folder: Path) -> JobFile:
    """The file with the program that it names, if it names one. Raises Refused with the place of the name."""
    if "program" not in file.body:
        return file
    try:
        return _with_program(file, read_program(folder / str(file.body["program"])))
    except Refused as refused:
        refused.where = {"field": "program"}
        raise file.located(refused) from None


def _with_program(file: JobFile, program: Program) -> JobFile:
    return replace(file, body={**file.body, "program": program.to_json()}, program=program)


class _Reader:
    """One reading of a job; `nodes` grows by dotted name."""

    def __init__(self, file: JobFile) -> None:
        self._file = file
        self._nodes: dict[str, yaml.Node] = {}

    def read(self, root: yaml.Node | None) -> JobFile:
        """The whole job. Raises Refused."""
        file = self._file
        if not isinstance(root, yaml.MappingNode):
            raise Refused(
                "job.not_a_mapping", f"{file.name} must hold fields, one a line", way_out=f"start with {JOB.example}"
            )
        body = dict(self._fields(root, JOB, ""))
        given = {name for name, value in body.items() if value != ""}
        stranger = of_another_kind(given)
        if stranger is not None:
            name, kind = stranger
            raise self._refused(
                "job.kind",
                self._nodes[name],
                f"{name} does not belong to a job with a {kind}",
                "a job has either a query with bounds, or a program with outputs, or compute over encrypted assets",
                name,
            )
        lacking = missing(given)
        if lacking:
            raise Refused(
                "job.missing", f"{file.name} lacks {' and '.join(lacking)}", {"field": lacking[0]}, added(lacking)
            )
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Refused("job.not_text", f"{file.name} holds half a character, which no text can") from None
        return replace(file, body=body, nodes=self._nodes)

    def _fields(self, root: yaml.MappingNode, form: Group | Each, path: str) -> Iterator[tuple[str, Any]]:
        """Name and value of each field that has one."""
        seen = set()
        for key, node in root.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            full = f"{path}.{name}" if path else name
            if isinstance(form, Group) and name not in form.fields:
                raise self._refused("job.unknown_field", key, *unknown(name, form, path), full)
            if name in seen:
                raise self._refused("job.duplicate_field", key, f"{name} is given twice", "keep one of the two", full)
            seen.add(name)
            self._nodes[full] = node
            value = self._value(node, form.fields[name] if isinstance(form, Group) else form.form, full)
            # An output without anything is the server's to refuse; a field of ours is as if it were not there.
            if value is not None or isinstance(form, Each):
                yield name, value

    def _value(self, node: yaml.Node, form: Form, path: str) -> Any:
        if isinstance(form, Params):
            return params_of(node, self._refusal_of("params.invalid", path))
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return None
        refuse = self._refusal_of("job.wrong_shape", path)
        if isinstance(form, Group | Each):
            if not isinstance(node, yaml.MappingNode):
                refuse(node, f"{path} must hold {_held(form)}", form.example)
            return dict(self._fields(node, form, path))
        if isinstance(form, Texts):
            return self._texts(node, form, path)
        if not isinstance(node, yaml.ScalarNode):
            refuse(node, f"{path} must hold one value", None)
        if isinstance(form, Flag) and node.tag.endswith(":bool"):
            return node.value.lower() in ("true", "yes", "on")
        is_number = isinstance(form, Whole) and node.tag.endswith(":int") and _WHOLE.fullmatch(node.value)
        return int(node.value) if is_number else node.value

    def _texts(self, node: yaml.Node, form: Texts, path: str) -> list[str]:
        """Numbers in it stay the text that the person wrote."""
        found = node.value if isinstance(node, yaml.SequenceNode) else []
        is_right = len(found) == form.count if form.count is not None else len(found) > 0
        if not is_right or not all(isinstance(each, yaml.ScalarNode) for each in found):
            raise self._refused("job.wrong_shape", node, f"{path} must hold {form.says}", form.example, path)
        return [str(each.value) for each in found]

    def _refusal_of(self, code: str, path: str) -> Callable[[yaml.Node, str, str | None], NoReturn]:
        def refuse(node: yaml.Node, text: str, way_out: str | None) -> NoReturn:
            raise self._refused(code, node, text, way_out, path)

        return refuse

    def _refused(self, code: str, node: yaml.Node, text: str, way_out: str | None, path: str) -> Refused:
        """A refusal with its place, or with the field's name where the job stands in no file."""
        if not self._file.text:
            return Refused(code, text, {"field": path}, way_out)
        return Refused(
            code, text, None, way_out, excerpt=place_of(self._file.name, self._file.text, node.start_mark.index)
        )


def _held(form: Group | Each) -> str:
    """What stands inside, in words."""
    if isinstance(form, Each):
        return "names with values"
    required = [name for name, inner in form.fields.items() if isinstance(inner, Text | Whole | Flag)]
    return " and ".join([", ".join(required[:-1]), required[-1]])
