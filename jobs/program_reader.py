"""Reads a researcher's program without running it: is it Python, has it `analyse`, what does it import.

Runs in a process of its own (sandbox.limited): a parser can be overwhelmed by what it parses, and here that ends a process that holds
nothing. Standard library only, and kept small.

stdin: the program's UTF-8 text. stdout: one JSON object, either
    {"problem": code, "text": what is wrong, "line": n, "column": n}   or
    {"imports": [{"module": dotted name, "line": n, "column": n, "guarded": bool}, ...]}
"""

from __future__ import annotations

import ast
import json
import sys
import warnings
from collections.abc import Iterator

MAX_IMPORTS = 5000
Found = dict[str, object]


class Problem(Exception):
    """What is wrong with the program, and where: the column in characters, from 1."""

    def __init__(self, code: str, text: str, line: int, column: int) -> None:
        super().__init__(code)
        self.told: Found = {"problem": code, "text": text, "line": line, "column": column}


def read(source: str) -> Found:
    """What the program imports. Raises Problem."""
    tree = _parsed(source)
    lines = [] if source.isascii() else _lines_in_bytes(source)
    if lines:
        _count_in_characters(tree, lines)
    _check_compiles(source, lines)
    _check_analyse(tree)
    return {"imports": list(_imports(tree, guarded=False))[:MAX_IMPORTS]}


def _parsed(source: str) -> ast.Module:
    warnings.simplefilter(
        "ignore"
    )  # "invalid escape sequence" and the like are the researcher's to see in the mock run
    try:
        return ast.parse(source)
    except SyntaxError as problem:
        raise Problem("program.syntax", str(problem.msg), problem.lineno or 1, problem.offset or 1) from None
    except (ValueError, RecursionError, MemoryError):
        raise Problem("program.syntax", "this is nested too deeply for Python to read", 1, 1) from None


def _check_compiles(source: str, lines: list[bytes]) -> None:
    """What can be parsed and is no program all the same: a return outside of a function, two arguments of one name, and the like.

    Every block would fail at its import. The compiler makes code and runs none of it.
    """
    try:
        compile(source, "program", "exec", dont_inherit=True)
    except SyntaxError as problem:
        line, column = problem.lineno or 1, problem.offset or 1
        if 0 < line <= len(lines):
            column = _in_characters(lines[line - 1], column - 1) + 1
        raise Problem("program.syntax", str(problem.msg), line, column) from None
    except (ValueError, RecursionError, MemoryError, SystemError):
        raise Problem("program.syntax", "this is too large or too deeply nested for Python to compile", 1, 1) from None


def _lines_in_bytes(source: str) -> list[bytes]:
    return [line.encode() for line in source.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def _in_characters(line: bytes, offset: int) -> int:
    return len(line[:offset].decode("utf-8", "ignore"))


def _count_in_characters(tree: ast.Module, lines: list[bytes]) -> None:
    """Python counts the columns of a tree, and of what its compiler refuses, in bytes of UTF-8; those of a syntax error in characters."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            node.col_offset = _in_characters(lines[node.lineno - 1], node.col_offset)


def _check_analyse(tree: ast.Module) -> None:
    """The last definition counts, as in Python. One that is made otherwise (imported, assigned) is for the mock run to judge."""
    found: ast.FunctionDef | None = None
    is_bound, line, column = False, 1, 1
    always = frozenset(map(id, tree.body))
    for node in _module_level(tree.body):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "analyse":
            raise Problem("program.signature", "analyse must be an ordinary function", node.lineno, node.col_offset + 1)
        if isinstance(node, ast.FunctionDef) and node.name == "analyse":
            found, is_bound = node, True
        elif "analyse" in _bound_names(node):
            found, is_bound = None, True
        elif isinstance(node, ast.Delete) and id(node) in always and "analyse" in _named(node.targets):
            found, is_bound, line, column = None, False, node.lineno, node.col_offset + 1
        elif isinstance(node, ast.AnnAssign) and not is_bound and "analyse" in _named([node.target]):
            line, column = node.lineno, node.col_offset + 1
    if not is_bound:
        raise Problem("program.no_analyse", "the program has no function called analyse", line, column)
    if found is not None and any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(found)):
        text = "analyse returns a dict; with a yield in it, it would return a generator"
        raise Problem("program.signature", text, found.lineno, found.col_offset + 1)
    if found is not None and not _takes_two(found.args):
        raise Problem(
            "program.signature",
            "analyse is called with two arguments: tables, params",
            found.lineno,
            found.col_offset + 1,
        )


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Everything in a function's body but what belongs to functions and classes in it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def _module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run on import, those inside if, try, match and with included."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for name in ("body", "orelse", "finalbody"):
                yield from _module_level(getattr(node, name, []))
            for branch in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _module_level(branch.body)


def _bound_names(node: ast.stmt) -> set[str]:
    """The names that one statement gives a value, without the statements in it. An annotation alone gives none."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return set()
    found, waiting = set(), list(ast.iter_child_nodes(node))
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.comprehension):  # its own variable ends with it; what := binds in it does not
            waiting += [part.iter, *part.ifs]
        elif not isinstance(part, ast.stmt | ast.ExceptHandler | ast.match_case | ast.Lambda):
            waiting += ast.iter_child_nodes(part)
    return found


def _named(targets: list[ast.expr]) -> set[str]:
    """Those of the targets that are plain names, in brackets or not."""
    found: set[str] = set()
    for target in targets:
        if isinstance(target, ast.Name):
            found.add(target.id)
        elif isinstance(target, ast.Tuple | ast.List):
            found |= _named(target.elts)
    return found


def _takes_two(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    needed = positional - len(arguments.defaults)
    needs_named = any(default is None for default in arguments.kw_defaults)
    return needed <= 2 and (positional >= 2 or arguments.vararg is not None) and not needs_named


def _imports(node: ast.AST, *, guarded: bool) -> Iterator[Found]:
    """Every import anywhere; guarded are those inside a try, which the program may be ready to do without."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _import(alias.name, child, guarded)
        elif isinstance(child, ast.ImportFrom):
            if child.level:
                text = "a program is one file, so there is nothing that a relative import could find"
                raise Problem("program.relative_import", text, child.lineno, child.col_offset + 1)
            yield _import(child.module or "", child, guarded)
        else:
            yield from _imports(child, guarded=guarded or isinstance(child, ast.Try | ast.TryStar))


def _import(module: str, node: ast.stmt, guarded: bool) -> Found:
    return {"module": module, "line": node.lineno, "column": node.col_offset + 1, "guarded": guarded}


def main() -> int:
    """Program in, what was found out."""
    try:
        found = read(sys.stdin.buffer.read().decode("utf-8"))
    except Problem as problem:
        found = problem.told
    except RecursionError:
        text = "this is nested too deeply for Python to read"
        found = {"problem": "program.syntax", "text": text, "line": 1, "column": 1}
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
