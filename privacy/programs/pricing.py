"""What a program is charged, and the mechanisms that this buys: their prices are OpenDP's, and sum to at most what was asked."""

from __future__ import annotations

from fractions import Fraction

from core.errors import Invalid
from privacy.accountant import Accountant, Loss, loss_of
from privacy.mechanisms import Noise, NoiseKind
from privacy.programs.outputs import Output
from privacy.programs.plan_model import MEDIAN_CANDIDATES, STEPS, ProgramRequest, widths_of
from privacy.quantile import ChoiceKind, Median


def delta_of(request: ProgramRequest) -> Fraction:
    """0 in basic accounting, where no mechanism here needs one; else the one asked, or 10^-(ceil(log10(units)) + 4)."""
    if request.accountant is Accountant.BASIC:
        return Fraction(0)
    if request.delta is None:
        return Fraction(1, 10 ** (len(str(max(request.units, 1) - 1)) + 4))
    if request.delta <= 0:
        text, way_out = "zcdp accounting needs a δ above 0", "leave delta out"
        raise Invalid("delta.required", text, where={"field": "delta"}, way_out=way_out)
    return request.delta


def price_of(accountant: Accountant, epsilon: Fraction, delta: Fraction) -> Loss:
    """What the ledger is charged: exactly what was asked, whatever the mechanisms leave of it. No threshold, hence no δ."""
    asked = loss_of(accountant, epsilon, delta)
    return Loss(epsilon=asked.epsilon, rho=asked.rho)


def mechanisms_of(
    outputs: tuple[Output, ...], accountant: Accountant, price: Loss
) -> tuple[Noise | None, Median | None]:
    """The joint noise of all means, and the choice for each number of a median. Every number has the same share of the price.

    A changed block may change each of the `means` numbers by all of its steps: the norm is over all of them (design R12).
    Raises Invalid (`epsilon.too_small`).
    """
    means, medians = widths_of(outputs)
    basic = accountant is Accountant.BASIC
    share = (price.epsilon if basic else price.rho) / (means + medians)
    noise, median = None, None
    try:
        if means:
            noise = Noise.fit(
                NoiseKind.LAPLACE if basic else NoiseKind.GAUSSIAN,
                l0=means,
                l1=means * STEPS,
                l2_squared=means * STEPS**2,
                linf=STEPS,
                share=share * means,
            )
        if medians:
            median = Median.fit(
                ChoiceKind.PERMUTE_AND_FLIP if basic else ChoiceKind.EXPONENTIAL, MEDIAN_CANDIDATES, share
            )
    except Invalid as refused:
        raise Invalid(
            "epsilon.too_small",
            f"epsilon is too small to be shared by {means + medians:,} numbers",
            where={"field": "epsilon"},
            way_out="raise epsilon, or declare fewer outputs",
        ) from refused
    return noise, median
