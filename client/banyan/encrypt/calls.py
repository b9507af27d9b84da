"""Whether a provider may answer what a job asks: enough noise, partners who are who they were, no second answer, and within its budget.

All but the noise is held against what the provider itself remembers (`memory`). Jobs, prices, partners, populations and budgets that are
told here may be invented: service and key holder together could ask without end, or for hardly any noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from banyan.encrypt.memory import MEMORY, Memory, held, rational, read
from banyan.encrypt.pair_masks import check_partner
from banyan.encrypt.shares import LARGEST_SCALE, Share, TooDear, partners_of, share_scale
from banyan.encrypt.signing_key import line_of
from banyan.encrypt.spending import Account, Budget, said_budget
from banyan.encrypt.terms import Terms
from banyan.errors import Refused


def share_of(call: Mapping[str, Any], terms: Terms) -> Share:
    """The share that a call asks for. Raises Refused (`call.strange`, `call.too_little_noise`)."""
    try:
        partners = partners_of(list(_partners(call).values()))
        scales = tuple((_text(each["name"]), rational(each["share"])) for each in call["vectors"])
        prices = {_text(each["name"]): rational(each["rho"]) for each in call["vectors"]}
        share = Share(_text(call["job"]), partners, scales)
        for key in partners:
            check_partner(key)
        least = {name: _least(terms, name, call, prices[name], len(partners)) for name, _ in scales}
    except (KeyError, TypeError, ValueError):
        raise _strange() from None
    for name, scale in scales:
        if scale < least[name]:
            text = f"the noise that the server asks of you in {name} is less than one {terms.unit} can change there"
            raise Refused("call.too_little_noise", text, way_out="stop, and ask who runs the server")
    return share


def _least(terms: Terms, name: str, call: Mapping[str, Any], price: Fraction, providers: int) -> Fraction:
    vector, overlap = terms.vector(name), call["overlap"]
    if type(overlap) is not int or not 1 <= overlap <= providers:
        raise ValueError("an overlap is a number of the providers")
    try:
        return share_scale(vector.change.times(overlap, vector.length).l2_squared, price, vector.length, providers)
    except TooDear:
        return 2 * LARGEST_SCALE  # which no share is


def _partners(call: Mapping[str, Any]) -> dict[str, str]:
    """The providers' keys by their names, each of which stands once: a second key under one name would go unnoticed."""
    found = {_text(each["provider"]): _text(each["signing_key"]) for each in call["partners"]}
    if len(found) != len(call["partners"]):
        raise ValueError("a provider is named twice")
    return found


def _text(said: object) -> str:
    """No other value passes for the text of it: what is remembered is what was said."""
    if not isinstance(said, str):
        raise TypeError("a text is expected")
    return said


@dataclass(frozen=True)
class Remembered:
    """What has been noted of an answer before it is made.

    asked     the ρ that it costs
    account   its population's, with that spent
    fresh     names of the partners met for the first time
    first     whether nothing was answered for this population before, or all of it was forgotten
    """

    asked: Fraction
    account: Account
    fresh: tuple[str, ...]
    first: bool


def price_of(call: Mapping[str, Any]) -> Fraction:
    """The ρ of all that a call asks for, to which its noise is held. Raises Refused (`call.strange`)."""
    try:
        # No longer than it may be when the memory is read again.
        return rational(str(sum((rational(each["rho"]) for each in call["vectors"]), Fraction(0))))
    except (KeyError, TypeError, ValueError):
        raise _strange() from None


def remember(
    folder: Path,
    asset: str,
    call: Mapping[str, Any],
    terms: Terms,
    signing: Ed25519PrivateKey,
    *,
    declared: Budget | None = None,
    said: str | None = None,
) -> Remembered:
    """Note that this job is answered, what that costs and who the partners are, before anything is made.

    `said` is a budget that the provider gives now; else the one that was remembered holds, and at first the one that is `declared`.
    Raises Refused (`call.answered`, `call.not_yours`, `call.over_budget`, `call.partner_changed`, `call.population_changed`, …), and
    then nothing has changed.
    """
    own, job, asked = line_of(signing), _text(call["job"]), price_of(call)
    partners, population = _partners(call), terms.population
    if partners.get(terms.provider) != own:
        text = f"the job names another signing key for {terms.provider} than yours"
        raise Refused("call.not_yours", text, way_out="--signing-key FILE with the key that is declared")
    with held(folder) as memory:
        answered = memory.jobs.setdefault(own, {})
        if job in answered:
            raise Refused(
                "call.answered",
                f"you have encrypted for {job} before; a second contribution with the same masks would uncover both",
                way_out="banyan upload with the file that you made; or have the job cancelled and submitted again",
            )
        _check_population(memory, asset, population, folder)
        fresh = _met(memory, population, terms.provider, partners, folder)
        first = population not in memory.budgets
        present = memory.budgets.get(population, declared)
        budget = present if said is None else said_budget(said, present)
        if budget is None:
            text = f"the declaration of {asset} has no budget that is accounted in zcdp"
            raise Refused("option.budget", text, way_out="your own: --budget EPSILON:DELTA, such as 4:1e-6")
        account = Account(population, budget, memory.spent(population)).after(asked)
        memory.budgets[population], memory.assets[asset] = budget, population
        answered[job] = (population, asked)
    return Remembered(asked, account, fresh, first)


def check_stored(folder: Path, asset: str, population: str, *, stored: bool) -> None:
    """Remember an asset that is not stored, and raise Refused (`call.stored`) where one is said to be stored that was not.

    What is encrypted for an asset that is stored has no noise of one's own: only the provider may decide that, not the service.
    """
    if stored and asset in read(folder).assets:
        text = f"the service says that uploads to {asset} are stored, and it was not so before: your totals would go out without noise"
        way_out = f"ask who runs the service; if you want it so, take {asset} out of {folder / MEMORY}"
        raise Refused("call.stored", text, way_out=way_out)
    if not stored:
        with held(folder) as memory:
            _check_population(memory, asset, population, folder)
            memory.assets[asset] = population


def account_of(folder: Path, population: str, declared: Budget | None) -> Account | None:
    """What has been spent and may be; None where no budget is known. Raises Refused as `memory.read`."""
    memory = read(folder)
    budget = memory.budgets.get(population, declared)
    return None if budget is None else Account(population, budget, memory.spent(population))


def _check_population(memory: Memory, asset: str, population: str, folder: Path) -> None:
    """Another name would begin another account."""
    before = memory.assets.get(asset, population)
    if before != population:
        text = f"the service says that {asset} is of the population {population}, and it was of {before}"
        way_out = f"ask who runs the service; if it is so, take {asset} out of {folder / MEMORY}"
        raise Refused("call.population_changed", text, way_out=way_out)


def _met(memory: Memory, population: str, provider: str, partners: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    """The names of the partners who are new, remembered from now on."""
    before = memory.partners.setdefault(population, {})
    for name, key in partners.items():
        if name != provider and before.get(name, key) != key:
            text = f"the signing key of {name} is {key} now, and was {before[name]} before"
            way_out = f"ask {name} in person; if it is theirs, take the old one out of {folder / MEMORY}"
            raise Refused("call.partner_changed", text, way_out=way_out)
    fresh = sorted(name for name in partners if name not in before and name != provider)
    before |= partners
    return tuple(fresh)


def _strange() -> Refused:
    text = "the server asks for something that this version of the tool does not know"
    return Refused("call.strange", text, way_out="a newer version of banyan-client")
