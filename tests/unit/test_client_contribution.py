"""A contribution: hidden by masks until all are summed, then totals and noise; and which calls are answered, once, with whom."""

import json
import os
import stat
from collections import Counter
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from banyan.encrypt.calls import remember, share_of
from banyan.encrypt.contribution import contributed
from banyan.encrypt.memory import COUNT, LOCK, MEMORY
from banyan.encrypt.pair_masks import masks
from banyan.encrypt.shares import Share, partners_of, share_scale
from banyan.encrypt.spending import Budget
from banyan.encrypt.terms import Terms
from banyan.errors import Refused

from privacy.encrypted import bfv
from privacy.encrypted.profiles import PROFILES, profile_named
from privacy.encrypted.sums import add
from tests.unit.encrypted_world import decryptor, pair, public_line, signing
from tests.unit.encrypted_world import terms as services_terms

HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
KEYS = {name: public_line(name) for name in HOSPITALS}
BUDGET = Budget(Fraction(100), Fraction(1, 10**6))
LENGTH = 4000
GROUPS = tuple(f"g{at}" for at in range(LENGTH))
# Of a chi-squared variable with 15 degrees of freedom: above it once in ten million times.
BUCKETS, UNLIKELY = 16, 63.0
EACH_PROFILE = pytest.mark.parametrize("profile", list(PROFILES))


def terms(provider="hospital-a", **changed):
    return Terms.from_json(services_terms(provider, **changed).to_json())


def many(profile, provider="hospital-a"):
    return terms(provider, profile=profile, groups=GROUPS, squares=(), least_squares=None)


def share(job="j-1", partners=HOSPITALS, **scales):
    given = scales or {"units": 2, "cost": 777}
    names = {"units": "units", "cost": "sum:cost"}
    return Share(
        job,
        partners_of([KEYS[name] for name in partners]),
        tuple((names[name], Fraction(scale)) for name, scale in given.items()),
    )


def totals(at):
    """Of one provider: far apart, so that a trace of them would be seen."""
    return {"units": [at * LENGTH + group for group in range(LENGTH)], "sum:cost": [(-1) ** group * 10**8 * at for group in range(LENGTH)]}  # fmt: skip


def given(profile, asked, vectors=totals):
    return [
        contributed(vectors(at), many(profile, name), asked, signing(name)) for at, name in enumerate(HOSPITALS, start=1)
    ]  # fmt: skip


def spread(values, span):
    """The chi-squared statistic of residues against a uniform law."""
    found = Counter(value % span * BUCKETS // span for value in values)
    expected = len(values) / BUCKETS
    return sum((found[bucket] - expected) ** 2 / expected for bucket in range(BUCKETS))


def check_noise(noise, scale, shares):
    """The deviations of a mean and of a variance, five and a half times each."""
    noise, wide = np.array(noise, float), float(scale) * sqrt(shares)
    assert abs(noise.mean()) < 5.5 * wide / sqrt(len(noise))
    assert abs(noise.var() / wide**2 - 1) < 5.5 * sqrt(2 / len(noise))


@EACH_PROFILE
def test_the_sum_of_all_is_totals_and_a_share_of_noise_each(profile):
    asked, parameters = share(), profile_named(profile)
    each = given(profile, asked)
    half = parameters.span // 2
    for name, scale in asked.scales:
        assert all(-half <= value <= half for one in each for value in one[name])
        ciphertexts = [
            bfv.encrypt(pair(profile).public, parameters, [*one[name], *([0] * (parameters.slots - LENGTH))])
            for one in each
        ]
        found = decryptor(profile).decrypt(add(parameters, ciphertexts))
        exact = [sum(values) for values in zip(*(totals(at)[name] for at in (1, 2, 3)), strict=True)]
        check_noise(np.subtract(found[:LENGTH], exact, dtype=object), scale, 3)
        assert set(found[LENGTH:]) == {0}


@EACH_PROFILE
def test_fewer_than_all_show_uniform_numbers_and_nothing_of_totals(profile):
    span = profile_named(profile).span
    asked = share()
    each = given(profile, asked)
    for name, _ in asked.scales:
        few = [one[name] for one in each] + [np.add(each[0][name], each[2][name], dtype=object).tolist()]
        for values in few:
            assert spread(values, span) < UNLIKELY
            assert len({value % span for value in values}) > LENGTH - 10
            for at in (1, 2, 3):
                known = np.array(totals(at)[name], float)
                assert abs(np.corrcoef(np.array(values, float), known)[0, 1]) < 0.09
                assert abs(np.corrcoef(np.array(values[1:], float), np.array(values[:-1], float))[0, 1]) < 0.09


def test_a_provider_who_tells_its_masks_leaves_the_others_sum_with_their_noise():
    """What service, key holder and one provider see together: two shares of noise for three providers."""
    span, asked = profile_named("sum58").span, share(cost=50_000)
    one, two, told = given("sum58", asked)
    hidden = masks(signing("hospital-c"), asked.partners, "j-1", "sum:cost", LENGTH, span)
    seen = [(first + second + mask) % span for first, second, mask in zip(one["sum:cost"], two["sum:cost"], hidden, strict=True)]  # fmt: skip
    centred = [value - span if value > span // 2 else value for value in seen]
    exact = [first + second for first, second in zip(totals(1)["sum:cost"], totals(2)["sum:cost"], strict=True)]
    check_noise(np.subtract(centred, exact), 50_000, 2)
    own = [(value - mask) % span for value, mask in zip(told["sum:cost"], hidden, strict=True)]
    assert all(min(abs(value - total), span - abs(value - total)) < 8 * 50_000 for value, total in zip(own, totals(3)["sum:cost"], strict=True))  # fmt: skip


@pytest.mark.parametrize("scale", [2, Fraction(5, 2), 1000, 2**56])
def test_noise_has_the_scale_of_its_vector(scale):
    asked, span = share(units=scale, cost=2), profile_named("crt115").span
    each = given("crt115", asked)
    for name, wide in asked.scales:
        found = [sum(one) for one in zip(*(each[at][name] for at in range(3)), strict=True)]
        exact = [sum(one) for one in zip(*(totals(at)[name] for at in (1, 2, 3)), strict=True)]
        noise = [(value - total + span // 2) % span - span // 2 for value, total in zip(found, exact, strict=True)]
        check_noise(noise, wide, 3)


def test_noise_is_drawn_anew_and_only_what_is_asked_is_given():
    one, two = (contributed(totals(1), many("sum58"), share(cost=1000), signing("hospital-a")) for _ in range(2))
    assert set(one) == {"sum:cost"}
    # The masks are the same, which is why a job is answered once.
    check_noise(np.subtract(one["sum:cost"], two["sum:cost"]), 1000, 2)
    twice = contributed(totals(1), many("sum58"), share(units=1000, cost=1000), signing("hospital-a"))
    assert list(twice) == ["units", "sum:cost"]
    assert abs(np.corrcoef(*(np.array(values, float) for values in twice.values()))[0, 1]) < 0.09


def test_totals_at_the_end_of_the_range_wrap_and_come_back():
    span = profile_named("sum34").span
    most = (span - 1) // 2
    each = given("sum34", share(units=2), lambda at: {"units": [most if at == 1 else 0] * LENGTH})
    found = [sum(one) % span for one in zip(*(one["units"] for one in each), strict=True)]
    check_noise([value - most for value in found], 2, 3)
    assert max(abs(value) for one in each for value in one["units"]) <= most


def test_another_key_than_the_partners_gives_nothing():
    with pytest.raises(ValueError, match="own key"):
        contributed(totals(1), many("sum58"), share(), signing("somebody"))


# Calls


def call(said=None, partners=HOSPITALS, overlap=2, rho=Fraction(1, 10), names=("units", "sum:cost"), **changed):
    said = said or terms()

    def asked(name):
        vector = said.vector(name)
        l2_squared = vector.change.times(overlap, vector.length).l2_squared
        scale = share_scale(l2_squared, rho, vector.length, len(partners)) if len(partners) > 1 else Fraction(2)
        return {"name": name, "rho": str(rho), "share": str(scale)}

    return {
        "job": "j-1", "asset": "medical/a", "overlap": overlap, "vectors": [asked(name) for name in names],
        "partners": [{"provider": name, "signing_key": KEYS[name]} for name in partners],
    } | changed  # fmt: skip


def put(said, *path_and_value):
    """A call with another value in one place; its parts may be those of the first."""
    *path, last, value = path_and_value
    said = json.loads(json.dumps(said))
    place = said
    for name in path:
        place = place[name]
    place[last] = value
    return said


def refused(code, asked, *arguments):
    with pytest.raises(Refused) as found:
        asked(*arguments)
    assert found.value.code == code
    assert found.value.way_out
    return found.value.text


@pytest.mark.parametrize("partners", [HOSPITALS[:2], HOSPITALS, HOSPITALS[::-1]])
@pytest.mark.parametrize("rho", [Fraction(1, 10), Fraction(0.1), Fraction(1, 10**9), Fraction(100), Fraction(5e-324) * 10**310])  # fmt: skip
def test_a_call_for_enough_noise_is_answered(partners, rho):
    said = call(partners=partners, rho=rho)
    found = share_of(said, terms())
    assert found.job == "j-1"
    assert found.partners == partners_of([KEYS[name] for name in partners])
    assert [(name, str(scale)) for name, scale in found.scales] == [
        (vector["name"], vector["share"]) for vector in said["vectors"]
    ]


def float_beside(text, steps):
    return str(Fraction(np.nextafter(float(Fraction(text)), np.inf if steps > 0 else 0).item()))


def test_a_float_less_is_too_little_noise_and_a_float_more_is_not():
    said = call()
    for at, name in enumerate(("units", "sum:cost")):
        scale = said["vectors"][at]["share"]
        assert share_of(put(said, "vectors", at, "share", float_beside(scale, 1)), terms())
        text = refused("call.too_little_noise", share_of, put(said, "vectors", at, "share", float_beside(scale, -1)), terms())  # fmt: skip
        assert f"in {name} is less than one pid" in text


@pytest.mark.parametrize(
    ("where", "value"),
    [(("overlap",), 3), (("vectors", 1, "rho"), "1/20"), (("vectors", 1, "rho"), "0"), (("partners",), [{"provider": name, "signing_key": KEYS[name]} for name in HOSPITALS[:2]])],
)  # fmt: skip
def test_the_least_noise_is_for_the_overlap_the_price_and_the_partners_that_are_told(where, value):
    refused("call.too_little_noise", share_of, put(call(), *where, value), terms())


def test_no_noise_is_enough_for_a_price_of_nothing():
    said = put(put(call(), "vectors", 0, "share", str(2**56)), "vectors", 0, "rho", "0")
    assert "units" in refused("call.too_little_noise", share_of, said, terms())


def test_the_least_noise_is_for_ones_own_terms():
    assert share_of(call(terms(max_groups=1)), terms(max_groups=1))
    refused("call.too_little_noise", share_of, call(terms(max_groups=1)), terms())


def a_partner(provider="hospital-d", key=None):
    return {"provider": provider, "signing_key": key or public_line(provider)}


IDENTITY = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
NUMBERS = [
    "1e999999999", "1e5", "0.5", "1/0", "/1", "-1", "+9", "", "inf", "nan", "9" * 401, "9" * 10_000, "1/" + "9" * 10_000, 9, 9.5, True, None, [9], {"9": 9}, "٩", "9\n",
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "value"),
    [
        *((("vectors", 1, "rho"), number) for number in NUMBERS), *((("vectors", 1, "share"), number) for number in (*NUMBERS, "9" * 400, "100003/3", "1", str(2**57))),
        *((("overlap",), number) for number in (0, -1, 4, True, 2.0, "2", None)), *((("job",), job) for job in ("", "a b", None, "é", "j" * 81, {"j": 1})),
        *((("vectors",), other) for other in ([], None, 1, "units", ["units"], [None], {"name": "units"}, [{"name": "units", "share": "2"}], [{"name": "units", "rho": "1"}])),
        *((("vectors", 0, "name"), name) for name in ("sum:age", "square:stay", "", None, "sum:cost")),
        *((("partners",), other) for other in ([], None, 1, "ab", ["ab"], [None], {}, [a_partner("hospital-a")], [{"provider": "hospital-a"}], [{"signing_key": KEYS["hospital-a"]}])),
        *((("partners", 1, "signing_key"), key) for key in ("", "AAAA", None, 1, KEYS["hospital-a"], IDENTITY, "A" * 43 + "=", KEYS["hospital-b"][:-2] + "/=", "/" * 42 + "8=")),
        *((("partners", 1, "provider"), name) for name in ("hospital-a", "hospital-c", None, 1, ["hospital-b"])), (("job",), 1), (("job",), True),
    ],
)  # fmt: skip
def test_a_strange_call_is_refused(where, value):
    refused("call.strange", share_of, put(call(), *where, value), terms())


@pytest.mark.parametrize("name", ["job", "overlap", "vectors", "partners"])
def test_a_call_without_a_member_is_strange(name):
    refused("call.strange", share_of, {key: value for key, value in call().items() if key != name}, terms())


def test_a_second_key_under_one_name_is_no_more_partners_to_share_noise_with():
    """Each of them would lower one's own noise, and the memory of names would hold the last of them only."""
    others = [a_partner("hospital-b", public_line(f"service-{at}")) for at in range(50)]
    said = call()
    more = put(said, "partners", [said["partners"][0], *others, *said["partners"][1:]])
    refused("call.strange", share_of, more, terms())


# What is remembered


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "banyan"


def remembered(folder, provider="hospital-a", key=None, **changed):
    """The names of new partners."""
    population = changed.pop("population", "patients")
    said, own = terms(provider, population=population), signing(key or provider)
    return list(remember(folder, f"medical/{population}", call(**changed), said, own, declared=BUDGET).fresh)


def memory(folder):
    return json.loads((folder / MEMORY).read_text())


def test_new_partners_are_told_once(folder):
    assert remembered(folder, partners=HOSPITALS[:2]) == ["hospital-b"]
    assert remembered(folder, partners=HOSPITALS, job="j-2") == ["hospital-c"]
    assert remembered(folder, partners=HOSPITALS[::-1], job="j-3") == []
    assert remembered(folder, population="others", job="j-4") == ["hospital-b", "hospital-c"]
    answers = {
        job: {"population": "others" if job == "j-4" else "patients", "rho": "1/5"}
        for job in ("j-1", "j-2", "j-3", "j-4")
    }
    assert memory(folder) == {
        "jobs": {KEYS["hospital-a"]: answers},
        "partners": {"patients": KEYS, "others": KEYS},
        "assets": {"medical/patients": "patients", "medical/others": "others"},
        "budgets": {
            "patients": {"epsilon": "100", "delta": "1/1000000"},
            "others": {"epsilon": "100", "delta": "1/1000000"},
        },
    }


def test_a_job_is_answered_once(folder):
    remembered(folder)
    before = (folder / MEMORY).read_bytes()
    for changed in ({}, {"partners": HOSPITALS[:2]}, {"names": ("units",)}, {"population": "others"}):
        assert "j-1" in refused("call.answered", lambda changed=changed: remembered(folder, **changed))
    assert (folder / MEMORY).read_bytes() == before
    remembered(folder, job="j-11")
    remembered(folder, job="j")
    for job in ("j", "j-1", "j-11"):
        refused("call.answered", lambda job=job: remembered(folder, job=job))


def test_another_signing_key_has_answered_nothing(folder):
    remembered(folder)
    assert remembered(folder, "hospital-b") == []
    refused("call.answered", lambda: remembered(folder, "hospital-b"))
    refused("call.answered", lambda: remembered(folder))
    answer = {"j-1": {"population": "patients", "rho": "1/5"}}
    assert memory(folder)["jobs"] == {KEYS["hospital-a"]: answer, KEYS["hospital-b"]: answer}


def test_ones_own_key_may_be_replaced(folder):
    remembered(folder)
    fresh = [a_partner("hospital-a", public_line("fresh")), *call()["partners"][1:]]
    said = call() | {"partners": fresh}
    assert remember(folder, "medical/patients", said, terms(), signing("fresh"), declared=BUDGET).fresh == ()
    assert memory(folder)["partners"]["patients"]["hospital-a"] == public_line("fresh")


def test_a_partner_whose_key_has_changed_is_refused_and_nothing_is_noted(folder):
    remembered(folder)
    before = (folder / MEMORY).read_bytes()
    said = put(call(job="j-2"), "partners", 2, a_partner("hospital-c", public_line("hospital-d")))
    asked = (folder, "medical/patients", said, terms(), signing("hospital-a"))
    text = refused("call.partner_changed", lambda: remember(*asked, declared=BUDGET))
    assert f"hospital-c is {public_line('hospital-d')} now, and was {KEYS['hospital-c']}" in text
    assert (folder / MEMORY).read_bytes() == before
    assert remembered(folder, job="j-2") == []
    # In another population a provider of this name may be another.
    other = (folder, "medical/others", said | {"job": "j-3"}, terms(population="others"), signing("hospital-a"))
    assert remember(*other, declared=BUDGET).fresh == ("hospital-b", "hospital-c")


def test_a_job_that_names_another_key_for_oneself_is_not_ones_own(folder):
    for asked in (
        lambda: remembered(folder, key="hospital-b"),
        lambda: remembered(folder, "hospital-d"),
        lambda: remembered(folder, partners=HOSPITALS[1:]),
    ):
        refused("call.not_yours", asked)
    assert not folder.exists()


def whole(**changed):
    found = {
        "jobs": {KEYS["hospital-a"]: {"j-2": {"population": "patients", "rho": "1/5"}}}, "partners": {"patients": KEYS},
        "assets": {"medical/patients": "patients"}, "budgets": {"patients": {"epsilon": "40", "delta": "1/1000000"}},
    }  # fmt: skip
    return json.dumps({name: each for name, each in (found | changed).items() if each is not None})


def answered(**changed):
    return whole(jobs={KEYS["hospital-a"]: {"j-2": {"population": "patients", "rho": "1/5"} | changed}})


DAMAGED = [
    "", "{", "[]", "null", "3", '"jobs"', '["jobs", "partners"]', "{}", '{"jobs": {}}', '{"jobs": {}, "partners": {}}',
    *(whole(**{name: None}) for name in ("jobs", "partners", "assets", "budgets")), whole(more={}),
    *(whole(**{name: other}) for name in ("jobs", "partners", "assets", "budgets") for other in ([], 3, "{}", ["patients"], {"patients": 1}, {"patients": ["j-2"]})),
    *(whole(jobs={"key": other}) for other in ("j-2", ["j-2"], None, {"j-2": 1}, {"j-2": "1/5"}, {"j-2": {}}, {"j-2": {"rho": "1/5"}}, {"j-2": {"population": "patients"}})),
    *(answered(rho=rho) for rho in ("-1/5", "0", "0/3", "0.2", "1e-3", "1/0", "", "inf", "٣", 1, 0.2, True, None, ["1/5"], "9" * 401)),
    *(answered(population=other) for other in ("others", 1, None)), answered(more=1),
    *(whole(budgets={"patients": other}) for other in ({"epsilon": "4"}, {"epsilon": "0", "delta": "1/9999"}, {"epsilon": "101", "delta": "1/9999"}, {"epsilon": "4", "delta": "0"})),
    *(whole(budgets={"patients": other}) for other in ({"epsilon": "4", "delta": "1/1000"}, {"epsilon": 4, "delta": "1/9999"}, {"epsilon": "-4", "delta": "1/9999"}, None)),
    whole(budgets={}), whole(budgets={"others": {"epsilon": "4", "delta": "1/1000000"}}),
]  # fmt: skip


def test_a_memory_that_is_whole_is_read(folder):
    """So that what is damaged below is damaged in one place."""
    folder.mkdir()
    (folder / MEMORY).write_text(whole())
    refused("call.answered", lambda: remembered(folder, job="j-2"))
    assert remembered(folder) == []


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_memory_answers_nothing_and_stays_as_it_is(folder, content):
    folder.mkdir()
    (folder / MEMORY).write_text(content)
    text = refused("call.memory", lambda: remembered(folder))
    assert MEMORY in text
    assert (folder / MEMORY).read_text() == content
    assert {each.name for each in folder.iterdir()} == {MEMORY, LOCK}


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"{" + b" " * 1_000_001])
def test_a_memory_that_is_no_text_answers_nothing(folder, content):
    folder.mkdir()
    (folder / MEMORY).write_bytes(content)
    with pytest.raises(Refused, match=r"UTF-8|larger"):
        remembered(folder)
    assert (folder / MEMORY).read_bytes() == content


def test_the_memory_is_its_owners(folder):
    before = os.umask(0)
    try:
        remembered(folder)
        (folder / MEMORY).chmod(0o644)
        remembered(folder, job="j-2")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / MEMORY).stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / COUNT).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {each.name for each in folder.iterdir()} == {MEMORY, COUNT, LOCK}


def test_what_cannot_be_noted_is_not_answered_and_changes_nothing(folder):
    remembered(folder)
    before = (folder / MEMORY).read_bytes()
    blocked = (folder / MEMORY).with_suffix(".new")
    blocked.mkdir()
    assert MEMORY in refused_unusable(folder)
    assert (folder / MEMORY).read_bytes() == before
    blocked.rmdir()
    assert remembered(folder, job="j-2") == []


def refused_unusable(folder):
    with pytest.raises(Refused) as found:
        remembered(folder, job="j-2")
    assert found.value.code == "file.unusable"
    return found.value.text


def test_a_disk_that_fails_on_the_way_leaves_the_memory_whole(folder, monkeypatch):
    remembered(folder)
    before = (folder / MEMORY).read_bytes()

    def fail(_file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        assert "no room left" in refused_unusable(folder)
    assert (folder / MEMORY).read_bytes() == before
    assert remembered(folder, job="j-2") == []


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in refused_unusable(tmp_path / "file")
    assert "file" in refused_unusable(tmp_path / "file" / "banyan")
