"""Plans an encrypted job from the terms of its uploads: what is released, with which noise, at which price; no data is opened.

Every released vector has a share of the price in proportion to how much one unit can change in it compared with what it is expected to
hold, so that the worst relative error is least. Under zCDP shares are of ρ and in proportion to the squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from core.errors import Invalid
from privacy.accountant import Accountant, Loss, loss_of
from privacy.encrypted.forecast import forecast_of
from privacy.encrypted.headroom import fits
from privacy.encrypted.least_squares import check_noise
from privacy.encrypted.manifest import sensitivities
from privacy.encrypted.plan_model import EncryptedPlan, EncryptedRequest, PlannedVector
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.shares import TooDear, share_scale
from privacy.encrypted.terms import GRAM, SQUARE, SUM, UNITS, Terms
from privacy.mechanisms import Noise
from privacy.tails import NoiseKind

LEAST_SHARING = 2


def plan_encrypted(request: EncryptedRequest) -> EncryptedPlan:
    """The plan. Raises Invalid (`compute.…`, `encrypted.profiles`, `encrypted.shapes`, `encrypted.bound`, `epsilon.too_small`, …)."""
    first = _agreed(request.terms)
    names = request.compute.vectors(first)
    delta = _delta_of(request)
    asked = loss_of(request.accountant, request.epsilon, delta)
    price = Loss(epsilon=asked.epsilon, rho=asked.rho)  # no threshold here, hence no δ
    basic = request.accountant is Accountant.BASIC
    whole = price.epsilon if basic else price.rho
    kind = NoiseKind.LAPLACE if basic else NoiseKind.GAUSSIAN
    weights = {name: _weight(request.terms, name) ** (1 if basic else 2) for name in names}
    if request.shared and basic:
        raise Invalid(
            "encrypted.shares_accountant",
            "these providers add noise of their own to each job, which is accounted in zcdp; their population is not",
            where={"field": "assets"},
            way_out="a population with accountant: zcdp",
        )
    fitted = {name: _fitted(kind, request, name, whole * weights[name] / sum(weights.values())) for name in names}
    vectors = tuple(
        PlannedVector(name, first.vector(name).length, noise, _share(request, name, noise) if request.shared else None)
        for name, noise in fitted.items()
    )
    _check_range(request.terms, vectors)
    units = sum(each.units for each in request.terms)
    if request.compute.least_squares:
        check_noise(first, units, vectors[0].felt(len(request.terms)))
    return EncryptedPlan(
        compute=request.compute,
        terms=first,
        providers=len(request.terms),
        units=units,
        overlap=request.overlap,
        accountant=request.accountant,
        epsilon=request.epsilon,
        delta=delta,
        price=price,
        vectors=vectors,
        forecast=forecast_of(request.compute, first, units, vectors, request.overlap, len(request.terms)),
    )


def _agreed(terms: Sequence[Terms]) -> Terms:
    if len({each.provider for each in terms}) != len(terms):
        raise Invalid("encrypted.provider_twice", "two of the assets are of one provider", where={"field": "assets"})
    if len({each.profile for each in terms}) != 1:
        raise Invalid("encrypted.profiles", "the assets are encrypted in different profiles", where={"field": "assets"})
    if len({each.shape_digest for each in terms}) != 1:
        raise Invalid(
            "encrypted.shapes",
            "the providers did not encrypt the same: groups, bounds, columns and population must be equal in their declarations",
            where={"field": "assets"},
        )
    return terms[0]


def _delta_of(request: EncryptedRequest) -> Fraction:
    """0 in basic accounting; else the one asked, or 10^-(ceil(log10(units)) + 4)."""
    if request.accountant is Accountant.BASIC:
        return Fraction(0)
    if request.delta is None:
        units = sum(each.units for each in request.terms)
        return Fraction(1, 10 ** (len(str(max(units, 1) - 1)) + 4))
    if request.delta <= 0:
        text, way_out = "zcdp accounting needs a δ above 0", "leave delta out"
        raise Invalid("delta.required", text, where={"field": "delta"}, way_out=way_out)
    return request.delta


def _weight(terms: Sequence[Terms], name: str) -> Fraction:
    """What one unit can change, compared with what an entry is expected to hold: half the largest contribution of each unit in it."""
    vector = terms[0].vector(name)
    units = Fraction(sum(each.units for each in terms), 1 if name == GRAM else len(terms[0].groups))
    return vector.change.l1 / (units * Fraction(vector.change.linf, 1 if name == UNITS else 2))


def _fitted(kind: NoiseKind, request: EncryptedRequest, name: str, share: Fraction) -> Noise:
    bounds = sensitivities(request.terms, request.overlap, name)
    try:
        return Noise.fit(kind, **bounds, share=share)
    except Invalid as refused:
        raise _too_small(name) from refused


def _too_small(name: str) -> Invalid:
    return Invalid(
        "epsilon.too_small",
        f"epsilon is too small for what one unit may change in {_words(name)}",
        where={"field": "epsilon"},
        way_out="raise epsilon, ask for fewer statistics, or have the providers declare smaller bounds",
    )


def _share(request: EncryptedRequest, name: str, noise: Noise) -> Fraction:
    length, providers = request.terms[0].vector(name).length, len(request.terms)
    if providers < LEAST_SHARING:
        raise Invalid(
            "encrypted.too_few_providers",
            "noise is shared by at least two providers",
            where={"field": "assets"},
            way_out="name the assets of more providers",
        )
    try:
        return share_scale(noise.l2_squared, noise.price, length, providers)
    except TooDear:
        raise _too_small(name) from None


def _check_range(terms: Sequence[Terms], vectors: Sequence[PlannedVector]) -> None:
    profile = profile_named(terms[0].profile)
    for vector in vectors:
        if not fits(profile, terms, vector.name, vector.noise, vector.share):
            raise Invalid(
                "encrypted.bound",
                f"{_words(vector.name)} over all providers, with noise, could be larger than the profile {profile.name} can hold",
                where={"field": "assets"},
                way_out="fewer providers, smaller declared bounds, a larger epsilon, or a larger profile",
            )


def _words(name: str) -> str:
    if name == UNITS:
        return "the number of units"
    if name == GRAM:
        return "the moments of the regression"
    return (
        f"{'the squares' if name.startswith(SQUARE) else 'the total'} of {name.removeprefix(SUM).removeprefix(SQUARE)}"
    )
