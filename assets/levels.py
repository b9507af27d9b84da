"""What each level of the scale S0-S5 demands: may it be ingested, caps on epsilon and delta, approvals, the isolation of programs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from core.tier import Tier
from core.units import exact


@dataclass(frozen=True)
class Level:
    """One level. `epsilon_cap` None means that the scale sets none."""

    code: str
    meaning: str
    follows: tuple[str, ...]
    verified: bool
    ingest: bool
    epsilon_cap: Fraction | None
    delta_cap: Fraction
    delta_units_power: Fraction
    approvals: int
    isolation: Tier

    def admits_delta(self, delta: Fraction, units: int) -> bool:
        """Whether `delta` is within both caps: the level's own, and 1 / (10 · units^power), compared without roots."""
        power = self.delta_units_power
        by_units = (10 * delta) ** power.denominator * Fraction(units) ** power.numerator
        return delta <= self.delta_cap and by_units <= 1

    def largest_delta(self, units: int) -> str:
        """The largest power of ten that `admits_delta`, as people write it."""
        digits = next(k for k in range(1, 100) if self.admits_delta(Fraction(1, 10**k), units))
        return f"1e-{digits}"


@cache
def levels() -> Mapping[str, Level]:
    """The scale of levels.toml, lowest level first."""
    raw = tomllib.loads((Path(__file__).parent / "levels.toml").read_text(encoding="utf-8"))
    return {code: _level(code, entry) for code, entry in raw.items()}


def _level(code: str, entry: Mapping[str, object]) -> Level:
    cap = entry.get("epsilon_cap")
    follows = entry["follows"]
    if not isinstance(follows, list):
        raise TypeError(f"levels.toml: follows of {code} must be a list")
    return Level(
        code=code,
        meaning=str(entry["meaning"]),
        follows=tuple(follows),
        verified=bool(entry["verified"]),
        ingest=bool(entry["ingest"]),
        epsilon_cap=None if cap is None else exact(str(cap)),
        delta_cap=exact(str(entry["delta_cap"])),
        delta_units_power=exact(str(entry["delta_units_power"])),
        approvals=int(str(entry["approvals"])),
        isolation=Tier(str(entry["isolation"])),
    )
