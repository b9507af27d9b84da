"""The command `calls`, and how `encrypt` answers one: what jobs ask of a provider that leaves nothing at the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan import credentials
from banyan.cli import screen
from banyan.cli.account import Json
from banyan.client import Client
from banyan.errors import Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from banyan.encrypt.calls import Remembered
    from banyan.encrypt.declared import Declared
    from banyan.encrypt.shares import Share
    from banyan.encrypt.spending import Account


def calls(
    asset: Annotated[str, typer.Argument(help="Your asset, such as medical/trial_hospital_a.", metavar="ASSET")],
    as_json: Json = False,
) -> None:
    """List what waiting jobs ask of the provider of an asset that is not stored, what that would cost, and what you have spent.

    ε is computed here from the noise that a job asks for, at the δ of your budget.
    """
    from banyan.encrypt.calls import account_of  # noqa: PLC0415 - slow to load
    from banyan.encrypt.declared import of_asset  # noqa: PLC0415 - as above

    with Client() as client:
        found, declared = client.calls(asset), of_asset(asset, client.asset(asset))
    account = account_of(credentials.folder(), declared.terms.population, declared.budget)
    costs = [_cost(call, account) for call in found]
    if as_json:
        items = [{**call, "cost": cost} for call, cost in zip(found, costs, strict=True)]
        screen.say_json({"items": items, "account": None if account is None else account.to_json()})
        return
    rows = [
        [
            str(call.get("job")),
            str(call.get("purpose")),
            ", ".join(str(each.get("name")) for each in call.get("vectors") or []),
            "?" if cost is None else str(cost["epsilon"]),
            str(call.get("until"))[:16],
            "given" if call.get("given") else "over your budget" if cost and not cost["fits"] else "waits",
        ]
        for call, cost in zip(found, costs, strict=True)
    ]
    screen.say_table(("job", "purpose", "asks for", "ε", "until", ""), rows)
    screen.say("no budget: give --budget EPSILON:DELTA with the first job" if account is None else account.told())


def _cost(call: Mapping[str, Any], account: Account | None) -> dict[str, Any] | None:
    """What a call would cost by what it asks for; None for one that cannot be read or compared."""
    from banyan.encrypt.calls import price_of  # noqa: PLC0415 - slow to load
    from banyan.encrypt.spending import up  # noqa: PLC0415 - as above

    try:
        rho = price_of(call)
    except Refused:
        return None
    if account is None:
        return None
    return {"rho": up(rho, 12), "epsilon": up(account.budget.epsilon_of(rho), 4), "fits": rho <= account.left}


def answer(
    asset: str,
    call: Mapping[str, Any],
    vectors: Mapping[str, Sequence[int]],
    declared: Declared,
    signing: Ed25519PrivateKey,
    *,
    budget: str | None,
    quiet: bool,
) -> tuple[dict[str, list[int]], Share]:
    """The numbers to encrypt for a job, with one's share of noise and masks. Raises Refused (`call.…`, `option.budget`)."""
    from banyan.encrypt import calls as checks  # noqa: PLC0415 - needs the extra
    from banyan.encrypt.contribution import contributed  # noqa: PLC0415 - as above

    share = checks.share_of(call, declared.terms)
    noted = checks.remember(
        credentials.folder(), asset, call, declared.terms, signing, declared=declared.budget, said=budget
    )
    _tell(noted, call, is_own_budget=budget is not None, quiet=quiet)
    return contributed(vectors, declared.terms, share, signing), share


def _tell(noted: Remembered, call: Mapping[str, Any], *, is_own_budget: bool, quiet: bool) -> None:
    """What is new is told also to those who want to hear nothing: it is said once, or something is wrong."""
    account = noted.account
    if noted.first:
        where = credentials.folder() / "contributions.json"
        screen.note(f"nothing was answered for {account.population} before, says {where}")
        screen.note(
            "if you have answered jobs before, send nothing, and bring that file back: what they cost is not counted"
        )
        if not is_own_budget:
            screen.note(f"your budget is {account.budget}, which the service says you declared; --budget sets another")
    if noted.fresh:
        screen.note(
            f"masks are shared with {', '.join(noted.fresh)} for the first time; from now on their keys must not change"
        )
        screen.note("ask them in person whether these are theirs:")
        keys = {str(each["provider"]): str(each["signing_key"]) for each in call["partners"]}
        for name in noted.fresh:
            screen.note(f"  {name} {keys[name]}")
    if not quiet:
        screen.note(f"this job costs {account.cost_told(noted.asked)}")
        screen.note(account.told())


def call_of(asset: str | None, job: str) -> dict[str, Any]:
    """What a job asks. Raises Refused (`option.job`)."""
    if asset is None:
        raise Refused("option.job", "a job asks the provider of an asset", way_out="--job JOB --asset ASSET")
    with Client() as client:
        return client.call(asset, job)
