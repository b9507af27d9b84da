"""What a planned encrypted job says: which vectors are released, and the noise that service and key holder each add to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

from core.units import exact, text_of
from privacy.accountant import Accountant, Loss
from privacy.encrypted.request import Compute
from privacy.encrypted.terms import Terms
from privacy.mechanisms import Noise

_MEMBERS = {
    "compute", "terms", "providers", "units", "overlap", "accountant", "epsilon", "delta", "price", "vectors", "forecast"
}  # fmt: skip


@dataclass(frozen=True)
class EncryptedRequest:
    """What is asked: statistics over the uploads with these terms, of which a unit may be in `overlap`.

    `shared`: the providers leave nothing at the service, and add noise of their own for each job.
    """

    compute: Compute
    terms: tuple[Terms, ...]
    overlap: int
    accountant: Accountant
    epsilon: Fraction
    delta: Fraction | None
    shared: bool = False


@dataclass(frozen=True)
class PlannedVector:
    """A vector to be released; `noise` is added twice, by the service under encryption and by the key holder after it.

    `share` is the scale of what each provider adds beside, where providers do; None elsewhere.
    """

    name: str
    length: int
    noise: Noise
    share: Fraction | None = None

    def felt(self, providers: int) -> Noise:
        """The noise of which two draws are as wide as all that is added; for error bars."""
        if self.share is None:
            return self.noise
        scale = math.sqrt(float(self.noise.scale) ** 2 + providers * float(self.share) ** 2 / 2)
        return replace(self.noise, scale=Fraction(scale))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        share = None if self.share is None else text_of(self.share)
        return {"name": self.name, "length": self.length, "noise": self.noise.to_json(), "share": share}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        share = None if stored["share"] is None else exact(stored["share"])
        return cls(stored["name"], stored["length"], Noise.from_json(stored["noise"]), share)


@dataclass(frozen=True)
class Forecast:
    """The error of one output that noise alone makes in 95 of 100 releases, and that of a plaintext job at the same price.

    `clipping` says which bound may have cut off more; how much it did, no one but the providers knows.
    """

    name: str
    kind: str
    noise_95: str
    plaintext_95: str
    clipping: str

    def to_json(self) -> dict[str, str]:
        """A JSON object."""
        return {
            "name": self.name,
            "kind": self.kind,
            "noise_95": self.noise_95,
            "plaintext_95": self.plaintext_95,
            "clipping": self.clipping,
        }


@dataclass(frozen=True)
class EncryptedPlan:
    """`terms` are those of the first upload, whose shape all share; `units` is how many units all providers declare."""

    compute: Compute
    terms: Terms
    providers: int
    units: int
    overlap: int
    accountant: Accountant
    epsilon: Fraction
    delta: Fraction
    price: Loss
    vectors: tuple[PlannedVector, ...]
    forecast: tuple[Forecast, ...]

    @property
    def profile(self) -> str:
        """The name of the profile."""
        return self.terms.profile

    @property
    def mechanisms(self) -> tuple[Noise, ...]:
        """What stands between the totals and the release."""
        return tuple(vector.noise for vector in self.vectors)

    @property
    def shared(self) -> bool:
        """Whether providers add noise of their own."""
        return any(vector.share is not None for vector in self.vectors)

    def felt(self, name: str) -> Noise:
        """For error bars, the noise of which two draws are as wide as all that is added to a vector. Raises KeyError."""
        return self.vector(name).felt(self.providers)

    def vector(self, name: str) -> PlannedVector:
        """The released vector of this name. Raises KeyError."""
        for vector in self.vectors:
            if vector.name == name:
                return vector
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; exact numbers as texts."""
        return {
            "compute": self.compute.to_json(),
            "terms": self.terms.to_json(),
            "providers": self.providers,
            "units": self.units,
            "overlap": self.overlap,
            "accountant": self.accountant.value,
            "epsilon": text_of(self.epsilon),
            "delta": text_of(self.delta),
            "price": self.price.to_json(),
            "vectors": [vector.to_json() for vector in self.vectors],
            "forecast": [entry.to_json() for entry in self.forecast],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; raises ValueError for anything else."""
        if set(stored) != _MEMBERS:
            raise ValueError("not the plan of an encrypted job")
        return cls(
            compute=Compute.from_json(stored["compute"]),
            terms=Terms.from_json(stored["terms"]),
            providers=stored["providers"],
            units=stored["units"],
            overlap=stored["overlap"],
            accountant=Accountant(stored["accountant"]),
            epsilon=exact(stored["epsilon"]),
            delta=exact(stored["delta"]),
            price=Loss.from_json(stored["price"]),
            vectors=tuple(PlannedVector.from_json(each) for each in stored["vectors"]),
            forecast=tuple(Forecast(**each) for each in stored["forecast"]),
        )
