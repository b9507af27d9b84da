"""Reads a usage policy from the YAML that people write: every field is checked, and an error names its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar

from core.clock import moment_of, text_of
from core.errors import Invalid
from core.ids import is_id, is_name
from core.tier import Tier
from core.units import epsilon_of
from core.yaml_positions import Document, Path, nearest, read_document, shown
from policies.usage import EpsilonLimits, JobKind, ProviderRule, Purpose, ReleaseRule, UsagePolicy

FIELDS = (
    "name", "title", "purpose", "kinds", "assets", "people", "organisations", "epsilon", "max_runs", "release",
    "isolation", "providers", "valid",
)  # fmt: skip
REQUIRED = ("name", "purpose", "kinds", "assets", "epsilon", "valid")
LIMITS = ("total", "per_person", "per_job")
VALIDITY = ("from", "until")
# The fields of `providers`, each with the least that it may be: no key holder opens the sum of one provider.
LEAST = {"least": 2, "overlap": 1}
MAX_PROVIDERS = 1_000
MAX_ITEMS = 1_000
MAX_RUNS = 1_000_000_000
_ORGANISATION = re.compile(r"[a-z][a-z0-9-]{0,60}")
Word = TypeVar("Word", bound=StrEnum)


def parse_policy(text: str, filename: str, now: datetime) -> UsagePolicy:
    """The policy that the file states. Raises Invalid (`policy.syntax`, `.field`, `.missing`, `.value`) naming the line."""
    return _Reader(read_document(text, filename, "policy.syntax"), now).policy()


class _Reader:
    def __init__(self, document: Document, now: datetime) -> None:
        self._document = document
        self._now = now

    def policy(self) -> UsagePolicy:
        fields = self._document.fields
        self._document.check_fields("policy.field", (), FIELDS, fields)
        self._require((), fields, REQUIRED)
        valid_from, valid_until = self._validity()
        return UsagePolicy(
            name=self._name(fields["name"]),
            title=self._title(fields.get("title")),
            purposes=self._words("purpose", Purpose),
            kinds=self._words("kinds", JobKind),
            assets=self._items("assets", self._asset),
            people=self._items("people", self._person, needed=False),
            organisations=self._items("organisations", self._organisation, needed=False),
            epsilon=self._epsilon(fields["epsilon"]),
            max_runs=self._max_runs(fields.get("max_runs")),
            release=self._release(fields.get("release", ReleaseRule.AUTOMATIC.value)),
            isolation=self._isolation(fields.get("isolation", Tier.ZYGOTE.value)),
            valid_from=valid_from,
            valid_until=valid_until,
            providers=self._providers(fields.get("providers")),
        )

    def _wrong(self, path: Path, text: str, way_out: str | None = None) -> Invalid:
        return self._document.invalid("policy.value", path, text, way_out=way_out)

    def _require(self, path: Path, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
        for name in names:
            if given.get(name) is None:
                raise self._document.invalid("policy.missing", (*path, name), f"the field {name} is missing")

    def _mapping(self, name: str, known: tuple[str, ...]) -> Mapping[str, Any]:
        given = self._document.fields[name]
        if not isinstance(given, dict):
            raise self._wrong((name,), f"{name} must have the fields {', '.join(known)}")
        self._document.check_fields("policy.field", (name,), known, given)
        self._require((name,), given, known)
        return given

    def _name(self, given: Any) -> str:
        if not isinstance(given, str) or not is_name(given) or "/" in given:
            text = f"{shown(given)} is not a name: small letters, digits and dashes, beginning with a letter"
            raise self._wrong(("name",), text)
        return given

    def _title(self, given: Any) -> str:
        if given is None:
            return ""
        if not isinstance(given, str) or len(given) > 200 or not given.isprintable():
            raise self._wrong(("title",), "title must be one line of text of at most 200 characters")
        return given

    def _words(self, name: str, kind: type[Word]) -> tuple[Word, ...]:
        def word(path: Path, given: Any) -> Word:
            known = [member.value for member in kind]
            if given not in known:
                way_out = nearest(str(given), known) or f"one of {', '.join(known)}"
                raise self._wrong(path, f"there is no {name} {shown(given)}", way_out)
            return kind(given)

        return self._items(name, word)

    def _items(self, name: str, item: Any, *, needed: bool = True) -> tuple[Any, ...]:
        given = self._document.fields.get(name)
        if given is None and not needed:
            return ()
        items = given if isinstance(given, list) else [given]
        if not 1 <= len(items) <= MAX_ITEMS:
            raise self._wrong(
                (name,),
                f"{name} must list 1 to {MAX_ITEMS} items",
                None if needed else f"leave {name} out to mean anybody",
            )
        listed = isinstance(given, list)
        found = [item((name, at) if listed else (name,), each) for at, each in enumerate(items)]
        for at, each in enumerate(found):
            if each in found[:at]:
                raise self._wrong((name, at), f"{each} is listed twice")
        return tuple(sorted(found))

    def _asset(self, path: Path, given: Any) -> str:
        if not isinstance(given, str) or not is_name(given) or "/" not in given:
            raise self._wrong(path, f"{shown(given)} is not an asset", "sector/name, such as traffic/flights")
        return given

    def _person(self, path: Path, given: Any) -> str:
        if not isinstance(given, str) or not is_id("principal", given):
            raise self._wrong(path, f"{shown(given)} is not a person's id", "banyan whoami shows one's id")
        return given

    def _organisation(self, path: Path, given: Any) -> str:
        if not isinstance(given, str) or not _ORGANISATION.fullmatch(given):
            raise self._wrong(path, f"{shown(given)} is not an organisation's name")
        return given

    def _epsilon(self, given: Any) -> EpsilonLimits:
        given = self._mapping("epsilon", LIMITS)
        total, per_person, per_job = (self._amount(name, given[name]) for name in LIMITS)
        for smaller, larger, below, above in (
            (per_person, total, "per_person", "total"),
            (per_job, per_person, "per_job", "per_person"),
        ):
            if smaller > larger:
                text = f"epsilon.{below} is larger than epsilon.{above}"
                raise self._wrong(("epsilon", below), text, f"{below} ≤ {given[above]}")
        return EpsilonLimits(total, per_person, per_job)

    def _amount(self, name: str, given: Any) -> Fraction:
        try:
            return epsilon_of(given, f"epsilon.{name}")
        except Invalid as problem:
            raise self._wrong(("epsilon", name), problem.text) from None

    def _max_runs(self, given: Any) -> int | None:
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MAX_RUNS:
            raise self._wrong(("max_runs",), "max_runs must be a whole number from 1 on")
        return given

    def _release(self, given: Any) -> ReleaseRule:
        if given != ReleaseRule.AUTOMATIC.value:
            text = f"release {shown(given)} is not available: this version has no release desk"
            raise self._wrong(("release",), text, "release: automatic")
        return ReleaseRule.AUTOMATIC

    def _isolation(self, given: Any) -> Tier:
        known = [tier.value for tier in Tier]
        if given not in known:
            raise self._wrong(("isolation",), f"there is no isolation {shown(given)}", f"one of {', '.join(known)}")
        return Tier(given)

    def _providers(self, given: Any) -> ProviderRule:
        if given is None:
            return ProviderRule()
        form = "providers: {least: 3, overlap: 1}"
        if not isinstance(given, dict):
            raise self._wrong(("providers",), "providers must say least, overlap, or both", form)
        self._document.check_fields("policy.field", ("providers",), tuple(LEAST), given)
        for name, value in given.items():
            least = LEAST[name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_PROVIDERS:
                text = f"{name} must be a whole number from {least} to {MAX_PROVIDERS:,}"
                raise self._wrong(("providers", name), text, form)
        return ProviderRule(**given)

    def _validity(self) -> tuple[datetime, datetime]:
        given = self._mapping("valid", VALIDITY)
        since, until = (self._moment(name, given[name]) for name in VALIDITY)
        if since >= until:
            raise self._wrong(("valid", "from"), "valid.from must be before valid.until")
        if until <= self._now:
            text = f"valid.until is past: it is {text_of(self._now)[:16]}Z"
            raise self._wrong(("valid", "until"), text, "a later valid.until")
        return since, until

    def _moment(self, name: str, given: Any) -> datetime:
        try:
            if isinstance(given, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", given, re.ASCII):
                return datetime.combine(date.fromisoformat(given), time(), UTC)
            return moment_of(given)
        except (TypeError, ValueError, OverflowError):
            text = f"{shown(given)} is not a date such as 2026-01-01 or a moment such as 2026-01-01T08:00:00Z"
            raise self._wrong(("valid", name), text) from None
