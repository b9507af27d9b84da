"""Sums to which each provider adds noise of its own: what is planned, what stays in range, and which of them the key holder opens."""

import base64
import hashlib
import json
import math
from dataclasses import replace
from fractions import Fraction

import pytest

from core.canonical import canonical
from core.errors import Invalid
from privacy.accountant import Accountant, Loss
from privacy.encrypted.header import Header
from privacy.encrypted.headroom import fits, guard, shares_tail, tail
from privacy.encrypted.manifest import Manifest, Released, Upload, check, sensitivities
from privacy.encrypted.plan import plan_encrypted
from privacy.encrypted.plan_model import EncryptedPlan, EncryptedRequest
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.request import read_compute
from privacy.encrypted.shares import LEAST_SCALE, Share, partners_of, share_scale
from privacy.encrypted.terms import Bounded
from privacy.mechanisms import Noise
from privacy.tails import NoiseKind
from tests.unit.encrypted_world import public_line, signing, terms

HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
KEYS = {name: public_line(name) for name in HOSPITALS}
KEY = "sha256:" + "a" * 64
NAMES = ("units", "sum:cost")


def digest(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# The plan


def three(**changed):
    return tuple(terms(name, **({"profile": "crt115"} | changed)) for name in HOSPITALS)


def plan(compute=None, given=None, overlap=1, accountant=Accountant.ZCDP, epsilon=Fraction(1), *, shared=True):
    compute = read_compute(compute or {"count": True, "mean": ["cost"]})
    return plan_encrypted(EncryptedRequest(compute, given or three(), overlap, accountant, epsilon, None, shared))


def refused_plan(**named):
    with pytest.raises(Invalid) as found:
        plan(**named)
    return found.value


@pytest.mark.parametrize("compute", [{"count": True}, {"count": True, "variance": ["cost"]}, {"least_squares": True}])
@pytest.mark.parametrize("overlap", [1, 3])
def test_each_vector_has_the_share_that_its_own_price_needs(compute, overlap):
    given = three(units=40_000)
    found = plan(compute, given, overlap, epsilon=Fraction(8))
    assert found.shared
    for vector in found.vectors:
        change = sensitivities(given, overlap, vector.name)
        assert vector.share == share_scale(change["l2_squared"], vector.noise.price, vector.length, 3)
        if vector.share > LEAST_SCALE:
            # Two of the three together are as much as the service's noise alone, but for rounding.
            assert 0.99 < float(vector.share) * math.sqrt(2) / float(vector.noise.scale) < 1.01
        assert fits(profile_named(found.profile), given, vector.name, vector.noise, vector.share)


def test_the_noise_and_the_price_are_those_of_a_plan_without_shares():
    shared, alone = plan(), plan(shared=False)
    assert (shared.price, shared.mechanisms) == (alone.price, alone.mechanisms)
    assert not alone.shared
    assert {vector.share for vector in alone.vectors} == {None}


def test_more_providers_give_smaller_shares_each():
    two, four = (plan(given=(*three(), terms("hospital-d", profile="crt115"))[:count], overlap=1) for count in (2, 4))
    for one, other in zip(two.vectors, four.vectors, strict=True):
        assert 1.7 < float(one.share) / float(other.share) < 1.76, "one honest share of two, three of four"


def test_error_bars_are_for_all_three_parts():
    shared, alone = plan(), plan(shared=False)
    for vector in shared.vectors:
        felt, own = float(shared.felt(vector.name).scale), float(vector.noise.scale)
        assert 2 * felt**2 == pytest.approx(2 * own**2 + 3 * float(vector.share) ** 2)
        assert alone.felt(vector.name) == vector.noise

    def errors(found):
        return [float(each.noise_95.replace(",", "")) for each in found.forecast]

    # 2 + 3/2 variances instead of 2.
    assert [round(more / less, 1) for more, less in zip(errors(shared), errors(alone), strict=True)] == [1.3] * 2


def test_in_basic_accounting_no_noise_is_shared():
    found = refused_plan(accountant=Accountant.BASIC)
    assert found.code == "encrypted.shares_accountant"
    assert "zcdp" in found.way_out
    plan(accountant=Accountant.BASIC, shared=False)


def test_one_provider_has_nobody_to_share_with():
    assert refused_plan(given=three()[:1]).code == "encrypted.too_few_providers"
    plan(given=three()[:2])


def test_a_price_that_buys_noise_but_no_shares_is_refused_as_too_small():
    """What the sum of shares is short of a discrete Gaussian is paid out of the same price, entry by entry."""
    groups = tuple(f"g{number}" for number in range(10_000))
    many = [
        terms(f"hospital-{number}", groups=groups, max_groups=1, squares=(), least_squares=None) for number in range(12)
    ]
    asked = {"compute": {"count": True}, "given": tuple(many), "epsilon": Fraction(12, 10**6)}
    assert refused_plan(**asked).code == "epsilon.too_small"
    plan(**asked, shared=False)


def test_a_plan_with_shares_comes_back_from_json():
    found = plan()
    again = EncryptedPlan.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.shared


# Headroom


@pytest.mark.parametrize("providers", [2, 3, 50])
@pytest.mark.parametrize("length", [1, 3, 10_000])
def test_the_sum_of_shares_has_the_tail_of_one_as_wide(providers, length):
    share = Fraction(1000)
    whole = Noise(NoiseKind.GAUSSIAN, Fraction(math.isqrt(10**6 * providers)), 1, 1, 1, 1)
    found = shares_tail(share, providers, length)
    assert tail(whole, length) <= found <= tail(replace(whole, scale=whole.scale + 1), length)


def test_without_shares_there_is_no_tail_of_them():
    assert shares_tail(None, 3, 10_000) == 0


def test_guard_and_range_count_the_shares_once_for_all_providers():
    said, noise, share = three(), Noise(NoiseKind.GAUSSIAN, Fraction(50), 1, 1, 1, 1), Fraction(70)
    assert guard(said, "units", noise, share) == guard(said, "units", noise) + shares_tail(share, 3, 3)


def test_shares_alone_may_leave_the_range():
    small = {"profile": "sum34", "squares": (), "least_squares": None, "units": 1}
    said, noise, profile = three(**small), Noise(NoiseKind.GAUSSIAN, Fraction(4), 1, 1, 1, 1), profile_named("sum34")
    most = Fraction(2**28)
    assert fits(profile, said, "units", noise, most)
    assert not fits(profile, said, "units", noise, 2 * most)
    beside = guard(said, "units", noise) + tail(noise, 3)
    assert beside + shares_tail(most, 3, 3) < profile.span // 2 <= beside + shares_tail(2 * most, 3, 3)


def test_a_plan_whose_shares_would_leave_the_range_is_refused_though_noise_alone_would_fit():
    small = {"profile": "sum34", "squares": (), "least_squares": None}
    asked, codes = {"compute": {"sum": ["cost"]}, "given": three(**small)}, set()

    def least(*, shared):
        """The smallest of many epsilons that is planned."""
        for thousandths in range(1, 1000):
            try:
                plan(**asked, epsilon=Fraction(thousandths, 1000), shared=shared)
            except Invalid as refusal:
                codes.add(refusal.code)
            else:
                return thousandths
        raise AssertionError("none is planned")

    assert 1 < least(shared=False) < least(shared=True)
    assert codes == {"encrypted.bound"}


# What the key holder opens


def planned(names=NAMES, overlap=2, providers=HOSPITALS, accountant=Accountant.ZCDP):
    said = [terms(name) for name in providers]
    kind = NoiseKind.GAUSSIAN if accountant is Accountant.ZCDP else NoiseKind.LAPLACE
    return tuple(
        Released(name, said[0].vector(name).length, Noise.fit(kind, **sensitivities(said, overlap, name), share=Fraction(1, 2)))
        for name in names
    )  # fmt: skip


def share(vectors=None, overlap=2, providers=HOSPITALS, job="j-1"):
    """Just enough noise, as the service asks for it."""
    said = [terms(name) for name in providers]
    scales = tuple(
        (each.name, share_scale(sensitivities(said, overlap, each.name)["l2_squared"], each.noise.price, each.length, len(said)))
        for each in vectors or planned(overlap=overlap, providers=providers)
    )  # fmt: skip
    return Share(job, partners_of([KEYS[name] for name in providers]), scales)


def upload(provider, said, **changed):
    unsigned = Header(
        terms(provider, **changed), KEY, digest(provider), "2026-05-01T00:00:00Z", "banyan 0.1.0", said,
        base64.b64encode(bytes(64)).decode(),
    )  # fmt: skip
    signature = base64.b64encode(signing(provider).sign(unsigned.signed())).decode()
    return Upload(f"medical/{provider.replace('-', '_')}", 1, replace(unsigned, signature=signature))


def manifest(shares=None, overlap=2, providers=HOSPITALS, vectors=None, **changed):
    """`shares`: each provider's, or the one of all."""
    vectors = vectors or planned(overlap=overlap, providers=providers)
    said = share(vectors, overlap, providers)
    shares = shares or {}
    uploads = tuple(upload(name, shares.get(name, said)) for name in providers)
    loss = Loss(rho=sum(vector.noise.price for vector in vectors))
    whole = Manifest("j-1", "patients", Accountant.ZCDP, "S1", KEY, "sum58", uploads, overlap, vectors, loss, digest("sum"))  # fmt: skip
    return replace(whole, **changed)


def refused(said, keys=KEYS):
    """Why it is refused, and that it is so in the form in which it travels, too."""
    with pytest.raises(ValueError, match=" ") as found:
        check(said, keys)
    with pytest.raises(ValueError, match=" "):
        check(Manifest.from_json(json.loads(canonical(said.to_json()))), keys)
    return str(found.value)


def of_all(said, **changed):
    return {name: replace(said, **changed) for name in HOSPITALS}


@pytest.mark.parametrize("overlap", [1, 2, 3])
@pytest.mark.parametrize("providers", [HOSPITALS, HOSPITALS[:2]])
def test_just_enough_noise_of_every_provider_is_opened(overlap, providers):
    overlap = min(overlap, len(providers))
    said = manifest(overlap=overlap, providers=providers)
    assert said.shared
    check(said, KEYS)
    again = Manifest.from_json(json.loads(canonical(said.to_json())))
    check(again, KEYS)
    assert again == said
    assert [said.share_of(vector.name) for vector in said.vectors] == [scale for _, scale in share(overlap=overlap, providers=providers).scales]  # fmt: skip


def test_a_sum_to_which_nobody_added_noise_is_not_shared():
    """Whether that is enough is the registry's to say (`shared: true`)."""
    said = manifest(dict.fromkeys(HOSPITALS))
    check(said, KEYS)
    assert not said.shared
    assert said.share_of("units") is None


@pytest.mark.parametrize("without", [("hospital-a",), ("hospital-c",), ("hospital-b", "hospital-c")])
def test_all_or_none_have_added_noise(without):
    said = manifest(dict.fromkeys(without))
    assert said.shared
    assert "did not all encrypt for this job, and alike" in refused(said)


@pytest.mark.parametrize("odd", ["hospital-a", "hospital-b"])
def test_all_have_added_the_same(odd):
    one = share()
    (name, scale), *others = one.scales
    for changed in (
        {"job": "j-2"}, {"partners": partners_of([KEYS["hospital-a"], KEYS["hospital-b"]])}, {"scales": ((name, scale * 2), *others)},
        {"scales": one.scales[:1]},
    ):  # fmt: skip
        assert "and alike" in refused(manifest({odd: replace(one, **changed)}))


def test_what_was_encrypted_for_another_job_is_not_opened_for_this_one():
    """The masks would not cancel, or the same noise would be seen twice."""
    assert "another job" in refused(manifest(of_all(share(), job="j-2")))
    assert "another job" in refused(replace(manifest(), job="j-2"))


@pytest.mark.parametrize(
    "partners",
    [("hospital-a", "hospital-b"), (*HOSPITALS, "hospital-d"), ("hospital-a", "hospital-b", "hospital-d"), ("hospital-d", "hospital-e", "hospital-f")],
)  # fmt: skip
def test_the_masks_are_of_the_jobs_providers(partners):
    keys = partners_of([public_line(name) for name in partners])
    assert "other providers than the job's" in refused(manifest(of_all(share(), partners=keys)))


def test_with_a_provider_left_out_of_the_sum_its_masks_stay_in_and_it_is_refused():
    said = manifest()
    assert "other providers than the job's" in refused(replace(said, uploads=said.uploads[:2], overlap=2))


def test_partners_are_the_pinned_keys_and_not_what_headers_say():
    """Whoever runs the service could otherwise name keys of its own for the others."""
    mine = {
        "hospital-a": KEYS["hospital-a"],
        "hospital-b": public_line("service-1"),
        "hospital-c": public_line("service-2"),
    }
    said = manifest(of_all(share(), partners=partners_of(mine.values())))
    assert "other providers than the job's" in refused(said)


@pytest.mark.parametrize("at", [0, 1])
def test_a_float_less_noise_than_one_unit_can_change_is_refused(at):
    one = share()
    name, scale = one.scales[at]

    def changed(towards):
        beside = Fraction(math.nextafter(float(scale), towards))
        return of_all(one, scales=tuple((each, beside if each == name else kept) for each, kept in one.scales))

    check(manifest(changed(math.inf)), KEYS)
    assert "noise is less than one unit can change" in refused(manifest(changed(0)))


def test_shares_of_fewer_providers_noise_are_less_than_enough():
    """Scales for five providers, three of whom are there."""
    five = ("hospital-a", "hospital-b", "hospital-c", "hospital-d", "hospital-e")
    smaller = tuple(
        (each.name, share_scale(sensitivities([terms(name) for name in HOSPITALS], 2, each.name)["l2_squared"], each.noise.price, each.length, len(five)))
        for each in planned()
    )  # fmt: skip
    assert "less than one unit can change" in refused(manifest(of_all(share(), scales=smaller)))


def test_shares_are_for_the_overlap_of_the_manifest():
    vectors = planned(overlap=3)
    said = manifest(of_all(share(vectors, 2)), overlap=3, vectors=vectors)
    assert "less than one unit can change" in refused(said)


def test_shares_are_for_the_price_of_each_vector():
    """A price lowered after the providers encrypted, with louder noise of the service's own, asks for more of theirs."""
    said = manifest()
    louder = tuple(replace(each, noise=replace(each.noise, scale=each.noise.scale * 2)) for each in said.vectors)
    assert "less than one unit can change" in refused(replace(said, vectors=louder))


@pytest.mark.parametrize("names", [("units",), ("sum:cost", "units"), ("units", "sum:cost", "sum:stay"), ("units", "sum:stay")])  # fmt: skip
def test_the_vectors_with_shares_are_those_released_in_their_order(names):
    vectors = planned(names)
    loss = Loss(rho=sum(vector.noise.price for vector in vectors))
    said = replace(manifest(), vectors=vectors, loss=loss)
    assert "encrypted other vectors" in refused(said)
    check(manifest(vectors=vectors), KEYS)


def test_shares_are_accounted_in_zcdp_only():
    vectors = planned(accountant=Accountant.BASIC)
    loss = Loss(epsilon=sum(vector.noise.price for vector in vectors))
    said = manifest(of_all(share()), vectors=planned())
    basic = replace(said, accountant=Accountant.BASIC, vectors=vectors, loss=loss)
    assert "zcdp only" in refused(basic)


def test_shares_that_take_the_sum_out_of_range_are_refused():
    one = share()
    wide = of_all(one, scales=tuple((name, Fraction(2**53)) for name, _ in one.scales))
    assert "leave the profile's range" in refused(manifest(wide))


def test_a_share_is_part_of_what_its_provider_signed():
    said = manifest()
    first, *others = said.uploads
    forged = replace(first.header, share=replace(first.header.share, job="j-2"))
    assert "not signed" in refused(replace(said, uploads=(replace(first, header=forged), *others)))


def test_uploads_of_other_bounds_do_not_share():
    wide = (Bounded("cost", 2, 0, 200_000), Bounded("stay", 0, -5, 20))
    said = manifest()
    odd = upload("hospital-b", share(), totals=wide)
    assert "different terms" in refused(replace(said, uploads=(said.uploads[0], odd, said.uploads[2])))
