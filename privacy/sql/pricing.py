"""What a query is charged, and the mechanisms that this buys: their prices are OpenDP's, and sum to at most what was asked."""

from __future__ import annotations

from fractions import Fraction

from core.errors import Invalid
from privacy.accountant import Accountant, Loss, loss_of, rho_for
from privacy.mechanisms import Noise, NoiseKind
from privacy.schema import TableSchema
from privacy.sql.measures import Shape
from privacy.sql.plan_model import MeasureKind, QueryRequest
from privacy.thresholds import KeyThreshold


def delta_of(request: QueryRequest, schema: TableSchema, *, public: bool) -> Fraction:
    """The δ of the job: the one asked, else 10^-(ceil(log10(units)) + 4); 0 where nothing needs one."""
    if public and request.accountant is Accountant.BASIC:
        return Fraction(0)
    if request.delta is None:
        return Fraction(1, 10 ** (len(str(schema.units - 1)) + 4)) if schema.units > 1 else Fraction(1, 10**4)
    if request.delta <= 0:
        raise Invalid(
            "delta.required",
            "group keys that are not public, and zcdp accounting, need a δ above 0",
            where={"field": "delta"},
            way_out="leave delta out, or group by public columns",
        )
    return request.delta


def mechanisms_of(
    request: QueryRequest, shapes: list[Shape], groups: int, delta: Fraction, *, public: bool
) -> tuple[KeyThreshold | None, list[Noise | None]]:
    """One mechanism per measure, and one for the keys; each has the same share, and OpenDP's prices sum to at most ε."""
    basic = request.accountant is Accountant.BASIC
    kind = NoiseKind.LAPLACE if basic else NoiseKind.GAUSSIAN
    paid = [shape for shape in shapes if public or shape[0] is not MeasureKind.UNITS]
    total = request.epsilon if basic else rho_for(request.epsilon, delta / 2)
    share = total / (len(paid) + (0 if public else 1))
    if share <= 0:
        raise Invalid("epsilon.invalid", "epsilon is too small to be split over this query", where={"field": "epsilon"})
    threshold = None if public else KeyThreshold.fit(kind, groups, share, delta if basic else delta / 2)
    noises: list[Noise | None] = []
    for shape in shapes:
        linf = shape[3]
        noises.append(
            Noise.fit(kind, l0=groups, l1=groups * linf, l2_squared=groups * linf**2, linf=linf, share=share)
            if shape in paid
            else None
        )
    return threshold, noises


def price_of(request: QueryRequest, delta: Fraction, threshold: KeyThreshold | None) -> Loss:
    """What the ledger is charged: exactly what was asked, whatever the mechanisms leave of it."""
    asked = loss_of(request.accountant, request.epsilon, delta)
    return asked if threshold is not None else Loss(epsilon=asked.epsilon, rho=asked.rho)
