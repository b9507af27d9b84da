"""No way to change a row leads around the log (design G4): read off the syntax of every room, and shown to notice what it should.

The control at run time is in audit/log.py: a transaction that changed rows and recorded no event is rolled back.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("api", "jobs", "sandbox", "policies", "assets", "privacy", "audit", "core")
LOG, DATABASE, MIGRATE = "audit/log.py", "core/database.py", "core/migrate.py"
CHANGES = {"insert", "update", "delete"}
# What opens a door to the database, and the only modules that may: name -> modules.
DOORS = {
    "changing": {LOG, MIGRATE},
    "Transaction": {LOG},
    "create_engine": {DATABASE},
    "engine_for": {"api/wiring.py"},
    "exec_driver_sql": {DATABASE},
    "cursor": {DATABASE},
    "raw_connection": set(),
    "begin": {DATABASE},
    "begin_nested": set(),
    "sessionmaker": set(),
    "Session": set(),
    "bulk_insert_mappings": set(),
}
RAW = re.compile(
    r"\b(insert\s+(or\s+\w+\s+)?into|delete\s+from|update\s+\w+\s+set|replace\s+into|drop\s+table|alter\s+table)\b",
    re.IGNORECASE,
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Writer:
    """A function: whether it changes rows, whether it records an event, and which functions it hands its transaction to."""

    module: str
    name: str
    changes: bool
    records: bool
    hands_to: frozenset[str]


def sources() -> dict[str, str]:
    paths = [path for room in ROOMS for path in sorted((CHECKOUT / room).rglob("*.py"))]
    named = {str(path.relative_to(CHECKOUT)): path.read_text() for path in paths}
    return {name: text for name, text in named.items() if not name.startswith("core/migrations/")}


def called(node: ast.Call) -> str:
    """The last part of what a call calls."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def changers(tree: ast.Module) -> set[str]:
    """The names under which a module knows SQLAlchemy's insert, update and delete."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sqlalchemy":
            found |= {alias.asname or alias.name for alias in node.names if alias.name in CHANGES}
    return found


def makes_change(node: ast.AST, names: set[str]) -> bool:
    """`insert(table)`, `sqlalchemy.insert(table)`, or `table.insert()`: a statement that changes rows."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id in names
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in CHANGES:
        return False
    owner = node.func.value
    # `list.insert(0, x)` and `dict.update(...)` have arguments; a table's own methods are called without.
    return (isinstance(owner, ast.Name) and owner.id in {"sqlalchemy", "sa"}) or (not node.args and not node.keywords)


def functions(tree: ast.Module) -> Iterator[Function]:
    """The functions of a module, those inside others as a part of them only."""

    def within(node: ast.AST) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield child
            else:
                yield from within(child)

    return within(tree)


def transactions(function: Function) -> set[str]:
    """The names of transactions in a function: parameters of that type, and what `writing()` gives."""
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    found = {
        each.arg
        for each in parameters
        if each.annotation is not None and ast.unparse(each.annotation).strip("'\"") == "Transaction"
    }
    for node in ast.walk(function):
        if (
            isinstance(node, ast.withitem)
            and isinstance(node.context_expr, ast.Call)
            and called(node.context_expr) == "writing"
        ):
            found |= {node.optional_vars.id} if isinstance(node.optional_vars, ast.Name) else set()
    return found


def is_method_of(node: ast.AST, owners: set[str], method: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in owners
    )


def writer_of(module: str, function: Function, names: set[str]) -> Writer:
    held = transactions(function)
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    handed = {
        called(call)
        for call in calls
        if any(
            isinstance(given, ast.Name) and given.id in held
            for given in (*call.args, *(word.value for word in call.keywords))
        )
    }
    return Writer(
        module=module,
        name=function.name,
        changes=any(makes_change(call, names) for call in calls),
        records=any(is_method_of(call, held, "record") for call in calls),
        hands_to=frozenset(handed),
    )


def violations(modules: dict[str, str]) -> list[str]:
    """Everything in these modules (path to source) by which a row could change without an event."""
    found: list[str] = []
    writers: list[Writer] = []
    for module, text in modules.items():
        problems, writing = looked_at(module, text)
        found += problems
        writers += writing
    return found + list(unrecorded(writers))


@functools.cache
def looked_at(module: str, text: str) -> tuple[list[str], list[Writer]]:
    """What is wrong inside one module, and its functions."""
    tree = ast.parse(text)
    found = list(doors(module, tree))
    if module == LOG:
        return [f"{module}:{line}: {problem}" for line, problem in found], []
    names = changers(tree)
    found += loose_changes(tree, names)
    writers = [writer_of(module, function, names) for function in functions(tree)]
    return [f"{module}:{line}: {problem}" for line, problem in found], writers


def doors(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    documented = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and module not in DOORS.get(called(node), {module}):
            yield node.lineno, f"{called(node)} may not be called here"
        if isinstance(node, ast.Call) and called(node) == "commit" and not node.args:
            yield node.lineno, "commits by itself"
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "sqlite3" for alias in node.names):
            yield node.lineno, "speaks to SQLite by itself"
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in documented
            and RAW.search(node.value)
        ):
            yield node.lineno, "holds SQL that changes rows as text"


def loose_changes(tree: ast.Module, names: set[str]) -> Iterator[tuple[int, str]]:
    """Statements that change rows anywhere but as the argument of `tx.execute` of a transaction."""
    proper: set[ast.AST] = set()
    for function in functions(tree):
        held = transactions(function)
        for call in ast.walk(function):
            if is_method_of(call, held, "execute") and call.args:
                proper |= {node for node in ast.walk(call.args[0]) if makes_change(node, names)}
    for node in ast.walk(tree):
        if makes_change(node, names) and node not in proper:
            yield node.lineno, "changes rows outside of a transaction of the journal"


def unrecorded(writers: list[Writer]) -> Iterator[str] | list[str]:
    """Functions that change rows and record nothing: neither they, nor what they call, nor whoever may call them."""
    by_name: dict[str, list[Writer]] = {}
    for writer in writers:
        by_name.setdefault(writer.name, []).append(writer)

    def records(writer: Writer, seen: frozenset[Writer] = frozenset()) -> bool:
        if writer.records:
            return True
        called_ones = [each for name in writer.hands_to for each in by_name.get(name, [])]
        return any(records(each, seen | {writer}) for each in called_ones if each not in seen)

    def is_covered(writer: Writer, seen: frozenset[Writer] = frozenset()) -> bool:
        if records(writer):
            return True
        if not writer.name.startswith("_"):
            return False  # the public ones are called from other rooms, and record what they do themselves
        callers = [each for each in writers if each.module == writer.module and writer.name in each.hands_to]
        return bool(callers) and all(is_covered(each, seen | {writer}) for each in callers if each not in seen)

    return [
        f"{writer.module}: {writer.name} changes rows and no event says so"
        for writer in writers
        if writer.changes and not is_covered(writer)
    ]


def test_no_row_is_changed_around_the_log():
    assert violations(sources()) == []


def test_the_guard_sees_the_writers():
    """Were the rooms written in a form that it does not read, it would find nothing wrong, and this would fail."""
    writers = []
    for module, text in sources().items():
        tree = ast.parse(text)
        writers += [writer_of(module, function, changers(tree)) for function in functions(tree)]
    changing = {(writer.module, writer.name) for writer in writers if writer.changes}
    assert {
        ("policies/budget.py", "_enter"),
        ("policies/identity.py", "issue_token"),
        ("assets/catalogue.py", "register"),
        ("assets/versions.py", "add_version"),
        ("jobs/service.py", "_insert"),
        ("jobs/moves.py", "move"),
        ("jobs/releasing.py", "issue"),
    } <= changing
    assert {module.partition("/")[0] for module, _ in changing} == {"jobs", "policies", "assets", "audit"}


GOOD = """
from sqlalchemy import insert, update
from audit.log import Journal, Transaction

def add(tx: Transaction, name: str) -> None:
    tx.execute(insert(things).values(name=name))
    tx.record(Event("thing:added", name))

def move(tx: Transaction, name: str) -> None:
    _moved(tx, name)
    tx.record(Event("thing:moved", name))

def _moved(tx: Transaction, name: str) -> None:
    tx.execute(update(things).values(name=name))

def from_outside(journal: Journal) -> None:
    with journal.writing() as tx:
        tx.execute(update(things).values(name="x"))
        add(tx, "y")

def reads(connection) -> None:
    connection.execute(select(things))
    names = ["update", "of"]
    names.insert(0, "delete")
    {}.update({"a": 1})
"""
PLANTED = {
    "a change without an event": """
def add(tx: Transaction) -> None:
    tx.execute(insert(things).values(name="x"))
""",
    "a change of a private function that nobody records": """
def add(tx: Transaction) -> None:
    _add(tx)

def _add(tx: Transaction) -> None:
    tx.execute(insert(things).values(name="x"))
""",
    "a private change that one of two callers records": """
def add(tx: Transaction) -> None:
    _add(tx)
    tx.record(Event("thing:added", "x"))

def add_silently(tx: Transaction) -> None:
    _add(tx)

def _add(tx: Transaction) -> None:
    tx.execute(insert(things).values(name="x"))
""",
    "a change through the connection": """
def add(tx: Transaction) -> None:
    tx.connection.execute(insert(things).values(name="x"))
    tx.record(Event("thing:added", "x"))
""",
    "a change on a reader's connection": """
def add(journal) -> None:
    with journal.reading() as connection:
        connection.execute(delete(things))
""",
    "a change without a transaction": """
def add(connection) -> None:
    connection.execute(update(things).values(name="x"))
""",
    "a statement made elsewhere": """
STATEMENT = delete(things)

def clear(tx: Transaction) -> None:
    tx.execute(STATEMENT)
    tx.record(Event("thing:gone", "x"))
""",
    "a change by the table's own method": """
def add(connection) -> None:
    connection.execute(things.insert(), {"name": "x"})
""",
    "another name for insert": """
from sqlalchemy import insert as put_in

def add(connection) -> None:
    connection.execute(put_in(things).values(name="x"))
""",
    "the dialect's insert": """
from sqlalchemy.dialects.sqlite import insert as upsert

def add(connection) -> None:
    connection.execute(upsert(things))
""",
    "SQL as text": """
def add(connection) -> None:
    connection.execute(text("  INSERT OR IGNORE INTO things VALUES (1)"))
""",
    "SQL as a formatted text": """
def add(connection, name) -> None:
    connection.exec_driver_sql(f"update {name} set done = 1")
""",
    "the driver": """
def add(connection) -> None:
    connection.connection.cursor().execute(STATEMENT)
""",
    "a transaction of its own making": """
def add(engine, clock) -> None:
    with engine.connect() as connection:
        tx = Transaction(connection, clock.now())
""",
    "the write door of the database": """
from core.database import changing

def add(engine) -> None:
    with changing(engine) as connection:
        pass
""",
    "a transaction of the engine": """
def add(engine) -> None:
    with engine.begin() as connection:
        pass
""",
    "a commit": """
def add(connection) -> None:
    connection.commit()
""",
    "an engine of its own": """
def add(url) -> None:
    engine_for(url)
""",
    "SQLite by hand": """
import sqlite3
""",
}


# Events of a reading, a refusal, or the log's own beginning.
TELL_OF_NO_CHANGE = {
    ("api/routes/jobs.py", "SEALED_READ"),
    ("api/routes/log.py", "LOG_READ"),
    ("api/wiring.py", "LOG_OPENED"),
    ("assets/admission.py", "VERSION_REFUSED"),
    ("assets/report.py", "REPORT_READ"),
    ("assets/uploads.py", "VERSION_REPEATED"),
    ("jobs/service.py", "JOB_REFUSED"),
}


def test_a_module_that_keeps_to_it_passes():
    assert violations({"jobs/good.py": GOOD}) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bypass_is_found(name):
    planted = "from sqlalchemy import delete, insert, update\n" + PLANTED[name]
    assert violations({"jobs/planted.py": planted}) != []


def test_a_writer_that_loses_its_event_is_found():
    """Each event that is recorded in any room today, taken away: someone must miss it, unless it tells of no change of a row."""
    modules, missed, unmissed = sources(), 0, set()
    for name, text in modules.items():
        lines = text.splitlines(keepends=True)
        for at, line in enumerate(lines):
            silent = re.sub(r"\b\w+\.record\(", "str(", line)
            if silent == line or name == LOG:
                continue
            found = violations({**modules, name: "".join([*lines[:at], silent, *lines[at + 1 :]])})
            missed += bool(found)
            if not found:
                unmissed.add((name, re.search(r"EventType\.(\w+)", line)[1]))
    assert missed >= 12
    assert unmissed == TELL_OF_NO_CHANGE
