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

    from banyan.encrypt.shares import Share
    from banyan.encrypt.terms import Terms


def calls(
    asset: Annotated[str, typer.Argument(help="Your asset, such as medical/trial_hospital_a.", metavar="ASSET")],
    as_json: Json = False,
) -> None:
    """List what waiting jobs ask of the provider of an asset that is not stored: a contribution each."""
    with Client() as client:
        found = client.calls(asset)
    if as_json:
        screen.say_json({"items": found})
        return
    rows = [
        [
            str(call.get("job")),
            str(call.get("purpose")),
            ", ".join(str(each.get("name")) for each in call.get("vectors") or []),
            str(call.get("epsilon")),
            str(call.get("until"))[:16],
            "given" if call.get("given") else "waits",
        ]
        for call in found
    ]
    screen.say_table(("job", "purpose", "asks for", "ε", "until", ""), rows)


def answer(
    call: Mapping[str, Any],
    vectors: Mapping[str, Sequence[int]],
    terms: Terms,
    signing: Ed25519PrivateKey,
    *,
    quiet: bool,
) -> tuple[dict[str, list[int]], Share]:
    """The numbers to encrypt for a job, with one's share of noise and masks. Raises Refused (`call.…`)."""
    from banyan.encrypt import calls as checks  # noqa: PLC0415 - needs the extra
    from banyan.encrypt.contribution import contributed  # noqa: PLC0415

    share = checks.share_of(call, terms)
    fresh = checks.remember(credentials.folder(), call, terms, signing)
    if fresh and not quiet:
        screen.note(
            f"masks are shared with {', '.join(fresh)} for the first time; from now on their keys must not change"
        )
        screen.note("ask them in person whether these are theirs:")
        keys = {str(each["provider"]): str(each["signing_key"]) for each in call["partners"]}
        for name in fresh:
            screen.note(f"  {name} {keys[name]}")
    return contributed(vectors, terms, share, signing), share


def call_of(asset: str | None, job: str) -> dict[str, Any]:
    """What a job asks. Raises Refused (`option.job`)."""
    if asset is None:
        raise Refused("option.job", "a job asks the provider of an asset", way_out="--job JOB --asset ASSET")
    with Client() as client:
        return client.call(asset, job)
