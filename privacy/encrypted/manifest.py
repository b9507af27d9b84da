"""What the service asks the key holder to release: everything that the key holder checks, signed by the service.

`check` is the key holder's: it recomputes what one unit can change from the terms that the providers signed, and believes no figure of the
service's own. It cannot tell whether the ciphertext is the sum of all uploads: against a service that lies, nothing here helps (B13).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from core.canonical import canonical
from core.errors import Invalid
from privacy.accountant import Accountant, Loss
from privacy.encrypted.header import Header, signature_holds
from privacy.encrypted.headroom import fits
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.shares import partners_of, share_scale
from privacy.encrypted.terms import Terms
from privacy.mechanisms import Noise
from privacy.tails import NoiseKind

SCHEMA = "banyan.manifest/1"
DOMAIN = b"banyan.manifest/1\n"
MAX_UPLOADS, MAX_VECTORS, MAX_VERSION = 1_000, 64, 10**9
MEMBERS = frozenset(
    {"schema", "job", "population", "accountant", "level", "key", "profile", "uploads", "overlap", "vectors", "loss", "ciphertext"}
)  # fmt: skip
# The key holder signs its answers under this, and from this level on must be apart from the service.
ANSWER_DOMAIN = b"banyan.answer/1\n"
APART_FROM = "S2"
NOISE_OF = {Accountant.BASIC: NoiseKind.LAPLACE, Accountant.ZCDP: NoiseKind.GAUSSIAN}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LEVEL = re.compile(r"S[0-5]")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:-]{0,160}")


@dataclass(frozen=True)
class Upload:
    """One provider's part: the asset, its version, and the header that the provider signed."""

    asset: str
    version: int
    header: Header

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"asset": self.asset, "version": self.version, "header": self.header.to_json()}


@dataclass(frozen=True)
class Released:
    """A vector to be released, and the noise that each of the two adds to it."""

    name: str
    length: int
    noise: Noise

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"name": self.name, "length": self.length, "noise": self.noise.to_json()}


@dataclass(frozen=True)
class Manifest:
    """See the module. `overlap` is in how many of the uploads one unit may be; `ciphertext` the digest of the masked sum's chunks."""

    job: str
    population: str
    accountant: Accountant
    level: str
    key: str
    profile: str
    uploads: tuple[Upload, ...]
    overlap: int
    vectors: tuple[Released, ...]
    loss: Loss
    ciphertext: str

    def signed(self) -> bytes:
        """What the service's signature is over."""
        return DOMAIN + canonical(self.to_json())

    @property
    def shared(self) -> bool:
        """Whether the providers added noise of their own."""
        return any(upload.header.share is not None for upload in self.uploads)

    def share_of(self, vector: str) -> Fraction | None:
        """The scale of each provider's noise in a vector; None where they add none."""
        share = self.uploads[0].header.share
        return None if share is None else dict(share.scales).get(vector)

    @property
    def terms(self) -> tuple[Terms, ...]:
        """Of every upload."""
        return tuple(upload.header.terms for upload in self.uploads)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "schema": SCHEMA,
            "job": self.job,
            "population": self.population,
            "accountant": self.accountant.value,
            "level": self.level,
            "key": self.key,
            "profile": self.profile,
            "uploads": [upload.to_json() for upload in self.uploads],
            "overlap": self.overlap,
            "vectors": [vector.to_json() for vector in self.vectors],
            "loss": self.loss.to_json(),
            "ciphertext": self.ciphertext,
        }

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        if not isinstance(stored, Mapping) or set(stored) != MEMBERS or stored["schema"] != SCHEMA:
            raise ValueError("this is not a manifest of this version")
        words = {name: stored[name] for name in ("job", "population", "level", "key", "profile", "ciphertext")}
        if not all(isinstance(word, str) and _WORD.fullmatch(word) for word in words.values()):
            raise ValueError("a member of the manifest is not a plain word")
        if not _DIGEST.fullmatch(words["key"]) or not _DIGEST.fullmatch(words["ciphertext"]):
            raise ValueError("key and ciphertext are digests")
        if not _LEVEL.fullmatch(words["level"]):
            raise ValueError("there is no such level")
        uploads = [_upload(each) for each in _list(stored["uploads"], MAX_UPLOADS)]
        vectors = [_released(each) for each in _list(stored["vectors"], MAX_VECTORS)]
        if type(stored["overlap"]) is not int or not isinstance(stored["loss"], Mapping):
            raise ValueError("overlap or loss is of another form")
        return cls(
            **words,
            accountant=Accountant(stored["accountant"]),
            uploads=tuple(uploads),
            overlap=stored["overlap"],
            vectors=tuple(vectors),
            loss=_loss(stored["loss"]),
        )


def check(manifest: Manifest, signing_keys: Mapping[str, str]) -> None:
    """Raise ValueError, saying why, unless the release would be private as stated. `signing_keys`: the providers' pinned keys.

    It looks at the manifest alone: budget, log, key and ciphertext are for the key holder to compare.
    """
    _check_uploads(manifest, signing_keys)
    _check_shares(manifest, signing_keys)
    terms, profile = manifest.terms, profile_named(manifest.profile)
    known = {vector.name: vector for vector in terms[0].vectors}
    names = [vector.name for vector in manifest.vectors]
    _demand(len(set(names)) == len(names), "a vector is released twice")
    price = Fraction(0)
    for vector in manifest.vectors:
        found = known.get(vector.name)
        if found is None:
            raise ValueError("a vector is released that was never encrypted")
        _demand(vector.length == found.length, "a vector has another length than its terms say")
        _demand(vector.noise.kind is NOISE_OF[manifest.accountant], "the noise is not that of the accountant")
        change = found.change.times(manifest.overlap, found.length)
        noise = vector.noise
        _demand(
            noise.l0 >= change.l0
            and noise.l1 >= change.l1
            and noise.l2_squared >= change.l2_squared
            and noise.linf >= change.linf,
            "the noise is for less than one unit can change",
        )
        share = manifest.share_of(vector.name)
        _demand(fits(profile, terms, vector.name, noise, share), "totals and noise could leave the profile's range")
        price += noise.price
    loss = manifest.loss
    paid, other = (loss.epsilon, loss.rho) if manifest.accountant is Accountant.BASIC else (loss.rho, loss.epsilon)
    _demand(other == 0, "the loss is not in the accountant's currency")
    _demand(0 < price <= paid, "the release costs more than is charged")


def _check_uploads(manifest: Manifest, signing_keys: Mapping[str, str]) -> None:
    uploads = manifest.uploads
    providers = [each.provider for each in manifest.terms]
    _demand(len(set(providers)) == len(providers), "a provider is named twice")
    _demand(len({upload.asset for upload in uploads}) == len(uploads), "an asset is named twice")
    _demand(len({upload.header.content for upload in uploads}) == len(uploads), "two uploads have one content")
    _demand(
        [each.asset for each in uploads] == sorted(each.asset for each in uploads), "uploads are in order of assets"
    )
    _demand(1 <= manifest.overlap <= len(uploads), "the overlap is not a number of the job's providers")
    _demand({upload.header.key for upload in uploads} == {manifest.key}, "the uploads are under different keys")
    _demand({each.profile for each in manifest.terms} == {manifest.profile}, "the uploads are of different profiles")
    _demand({each.population for each in manifest.terms} == {manifest.population}, "an upload is of another population")
    _demand(len({each.shape_digest for each in manifest.terms}) == 1, "the uploads were made under different terms")
    for upload in uploads:
        pinned = signing_keys.get(upload.header.terms.provider)
        _demand(
            pinned is not None and signature_holds(upload.header, pinned), "an upload is not signed by its provider"
        )


def _check_shares(manifest: Manifest, signing_keys: Mapping[str, str]) -> None:
    """Either every provider has added noise of its own for this very job, or none has."""
    shares = [upload.header.share for upload in manifest.uploads]
    given = {share for share in shares if share is not None}
    if not given:
        return
    _demand(len(given) == 1 and None not in shares, "the providers did not all encrypt for this job, and alike")
    (share,) = given
    _demand(share.job == manifest.job, "the providers encrypted for another job")
    partners = partners_of([signing_keys[each.provider] for each in manifest.terms])
    _demand(share.partners == partners, "the masks are of other providers than the job's")
    _demand(manifest.accountant is Accountant.ZCDP, "providers' noise is accounted in zcdp only")
    names = [name for name, _ in share.scales]
    _demand(names == [vector.name for vector in manifest.vectors], "the providers encrypted other vectors")
    for (name, scale), vector in zip(share.scales, manifest.vectors, strict=True):
        change = sensitivities(manifest.terms, manifest.overlap, name)
        least = share_scale(change["l2_squared"], vector.noise.price, vector.length, len(partners))
        _demand(scale >= least, "the providers' noise is less than one unit can change")


def sensitivities(terms: Sequence[Terms], overlap: int, vector: str) -> dict[str, int]:
    """What one unit can change in the sum of a vector, as the bounds of a Noise."""
    found = terms[0].vector(vector)
    change = found.change.times(overlap, found.length)
    return {"l0": change.l0, "l1": change.l1, "l2_squared": change.l2_squared, "linf": change.linf}


def _upload(stored: object) -> Upload:
    if not isinstance(stored, Mapping) or set(stored) != {"asset", "version", "header"}:
        raise ValueError("an upload of another form")
    asset, version = stored["asset"], stored["version"]
    if (
        not isinstance(asset, str)
        or not _WORD.fullmatch(asset)
        or type(version) is not int
        or not 1 <= version <= MAX_VERSION
    ):
        raise ValueError("an upload of another form")
    return Upload(asset, version, Header.from_json(stored["header"]))


def _released(stored: object) -> Released:
    if not isinstance(stored, Mapping) or set(stored) != {"name", "length", "noise"}:
        raise ValueError("a vector of another form")
    name, length, noise = stored["name"], stored["length"], stored["noise"]
    if not isinstance(name, str) or type(length) is not int or not isinstance(noise, Mapping):
        raise ValueError("a vector of another form")
    return Released(name, length, _noise(noise))


def _noise(stored: Mapping[str, Any]) -> Noise:
    if not all(isinstance(value, str) and len(value) <= 100 for value in stored.values()):
        raise ValueError("a noise of another form")
    try:
        noise = Noise.from_json(stored)
    except Invalid as too_large:
        raise ValueError(too_large.text) from None
    if noise.to_json() != dict(stored):
        raise ValueError("a number of a noise is not in its one form")
    return noise


def _loss(stored: Mapping[str, Any]) -> Loss:
    if not all(isinstance(value, str) and len(value) <= 100 for value in stored.values()):
        raise ValueError("a loss of another form")
    loss = Loss.from_json(stored)
    if loss.to_json() != dict(stored):
        raise ValueError("a number of a loss is not in its one form")
    return loss


def _list(stored: object, most: int) -> list[Any]:
    if not isinstance(stored, list) or not 1 <= len(stored) <= most:
        raise ValueError(f"a list of 1 to {most} is expected")
    return stored


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
