"""Whether the key holder would open what is planned: what it has pinned of a population is public, and asked before anything is charged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from core.errors import Invalid
from privacy.accountant import Accountant, Loss


@dataclass(frozen=True)
class Pinned:
    """What the key holder believes of one population: its providers' keys, and what may still be released by its own account."""

    accountant: str
    min_providers: int
    overlap: int
    shared: bool
    providers: Mapping[str, str]
    left: Loss

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """As the key holder tells it. Raises ValueError, KeyError or TypeError for anything else."""
        numbers = stored["min_providers"], stored["overlap"]
        if not all(type(number) is int and number >= 1 for number in numbers) or type(stored["shared"]) is not bool:
            raise ValueError("min_providers and overlap are numbers, and shared is true or false")
        providers = stored["providers"]
        if not isinstance(providers, Mapping) or not all(isinstance(key, str) for key in providers.values()):
            raise ValueError("each provider has a signing key")
        return cls(
            accountant=Accountant(stored["accountant"]).value,
            min_providers=numbers[0],
            overlap=numbers[1],
            shared=stored["shared"],
            providers=dict(providers),
            left=Loss.from_json(stored["left"]),
        )


def check_pinned(plan: Mapping[str, Any], populations: Mapping[str, Pinned]) -> None:
    """Raise Invalid (`encrypted.key_holder_refuses`) where the key holder would open nothing for a stored plan."""
    name = plan["population"]
    pinned = populations.get(name)
    if pinned is None:
        raise _refused(f"the key holder knows no population {name}", "its operator pins it")
    encrypted, keys = plan["encrypted"], plan["signing_keys"]
    if pinned.accountant != encrypted["accountant"]:
        raise _refused(f"the key holder accounts {name} in {pinned.accountant}", "its operator and yours agree on one")
    strangers = [provider for provider, key in keys.items() if pinned.providers.get(provider) != key]
    if strangers:
        text = f"the key holder knows {strangers[0]} not at all, or with another signing key"
        raise _refused(text, "its operator gets the key from the provider in person")
    if len(keys) < pinned.min_providers:
        text = (
            f"the key holder opens sums of at least {pinned.min_providers} providers of {name}; these are {len(keys)}"
        )
        raise _refused(text, "name the assets of more providers")
    if plan["overlap"] < min(pinned.overlap, len(keys)):
        text = f"the key holder believes that one unit may be at {pinned.overlap} providers; the policy says {plan['overlap']}"
        raise _refused(text, "a policy with that overlap, or an operator of the key holder who believes less")
    if pinned.shared and not plan["shared"]:
        text = f"the key holder opens only sums of {name} to which each provider has added noise of its own"
        raise _refused(text, "assets with stored: false")
    if not Loss.from_json(encrypted["price"]).within(pinned.left):
        text = f"the key holder's own account has less left for {name} than this costs"
        raise _refused(text, "a smaller epsilon", "epsilon")


def _refused(text: str, way_out: str, field: str = "assets") -> Invalid:
    return Invalid("encrypted.key_holder_refuses", text, where={"field": field}, way_out=way_out)
