"""What an encrypted job asks beside what every job asks: which statistics of the providers' sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.encrypted.request import Compute, read_compute

FIELDS = ("compute",)


@dataclass(frozen=True)
class EncryptedAsked:
    """Statistics of what the job's providers encrypted, over the groups that they agreed on."""

    compute: Compute

    def to_json(self) -> dict[str, Any]:
        """The canonical JSON form of these fields."""
        return {"compute": self.compute.to_json()}


def encrypted_asked(job: Mapping[str, Any]) -> EncryptedAsked:
    """The statistics that a job asks. Raises Invalid (`compute.…`) naming the field."""
    return EncryptedAsked(read_compute(job["compute"]))
