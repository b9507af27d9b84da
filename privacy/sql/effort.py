"""How much may be computed while a query is planned: counted in steps, never in time, so that equal requests get equal plans."""

from __future__ import annotations


class Effort:
    """Steps that are left of a fixed number; a step is one part of an expression on one row, about a quarter of a microsecond."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def allows(self, steps: int) -> bool:
        """Whether so many steps are left, which are then spent."""
        if steps > self.left:
            return False
        self.left -= steps
        return True
