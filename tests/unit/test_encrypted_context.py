"""The public context that providers encrypt under: only a whole one, in its one form, with the holder's signature over all of it."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.encrypted import bfv
from privacy.encrypted.context import DOMAIN, MAX_BYTES, PublicContext
from privacy.encrypted.profiles import PROFILES
from tests.unit.encrypted_world import CREATED, EXPIRES, context, pair, public_line, signing

HOLDER = signing("holder")


def signed(sign=HOLDER, **changed):
    """A context with something else in it, signed by its signer all the same."""
    said = {**context("sum34").to_json(), "signer": text(sign.public_key().public_bytes_raw()), **changed}
    unsigned = {name: value for name, value in said.items() if name != "signature"}
    if "signature" not in changed:
        said["signature"] = text(sign.sign(DOMAIN + rfc8785.dumps(unsigned)))
    return rfc8785.dumps(said)


def text(data):
    return base64.b64encode(data).decode()


def refused(content):
    with pytest.raises(ValueError, match=" ") as found:
        PublicContext.from_bytes(content)
    return str(found.value)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_context_comes_back_from_its_bytes(profile):
    said = context(profile)
    found = PublicContext.from_bytes(said.to_bytes())
    assert found == said
    assert (found.profile, found.key) == (profile, bfv.key_id(pair(profile).public))
    assert (found.signer, found.public) == (public_line("holder"), pair(profile).public)
    assert len(said.to_bytes()) < MAX_BYTES


def test_the_helper_of_these_tests_signs_as_the_product_does():
    assert signed() == context("sum34").to_bytes()


def test_it_holds_no_secret():
    content = context("sum34").to_bytes()
    secret = pair("sum34").secret
    raw = [secret[at : at + 48] for at in range(0, len(secret) - 48, 4096)][1:]
    assert not any(part in content or base64.b64encode(part) in content for part in raw)
    assert "key" in refused(signed(public=text(secret)))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"schema": "banyan.hectx/2"}, "this version"), ({"more": "1"}, "this version"), ({"profile": "sum58"}, "another than"), ({"profile": "sum99"}, "another than"),
        ({"key": "sha256:" + "0" * 64}, "another than"), ({"public": ""}, " "), ({"public": "A" * 100}, " "), ({"public": "not base64!"}, "base64"),
        ({"public": "é"}, "base64"), ({"holder": ""}, "one short line"), ({"holder": "a\nb"}, "one short line"), ({"holder": "x" * 201}, "one short line"),
        ({"created": "yesterday"}, "moment"), ({"expires": "2036-01-01"}, "moment"), ({"expires": "2036-01-01T00:00:00"}, "moment"),
        ({"expires": "2036-01-01T00:00:00+02:00"}, "moment"), ({"expires": "2036-02-30T00:00:00Z"}, " "), ({"expires": CREATED}, "expires after"),
        ({"created": EXPIRES}, "expires after"), ({"signer": ""}, "32 bytes"), ({"signer": text(bytes(31))}, "32 bytes"), ({"signer": "A" * 42 + "B="}, "one base64 form"),
        ({"signer": text(bytes(32))}, "signature"), ({"signature": ""}, "signature"), ({"signature": text(bytes(64))}, "signature"), ({"signature": "é"}, "signature"),
        ({"holder": 5}, "holds texts"), ({"expires": None}, "holds texts"), ({"public": ["a"]}, "holds texts"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_though_its_signer_signed_it(changed, reason):
    assert reason in refused(signed(**changed))


@pytest.mark.parametrize("member", ["holder", "created", "expires"])
def test_what_was_changed_after_signing_is_refused(member):
    other = {"holder": "another office", "created": "2026-01-02T00:00:00Z", "expires": "2037-01-01T00:00:00Z"}
    said = context("sum34").to_json()
    assert "signature" in refused(rfc8785.dumps({**said, member: other[member]}))


def test_another_key_under_the_same_signature_is_refused():
    said, fresh = context("sum34").to_json(), bfv.new_keys(PROFILES["sum34"]).public
    assert "another than" in refused(rfc8785.dumps({**said, "public": text(fresh)}))
    both = {**said, "public": text(fresh), "key": bfv.key_id(fresh)}
    assert "signature" in refused(rfc8785.dumps(both))


def test_a_signature_of_somebody_else_makes_another_signer():
    """Who signed is for the reader to compare with the line that the holder gave out: see jobs.key_holder and banyan encrypt."""
    stranger = Ed25519PrivateKey.generate()
    assert PublicContext.from_bytes(signed(stranger)).signer != context("sum34").signer
    ours = context("sum34").signer
    assert "signature" in refused(signed(stranger, signer=ours))


def test_missing_members_are_refused():
    said = context("sum34").to_json()
    for name in said:
        assert "this version" in refused(
            rfc8785.dumps({other: value for other, value in said.items() if other != name})
        )


@pytest.mark.parametrize(
    "form",
    [
        lambda content: b"", lambda content: b"{}", lambda content: b"[]", lambda content: b"null", lambda content: b"\xff\xfe", lambda content: b"[" * 100_000,
        lambda content: content[:-1], lambda content: content + b"\n", lambda content: b" " + content, lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.decode().encode("utf-16"), lambda content: json.dumps(json.loads(content), indent=1).encode(),
        lambda content: json.dumps(dict(reversed(json.loads(content).items())), separators=(",", ":")).encode(),
        lambda content: content[:1] + b'"created":"2026-01-01T00:00:00Z",' + content[1:], lambda content: content + b" " * MAX_BYTES,
        lambda content: content.replace(b"city", b"cit\\u0079"), lambda content: content.replace(b'"city key office"', b"1" * 5000),
        lambda content: content.replace(b'"city key office"', b"NaN"), lambda content: content.replace(b'"city key office"', b'"\\ud800"'),
    ],
)  # fmt: skip
def test_a_context_has_one_form(form):
    content = context("sum34").to_bytes()
    assert form(content) != content
    refused(form(content))


def test_an_enormous_file_is_not_even_parsed():
    assert "smaller" in refused(b"[" * (MAX_BYTES + 1))
    assert "is JSON" in refused(b"[" * MAX_BYTES)


def test_every_flipped_bit_is_refused():
    content = context("sum34").to_bytes()
    for at in range(0, len(content), len(content) // 150):
        refused(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def test_it_takes_data_until_it_expires():
    said, until = context("sum34"), datetime(2036, 1, 1, tzinfo=UTC)
    assert said.takes_data_at(until - timedelta(microseconds=1))
    assert not said.takes_data_at(until)
    precise = PublicContext.from_bytes(signed(expires="2036-01-01T00:00:00.000001Z"))
    assert precise.takes_data_at(until)


def test_the_holder_cannot_sign_what_nobody_would_read():
    public = pair("sum34").public
    for holder, created, expires in (("", CREATED, EXPIRES), ("office", EXPIRES, CREATED), ("office", "now", EXPIRES)):
        with pytest.raises(ValueError, match=" "):
            PublicContext.signed(public, holder, created, expires, HOLDER)
    with pytest.raises(ValueError, match=" "):
        PublicContext.signed(b"", "office", CREATED, EXPIRES, HOLDER)
    with pytest.raises(ValueError, match=" "):
        replace(context("sum34"), holder="")
