"""The pages of docs/reference that are written from the code say what the code says, and the scan behind them finds what is there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def error_codes():
    spec = importlib.util.spec_from_file_location("error_codes_under_test", CHECKOUT / "scripts" / "error_codes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_pages_are_up_to_date():
    done = subprocess.run([sys.executable, CHECKOUT / "scripts" / "reference.py", "--check"], cwd=CHECKOUT, check=False)
    assert done.returncode == 0, "run scripts/reference.py"


PLANTED = {
    "room.words": """
CODE = "plain.constant"
ELSEWHERE = "never.raised"

class Words:
    def wrong(self, name: str, code: str, text: str, way_out: str | None = None) -> None:
        self.found.append(self.document.invalid(f"words.{code}", text))

    def invalid(self, code, text):
        return Conflict(code, text)

    def chosen(self, name: str):
        self.wrong(name, name, f"{name} is not one of them")

    def add(self, one):
        pass

def refuse(code: str = "default.code", text: str = "by default"):
    raise Invalid(code, text)

def plain():
    raise Invalid(CODE, "a constant")
""",
    "room.use": """
from room.words import refuse as no

def use(words, seen):
    words.wrong("x", "literal", "said here")
    words.chosen("field")
    seen.add("not.a_code")
    no("imported.code", "through a helper")
    no()
    print("other.text", "words.unused")
""",
}


def test_codes_are_found_through_helpers_methods_and_prefixes(error_codes):
    found = error_codes.codes_in(PLANTED, {"Invalid": 422, "Conflict": 409})
    assert found == {
        "plain.constant": (422, "a constant"),
        "imported.code": (422, "through a helper"),
        "default.code": (422, "by default"),
        "words.literal": (409, "said here"),
        "words.field": (409, "… is not one of them"),
    }
