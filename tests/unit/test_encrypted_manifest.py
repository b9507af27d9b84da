"""What the key holder is asked to release, checked against the terms that the providers signed: nothing less private gets through."""

import base64
import copy
import hashlib
import json
from dataclasses import replace
from fractions import Fraction

import pytest

from core.canonical import canonical
from privacy.accountant import Accountant, Loss
from privacy.encrypted.header import Header
from privacy.encrypted.headroom import fits
from privacy.encrypted.manifest import MAX_UPLOADS, MAX_VECTORS, Manifest, Released, Upload, check, sensitivities
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.terms import Bounded
from privacy.mechanisms import Noise
from privacy.tails import NoiseKind
from tests.unit.encrypted_world import public_line, signing, terms

HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
KEYS = {name: public_line(name) for name in HOSPITALS}
KEY, OTHER_KEY = "sha256:" + "a" * 64, "sha256:" + "b" * 64
JUNK = (
    True,
    None,
    1.5,
    float("nan"),
    -1,
    0,
    2**53,
    10**400,
    "",
    "two words\n",
    "\ud800",
    "١",
    "S9",
    [],
    {},
    [[]],
    {"a": 1},
)


def digest(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def upload(provider, key=KEY, signer=None, content=None, share=None, **changed):
    unsigned = Header(
        terms(provider, **changed), key, content or digest(provider), "2026-05-01T00:00:00Z", "banyan 0.1.0", share,
        base64.b64encode(bytes(64)).decode(),
    )  # fmt: skip
    signature = base64.b64encode(signing(signer or provider).sign(unsigned.signed())).decode()
    return Upload(f"medical/{provider.replace('-', '_')}", 1, replace(unsigned, signature=signature))


def released(name, uploads, overlap, kind=NoiseKind.LAPLACE, share=Fraction(1, 2)):
    said = [each.header.terms for each in uploads]
    noise = Noise.fit(kind, **sensitivities(said, overlap, name), share=share)
    return Released(name, said[0].vector(name).length, noise)


def manifest(uploads=None, names=("units", "sum:cost"), overlap=2, accountant=Accountant.BASIC, **changed):
    uploads = uploads or tuple(upload(provider) for provider in HOSPITALS)
    kind = NoiseKind.LAPLACE if accountant is Accountant.BASIC else NoiseKind.GAUSSIAN
    vectors = tuple(released(name, uploads, overlap, kind) for name in names)
    price = sum(vector.noise.price for vector in vectors)
    loss = Loss(epsilon=price) if accountant is Accountant.BASIC else Loss(rho=price)
    whole = Manifest("j-1", "patients", accountant, "S1", KEY, "sum58", uploads, overlap, vectors, loss, digest("sum"))
    return replace(whole, **changed)


def refused(said, keys=KEYS):
    """Why it is refused, and that it is so in the form in which it travels, too."""
    with pytest.raises(ValueError, match=" ") as found:
        check(said, keys)
    with pytest.raises(ValueError, match=" "):
        check(Manifest.from_json(json.loads(canonical(said.to_json()))), keys)
    return str(found.value)


@pytest.mark.parametrize("accountant", list(Accountant))
@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_what_costs_exactly_what_is_charged_is_released(accountant, overlap):
    names = ("units", "sum:cost", "sum:stay", "square:cost")
    said = manifest(names=names, overlap=overlap, accountant=accountant)
    check(said, KEYS)
    again = Manifest.from_json(json.loads(canonical(said.to_json())))
    assert again == said
    check(again, KEYS)
    least = Fraction(1, 10**12)
    less = (
        Loss(epsilon=said.loss.epsilon - least) if accountant is Accountant.BASIC else Loss(rho=said.loss.rho - least)
    )
    assert "costs more" in refused(replace(said, loss=less))


def test_a_regression_is_released_alone():
    check(manifest(names=("gram",), accountant=Accountant.ZCDP), KEYS)


def test_one_provider_may_be_summed_where_the_population_allows_it():
    check(manifest(uploads=(upload("hospital-a"),), overlap=1), KEYS)


def three(**of_second):
    return (upload("hospital-a"), upload("hospital-b", **of_second), upload("hospital-c"))


@pytest.mark.parametrize(
    ("uploads", "reason"),
    [
        ((*three()[:2], replace(three()[1], asset="medical/other")), "provider is named twice"),
        ((*three()[:2], replace(three()[2], asset="medical/hospital_b")), "asset is named twice"),
        (three(content=digest("hospital-a")), "one content"),
        (three()[::-1], "order of assets"),
        (three(key=OTHER_KEY), "different keys"),
        (three(profile="crt115"), "different profiles"),
        (three(population="people"), "another population"),
        (three(groups=("north", "south", "east")), "different terms"),
        (three(groups=("south", "north", "west")), "different terms"),
        (three(max_groups=1), "different terms"),
        (three(unit="person"), "different terms"),
        (three(totals=(Bounded("cost", 2, 0, 99_999), Bounded("stay", 0, -5, 20))), "different terms"),
        (three(squares=()), "different terms"),
        (three(least_squares=None), "different terms"),
        (three(signer="hospital-a"), "not signed by its provider"),
        (three(units=10**9), "leave the profile's range"),
    ],
)  # fmt: skip
def test_uploads_that_do_not_belong_together_are_refused(uploads, reason):
    said = manifest(names=("units", "square:cost"))
    assert reason in refused(replace(said, uploads=uploads))


def test_a_header_is_the_one_that_was_signed():
    whole = manifest()
    first, *rest = whole.uploads
    header = first.header
    forged = (
        replace(header, terms=replace(header.terms, units=1)), replace(header, content=digest("x")),
        replace(header, created="2026-05-01T00:00:01Z"), replace(header, tool="banyan 0.1.1"),
        replace(header, signature=rest[0].header.signature),
    )  # fmt: skip
    for each in forged:
        assert "not signed" in refused(replace(whole, uploads=(replace(first, header=each), *rest)))
    for keys in (
        {name: key for name, key in KEYS.items() if name != "hospital-a"}, KEYS | {"hospital-a": KEYS["hospital-b"]},
        KEYS | {"hospital-a": ""}, KEYS | {"hospital-a": "é"},
    ):  # fmt: skip
        assert "not signed" in refused(whole, keys)


@pytest.mark.parametrize("overlap", [-1, 0, 4, 10**9])
def test_the_overlap_is_of_the_jobs_providers(overlap):
    assert "overlap" in refused(replace(manifest(), overlap=overlap))


@pytest.mark.parametrize("accountant", list(Accountant))
@pytest.mark.parametrize("name", ["units", "sum:cost", "sum:stay", "square:cost", "gram"])
def test_noise_for_less_than_one_unit_can_change_is_refused(accountant, name):
    """Each of the four alone, with the others as large as they have to be for a noise to make sense."""
    whole = manifest(names=(name,), overlap=2, accountant=accountant, loss=Loss(epsilon=Fraction(100)))
    if accountant is Accountant.ZCDP:
        whole = replace(whole, loss=Loss(rho=Fraction(100)))
    check(whole, KEYS)
    noise = whole.vectors[0].noise
    double = 2 * noise.linf
    smaller = [
        replace(
            noise, l0=noise.l0 - 1, linf=double, l1=max(noise.l1, double), l2_squared=max(noise.l2_squared, double**2)
        ),
        replace(noise, l1=noise.l1 - 1),
        replace(noise, l2_squared=noise.l2_squared - 1),
        replace(noise, linf=noise.linf - 1, l0=noise.l0 * 4),
    ]
    for each in smaller:
        # Dearer or cheaper, it is enough money: what is refused is the claim.
        said = replace(whole, vectors=(replace(whole.vectors[0], noise=each),))
        assert "less than one unit" in refused(said)


def test_noise_for_a_smaller_overlap_is_refused():
    assert "less than one unit" in refused(replace(manifest(overlap=1), overlap=2))
    check(replace(manifest(overlap=2), overlap=1), KEYS)


def test_more_noise_than_is_needed_is_fine():
    said = manifest()
    louder = tuple(replace(each, noise=replace(each.noise, scale=each.noise.scale * 4)) for each in said.vectors)
    check(replace(said, vectors=louder), KEYS)


@pytest.mark.parametrize("accountant", list(Accountant))
def test_every_vector_is_paid_for(accountant):
    said = manifest(accountant=accountant)
    one = said.vectors[0].noise.price
    assert "costs more" in refused(
        replace(said, loss=Loss(epsilon=one) if accountant is Accountant.BASIC else Loss(rho=one))
    )
    assert "costs more" in refused(replace(said, loss=Loss()))
    assert "costs more" in refused(replace(said, loss=Loss(delta=Fraction(1, 2))))


def test_the_loss_is_in_the_currency_of_the_accountant():
    for accountant in Accountant:
        said = manifest(accountant=accountant)
        both = Loss(epsilon=said.loss.epsilon + 9, rho=said.loss.rho + 9)
        assert "currency" in refused(replace(said, loss=both))
        other = Loss(epsilon=said.loss.rho, rho=said.loss.epsilon)
        assert "currency" in refused(replace(said, loss=other))
        swapped = next(each for each in Accountant if each is not accountant)
        assert "not that of the accountant" in refused(replace(said, accountant=swapped))


def test_only_vectors_that_were_encrypted_are_released_and_each_once():
    said = manifest()
    first = said.vectors[0]
    for name in ("sum:age", "square:stay", "", "units "):
        assert "never encrypted" in refused_only(replace(said, vectors=(replace(first, name=name),)))
    assert "twice" in refused(replace(said, vectors=(first, first)))
    for length in (2, 4, 0, -3):
        assert "another length" in refused(replace(said, vectors=(replace(first, length=length),)))


def refused_only(said):
    with pytest.raises(ValueError, match=" ") as found:
        check(said, KEYS)
    return str(found.value)


def test_totals_and_noise_stay_within_the_profile():
    said = manifest(names=("sum:cost",), overlap=1)
    terms_of = [each.header.terms for each in said.uploads]
    for scale in (Fraction(2**50), Fraction(2**52)):
        noise = replace(said.vectors[0].noise, scale=scale)
        louder = replace(said, vectors=(replace(said.vectors[0], noise=noise),))
        if fits(profile_named("sum58"), terms_of, "sum:cost", noise):
            check(louder, KEYS)
            assert scale == 2**50
        else:
            assert "leave the profile's range" in refused(louder)
            assert scale == 2**52


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places(each, (*path, name))


def changed(value, path, put):
    if not path:
        return put
    value = copy.deepcopy(value)
    place = value
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = put
    return value


def test_whatever_stands_at_any_place_is_refused_or_read_as_it_stands():
    """Junk everywhere: what is read says the same when it is written again, and nothing that differs from the signed is released."""
    whole = manifest(names=("units",)).to_json()
    whole["uploads"] = whole["uploads"][:2]
    check(Manifest.from_json(whole), KEYS)
    released, reasons = set(), set()
    for path in places(whole):
        for junk in JUNK:
            put = changed(whole, path, junk)
            try:
                found = Manifest.from_json(put)
                assert found.to_json() == put, path
                check(found, KEYS)
                if repr(put) != repr(whole):
                    released.add((path, junk))
            except ValueError as why:
                reasons.add(str(why))
    assert "" not in reasons
    # The names of jobs and assets are the service's own: the key holder has nothing to compare them with.
    assert released == {(("job",), "S9"), (("uploads", 0, "asset"), "S9")}


def test_missing_and_unknown_members_are_refused_at_every_depth():
    whole = manifest(names=("units",)).to_json()
    for path in places(whole):
        value = whole
        for name in path:
            value = value[name]
        if isinstance(value, dict):
            others = [{**value, "more": 1}, *({n: v for n, v in value.items() if n != name} for name in value)]
            for other in others:
                with pytest.raises(ValueError, match=" "):
                    Manifest.from_json(changed(whole, path, other))


@pytest.mark.parametrize(
    "path_and_text",
    [
        (("vectors", 0, "noise", "l1"), "+4"), (("vectors", 0, "noise", "l1"), " 4"), (("vectors", 0, "noise", "l1"), "0_4"), (("vectors", 0, "noise", "l0"), "٣"),
        (("vectors", 0, "noise", "l1"), "9" * 101), (("vectors", 0, "noise", "l1"), "9" * 90), (("vectors", 0, "noise", "scale"), "8.0"),
        (("vectors", 0, "noise", "scale"), "0"), (("vectors", 0, "noise", "scale"), "NaN"), (("vectors", 0, "noise", "kind"), "none"),
        (("loss", "epsilon"), "1e-1"), (("loss", "epsilon"), "1.50"), (("loss", "epsilon"), "-1"), (("loss", "epsilon"), "inf"), (("loss", "epsilon"), "2/4"),
        (("level",), "S6"), (("level",), "S10"), (("level",), "s1"), (("accountant",), "none"), (("schema",), "banyan.manifest/2"),
        (("ciphertext",), "sha256:" + "A" * 64), (("key",), "sha256:" + "a" * 63), (("uploads", 0, "header", "created"), "2026-05-01"),
        (("uploads", 0, "header", "created"), "2026-05-01T00:00:00+00:00"), (("uploads", 0, "header", "created"), "2026-13-01T00:00:00Z"),
        (("uploads", 0, "header", "created"), "20260501T000000Z"), (("uploads", 0, "header", "tool"), "a\nb"), (("uploads", 0, "header", "signature"), "A" * 85 + "B=="),
    ],
)  # fmt: skip
def test_numbers_and_texts_have_one_form(path_and_text):
    path, text = path_and_text
    with pytest.raises(ValueError, match=" "):
        Manifest.from_json(changed(manifest().to_json(), path, text))


def test_noise_beyond_what_can_be_drawn_is_refused():
    huge = {"l0": "1", "l1": str(2**63), "l2_squared": str(2**126), "linf": str(2**63)}
    said = manifest(names=("units",)).to_json()
    noise = {**said["vectors"][0]["noise"], **huge}
    with pytest.raises(ValueError, match="can hide"):
        Manifest.from_json(changed(said, ("vectors", 0, "noise"), noise))


def test_lists_have_their_most():
    whole = manifest(names=("units",)).to_json()
    for name, most in (("uploads", MAX_UPLOADS), ("vectors", MAX_VECTORS)):
        Manifest.from_json({**whole, name: whole[name][:1] * most})
        for wrong in (whole[name][:1] * (most + 1), []):
            with pytest.raises(ValueError, match="a list of 1 to"):
                Manifest.from_json({**whole, name: wrong})


def test_the_signature_is_over_everything():
    said = manifest()
    others = (
        {"job": "j-2"}, {"population": "people"}, {"accountant": Accountant.ZCDP}, {"level": "S2"}, {"key": OTHER_KEY}, {"profile": "crt115"},
        {"uploads": said.uploads[:2]}, {"overlap": 1}, {"vectors": said.vectors[:1]}, {"loss": Loss()}, {"ciphertext": digest("other")},
    )  # fmt: skip
    signed = {replace(said, **other).signed() for other in others}
    assert len(signed | {said.signed()}) == len(others) + 1
    assert said.signed().startswith(b"banyan.manifest/1\n{")
