"""Which error codes the rooms can raise, read off their syntax: literals that reach an error class, through any helper on the way."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_SENTENCES = 3
UNKNOWN = "…"
Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Helper:
    """A function that a call may reach. `parameters` are without self; the first `required` have no default."""

    module: Module
    node: Definition
    parameters: tuple[str, ...]
    required: int
    defaults: Mapping[str, ast.expr]

    def bound(self, call: ast.Call) -> dict[str, ast.expr] | None:
        """Which expression each parameter gets; None where the call cannot be one of this function."""
        if len(call.args) > len(self.parameters) or any(isinstance(argument, ast.Starred) for argument in call.args):
            return None
        given = dict(zip(self.parameters, call.args, strict=False))
        given |= {word.arg: word.value for word in call.keywords if word.arg in self.parameters}
        if not set(self.parameters[: self.required]) <= set(given):
            return None
        return {**self.defaults, **given}


@dataclass
class Module:
    """One file of a room: its text constants, its functions and what it imports by name."""

    name: str
    tree: ast.Module
    constants: dict[str, str] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    functions: dict[str, Helper] = field(default_factory=dict)
    methods: list[Helper] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, text: str) -> Module:
        """The module of this source."""
        module = cls(name, ast.parse(text))
        for node in module.tree.body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
                module.constants |= dict.fromkeys(targets, node.value.value)
            elif isinstance(node, ast.ImportFrom) and node.module:
                module.imports |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
            elif isinstance(node, Definition):
                module.functions[node.name] = module.helper(node, skip=0)
            elif isinstance(node, ast.ClassDef):
                module.methods += [module.helper(each, skip=1) for each in node.body if isinstance(each, Definition)]
        return module

    def helper(self, node: Definition, *, skip: int) -> Helper:
        """A function of this module, without its first `skip` parameters."""
        positional = [parameter.arg for parameter in node.args.args][skip:]
        named = [parameter.arg for parameter in node.args.kwonlyargs]
        defaults = dict(zip(reversed(positional), reversed(node.args.defaults), strict=False))
        defaults |= {n: d for n, d in zip(named, node.args.kw_defaults, strict=True) if d is not None}
        required = len(positional) - len(node.args.defaults)
        return Helper(self, node, (*positional, *named), required, defaults)


class Reader:
    """Follows every call of the modules to the error classes in `kinds` (name to HTTP status)."""

    def __init__(self, modules: Mapping[str, Module], kinds: Mapping[str, int]) -> None:
        self._modules, self._kinds = modules, kinds
        self._followed: set[tuple[int, tuple[tuple[str, str], ...]]] = set()
        self.statuses: dict[str, int] = {}
        self._sentences: dict[str, list[str]] = {}

    def read(self) -> dict[str, tuple[int, str]]:
        """Every code with its status and what it says."""
        for module in self._modules.values():
            self._calls_in(module.tree, module, {}, {})
        return {code: (status, self._said(code)) for code, status in self.statuses.items()}

    def _said(self, code: str) -> str:
        known = [text for text in self._sentences[code] if text != UNKNOWN]
        shown = " · ".join(known[:MOST_SENTENCES]) or UNKNOWN
        return shown if len(known) <= MOST_SENTENCES else f"{shown} · {UNKNOWN}"

    def _calls_in(self, node: ast.AST, module: Module, texts: Mapping[str, str], exact: Mapping[str, str]) -> None:
        """`exact` are the literal values of parameters, `texts` what is known of their words."""
        for call in ast.walk(node):
            if not isinstance(call, ast.Call):
                continue
            if isinstance(call.func, ast.Name) and call.func.id in self._kinds and call.args:
                self._note(call, module, texts, exact)
                continue
            for helper in self._helpers(call, module):
                bound = helper.bound(call)
                if bound is not None:
                    self._follow(helper, bound, module, texts, exact)

    def _note(self, call: ast.Call, module: Module, texts: Mapping[str, str], exact: Mapping[str, str]) -> None:
        code = _value(call.args[0], module, exact)
        if code is None or not isinstance(call.func, ast.Name):
            return
        self.statuses[code] = self._kinds[call.func.id]
        said = _sentence(call.args[1], module, texts) if len(call.args) > 1 else UNKNOWN
        sentences = self._sentences.setdefault(code, [])
        if said not in sentences:
            sentences.append(said)

    def _follow(
        self,
        helper: Helper,
        bound: Mapping[str, ast.expr],
        module: Module,
        texts: Mapping[str, str],
        exact: Mapping[str, str],
    ) -> None:
        values = {name: _value(given, module, exact) for name, given in bound.items()}
        known = {name: value for name, value in values.items() if value is not None}
        said = {name: _sentence(given, module, texts) for name, given in bound.items()}
        mark = (id(helper.node), tuple(sorted((said | known).items())))
        if known and mark not in self._followed:
            self._followed.add(mark)
            self._calls_in(helper.node, helper.module, said, known)

    def _helpers(self, call: ast.Call, module: Module) -> Iterator[Helper]:
        if isinstance(call.func, ast.Name):
            place = (module.name, call.func.id)
            if call.func.id not in module.functions:
                place = module.imports.get(call.func.id, place)
            home = self._modules.get(place[0])
            if home is not None and place[1] in home.functions:
                yield home.functions[place[1]]
        elif isinstance(call.func, ast.Attribute):
            for each in self._modules.values():
                yield from (method for method in each.methods if method.node.name == call.func.attr)


def _value(node: ast.expr, module: Module, exact: Mapping[str, str]) -> str | None:
    """The text that an expression of literals, constants and known parameters gives."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    known = {**module.constants, **exact}
    reaches = any(isinstance(part, ast.Attribute | ast.Call | ast.Subscript) for part in ast.walk(node))
    if not isinstance(node, ast.Constant | ast.Name | ast.JoinedStr) or reaches or not names <= set(known):
        return None
    found = eval(compile(ast.Expression(node), module.name, "eval"), {"__builtins__": {}}, known)
    return found if isinstance(found, str) else None


def _sentence(node: ast.expr, module: Module, texts: Mapping[str, str]) -> str:
    """What an expression says, with a mark for each part that only the moment knows."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else UNKNOWN
    if isinstance(node, ast.Name):
        return texts.get(node.id, module.constants.get(node.id, UNKNOWN))
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else UNKNOWN for part in node.values)
    return UNKNOWN


def codes_in(sources: Mapping[str, str], kinds: Mapping[str, int]) -> dict[str, tuple[int, str]]:
    """The codes that these modules (dotted name to source text) can raise, each with status and sentence."""
    return Reader({name: Module.read(name, text) for name, text in sources.items()}, kinds).read()


def sources_of(checkout: Path, rooms: tuple[str, ...]) -> dict[str, str]:
    """Every module of the rooms by its dotted name, in order."""
    paths = [path for room in rooms for path in sorted((checkout / room).rglob("*.py"))]
    return {
        ".".join(path.relative_to(checkout).with_suffix("").parts): path.read_text(encoding="utf-8") for path in paths
    }
