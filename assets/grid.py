"""What a cell may hold in any block: the integer grid that numbers lie on, and what counts as plain text."""

from __future__ import annotations

import unicodedata

# Sums are taken over value * 10^scale as integers; below 2^53 a row stays exact in every engine and in JSON (design R3).
GRID = 2**53 - 1
MAX_SCALE = 9
# 256 characters are at most 1 KiB in UTF-8 (proof_obligations.md I1).
MAX_LENGTH = 256


def is_plain_text(text: str) -> bool:
    """Whether `text` holds no control character, lone surrogate or line separator: one line, the same in every engine."""
    if text.isascii():
        return text.isprintable()
    return all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in text)
