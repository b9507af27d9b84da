"""Programs from the request to the receipt on a whole server in this process: what is planned, told, charged, reused and kept apart.

Containers are stood in for by the image's own `answer.py`, which runs the program on the tables that were staged; nothing is isolated.
"""

import importlib.util
import json
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from core.tier import Tier
from jobs import lane
from jobs.kinds import KINDS
from jobs.model import find_job
from jobs.staging import SEALED_BYTES, sealed_logs
from sandbox.failure import unreachable
from tests.api_world import CHECKOUT, VISITS, ApiWorld, frame, visits, without
from tests.policies_world import books_of, quick_folder


def of_the_image(name):
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "runtime_images" / "python" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


answer, kernel = of_the_image("answer"), of_the_image("kernel")

COUNTS = """\
def analyse(tables, params):
    return {"rows": sum(table.num_rows for table in tables.values())}
"""
POLICY = """\
name: programs
purpose: research
kinds: [program]
assets: [medical/visits]
epsilon: {total: 9, per_person: 8, per_job: 4}
valid: {from: 2026-01-01, until: 2030-01-01}
"""
PEOPLE = """\
asset: medical/people
title: {en: People, zh: 人}
sector: medical
level: S1
population: {name: patients, id_namespace: hospital-pid, unit: pid}
size: {rows: 100, units: 100}
columns:
  pid:  {type: string, unit: true, max_length: 8}
  born: {type: int, lower: 1900, upper: 2026}
budget: {accountant: basic, epsilon: 10, delta: 1e-6}
"""
HOLIDAYS = """\
asset: traffic/holidays
title: {en: Holidays, zh: 节日}
sector: traffic
level: S0
population: {name: days, id_namespace: day, unit: day}
size: {rows: 12, units: 12}
columns:
  day:  {type: string, unit: true, max_length: 10}
  free: {type: bool}
budget: {accountant: basic, epsilon: 10, delta: 1e-6}
"""
BUSES = (
    HOLIDAYS.replace("traffic/holidays", "traffic/buses")
    .replace("S0", "S1")
    .replace("name: days, id_namespace: day,", "name: buses, id_namespace: bus,")
)
BORN = "pid,born\n" + "".join(f"p{unit},{1950 + unit % 60}\n" for unit in range(20, 100))
DAYS = "day,free\n" + "".join(f"d{day},{'true' if day % 2 else 'false'}\n" for day in range(12))


def job(text=COUNTS, **changes):
    document = {
        "asset": "medical/visits",
        "purpose": "research",
        "program": {"name": "counts.py", "text": text},
        "outputs": {"rows": {"lower": 0, "upper": 100, "default": 7}},
        "blocks": 16,
        "seconds_per_block": "0.05",
        "epsilon": "1",
    }
    return {name: value for name, value in (document | changes).items() if value is not None}


class Seen:
    """What the containers of one world were told: specification and instruction, each; the warming ones left out."""

    def __init__(self):
        self.containers = []

    def __call__(self, spec, instruction):
        if not instruction:
            return b""
        asked = json.loads(instruction[4:])
        self.containers.append((spec, asked))
        (mount,) = spec.mounts
        output = b""
        for block in asked["blocks"]:
            folder = mount.source + block["folder"].removeprefix(mount.target)
            output += frame(block["index"], self.vector(asked, folder))
        return output

    @staticmethod
    def vector(asked, folder):
        try:
            return answer.answered(
                asked["name"],
                asked["code"],
                asked["params"],
                asked["outputs"],
                {path.stem: kernel.mapped(str(path)) for path in Path(folder).glob("*.arrow")},
            )
        except BaseException:  # noqa: BLE001 - as in the image: whatever it is, the block has failed
            return None

    @property
    def blocks(self):
        """Every block that was run, in order."""
        return [block["index"] for _, asked in self.containers for block in asked["blocks"]]


class Programs(ApiWorld):
    """A server with one asset and a policy for programs, or with `declarations` alone. `tier_for` is what the engine can do."""

    def __init__(self, folder, data=None, *, tier_for=lambda floor: floor, declarations=None, **settings):
        self.seen, self._tier_for = Seen(), tier_for
        super().__init__(folder, self.seen, **settings)
        if declarations is None:
            self.furnish(visits() if data is None else data)
        for declaration in declarations or ():
            self.register(declaration)

    def _assembled(self):
        server = super()._assembled()
        return replace(server, jobs=replace(server.jobs, host=replace(server.jobs.host, tier_for=self._tier_for)))

    def allow(self, policy=POLICY, **changes):
        return super().allow(policy, **changes)

    def plan(self, document, status=200):
        made = self.post("rob", "/v1/plans", document)
        assert made.status == status, made
        return made.json

    def result(self, job_id):
        return self.get("rob", f"/v1/jobs/{job_id}/result").json

    def works(self, job_id):
        """The tasks of a job, made anew."""
        return self.read(lambda connection: self.server.staging.works(connection, find_job(connection, job_id)))

    def join(self):
        """Two more assets of other kinds: of the same population, public, and of another population."""
        for declaration, name, data in ((PEOPLE, "medical/people", BORN), (HOLIDAYS, "traffic/holidays", DAYS), (BUSES, "traffic/buses", DAYS)):  # fmt: skip
            self.register(declaration)
            self.ingest(data.encode(), name)
        self.allow(assets="[medical/visits, medical/people]")
        return self


@pytest.fixture(scope="module", autouse=True)
def planned_moments_are_now():
    """Containers begin at planned moments, seconds apart; here nothing waits for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "_wait_until", lambda moment, cancelled: None)
        yield


@pytest.fixture
def world():
    with quick_folder() as folder, Programs(folder) as made:
        yield made


def spent(world):
    """What the population was charged, in epsilon."""
    return world.read(books_of).get("population:patients", (0,))[0]


@pytest.fixture
def joined(world):
    return world.join()


# --- What a plan may depend on (R10). -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neighbours():
    """The same server twice, with data of which one lacks a unit; and what each made of the same jobs, mock and real."""
    found = []
    for data in (visits(), without(visits(), "p3")):
        with quick_folder() as folder, Programs(folder, data) as world:
            plans = [world.plan(job(**changes)) for changes in CHANGES]
            mock = world.run(job(), mock="true")
            mocked = [world.works(mock), world.result(mock), list(world.seen.containers)]
            world.seen.containers.clear()
            real = world.run(job())
            found.append(SimpleNamespace(
                plans=plans, mock=mocked, works=world.works(real), containers=list(world.seen.containers), view=world.view(real),
                result=world.result(real), books=world.read(books_of), names={real: "real", mock: "mock"},
            ))  # fmt: skip
    return found


CHANGES = (
    {},
    {"blocks": "auto"},
    {"blocks": 2},
    {"blocks": "auto", "accuracy": {"rows": 90}},
    {"outputs": {"rows": {"lower": 0, "upper": 9, "default": 1, "aggregate": "median"}}},
    {"outputs": {"rows": {"length": 3, "lower": 0, "upper": 9, "default": 1}}, "epsilon": "0.25"},
)


def test_plans_and_prices_are_the_same_to_the_byte_with_one_unit_less(neighbours):
    one, other = neighbours
    assert json.dumps(one.plans) == json.dumps(other.plans)
    assert len({json.dumps(plan) for plan in one.plans}) >= len(CHANGES) - 1
    assert sorted(one.books.values()) == sorted(other.books.values())


def test_mock_tasks_and_all_that_they_give_are_the_same_with_one_unit_less(neighbours):
    one, other = neighbours
    for mine, theirs in zip(one.mock[0], other.mock[0], strict=True):
        assert mine.tables == theirs.tables
        assert (mine.form, mine.lanes, mine.seconds, mine.block_seconds) == (theirs.form, theirs.lanes, theirs.seconds, theirs.block_seconds)  # fmt: skip
    assert one.mock[1]["mock"] == other.mock[1]["mock"]
    assert one.mock[1]["mock"]["answered"] == 8
    assert [asked for _, asked in one.mock[2]] == [asked for _, asked in other.mock[2]]


def test_tasks_on_real_rows_differ_in_nothing_but_the_rows(neighbours):
    one, other = neighbours
    for mine, theirs in zip(one.works, other.works, strict=True):
        assert mine.form == theirs.form
        for my, their in zip(mine.tables, theirs.tables, strict=True):
            assert [(block.index, block.size_bytes) for block in my.blocks] == [
                (b.index, b.size_bytes) for b in their.blocks
            ]
            assert my.plain == their.plain == {}
    assert [asked for _, asked in one.containers] == [asked for _, asked in other.containers]
    assert [spec.wall_seconds for spec, _ in one.containers] == [spec.wall_seconds for spec, _ in other.containers]


def test_what_the_owner_sees_of_the_job_is_the_same_with_one_unit_less(neighbours):
    one, other = neighbours
    random = {"id"}
    assert {k: v for k, v in one.view.items() if k not in random} == {k: v for k, v in other.view.items() if k not in random}  # fmt: skip
    assert [list(row) for row in one.result["rows"]] == [list(row) for row in other.result["rows"]]
    assert one.result["guarantee"] == other.result["guarantee"]
    assert "mock" not in one.result


# --- What the containers are told. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", Tier)
def test_a_job_on_real_rows_is_never_traced_and_never_on_mock_rows(tier):
    with quick_folder() as folder, Programs(folder, tier_for=lambda _: tier) as world:
        real = world.run(job())
        assert {asked["trace"] for _, asked in world.seen.containers} == {False}
        assert sorted(world.seen.blocks) == list(range(16))
        assert len(world.seen.containers) == (2 if tier is Tier.ZYGOTE else 16)
        assert {asked["isolation"] for _, asked in world.seen.containers} == {
            "namespaces" if tier is Tier.ZYGOTE else "none"
        }
        assert {spec.namespaces for spec, _ in world.seen.containers} == {tier is Tier.ZYGOTE}
        assert all(len(asked["blocks"]) == 1 for _, asked in world.seen.containers) or tier is Tier.ZYGOTE
        assert not any(share.plain for work in world.works(real) for share in work.tables)
        world.seen.containers.clear()
        mock = world.run(job(), mock="true")
        assert {asked["trace"] for _, asked in world.seen.containers} == {True}
        for work in world.works(mock):
            assert all(
                (share.blocks, share.key, share.version) == ((), b"", "") and share.plain for share in work.tables
            )
        assert world.view(real)["plan"]["isolation"] == world.view(mock)["plan"]["isolation"] == tier.value


def test_no_instruction_holds_a_key_a_seed_or_a_row(world):
    made = world.run(job(params={"a": 1}))
    stored = world.read(find_job, made)
    for _, asked in world.seen.containers:
        text = json.dumps(asked)
        assert stored.seed.hex() not in text
        assert not any(share.key.hex() in text for work in world.works(made) for share in work.tables)
        assert set(asked) == {
            "kind", "name", "code", "params", "preload", "outputs", "blocks", "isolation", "cpu_seconds_per_block", "slot_seconds", "clear_seconds",
            "memory_bytes_per_block", "wall_seconds", "trace",
        }  # fmt: skip


def test_every_row_is_in_one_block_and_all_rows_of_a_unit_together(world):
    text = "def analyse(tables, params):\n    return {'rows': tables['visits'].num_rows, 'units': len(set(tables['visits']['pid'].to_pylist()))}\n"
    outputs = {name: {"lower": 0, "upper": 1000, "default": 0} for name in ("rows", "units")}
    found = []
    world.program = lambda spec, instruction: found.append(world.seen(spec, instruction)) or found[-1]
    for blocks in (2, 8, 16, 40):
        found.clear()
        world.run(job(text, outputs=outputs, blocks=blocks))
        answers = [
            struct.unpack(">IBI2d", data[at : at + 25]) for data in found if data for at in range(0, len(data), 25)
        ]
        assert sorted(index for index, *_ in answers) == list(range(blocks))
        assert sum(rows for *_, rows, _ in answers) == 270
        assert sum(units for *_, units in answers) == 90


def test_a_program_that_answers_nothing_is_released_and_charged_like_any_other(world):
    for at, text in enumerate(("def analyse(t, p): raise SystemExit\n", "def analyse(t, p): return {'rows': float('nan')}\n", "def analyse(t, p): return {'rows': 'a' * 10}\n")):  # fmt: skip
        made = world.run(job(text))
        view, rows = world.view(made), world.result(made)["rows"]
        assert (view["state"], view["charged"]) == ("released", True)
        assert len(rows) == 1
        assert spent(world) == at + 1


# --- Which isolation. --------------------------------------------------------------------------------------------------


def test_a_policy_that_demands_more_than_the_level_gets_it_and_one_that_demands_less_does_not():
    floors = []
    with quick_folder() as folder, Programs(folder, tier_for=lambda floor: floors.append(floor) or floor) as world:
        assert world.plan(job())["isolation"] == "zygote"
        first = world.run(job())
        world.allow(isolation="container")
        assert world.plan(job())["isolation"] == "container"
        second = world.run(job())
        assert world.view(second)["plan"]["isolation"] == "container"
        assert world.view(second)["plan"]["slot_seconds"] > 5 * world.view(first)["plan"]["slot_seconds"]
        assert world.result(second)["reused"] is False, "it is another job: it runs otherwise"
        floors.clear()
        world.submit(job(epsilon="0.5"))
        assert floors[-1] is Tier.CONTAINER


def test_a_sensitive_asset_demands_a_container_a_block_before_any_policy():
    with (
        quick_folder() as folder,
        Programs(folder, declarations=(VISITS.replace("S1", "S3").replace("n: 10,", "n: 2,"),)) as world,
    ):
        assert world.plan(job())["isolation"] == "container"
        mock = world.run(job(), mock="true")
        assert world.view(mock)["plan"]["isolation"] == "container"
        assert {asked["isolation"] for _, asked in world.seen.containers} == {"none"}


def test_one_sensitive_asset_among_several_is_enough():
    with quick_folder() as folder, Programs(folder, declarations=()) as world:
        for declaration in (VISITS, PEOPLE, PEOPLE.replace("medical/people", "medical/genes").replace("S1", "S3")):
            world.register(declaration.replace("epsilon: 10,", "epsilon: 2,"))
        assert world.plan(job(asset=None, assets=["medical/visits", "medical/people"]))["isolation"] == "zygote"
        for assets in (["medical/visits", "medical/genes"], ["medical/genes", "medical/visits"]):
            plan = world.plan(job(asset=None, assets=assets))
            assert (plan["isolation"], plan["level"]) == ("container", "S3")


def test_without_an_engine_nothing_is_planned_and_nothing_charged():
    def away(floor):
        raise unreachable()

    with quick_folder() as folder, Programs(folder, tier_for=away) as world:
        for address, mock in (("/v1/plans", "false"), ("/v1/jobs", "false"), ("/v1/jobs", "true")):
            refused = world.post("rob", address, job(), mock=mock)
            assert (refused.status, refused.code) == (503, "engine.unreachable")
        assert spent(world) == 0
        assert world.get("rob", "/v1/jobs").json["items"] == []


# --- Several assets. -----------------------------------------------------------------------------------------------------

BOTH = """\
def analyse(tables, params):
    found = {name: set(table.column(0).to_pylist()) for name, table in tables.items()}
    return {"same": len(found["visits"] & found["people"]), "visits": len(found["visits"]), "people": len(found["people"]),
            "days": tables["holidays"].num_rows if "holidays" in tables else 0}
"""
BOTH_OUTPUTS = {name: {"lower": 0, "upper": 1000, "default": 0} for name in ("same", "visits", "people", "days")}


def both(*assets, **changes):
    return job(BOTH, asset=None, assets=["medical/visits", "medical/people", *assets], outputs=BOTH_OUTPUTS, **changes)


def answers_of(world, document, **options):
    """What each block said, by its index, and the job."""
    found = []
    world.program = lambda spec, instruction: found.append(world.seen(spec, instruction)) or found[-1]
    made = world.run(document, **options)
    world.program = world.seen
    answers = [struct.unpack(">IBI4d", data[at : at + 41]) for data in found if data for at in range(0, len(data), 41)]
    return {index: numbers for index, _, _, *numbers in answers}, made


@pytest.mark.parametrize("blocks", [4, 8, 24])
def test_tables_of_one_population_meet_unit_by_unit_and_a_public_one_is_whole(joined, blocks):
    answers, made = answers_of(joined, both("traffic/holidays", blocks=blocks))
    assert sorted(answers) == list(range(blocks))
    same, seen, people, days = map(sum, zip(*answers.values(), strict=True))
    assert (same, seen, people) == (70, 90, 80), "p20 to p89 are in both, wherever they lie"
    assert days == 12 * blocks
    assert joined.view(made)["joined"] == ["medical/people", "traffic/holidays"]


def test_mock_rows_of_one_population_meet_as_well(joined):
    answers, made = answers_of(joined, both("traffic/holidays"), mock="true")
    assert len(answers) == 8
    assert sum(same for same, *_ in answers.values()) > 20
    assert {days for *_, days in answers.values()} == {12}
    assert joined.result(made)["mock"]["answered"] == 8


def test_the_receipt_binds_the_version_of_every_asset(joined):
    made = joined.run(both("traffic/holidays"))
    statement = joined.get("rob", f"/v1/jobs/{made}/receipt").json["statement"]
    versions = {asset: joined.get("olga", f"/v1/assets/{asset}").json for asset in ("medical/visits", "medical/people", "traffic/holidays")}  # fmt: skip
    assert statement["asset"] == "medical/visits"
    assert [each["asset"] for each in statement["joined"]] == ["medical/people", "traffic/holidays"]
    roots = [statement["version_root"], *(each["version_root"] for each in statement["joined"])]
    assert len(set(roots)) == 3
    ids = [statement["version"], *(each["version"] for each in statement["joined"])]
    logged = [entry for entry in joined.entries() if entry["type"] == "job:submitted"][-1]["facts"]
    assert ids == [logged["version"], *(version for _, version in logged["joined"])]
    assert all(versions.values())


def test_a_new_version_of_any_of_them_is_another_job(joined):
    first = joined.run(both())
    assert joined.result(joined.run(both()))["reused"] is True
    joined.ingest(BORN.encode().replace(b"p20,1970", b"p20,1971"), "medical/people")
    again = joined.run(both())
    assert joined.result(again)["reused"] is False
    assert first != again


def test_an_asset_of_another_population_is_refused_unless_it_is_public(joined):
    refused = joined.post("rob", "/v1/plans", both("traffic/buses"))
    assert (refused.status, refused.code, refused.json["where"]) == (422, "job.populations", {"field": "assets"})
    assert joined.post("rob", "/v1/jobs", both("traffic/buses")).code == "job.populations"
    assert joined.post("rob", "/v1/jobs", both("traffic/buses"), mock="true").code == "job.populations"
    assert joined.post("rob", "/v1/plans", both("medical/nothing")).code == "asset.unknown"


def test_a_public_table_that_stands_first_is_refused_with_the_order_that_would_do(joined):
    refused = joined.post("rob", "/v1/plans", job(asset=None, assets=["traffic/holidays", "medical/visits"]))
    assert (refused.status, refused.code) == (422, "job.populations")
    assert refused.json["way_out"] == "assets: [medical/visits, traffic/holidays]"


def test_a_policy_must_hold_every_protected_asset(joined):
    joined.allow(assets="[medical/visits]")
    refused = joined.post("rob", "/v1/jobs", both())
    assert (refused.status, refused.code) in {(403, "policy.none"), (403, "policy.asset")}
    assert "medical/people" in refused.text
    assert joined.plan(both())["needs"]
    assert joined.post("rob", "/v1/jobs", job()).status == 201
    assert joined.post("rob", "/v1/jobs", job(asset=None, assets=["medical/visits", "traffic/holidays"])).status == 201


def test_each_asset_needs_data_and_the_population_is_charged_once(joined):
    joined.register(PEOPLE.replace("medical/people", "medical/later"))
    joined.allow(assets="[medical/visits, medical/people, medical/later]")
    later = job(asset=None, assets=["medical/visits", "medical/later"])
    assert "medical/later has no data yet" in joined.plan(later)["needs"]
    assert joined.post("rob", "/v1/jobs", later).code == "asset.empty"
    before = spent(joined)
    joined.run(both())
    assert spent(joined) - before == 1
    assert "population:days" not in joined.read(books_of)


# --- Which jobs are the same. ---------------------------------------------------------------------------------------------

SAME = (
    {"program": {"name": "other_name.py", "text": COUNTS}},
    {"outputs": {"rows": {"lower": "0", "upper": "100", "default": "7", "aggregate": "mean"}}},
    {"params": {}},
    {"blocks": 15},
    {"seconds_per_block": "0.0500"},
    {"epsilon": "1.0"},
)
DIFFERENT = (
    {"program": {"name": "counts.py", "text": COUNTS + "\n"}},
    {"outputs": {"rows": {"lower": 0, "upper": 101, "default": 7}}},
    {"outputs": {"rows": {"lower": -1, "upper": 100, "default": 7}}},
    {"outputs": {"rows": {"lower": 0, "upper": 100, "default": 8}}},
    {"outputs": {"rows": {"lower": 0, "upper": 100, "default": 7, "aggregate": "median"}}},
    {"outputs": {"rows": {"lower": 0, "upper": 100, "default": 7, "length": 1}}},
    {"outputs": {"rowz": {"lower": 0, "upper": 100, "default": 7}}},
    {"params": {"a": 1}},
    {"params": {"a": "1"}},
    {"blocks": 8},
    {"seconds_per_block": "0.06"},
    {"epsilon": "1.01"},
)


def identity(world, document):
    made = world.submit(document)
    found = world.read(find_job, made).identity
    world.post("rob", f"/v1/jobs/{made}/cancel")
    world.finish()
    return found


@pytest.fixture(scope="module")
def identities():
    with quick_folder() as folder, Programs(folder) as world:
        yield identity(world, job()), world


@pytest.mark.parametrize("change", SAME)
def test_what_means_the_same_is_the_same_job(identities, change):
    usual, world = identities
    assert identity(world, job(**change)) == usual


@pytest.mark.parametrize("change", DIFFERENT)
def test_what_could_change_an_answer_is_another_job(identities, change):
    usual, world = identities
    assert identity(world, job(**change)) != usual


def test_an_identical_program_is_answered_with_the_same_noise_for_nothing(world):
    first = world.run(job())
    ran = len(world.seen.containers)
    again = world.run(job(), "rosa")
    one = world.result(first)
    other = world.get("rosa", f"/v1/jobs/{again}/result").json
    assert other["rows"] == one["rows"]
    assert (one["reused"], other["reused"]) == (False, True)
    assert len(world.seen.containers) == ran
    assert spent(world) == 1
    world.run(job(params={"n": 1}))
    assert spent(world) == 2


def test_a_mock_job_answers_no_real_one(world):
    world.run(job(), mock="true")
    real = world.run(job())
    assert world.result(real)["reused"] is False
    assert "mock" not in world.result(real)
    assert {asked["trace"] for _, asked in world.seen.containers[-2:]} == {False}


# --- What is told. ----------------------------------------------------------------------------------------------------------


def test_a_job_is_shown_with_its_kind_and_the_program_by_digest(world):
    made = world.run(job(params={"secret": "researcher's own"}))
    view = world.view(made)
    assert (view["kind"], view["query"], set(view["program"])) == ("program", None, {"name", "digest"})
    assert "def analyse" not in json.dumps(view)
    (brief,) = world.get("rob", "/v1/jobs").json["items"]
    assert (brief["kind"], brief["program"]["name"]) == ("program", "counts.py")


def test_the_plan_that_is_shown_is_the_plan_that_is_stored(world):
    plan = world.plan(job())
    stored = world.view(world.submit(job()))["plan"]
    assert stored == {name: plan[name] for name in stored}
    assert json.loads(json.dumps(KINDS["program"].gate(SimpleNamespace(plan=stored), {}, None).table.to_json()))["rows"]


def test_mock_answers_are_told_as_json_can_say_them(world):
    text = "def analyse(t, p):\n    return {'rows': float(p['say'])}\n"
    for say, told in (("nan", "nan"), ("-inf", "-inf"), ("1e308", 1e308), ("-0.0", -0.0), ("5e-324", 5e-324)):
        made = world.run(job(text, params={"say": say}), mock="true")
        mock = world.result(made)["mock"]
        assert (mock["blocks"], mock["answered"], mock["answers"]) == (8, 8, [{"rows": told}] * 8)


def test_other_peoples_programs_do_not_exist(world):
    made = world.run(job())
    for person in ("rosa", "rita", "ada", "olga"):
        assert world.get(person, f"/v1/jobs/{made}/result").status in (403, 404)
    assert world.get("rosa", f"/v1/jobs/{made}").status == world.get("rosa", f"/v1/jobs/{made}/receipt").status == 404
    for person in ("rosa", "rita", "ada", "rob"):
        assert world.get(person, f"/v1/jobs/{made}/sealed").status in (403, 404)
    assert world.get("olga", f"/v1/jobs/{made}/sealed").status == 200
    assert [entry["subject"] for entry in world.entries() if entry["type"] == "sealed:read"] == [made]


def test_a_bad_program_is_refused_at_plan_time_with_its_place_and_nothing_is_charged(world):
    for text, code, line, column in (
        ("def analyse(tables, params):\n    return {\n", "program.syntax", 2, 12),
        ("import torch\n" + COUNTS, "program.import", 1, 1),
        ("def analyse(tables): return {}\n", "program.signature", 1, 1),
        ("from . import x\n" + COUNTS, "program.relative_import", 1, 1),
        ("x = 1\n", "program.no_analyse", 1, 1),
    ):
        for address, mock in (("/v1/plans", "false"), ("/v1/jobs", "false"), ("/v1/jobs", "true")):
            refused = world.post("rob", address, job(text), mock=mock)
            assert (refused.status, refused.code) == (422, code)
            assert refused.json["where"] == {"field": "program", "line": line, "column": column}
    assert "numpy, pandas, pyarrow" in world.post("rob", "/v1/plans", job("import torch\n" + COUNTS)).json["way_out"]
    assert spent(world) == 0


# --- Where it might break. ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [300_000, 1 << 20])
def test_a_program_of_the_size_that_the_contract_allows_can_be_sent(world, size):
    text = COUNTS + "# " + "x" * (size - len(COUNTS) - 2)
    assert len(text.encode()) == size
    sent = world.post("rob", "/v1/plans", job(text))
    assert sent.status == 200, sent


def test_a_program_beyond_it_is_refused_as_such(world):
    refused = world.post("rob", "/v1/plans", job(COUNTS + "# " + "x" * (1 << 20)))
    assert refused.code == "program.too_long"


@pytest.mark.parametrize("number", [2.0**53 - 1, 1e21, 1e300, 1e-7, 0.1, "1e16"])
def test_a_number_in_the_params_reaches_the_program_as_it_was_sent(world, number):
    made = world.run(job(params={"a": number}))
    assert world.view(made)["state"] == "released"
    assert [asked["params"] for _, asked in world.seen.containers] == [{"a": number}] * 2


@pytest.mark.parametrize("number", [2.0**53, 1e16, -1e18, 123456789012345680000.0])
def test_a_number_that_the_receipt_could_not_bind_is_refused_before_anything_is_charged(world, number):
    """Taken in as a float and stored as a whole number, it once stopped the reconciler when the release was to be sealed."""
    for mock in ("false", "true"):
        assert world.post("rob", "/v1/jobs", job(params={"a": [{"b": number}]}), mock=mock).code == "params.invalid"
    assert spent(world) == 0


def test_the_sealed_log_of_a_job_on_many_lanes_fits_whatever_was_answered():
    """Which blocks answer depends on data: a log that can be too long to keep would be a failure that depends on them."""
    with quick_folder() as folder, Programs(folder, lanes=2) as world:
        made = world.run(job())
        stored = world.read(find_job, made)
        for lanes in (1, 2, 16, 64):
            results = {
                lane: SimpleNamespace(
                    end="completed",
                    partials=dict.fromkeys(range(lane, 100_000, 2 * lanes + 1), b""),
                    sealed=b"\x00" * 70_000,
                )
                for lane in range(lanes)
            }
            world.server.staging.keep_sealed(replace(stored, attempt=lanes), results)
            assert len(sealed_logs(world.server.keys, world.server.staging.sealed, made)[str(lanes)]) == lanes
        sizes = {path.stat().st_size for path in world.server.staging.sealed.glob(f"{made}-*")}
        assert len(sizes) == 1
        assert sizes.pop() >= SEALED_BYTES


def test_a_tables_file_has_the_declared_types(world):
    kept = []

    def look(spec, instruction):
        if instruction:
            source = Path(spec.mounts[0].source)
            kept.extend(pa.ipc.open_file(path).schema for path in source.rglob("visits.arrow"))
        return world.seen(spec, instruction)

    world.program = look
    world.run(job())
    world.run(job(), mock="true")
    assert len(kept) == 16 + 8
    assert {str(schema) for schema in kept} == {str(kept[0])}
    types = {field.name: str(field.type) for field in kept[0]}
    assert types == {
        "pid": "string", "age": "int64", "cost": "decimal128(18, 2)", "clinic": "string", "result": "string", "weight": "int64"
    }  # fmt: skip
    assert kept[0].metadata is None
