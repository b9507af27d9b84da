"""Terms, keys and uploads for the tests of what is encrypted: small, real, made once."""

import base64
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.encrypted import bfv
from privacy.encrypted.context import PublicContext
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.terms import Bounded, LeastSquares, Terms

CREATED, EXPIRES = "2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z"


def terms(provider="hospital-a", **changed):
    given = {
        "unit": "pid", "population": "patients", "profile": "sum58", "group_by": "region", "groups": ("north", "south", "west"),
        "max_groups": 2, "totals": (Bounded("cost", 2, 0, 100_000), Bounded("stay", 0, -5, 20)), "squares": ("cost",),
        "least_squares": LeastSquares((Bounded("age", 0, 0, 100),), Bounded("cost", 2, 0, 100_000)), "units": 100,
    }  # fmt: skip
    return Terms(provider=provider, **(given | changed))


@cache
def _pair(profile):
    return bfv.new_keys(profile_named(profile))


def pair(profile="sum58"):
    return _pair(profile)


@cache
def _decryptor(profile):
    return bfv.Decryptor(pair(profile))


def decryptor(profile="sum58"):
    return _decryptor(profile)


@cache
def signing(name):
    del name
    return Ed25519PrivateKey.generate()


def public_line(name):
    return base64.b64encode(signing(name).public_key().public_bytes_raw()).decode()


@cache
def context(profile="sum58", expires=EXPIRES):
    return PublicContext.signed(pair(profile).public, "city key office", CREATED, expires, signing("holder"))
