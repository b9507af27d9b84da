"""The command that checks a receipt, with the server switched off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from banyan import credentials, layout, proof
from banyan.cli import screen
from banyan.cli.account import Json
from banyan.errors import Refused, VerificationError
from banyan.textfile import read_bytes
from banyan.verify import MAX_RECEIPT_BYTES, MAX_RESULT_BYTES, Key, Verified, claimed_key
from banyan.verify import verify as check

# What `banyan result -o` writes beside .json.
OTHER_FORMATS = (".csv", ".parquet")


def verify(
    file: Annotated[Path, typer.Argument(help="The receipt.", metavar="RECEIPT")],
    result: Annotated[
        Path | None,
        typer.Option("--result", help="The result, saved as .json: is it the released one?", metavar="FILE"),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The log's key, from the operator: NAME+ID+KEY.", metavar="VKEY")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a receipt offline. Says what it proves and what it does not.

    Without --key, the key remembered from the first use of the log on this machine counts: from login, or from the first receipt.
    """
    if result is not None and result.suffix.lower() in OTHER_FORMATS:
        told = f"{result} is no .json;\na receipt is of the result as banyan result JOB -o FILE.json saves it"
        raise typer.BadParameter(told, param_hint="--result")
    content = read_bytes(file, MAX_RECEIPT_BYTES)
    claimed = claimed_key(content)
    remembered = credentials.known_log_key(claimed.name) if key is None else None
    found = _checked(content, key or remembered or claimed.text, result, given=key is not None)
    if key is None and remembered is None:
        _remember(claimed)
    source = _source(claimed, given=key is not None, remembered=remembered is not None)
    if as_json:
        screen.say_json(_facts(found, source))
        return
    screen.say(f"verified  {found.release}  (offline)")
    screen.say(layout.hanging("Key        ", source, screen.width()))
    screen.say("Proved")
    screen.say(layout.fields([(f"  {name}", text) for name, text in proof.proved(found)], screen.width()))
    screen.say("Not proved")
    for text in proof.NOT_PROVED:
        screen.say(layout.hanging("  ", text, screen.width()))


def _checked(content: bytes, key: str, result: Path | None, *, given: bool) -> Verified:
    try:
        return check(content, key, None if result is None else read_bytes(result, MAX_RESULT_BYTES))
    except VerificationError as error:
        if error.step.startswith("2") and not given:
            error.way_out = "Ask the operator. A key that they confirm can be given with --key."
        if error.step.startswith("9"):
            error.way_out = "It must be the file that banyan result JOB -o FILE.json saved, unchanged."
        raise


def _remember(key: Key) -> None:
    """Keep the key of this first use. A receipt holds all the same where nothing can be written."""
    try:
        credentials.remember_log_key(key.name, key.text)
    except Refused as refused:
        screen.note(f"the key could not be remembered: {refused.text}")


def _source(key: Key, *, given: bool, remembered: bool) -> str:
    if given:
        return "given with --key"
    if remembered:
        return f'remembered on this machine from the first use of the log "{key.name}"'
    return f"taken from this receipt itself, on this first use of its log; compare it with the operator's:\n{key.text}"


def _facts(found: Verified, source: str) -> dict[str, object]:
    return {
        "verified": True,
        "release": found.release,
        "job": found.job,
        "statement": found.statement,
        "entry": found.entry,
        "index": found.index,
        "size": found.size,
        "key": found.key.text,
        "key_source": source.split("\n", maxsplit=1)[0],
        "result_checked": found.result_checked,
        "not_proved": list(proof.NOT_PROVED),
    }
