"""The promise that goes with a release: one record, its JSON form and its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from typing import Any, Self

from core.units import exact, text_of
from privacy.accountant import Accountant
from privacy.tails import MechanismKind

# The relation under which everything is proved: docs/privacy-guarantee.md.
ADD_REMOVE_ONE = "add/remove one"

_FIELDS = {"epsilon", "delta", "rho", "unit", "rows", "population", "neighbours", "accountant", "mechanisms"}
_OF_PROGRAMS = {"blocks", "residual"}
_OF_ENCRYPTED = {"providers", "residual"}
_OF_SHARED = _OF_ENCRYPTED | {"shared"}
# What a guarantee for a program does not cover (docs/privacy-guarantee.md).
RESIDUAL_OF_PROGRAMS = (
    "what a block may learn of others, or an onlooker of any, through the timing of shared hardware (caches, memory, disk)",
)
# Nor one over what was encrypted (docs/proofs/encrypted.md).
RESIDUAL_OF_ENCRYPTED = (
    "a service or a key holder that breaks the protocol, or both together: then a provider's totals can be seen without noise",
)
# Where providers add noise of their own.
RESIDUAL_OF_SHARED = (
    "two or more providers that join service and key holder, or one that leaves its noise out: then there is less of it",
)
_ACCOUNTANT_WORDS = {Accountant.BASIC: "basic composition", Accountant.ZCDP: "zCDP"}
_MECHANISM_WORDS = {
    MechanismKind.LAPLACE: "Laplace",
    MechanismKind.GAUSSIAN: "Gaussian",
    MechanismKind.PERMUTE_AND_FLIP: "permute-and-flip",
    MechanismKind.EXPONENTIAL: "exponential mechanism",
}


@dataclass(frozen=True)
class Guarantee:
    """(ε, δ)-differential privacy of one release, for each `unit` of `population` with all its `rows`.

    `rho` is the loss in zCDP where the population is accounted in it; `blocks` is how many a program ran on, `providers` is whose
    ciphertexts were added; None for other jobs; `shared`: each added noise of its own. It is a statement about noise; what it does not
    cover is in docs/privacy-guarantee.md.
    """

    epsilon: Fraction
    delta: Fraction
    rho: Fraction | None
    unit: str
    population: str
    accountant: Accountant
    mechanisms: tuple[MechanismKind, ...]
    rows: str = "rows"
    blocks: int | None = None
    providers: int | None = None
    shared: bool = False
    neighbours: str = ADD_REMOVE_ONE

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or not 0 <= self.delta < 1:
            raise ValueError("a guarantee has an epsilon above 0 and a delta below 1")
        if (self.rho is None) != (self.accountant is Accountant.BASIC):
            raise ValueError("rho belongs to zcdp, and only to it")
        if self.neighbours != ADD_REMOVE_ONE:
            raise ValueError("nothing here is proved for another neighbour relation")
        if self.blocks is not None and (type(self.blocks) is not int or self.blocks < 1):
            raise ValueError("a program ran on at least one block")
        if self.providers is not None and (type(self.providers) is not int or self.providers < 1 or self.blocks):
            raise ValueError("ciphertexts are of at least one provider, and of no program")
        if self.shared and self.providers is None:
            raise ValueError("only providers add noise of their own")

    @property
    def residual(self) -> tuple[str, ...]:
        """What it does not cover beside what docs/privacy-guarantee.md says of every release."""
        if self.providers is not None:
            return RESIDUAL_OF_SHARED if self.shared else RESIDUAL_OF_ENCRYPTED
        return () if self.blocks is None else RESIDUAL_OF_PROGRAMS

    def sentence(self) -> str:
        """One line for people; numbers are rounded up, so that the sentence is no stronger than the record."""
        delta = f", δ {_short(self.delta)}" if self.delta else ""
        noise = ", ".join(_MECHANISM_WORDS[kind] for kind in self.mechanisms)
        sampled = "" if self.blocks is None else f"sample and aggregate over {self.blocks:,} blocks; "
        if self.providers is not None:
            by = "each of them, by the service" if self.shared else "the service"
            sampled = f"sums of {self.providers:,} providers' ciphertexts, noised by {by} and again by the key holder; "
        return (
            f"(ε {_short(self.epsilon)}{delta})-DP for each {self.unit} with all its {self.rows}, {self.neighbours}; "
            f"{sampled}{noise}, {_ACCOUNTANT_WORDS[self.accountant]}"
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object; exact numbers as texts."""
        own = {
            "blocks": self.blocks,
            "providers": self.providers,
            "shared": self.shared or None,
            "residual": list(self.residual) or None,
        }
        return {name: value for name, value in own.items() if value is not None} | {
            "epsilon": text_of(self.epsilon),
            "delta": text_of(self.delta),
            "rho": None if self.rho is None else text_of(self.rho),
            "unit": self.unit,
            "rows": self.rows,
            "population": self.population,
            "neighbours": self.neighbours,
            "accountant": self.accountant.value,
            "mechanisms": [kind.value for kind in self.mechanisms],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; raises ValueError for anything else."""
        if set(stored) not in (_FIELDS, _FIELDS | _OF_PROGRAMS, _FIELDS | _OF_ENCRYPTED, _FIELDS | _OF_SHARED):
            raise ValueError("not a guarantee")
        found = cls(
            epsilon=exact(stored["epsilon"]),
            delta=exact(stored["delta"]),
            rho=None if stored["rho"] is None else exact(stored["rho"]),
            unit=stored["unit"],
            rows=stored["rows"],
            population=stored["population"],
            neighbours=stored["neighbours"],
            accountant=Accountant(stored["accountant"]),
            mechanisms=tuple(MechanismKind(kind) for kind in stored["mechanisms"]),
            blocks=stored.get("blocks"),
            providers=stored.get("providers"),
            shared=stored.get("shared", False) is True,
        )
        if list(found.residual) != stored.get("residual", []):
            raise ValueError("what a guarantee leaves open is not for the record to say")
        return found


def _short(value: Fraction) -> str:
    """At most four digits, rounded up: 0.5, 0.3334, 1e-8."""
    context = Context(prec=4, rounding=ROUND_CEILING)
    rounded = context.divide(Decimal(value.numerator), Decimal(value.denominator)).normalize(context)
    exponent = rounded.adjusted()
    if -4 <= exponent <= 6:
        return f"{rounded:f}"
    digits = str(rounded.scaleb(-exponent))
    return f"{digits}e{exponent}"
