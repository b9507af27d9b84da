"""Reading a hostile program: any text is answered, in seconds, with a place inside it; places count characters, as people do.

The plain cases are in test_jobs_program_check.py.
"""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from jobs import program_check, program_reader
from jobs.program_check import MAX_PRELOADED, checked_imports
from jobs.program_request import PROGRAM_BYTES

IMAGE = frozenset({"numpy", "pandas", "pyarrow", "sklearn", "_numpy_internals"})
DEF = "def analyse(tables, params):\n    return {}\n"


def refused(text, modules=IMAGE):
    with pytest.raises(Invalid) as refusal:
        checked_imports(text, modules)
    assert refusal.value.where["field"] == "program"
    return refusal.value


def place(text):
    found = refused(text)
    return found.code, found.where["line"], found.where["column"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("def analyse(tables, params)\n    return {}\n", 1, 28),
        ("é = 'é' +\n" + DEF, 1, 10),
        ("\U0001f600 = 1\n" + DEF, 1, 1),
        ("return 1\nx = = 2\n" + DEF, 2, 5),
        ("x = '''never ends\n" + DEF, 1, 5),
        ("\r\n\r\nx = = 1\r\n" + DEF, 3, 5),
        ("x = " + "1" * 5000 + "\n" + DEF, 1, 1),
        ("\x01" + DEF, 1, 1),
        ("if 1:\nx = 1\n" + DEF, 2, 1),
    ],
)
def test_what_is_no_python_is_refused_at_its_place(text, line, column):
    assert place(text) == ("program.syntax", line, column)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        (DEF + "return 1\n", 3, 1),
        (DEF + "x = 'é'; return 1\n", 3, 10),
        (DEF + "for i in ():\n    pass\nbreak\n", 5, 1),
        (DEF + "await nobody\n", 3, 1),
        (DEF + "from __future__ import nope\n", 3, 1),
        (DEF + "def f(a, a): pass\n", 3, 10),
        (DEF + "def f():\n    x = 1\n    global x\n", 5, 5),
        (DEF + "nonlocal x\n", 3, 1),
        (DEF + "class A:\n    yield 1\n", 4, 5),
    ],
)
def test_what_can_be_parsed_and_not_compiled_is_refused_at_its_place(text, line, column):
    """Every block would fail, and everything be paid for (before anything is charged, says docs/programs.md)."""
    assert place(text) == ("program.syntax", line, column)


@pytest.mark.parametrize("body", ["yield {}", "return (yield)", "yield from ()", "for i in (): yield i"])
def test_a_generator_returns_no_dict(body):
    assert place(f"def analyse(tables, params):\n    {body}\n") == ("program.signature", 1, 1)


def test_a_generator_inside_of_it_is_its_own_affair():
    text = "def analyse(tables, params):\n    def f():\n        yield 1\n    g = lambda: (yield)\n    return {'a': sum(f())}\n"
    assert checked_imports(text, IMAGE) == ()


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("import numpy, torch\n", 1, 1),
        ("from torch.nn import *\n", 1, 1),
        ("if 1:\n\timport torch\n", 2, 2),
        ("x = '数据'; import torch\n", 1, 11),
        ("x = '\U0001f600'; import torch\n", 1, 10),
        ("é = 1\r\nö = 2; import torch\r\n", 2, 8),
        ("é = '\x0c\u2028\x85'\nimport torch\n", 2, 1),
        ("x = '''é\né'''; import torch\n", 2, 7),
        ("try:\n    pass\nexcept Exception:\n    pass\nimport torch\n", 5, 1),
        ("match 1:\n    case _:\n        import torch\n", 3, 9),
        ("import os\n" * 250 + "import torch\n", 251, 1),
    ],
)
def test_a_package_that_the_image_lacks_is_refused_where_it_is_imported(text, line, column):
    assert place(text + DEF) == ("program.import", line, column)
    assert refused(text + DEF).way_out == "it has numpy, pandas, pyarrow, sklearn"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("try:\n    from . import x\nexcept ImportError:\n    pass\n", 2, 5),
        ("def f():\n    def g():\n        from . import x\n", 3, 9),
        ("é = 'é'; from .a import *\n", 1, 10),
    ],
)
def test_a_relative_import_is_refused_wherever_it_stands(text, line, column):
    assert place(text + DEF) == ("program.relative_import", line, column)


@pytest.mark.parametrize(
    "arguments", ["", "*, tables, params", "tables, *, params", "**all", "a, b, *, c", "a, /, *, b"]
)
def test_a_function_that_cannot_be_called_with_two_arguments_is_refused(arguments):
    assert place(f"import numpy\n\n\ndef analyse({arguments}): return {{}}\n") == ("program.signature", 4, 1)


@pytest.mark.parametrize("arguments", ["a, b=None", "a=1, b=2", "a, *rest", "a, b, *, c=1", "a, b, **rest", "a: dict, b: dict | None = None"])  # fmt: skip
def test_a_function_that_can_is_accepted(arguments):
    assert checked_imports(f"def analyse({arguments}): return {{}}\n", IMAGE) == ()


def test_the_last_definition_counts_and_those_of_others_do_not():
    assert checked_imports("def analyse(tables): return {}\n" + DEF, IMAGE) == ()
    for text in ("class A:\n    def analyse(self, t, p): return {}\n", "def f():\n    def analyse(t, p): return {}\n"):
        assert place(text) == ("program.no_analyse", 1, 1)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("import numpy\nanalyse: int\n", 2, 1),
        (DEF + "x = 'é'; del analyse\n", 3, 10),
        (DEF + "x = 1\ndel (x, analyse)\n", 4, 1),
        ("x = [analyse for analyse in ()]\n", 1, 1),
        ("f = lambda: (analyse := print)\n", 1, 1),
        ("def f(): analyse = print\n", 1, 1),
    ],
)
def test_a_name_that_has_no_value_is_no_function(text, line, column):
    assert place(text) == ("program.no_analyse", line, column)


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nmatch sys.byteorder:\n    case _:\n        def analyse(t, p): return {}\n",
        "with open('/dev/null') as nothing:\n    def analyse(t, p): return {}\n",
        "for i in range(1):\n    def analyse(t, p): return {}\n",
        "try:\n    1 / 0\nexcept* ZeroDivisionError:\n    def analyse(t, p): return {}\n",
        "analyse: object = print\n",
        "analyse, other = print, print\n",
        "class analyse(dict): pass\n",
        "(analyse := lambda tables, params: {})\n",
        "[analyse := print for _ in '1']\n",
        "with open('/dev/null') as analyse: pass\n",
        "analyse: int\nanalyse = print\n",
        DEF + "analyse: object\n",
        DEF + "if 0:\n    del analyse\n",
        DEF + "del analyse\n" + DEF,
        "try:\n    import torch\nexcept* ImportError:\n    torch = None\n" + DEF,
        "def f():\n    try:\n        if 1:\n            from torch import nn\n    finally:\n        pass\n" + DEF,
        "import importlib\nimportlib.import_module('torch')\n" + DEF,
    ],
)
def test_what_only_running_can_tell_is_left_to_the_mock_run(text):
    assert checked_imports(text, IMAGE) == ()


def test_library_modules_are_preloaded_in_the_order_of_the_program_and_not_without_end():
    many = "".join(f"import numpy.a{i}\n" for i in range(150)) + DEF
    assert checked_imports(many, IMAGE) == tuple(f"numpy.a{i}" for i in range(MAX_PRELOADED))
    assert checked_imports("try:\n    import numpy\nexcept ImportError:\n    pass\n" + DEF, IMAGE) == ("numpy",)
    assert len(refused(f"import {'a' * 5000}\n" + DEF).text) < 100


def test_what_the_image_has_is_a_part_of_the_answer():
    """What is remembered of one image must not answer for another."""
    text = "import scipy\n" + DEF
    assert checked_imports(text, IMAGE | {"scipy"}) == ("scipy",)
    assert refused(text).code == "program.import"
    assert checked_imports(text, IMAGE | {"scipy"}) == ("scipy",)


BOMBS = {
    "nothing but not": "x = " + "not " * 200_000 + "1\n",
    "calls of functions of functions": "x = " + "f(" * 150 + "lambda: " * 60_000 + "0" + ")" * 150 + "\n",
    "f-strings": "x = " + "f'{" * 500 + "1" + "}'" * 500 + "\n",
    "decorators": "@a\n" * 100_000 + "class A: pass\n",
    "elifs": "if 1: pass\n" + "elif 1: pass\n" * 50_000,
    "brackets": "x = " + "[" * 199 + "]" * 199 + "\n",
    "backslashes": "\\\n" * 400_000,
    "spaces": " " * 1_000_000 + "x = 1\n",
    "handlers": "try: pass\n" + "except a: pass\n" * 50_000,
    "imports": "import a," + "a," * 100_000 + "a\n",
    "one import": "import " + "a" * 1_000_000 + "\n",
    "matches": "".join(" " * 2 * i + "match 1:\n" + " " * (2 * i + 1) + "case 1:\n" for i in range(45)) + " " * 90 + "x = 1\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_answered_in_seconds(name):
    begun = time.monotonic()
    try:
        assert checked_imports((BOMBS[name] + DEF)[:PROGRAM_BYTES], IMAGE) == ()
    except Invalid as refusal:
        assert refusal.code in ("program.syntax", "program.no_analyse", "program.import")  # noqa: PT017
        assert len(refusal.text) < 500  # noqa: PT017
    assert time.monotonic() - begun < 15


def test_a_large_honest_program_is_read():
    assert checked_imports("x = [" + "1," * 200_000 + "]\n" + DEF, IMAGE) == ()
    assert checked_imports(f"x = '{'é' * 500_000}'\nimport numpy\n" + DEF, IMAGE) == ("numpy",)


@pytest.mark.slow
def test_a_mebibyte_of_short_statements_on_one_line_ends_within_the_limits():
    begun = time.monotonic()
    assert refused("é=1;" * 200_000 + "\n" + DEF).code == "program.syntax"
    assert time.monotonic() - begun < 15


def test_the_program_is_read_and_not_run(tmp_path):
    text = f"open({str(tmp_path / 'ran')!r}, 'w')\nimport sys\nsys.exit(3)\n" + DEF
    assert checked_imports(text, IMAGE) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_does_not_answer_is_a_refusal(monkeypatch):
    monkeypatch.setattr(program_check, "validated", lambda *_: None)
    assert refused(DEF + "# not read before\n").code == "program.syntax"


SNIPPETS = st.lists(
    st.sampled_from(
        ["def analyse(t, p):", "\n", "    ", "return", "import numpy", "import torch", "from . import x", "try:", "except:", "é", "'", '"""', "(", ")",
         "[", "{", "}", ":", ",", "*", "lambda", "async ", "match x:", "case _:", "class analyse:", "@", "\\\n", "\t", "\r", "\x0c", "#", "f'{", "= ", "1", "del analyse"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(SNIPPETS | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_any_text_is_answered_with_a_place_inside_it(text):
    """In this process, so that what it raises is seen."""
    try:
        found = program_reader.read(text)
    except program_reader.Problem as problem:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= problem.told["line"] <= len(lines) + 1  # noqa: PT017
        assert 1 <= problem.told["column"] <= max(map(len, lines)) + 2  # noqa: PT017
        assert len(str(problem.told["text"])) < 400  # noqa: PT017
    else:
        assert all(each["line"] >= 1 and each["column"] >= 1 for each in found["imports"])
