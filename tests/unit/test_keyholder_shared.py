"""A population of which only sums are opened to which each provider has added noise of its own, for the very job."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from keyholder.app import application
from keyholder.releasing import Releases
from privacy.accountant import Accountant, Capacity
from privacy.encrypted.header import Header
from privacy.encrypted.manifest import Released
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedRequest
from privacy.encrypted.request import read_compute
from privacy.encrypted.shares import Share, partners_of
from tests.unit.encrypted_world import public_line, signing
from tests.unit.test_keyholder import HOSPITALS, World, _text, asked, rows, said

EPSILON, DELTA = Fraction(1), Fraction(1, 10**6)
PARTNERS = partners_of([public_line(name) for name in HOSPITALS])


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def pinning(world, shared):
    known, capacity = world.releases, Capacity.of(Accountant.ZCDP, Fraction(4), DELTA)
    patients = replace(
        known.registry.populations["patients"], accountant=Accountant.ZCDP, capacity=capacity, shared=shared
    )
    registry = replace(known.registry, populations={"patients": patients})
    return Releases(known.keys, known.ledger, registry, known.passphrase_file)


def plan(shared=True):
    compute = read_compute({"count": True})
    return plan_encrypted(
        EncryptedRequest(compute, tuple(map(said, HOSPITALS)), 1, Accountant.ZCDP, EPSILON, DELTA, shared)
    )


def in_zcdp(document):
    """The job in zcdp, without shares."""
    planned = plan()
    vectors = [Released(vector.name, vector.length, vector.noise).to_json() for vector in planned.vectors]
    document.update(accountant="zcdp", vectors=vectors, loss=planned.price.to_json())


def with_shares(job="j-1", partners=PARTNERS, providers=HOSPITALS, scale=Fraction(1)):
    scales = tuple((vector.name, vector.share * scale) for vector in plan().vectors)

    def change(document):
        in_zcdp(document)
        for upload in document["uploads"]:
            header = Header.from_json(upload["header"])
            provider = header.terms.provider
            if provider in providers:
                header = replace(header, share=Share(job, partners, scales))
                upload["header"] = replace(header, signature=_text(signing(provider).sign(header.signed()))).to_json()

    return change


def test_without_shares_a_sum_is_opened_only_where_the_population_asks_for_none(world):
    assert "no noise of their own" in world.refuse(*world.request(change=in_zcdp), pinning(world, shared=True))
    assert rows(world, "intents") == rows(world) == 0
    world.ask(*world.request("j-2", change=in_zcdp), pinning(world, shared=False))


def test_with_the_share_of_every_provider_for_this_job_it_is_answered(world):
    releases = pinning(world, shared=True)
    assert asked(application(releases), "GET", "/v1/key").json()["populations"]["patients"]["shared"] is True
    answer = world.ask(*world.request(noise=(10, 20, 30), change=with_shares()), releases)
    values = [int(value) for value in answer["values"]["units"]]
    assert np.abs(np.subtract(values, [26, 41, 68])).max() < 200
    assert releases.ledger.spent("patients") == plan().price


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"job": "j-other"}, "for another job"), ({"providers": HOSPITALS[:2]}, "did not all encrypt for this job"), ({"partners": PARTNERS[:2]}, "of other providers"),
        ({"scale": Fraction(1, 2)}, "noise is less"),
    ],
)  # fmt: skip
def test_shares_that_are_not_of_all_or_not_for_this_job_open_nothing(world, given, reason):
    assert reason in world.refuse(*world.request(change=with_shares(**given)), pinning(world, shared=True))
    assert rows(world) == 0
