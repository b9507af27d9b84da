"""What is said of a program before it runs: with its line, in a process that a hostile text may overwhelm."""

import pytest

from core.errors import Invalid
from jobs.program_check import checked_imports

IMAGE = frozenset({"numpy", "pandas", "sklearn", "_duckdb"})
OK = "def analyse(tables, params):\n    return {}\n"


def refused(text):
    with pytest.raises(Invalid) as refusal:
        checked_imports(text, IMAGE)
    problem = refusal.value
    assert problem.where["field"] == "program"
    return problem.code, problem.where.get("line"), problem.where.get("column"), problem.way_out


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("x = (\n" + OK, "program.syntax", 1, 5),
        ("é = 'é'; import nothere\n" + OK, "program.import", 1, 10),
        (OK + "\nimport requests.api\n", "program.import", 4, 1),
        (OK + "\ndef f():\n    from torch import nn\n", "program.import", 5, 5),
        ("from . import other\n" + OK, "program.relative_import", 1, 1),
        ("from ..a import b\n" + OK, "program.relative_import", 1, 1),
        ("import numpy\n", "program.no_analyse", 1, 1),
        ("", "program.no_analyse", 1, 1),
        ("async def analyse(tables, params): pass\n", "program.signature", 1, 1),
        ("def analyse(tables): pass\n", "program.signature", 1, 1),
        ("def analyse(tables, params, *, more): pass\n", "program.signature", 1, 1),
        (OK + "def analyse(a, b, c): pass\n", "program.signature", 3, 1),
    ],
)
def test_what_cannot_run_is_refused_with_its_place(text, code, line, column):
    assert refused(text)[:3] == (code, line, column)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000, "a" + ".b" * 300_000, "-" * 500_000 + "1", "[1," * 50_000, "x = " + "+".join(["1"] * 200_000),
        "".join(" " * depth + "if 1:\n" for depth in range(300)), "\x7fELF\x02\x01" + "\xff" * 5000, "lambda: " * 50_000,
    ],
    ids=range(8),
)  # fmt: skip
def test_a_text_made_to_overwhelm_the_reader_is_refused_like_any_other(text):
    assert refused(text)[0] in {"program.syntax", "program.no_analyse"}


def test_a_package_that_is_not_there_is_answered_with_those_that_are():
    way_out = refused("import nunpy\n" + OK)[3]
    assert way_out == "did you mean numpy? it has numpy, pandas, sklearn"


@pytest.mark.parametrize(
    "text",
    [
        "analyse = print\n", "from numpy import sum as analyse\n", "if True:\n    " + OK.replace("\n", "\n    ") + "\n",
        "def analyse(*everything): return {}\n", "def analyse(a, b, c=3): return {}\n", "def analyse(a, b, /): return {}\n",
        "try:\n    import torch\nexcept ImportError:\n    torch = None\n" + OK, "from banyan.frames import to_pandas\n" + OK,
        "import json, decimal\n" + OK, '"\\d"\n' + OK,
    ],
    ids=range(10),
)  # fmt: skip
def test_what_may_run_is_let_through(text):
    checked_imports(text, IMAGE)


def test_libraries_are_named_once_in_order_and_ours_are_not():
    text = "import sklearn.svm\nimport numpy as np, json\nfrom banyan.frames import to_pandas\nimport numpy\n" + OK
    assert checked_imports(text, IMAGE) == ("sklearn.svm", "numpy")
