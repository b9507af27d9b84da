"""The mechanisms that a charge buys: one for each vector of each grouping set, one for each set's keys; OpenDP's prices decide.

Proof: docs/proofs/query.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from core.errors import Invalid
from privacy.accountant import Accountant, Loss, loss_of, rho_for
from privacy.mechanisms import Noise, NoiseKind
from privacy.sql.held import Held
from privacy.sql.query_plan import SetPlan
from privacy.sql.sensitivities import UNITS, Needs
from privacy.sql.shares import shares_of
from privacy.thresholds import KeyThreshold


@dataclass(frozen=True)
class SetNeed:
    """A grouping set before it has mechanisms; the attributes are those of `SetPlan`."""

    keys: tuple[int, ...]
    max_groups: int
    domain: tuple[tuple[Held, ...], ...] | None
    most_groups: int
    most_values: int = 0


@dataclass(frozen=True)
class Charge:
    """What a query is charged for the stand-alone guarantee (`epsilon`, `delta`), and what its mechanisms may use of it.

    `loss` is in the currency of `kind` (ε or ρ); `thresholds` is the δ of all key thresholds together.
    """

    kind: NoiseKind
    price: Loss
    loss: Fraction
    thresholds: Fraction


def delta_of(asked: Fraction | None, units: int, *, needed: bool) -> Fraction:
    """The δ of the query: the one asked, else 10^-(digits of the declared units + 4); 0 where nothing needs one."""
    if not needed:
        return Fraction(0)
    if asked is None:
        return Fraction(1, 10 ** (len(str(units - 1)) + 4)) if units > 1 else Fraction(1, 10**4)
    if asked <= 0:
        raise Invalid(
            "delta.required",
            "group keys that are not public, and Gaussian noise, need a δ above 0",
            where={"field": "delta"},
            way_out="leave delta out, or group by public columns",
        )
    return asked


def charge_of(
    accountant: Accountant, kind: NoiseKind, epsilon: Fraction, delta: Fraction, *, thresholds: bool
) -> Charge:
    """The charge. Laplace noise is priced in ε and needs no δ but for thresholds; the ρ of Gaussian noise is converted with half of δ.

    Raises Invalid (`epsilon.too_small`) for what would buy nothing.
    """
    if kind is NoiseKind.LAPLACE:
        if accountant is not Accountant.BASIC:
            raise ValueError("zcdp charges Gaussian noise only")
        delta = delta if thresholds else Fraction(0)
        return Charge(kind, Loss(epsilon=epsilon, delta=delta), epsilon, delta)
    price = loss_of(accountant, epsilon, delta)
    if accountant is Accountant.ZCDP and not thresholds:
        price = Loss(rho=price.rho)
    return Charge(kind, price, rho_for(epsilon, delta / 2), delta / 2 if thresholds else Fraction(0))


def fitted(
    needs: Needs, sets: Sequence[SetNeed], charge: Charge, errors: Sequence[Fraction] | None = None
) -> tuple[SetPlan, ...]:
    """The sets with their mechanisms, whose prices add up to at most the charge.

    `errors`, one for each mechanism in the order of the sets, a set's threshold before its vectors, are as in `shares_of`; without
    them all shares are equal. Thresholds have equal parts of δ. Raises Invalid as `Noise.fit` and `KeyThreshold.fit` do.
    """
    paid = [_paid(needs, each) for each in sets]
    thresholded = sum(each.domain is None for each in sets)
    count = thresholded + sum(map(len, paid))
    if charge.loss <= 0:
        raise Invalid("epsilon.too_small", "epsilon is too small to buy anything", where={"field": "epsilon"})
    shares = iter(shares_of(charge.kind, errors or [Fraction(1)] * count, charge.loss))
    found = []
    for each, bought in zip(sets, paid, strict=True):
        threshold = None
        if each.domain is None:
            delta = charge.thresholds / thresholded
            threshold = KeyThreshold.fit(charge.kind, each.max_groups, next(shares), delta)
        noises: list[Noise | None] = [None] * len(needs.vectors)
        for at in bought:
            noises[at] = needs.vectors[at].reach.noise(charge.kind, each.max_groups, next(shares))
        found.append(
            SetPlan(
                each.keys, each.max_groups, each.domain, threshold, tuple(noises), each.most_groups, each.most_values
            )
        )
    return tuple(found)


def mechanisms_in(needs: Needs, sets: Sequence[SetNeed]) -> tuple[tuple[int, int | None], ...]:
    """Which mechanisms there will be, in the order of `errors`: the place of a set, and of a vector (None for its threshold)."""
    found: list[tuple[int, int | None]] = []
    for at, each in enumerate(sets):
        found += [(at, None)] if each.domain is None else []
        found += [(at, vector) for vector in _paid(needs, each)]
    return tuple(found)


def _paid(needs: Needs, each: SetNeed) -> list[int]:
    """The vectors that need noise in a set: those that some value is made of, but the units that its threshold measures."""
    asked = {part.vector for made in needs.made for part in made.parts}
    if each.domain is None and UNITS in needs.measures:
        units = needs.measures.index(UNITS)
        asked -= {at for at, vector in enumerate(needs.vectors) if vector.measures == (units,)}
    return sorted(asked)
