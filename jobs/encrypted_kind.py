"""The kind `encrypted`: statistics over what several providers encrypted at home (docs/proofs/encrypted.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.declaration_model import Encrypted
from core.canonical import canonical
from core.errors import BanyanError, Invalid, Unavailable
from jobs.encrypted_lane import EncryptedForm, chunk_numbers, vectors_in
from jobs.encrypted_request import EncryptedAsked
from jobs.encrypted_schedule import encrypted_schedule
from jobs.gate import Gated
from jobs.kind import Host
from jobs.masking import Chunk, Masking
from jobs.model import MOCK, Job
from jobs.plan import JobPlan, PublicFacts
from jobs.promise import guarantee_of
from jobs.request import JobRequest
from jobs.schedule import lanes_for
from privacy.encrypted.chunks import read_chunk
from privacy.encrypted.manifest import APART_FROM
from privacy.encrypted.mock import mock_numbers
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedPlan, EncryptedRequest
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.release import release_encrypted
from privacy.encrypted.terms import Terms
from privacy.guarantee import Guarantee

MOCK_SEED = 1
IMAGE = "encrypted"
# The sum of one provider's data is that provider's data: no key holder opens it.
LEAST_PROVIDERS = 2
MAX_TERMS_BYTES = 12 << 20


class EncryptedKind:
    """See jobs.kind.Kind."""

    name = "encrypted"

    def plan(self, asked: JobRequest, facts: PublicFacts, host: Host) -> JobPlan:
        """Plan an encrypted job. Raises Invalid with what does not fit together."""
        compute = _work(asked).compute
        declared = tuple(_declared(each) for each in facts.all)
        terms = tuple(each.terms for each in declared)
        _check_providers(len(terms), host.least_providers)
        _check_apart(facts.level, host)
        _check_size(terms)
        planned = plan_encrypted(
            EncryptedRequest(
                compute=compute,
                terms=terms,
                overlap=len(terms) if host.overlap is None else min(host.overlap, len(terms)),
                accountant=facts.accountant,
                epsilon=asked.epsilon,
                delta=asked.delta,
                shared=_shared(declared),
            )
        )
        key = _key_of(facts, host)
        numbers = chunk_numbers(planned.terms, vectors_in(planned))
        chunks = [number for vector in planned.vectors for number in numbers[vector.name]]
        profile, lanes = profile_named(planned.profile), lanes_for(len(chunks), host.node)
        return JobPlan(
            kind=self.name,
            facts=facts,
            epsilon=planned.epsilon,
            delta=planned.delta,
            price=planned.price,
            image=host.images[IMAGE].id,
            lanes=lanes,
            schedule=encrypted_schedule(
                len(terms),
                profile.chunk_bytes * sum(map(len, numbers.values())),
                profile.chunk_bytes,
                len(chunks),
                [vector.length for vector in planned.vectors],
                lanes,
                host.node,
            ),
            memory_bytes=lanes * host.node.lane_memory_bytes,
            told={
                "outputs": [entry.to_json() for entry in planned.forecast],
                "blocks": len(chunks),
                "providers": [each.provider for each in terms],
                "signing_keys": {each.terms.provider: each.signing_key for each in declared},
                "overlap": planned.overlap,
                "all_units": planned.units,
                "profile": planned.profile,
                "key": key,
                "shared": planned.shared,
                "encrypted": planned.to_json(),
            },
            identity={"compute": compute.to_json(), "overlap": planned.overlap, "key": key},
        )

    mock_plan = plan

    def mock_rows(self, plan: Mapping[str, Any], asset: str) -> int:  # noqa: ARG002 - totals are made up, not rows
        """None: a mock job adds nothing."""
        return 0

    def form(self, request: Mapping[str, Any], plan: Mapping[str, Any], *, is_mock: bool) -> EncryptedForm:  # noqa: ARG002 - the plan has it all
        """What a lane adds."""
        planned = EncryptedPlan.from_json(plan["encrypted"])
        numbers = chunk_numbers(planned.terms, vectors_in(planned))
        chunks = tuple(number for vector in planned.vectors for number in numbers[vector.name])
        return EncryptedForm(planned.terms, vectors_in(planned), chunks, is_mock)

    def gate(self, job: Job, partials: Mapping[int, bytes], masking: Masking | None) -> Gated:
        """Mask the sums, have them decrypted and noised again, and make the table."""
        planned = EncryptedPlan.from_json(job.plan["encrypted"])
        if job.mode == MOCK:
            return Gated(release_encrypted(planned, mock_numbers(planned, MOCK_SEED)), ())
        if masking is None:
            raise Unavailable("key_holder.none", "this server has no key holder")
        sums, defaulted = _sums(planned, partials)
        return Gated(release_encrypted(planned, masking.numbers(job, sums)), tuple(defaulted))

    def mock_report(self, plan: Mapping[str, Any], partials: Mapping[int, bytes], log: str) -> None:
        """Nothing: what can go wrong was said at plan time."""

    def guarantee(self, plan: Mapping[str, Any]) -> Guarantee:
        """The promise."""
        return guarantee_of(plan, EncryptedPlan.from_json(plan["encrypted"]), providers=len(plan["providers"]))


def _work(asked: JobRequest) -> EncryptedAsked:
    if not isinstance(asked.work, EncryptedAsked):
        raise TypeError("only an encrypted job is planned as one")
    return asked.work


def _declared(facts: PublicFacts) -> Encrypted:
    if facts.encrypted is None:
        raise TypeError("only an encrypted asset has terms")
    return facts.encrypted


def _shared(declared: Sequence[Encrypted]) -> bool:
    """Whether the providers encrypt for each job anew."""
    stored = {each.stored for each in declared}
    if len(stored) > 1:
        raise Invalid(
            "encrypted.stored",
            "some of these assets are stored and some are encrypted for each job; together they would be as weak as the stored ones",
            where={"field": "assets"},
            way_out="assets that all say stored: false, or none",
        )
    return stored == {False}


def _check_providers(found: int, least: int) -> None:
    least = max(least, LEAST_PROVIDERS)
    if found < least:
        raise Invalid(
            "encrypted.too_few_providers",
            f"the job reads assets of {found} providers; at least {least} are demanded",
            where={"field": "assets"},
            way_out="name the assets of more providers",
        )


def _check_apart(level: str, host: Host) -> None:
    """The key holder would refuse, but only after the job was charged."""
    if level >= APART_FROM and host.key_holder_is_here:
        raise Invalid(
            "encrypted.key_holder_here",
            f"the key holder of this server runs on the same machine, and serves levels from {APART_FROM} on only apart from it",
            where={"field": "assets"},
            way_out="a key holder on another machine, run by somebody else",
        )


def _check_size(terms: Sequence[Terms]) -> None:
    """The key holder reads the terms of every upload before it opens a sum, up to a size."""
    if sum(len(canonical(each.to_json())) for each in terms) > MAX_TERMS_BYTES:
        raise Invalid(
            "encrypted.too_many_terms",
            "the terms of so many providers with so many groups are more than the key holder reads",
            where={"field": "assets"},
            way_out="fewer providers, or assets with fewer groups",
        )


def _key_of(facts: PublicFacts, host: Host) -> str | None:
    """The one key that all uploads are under; None while an asset has no upload."""
    under: dict[str, list[str]] = {}
    for each in facts.all:
        if each.key is not None:
            under.setdefault(each.key, []).append(_declared(each).terms.provider)
    if len(under) > 1:
        raise _mismatch(under, host)
    return next(iter(under), None)


def _mismatch(under: Mapping[str, Sequence[str]], host: Host) -> Invalid:
    """Who is to encrypt again, if the key holder can be asked which key is in use; else who is under which key."""
    try:
        states = host.key_holder.keys().states
    except BanyanError:
        states = {}
    older = [name for key, names in under.items() if states.get(key) != "active" for name in names]
    named = older if len(older) < sum(map(len, under.values())) else []
    parties = "; ".join(", ".join(names) for names in under.values())
    return Invalid(
        "encrypted.key_mismatch",
        f"the newest uploads are under different keys ({parties}), and only sums under one key can be opened",
        where={"field": "assets"},
        way_out=f"encrypted again under the key in use: {', '.join(named) or 'all but those of one key'}",
    )


def _sums(planned: EncryptedPlan, partials: Mapping[int, bytes]) -> tuple[list[list[Chunk]], list[int]]:
    """The chunks of each released vector; one that is missing or malformed counts as a sum of nothing (design R9)."""
    profile, numbers = profile_named(planned.profile), chunk_numbers(planned.terms, vectors_in(planned))
    sums: list[list[Chunk]] = []
    defaulted: list[int] = []
    for vector in planned.vectors:
        found = []
        for number in numbers[vector.name]:
            try:
                found.append(read_chunk(profile, partials[number]))
            except (KeyError, ValueError):
                defaulted.append(number)
                found.append(np.zeros(profile.shape, np.uint64))
        sums.append(found)
    return sums, defaulted
