"""What a kind of job decides: how it is planned, what its lanes run, and how its partials become a release (design §7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.tier import Tier
from jobs.gate import Gated
from jobs.key_holder import KeyHolder, NoKeyHolder
from jobs.lane import LaneForm
from jobs.masking import Masking
from jobs.model import Job
from jobs.plan import JobPlan, PublicFacts
from jobs.request import JobRequest
from jobs.schedule import Node
from privacy.guarantee import Guarantee


@dataclass(frozen=True)
class Image:
    """A container image by id, with the top-level Python modules that its packages bring."""

    id: str
    modules: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Host:
    """What jobs are planned to run on: the images by name, the node, and the isolation that is to be had.

    `floor` is the weakest isolation that the job's level and policy allow; `tier_for` what the node does instead of a tier that it
    cannot do, never a weaker one. `oci_runtime` is that of every program's containers; None for the engine's own. `least_providers` and
    `overlap` are the policy's for encrypted jobs; without one a unit may be at every provider.
    `key_holder` opens them; `key_holder_is_here`: on this host.
    """

    images: Mapping[str, Image]
    node: Node
    tier_for: Callable[[Tier], Tier]
    floor: Tier = Tier.ZYGOTE
    oci_runtime: str | None = None
    least_providers: int = 1
    overlap: int | None = None
    key_holder: KeyHolder = field(default_factory=NoKeyHolder)
    key_holder_is_here: bool = False


class Kind(Protocol):
    """One kind of job. The stored plan is all that is needed after planning."""

    def plan(self, asked: JobRequest, facts: PublicFacts, host: Host) -> JobPlan:
        """Plan a job. Raises Invalid with the place of what is not allowed."""
        ...

    def mock_plan(self, asked: JobRequest, facts: PublicFacts, host: Host) -> JobPlan:
        """Plan the same job on mock data."""
        ...

    def mock_rows(self, plan: Mapping[str, Any], asset: str) -> int:
        """How many mock rows of an asset a mock job gets."""
        ...

    def form(self, request: Mapping[str, Any], plan: Mapping[str, Any], *, is_mock: bool) -> LaneForm:
        """What the lanes of a job run."""
        ...

    def gate(self, job: Job, partials: Mapping[int, bytes], masking: Masking | None) -> Gated:
        """Check, combine and release. Draws noise: call once for a job, and persist the table before anybody sees it.

        A missing, late, malformed or out-of-bound partial counts as its block's default, and noise is drawn all the same (design R9).
        `masking` is for what is encrypted; the numbers then come from the key holder, and calling again gives the same ones.
        """
        ...

    def mock_report(self, plan: Mapping[str, Any], partials: Mapping[int, bytes], log: str) -> dict[str, Any] | None:
        """What a researcher is told of a job on mock data beside its table: all of it, since no row is real."""
        ...

    def guarantee(self, plan: Mapping[str, Any]) -> Guarantee:
        """The promise that goes with the release."""
        ...
