"""What the key holder's operator has pinned: the service's keys, and for each population its budget, its providers and their keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from banyan.errors import VerificationError
from banyan.verify import Key, parse_key

from core.errors import Invalid
from core.units import delta_of, epsilon_of
from core.yaml_positions import Document, read_document
from privacy.accountant import Accountant, Capacity
from privacy.encrypted.terms import POPULATION, PROVIDER

PUBLIC_KEY_BYTES = 32
PLAIN = "small letters, digits and hyphens, a letter first"
EXAMPLE = """\
# What this key holder believes. Lines for `service` are printed by `banyan-server key-holder`; get them from its operator in person.
service:
  log_key: banyan.local/log+…
  manifest_key: …
  host: service.example
  uid: 1000
populations:
  patients:
    accountant: basic
    epsilon: 4
    delta: 1e-6
    min_providers: 3
    overlap: 1                 # at how many of these one person may be
    shared: false              # true: only what each of them encrypted for the job, with noise of its own (zcdp)
    providers: {hospital-a: …, hospital-b: …, hospital-c: …}
"""


@dataclass(frozen=True)
class Service:
    """The one service whose manifests count. `host` and `uid` are where and as whom it runs."""

    log_key: Key
    manifest_key: str
    host: str
    uid: int


@dataclass(frozen=True)
class Population:
    """What may be released about one population in its lifetime, from at least so many of these providers (name to signing key).

    `overlap` is at how many of them one unit may be; `shared`: each must have added noise of its own for the job.
    """

    accountant: Accountant
    capacity: Capacity
    min_providers: int
    overlap: int
    shared: bool
    providers: Mapping[str, str]


@dataclass(frozen=True)
class Registry:
    """All of it."""

    service: Service
    populations: Mapping[str, Population]


def read_registry(path: Path) -> Registry:
    """The registry in a file. Raises Invalid (`registry.…`) with line and field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise Invalid(
            "registry.unreadable",
            "the registry is not there, not yours to read, or no text in UTF-8",
            where={"file": path},
            way_out="the registry.yaml that init has made, filled in",
        ) from None
    document = read_document(text, path.name, "registry.syntax")
    document.check_fields("registry.field", (), ("service", "populations"), document.fields)
    populations = document.fields.get("populations")
    if not isinstance(populations, Mapping):
        raise document.invalid("registry.value", ("populations",), "populations names each population with its budget")
    return Registry(_service(document), {name: _population(document, name) for name in populations})


def _service(document: Document) -> Service:
    said = _section(document, ("service",), ("log_key", "manifest_key", "host", "uid"))
    try:
        log_key = parse_key(str(said["log_key"]))
    except (ValueError, VerificationError):
        text = "log_key is the line that banyan-server key-holder prints"
        raise document.invalid("registry.value", ("service", "log_key"), text) from None
    uid = said["uid"]
    if type(uid) is not int:
        raise document.invalid("registry.value", ("service", "uid"), "uid is the number of the service's user")
    return Service(log_key, _key(document, ("service", "manifest_key"), said["manifest_key"]), str(said["host"]), uid)


def _population(document: Document, name: str) -> Population:
    path = ("populations", name)
    if not POPULATION.fullmatch(name):
        raise document.invalid("registry.value", path, "no declaration can name such a population", way_out=PLAIN)
    said = _section(
        document, path, ("accountant", "epsilon", "delta", "min_providers", "overlap", "shared", "providers")
    )
    try:
        accountant = Accountant(said["accountant"])
    except ValueError:
        raise document.invalid("registry.value", (*path, "accountant"), "accountant is basic or zcdp") from None
    text = "min_providers is at least 2: the sum of one provider's data is that provider's data"
    least = _whole(document, (*path, "min_providers"), said["min_providers"], 2, text)
    text = "overlap is at how many providers one unit may be, at least 1"
    overlap = _whole(document, (*path, "overlap"), said["overlap"], 1, text)
    shared, providers = said["shared"], said["providers"]
    if type(shared) is not bool or (shared and accountant is not Accountant.ZCDP):
        text = "shared is true or false, and true only with zcdp: whether providers must add noise of their own"
        raise document.invalid("registry.value", (*path, "shared"), text)
    if not isinstance(providers, Mapping):
        raise document.invalid("registry.value", (*path, "providers"), "providers names each provider's signing key")
    capacity = _capacity(document, path, accountant, said)
    for each in providers:
        if not PROVIDER.fullmatch(each):
            where = (*path, "providers", each)
            raise document.invalid("registry.value", where, "no declaration can name such a provider", way_out=PLAIN)
    keys = {each: _key(document, (*path, "providers", each), key) for each, key in providers.items()}
    if len(set(keys.values())) != len(keys):
        text = "two providers have one signing key: they are one provider"
        raise document.invalid("registry.value", (*path, "providers"), text)
    if least > len(keys):
        raise document.invalid("registry.value", (*path, "min_providers"), f"only {len(keys)} providers are named")
    return Population(accountant, capacity, least, overlap, shared, keys)


def _whole(document: Document, path: tuple[str, ...], said: object, least: int, text: str) -> int:
    if type(said) is not int:
        raise document.invalid("registry.value", path, f"{path[-1]} is a whole number, without quotation marks")
    if said < least:
        raise document.invalid("registry.value", path, text)
    return said


def _capacity(document: Document, path: tuple[str, ...], accountant: Accountant, said: Mapping[str, Any]) -> Capacity:
    try:
        epsilon, delta = epsilon_of(said["epsilon"]), delta_of(said["delta"])
        return Capacity.of(accountant, epsilon, delta)
    except Invalid as problem:
        field = problem.code.partition(".")[0]  # epsilon.invalid, epsilon.too_small, delta.invalid, delta.required
        way_out = problem.way_out
        raise document.invalid("registry.value", (*path, field), problem.text, way_out=way_out) from None


def _section(document: Document, path: tuple[str, ...], names: tuple[str, ...]) -> Mapping[str, Any]:
    found: Any = document.fields
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise document.invalid("registry.missing", path, f"{path[-1]} has the fields {', '.join(names)}")
    document.check_fields("registry.field", path, names, found)
    for name in names:
        if found.get(name) is None:
            raise document.invalid("registry.missing", (*path, name), f"the field {name} is missing")
    return found


def _key(document: Document, path: tuple[str, ...], text: object) -> str:
    try:
        raw = base64.b64decode(str(text), validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != PUBLIC_KEY_BYTES or base64.b64encode(raw).decode() != text:
        raise document.invalid("registry.value", path, "this is not a public signing key in base64")
    return str(text)
