"""Exit codes become ends, whatever they are; our errors carry what an operator needs and nothing more."""

from __future__ import annotations

import pytest

from sandbox import failure
from sandbox.runtime import End


@pytest.mark.parametrize("code", [1, 2, 125, 126, 127, 137, 139, 143, 255, -1])
def test_every_code_but_zero_is_the_programs_failure(code: int) -> None:
    # 125 to 127 are what the command line client uses for its own failures: a program may say them too.
    assert failure.end_of(code) is End.FAILED


def test_zero_is_an_end() -> None:
    assert failure.end_of(0) is End.COMPLETED


def test_unavailable_names_the_kind_of_the_problem_and_not_its_text() -> None:
    problem = failure.unreachable(ConnectionResetError("protected"))
    assert (problem.status, problem.code, problem.detail) == (503, "engine.unreachable", "ConnectionResetError")
    assert "protected" not in repr(problem.public())


def test_explanations_are_short_and_cannot_forge_log_lines() -> None:
    problem = failure.refused(400, "a\nINFO forged\r\x1b[2J" + "x" * 5000)
    assert problem.detail is not None
    assert problem.detail.isprintable()
    assert len(problem.detail) < 330
    assert "forged" not in repr(problem.public())
