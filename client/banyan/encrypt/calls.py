"""Whether a provider may answer what a job asks: enough noise, partners who are who they were, and no second answer.

What is remembered lies beside the signing key: a job's masks may be used once, and the keys of the other providers must not change
unnoticed, or whoever runs the service could take the place of all of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from banyan.encrypt.pair_masks import check_partner
from banyan.encrypt.shares import LARGEST_SCALE, Share, TooDear, partners_of, share_scale
from banyan.encrypt.signing_key import line_of
from banyan.encrypt.terms import Terms
from banyan.errors import Refused
from banyan.textfile import read_text, unreadable

MEMORY = "contributions.json"
# What the server writes: exact rationals, none so long that it takes time to read.
_NUMBER = re.compile(r"[0-9]{1,400}(/[1-9][0-9]{0,399})?")


def share_of(call: Mapping[str, Any], terms: Terms) -> Share:
    """The share that a call asks for. Raises Refused (`call.strange`, `call.too_little_noise`)."""
    try:
        partners = partners_of(list(_partners(call).values()))
        scales = tuple((_text(each["name"]), _number(each["share"])) for each in call["vectors"])
        prices = {_text(each["name"]): _number(each["rho"]) for each in call["vectors"]}
        share = Share(_text(call["job"]), partners, scales)
        for key in partners:
            check_partner(key)
        least = {name: _least(terms, name, call, prices[name], len(partners)) for name, _ in scales}
    except (KeyError, TypeError, ValueError):
        text = "the server asks for something that this version of the tool does not know"
        raise Refused("call.strange", text, way_out="a newer version of banyan-client") from None
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


def _number(text: object) -> Fraction:
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError("a number is a text of digits, or two with a line between")
    return Fraction(text)


def remember(folder: Path, call: Mapping[str, Any], terms: Terms, signing: Ed25519PrivateKey) -> list[str]:
    """Note that this job is answered and who the partners are, before anything is made; the names of those who are new.

    Raises Refused (`call.answered`, `call.partner_changed`, `call.not_yours`).
    """
    path = folder / MEMORY
    known = _read(path)
    own, job = line_of(signing), _text(call["job"])
    partners = _partners(call)
    if partners.get(terms.provider) != own:
        text = f"the job names another signing key for {terms.provider} than yours"
        raise Refused("call.not_yours", text, way_out="--signing-key FILE with the key that is declared")
    if job in known["jobs"].get(own, []):
        raise Refused(
            "call.answered",
            f"you have encrypted for {job} before; a second contribution with the same masks would uncover both",
            way_out="banyan upload with the file that you made; or have the job cancelled and submitted again",
        )
    before = known["partners"].setdefault(terms.population, {})
    for name, key in partners.items():
        if name != terms.provider and before.get(name, key) != key:
            text = f"the signing key of {name} is {key} now, and was {before[name]} before"
            way_out = f"ask {name} in person; if it is theirs, take the old one out of {path}"
            raise Refused("call.partner_changed", text, way_out=way_out)
    fresh = sorted(name for name in partners if name not in before and name != terms.provider)
    before |= partners
    known["jobs"].setdefault(own, []).append(job)
    _write(path, known)
    return fresh


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"jobs": {}, "partners": {}}
    try:
        found = json.loads(read_text(path))
    except ValueError:
        found = None
    if isinstance(found, dict) and set(found) == {"jobs", "partners"} and _is_memory(**found):
        return found
    text = f"{path} does not say which jobs you have answered"
    raise Refused(
        "call.memory", text, way_out="the file as it was; without it answer no job that you may have answered"
    )


def _is_memory(jobs: object, partners: object) -> bool:
    return (
        isinstance(jobs, dict)
        and all(isinstance(each, list) and all(isinstance(job, str) for job in each) for each in jobs.values())
        and isinstance(partners, dict)
        and all(
            isinstance(each, dict) and all(isinstance(key, str) for key in each.values()) for each in partners.values()
        )
    )


def _write(path: Path, known: Mapping[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(known, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as problem:
        raise unreadable(path, problem) from None
