"""What anybody may send costs little: no parsing and no lock before a signature, few bodies at once, limited time, and no row each."""

import asyncio
import json
import struct
import threading
import time
from datetime import timedelta

import httpx
import pytest
import sqlalchemy

from core.canonical import canonical
from jobs.key_holder import release_body
from keyholder import intake
from keyholder.app import NOT_NOW, REFUSAL, application
from keyholder.intake import Intake
from keyholder.ledger import strangers_since
from keyholder.request import MAX_DOCUMENT_BYTES, Request, Unsigned, signed_part
from keyholder.strangers import Strangers
from privacy.encrypted.manifest import DOMAIN, Manifest
from tests.unit.encrypted_world import public_line, signing
from tests.unit.test_keyholder import NOW, World, _text, asked, rows

SERVICE = public_line("service")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def written_down(world):
    with sqlalchemy.create_engine(f"sqlite:///{world.keys.folder / 'keyholder.db'}").connect() as connection:
        return connection.exec_driver_sql("SELECT requests, newest FROM strangers ORDER BY number").fetchall()


def document_of(manifest, signature=None, spend=b"{}"):
    raw = canonical(manifest)
    signature = signature or _text(signing("service").sign(DOMAIN + raw))
    return b'{"manifest":' + raw + b',"signature":"' + signature.encode() + b'","spend":' + spend + b"}"


def test_the_bytes_that_were_signed_are_the_bytes_that_are_read():
    manifest = {"a": ',"signature":"', "uploads": [{"signature": "x", "spend": {}}]}
    assert signed_part(document_of(manifest, spend=b'{"b":1}'), SERVICE) == (canonical(manifest), b'{"b":1}')


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{}", b"null", b"[" * 1000, document_of({})[:-3], b" " + document_of({}), document_of({}, "x"), document_of({}, _text(bytes(64))),
        document_of({}).replace(b"{}", b'{"a":1}', 1), document_of({}).replace(b'"spend"', b'"spent"'), document_of({}, spend=b'{"c":1,"signature":"x"}'),
    ],
)  # fmt: skip
def test_anything_else_is_unsigned(document):
    with pytest.raises(Unsigned):
        signed_part(document, SERVICE)


def test_a_manifest_that_was_signed_in_another_form_is_refused(world):
    document, masked = world.request()
    raw = canonical(document["manifest"]).replace(b'"overlap":1', b'"overlap": 1')
    assert raw != canonical(document["manifest"])
    signature = _text(world.manifest_key.sign(DOMAIN + raw))
    told = b'{"manifest":' + raw + b',"signature":"' + signature.encode() + b'","spend":{}}'
    with pytest.raises(Exception, match="not in its one form"):
        world.releases.answer(struct.pack(">Q", len(told)) + told + masked)


def test_an_unsigned_request_is_neither_parsed_nor_waits_for_the_others(world, monkeypatch):
    document, masked = world.request()
    body = release_body({**document, "signature": _text(bytes(64))}, masked)

    def parsed(*_):
        raise AssertionError("it was parsed")

    monkeypatch.setattr(Manifest, "from_json", parsed)
    monkeypatch.setattr(json, "loads", parsed)
    with world.releases._lock, pytest.raises(Unsigned, match="not signed by the service"):
        world.releases.answer(body)


def test_the_largest_unsigned_document_takes_no_time_to_speak_of():
    """Parsed and checked, a document of this size took four seconds."""
    hostile = (b',"signature":' * (MAX_DOCUMENT_BYTES // 13))[: MAX_DOCUMENT_BYTES - 200]
    document = document_of({"a": "b"}, _text(bytes(64))).replace(b'"b"', b'"' + hostile + b'"')
    before = time.process_time()
    with pytest.raises(Unsigned, match="not signed by the service"):
        Request.opened(struct.pack(">Q", len(document)) + document, SERVICE)
    assert time.process_time() - before < 1


class Sender:
    """A body in parts; counts what was taken of it."""

    def __init__(self, *parts):
        self.parts, self.taken = list(parts), 0

    async def __aiter__(self):
        for part in self.parts:
            self.taken += len(part)
            yield part


async def taken(doors, sender):
    async with doors.body(aiter(sender)) as body:
        return body


def test_the_chunks_of_an_unsigned_request_are_not_kept(monkeypatch):
    """They are let go by, since who is cut off while it sends does not read its answer; and not without end."""
    monkeypatch.setattr(intake, "MAX_BODY_BYTES", 10_000)
    document = document_of({}, _text(bytes(64)))
    sender = Sender(struct.pack(">Q", len(document)) + document, *[bytes(1_000)] * 5)
    with pytest.raises(Unsigned, match="not signed by the service"):
        asyncio.run(taken(Intake(SERVICE), sender))
    assert sender.taken == 8 + len(document) + 5_000
    endless = Sender(struct.pack(">Q", len(document)) + document, *[bytes(1_000)] * 50)
    with pytest.raises(Unsigned, match="not signed by the service"):
        asyncio.run(taken(Intake(SERVICE), endless))
    assert endless.taken == 8 + len(document) + 11_000


def test_a_signed_body_comes_whole_however_it_is_cut():
    document = document_of({"a": 1})
    body = struct.pack(">Q", len(document)) + document + bytes(range(256))
    assert asyncio.run(taken(Intake(SERVICE), Sender(body))) == body
    assert asyncio.run(taken(Intake(SERVICE), Sender(*(bytes([each]) for each in body)))) == body


def test_a_document_that_is_said_to_be_too_large_is_not_waited_for():
    with pytest.raises(Unsigned, match="document is too large"):
        asyncio.run(taken(Intake(SERVICE), Sender(struct.pack(">Q", MAX_DOCUMENT_BYTES + 1))))


def test_so_many_bodies_are_in_memory_at_once_and_no_more():
    document = document_of({"a": 1})
    body = struct.pack(">Q", len(document)) + document

    async def crowd():
        doors, full, done, inside, most = Intake(SERVICE), asyncio.Event(), asyncio.Event(), [], []

        async def one():
            async with doors.body(aiter(Sender(body))):
                inside.append(1)
                most.append(len(inside))
                if len(inside) == intake.PLACES:
                    full.set()
                await done.wait()
                inside.pop()

        tasks = [asyncio.create_task(one()) for _ in range(10)]
        await full.wait()
        await asyncio.sleep(0.1)
        done.set()
        await asyncio.gather(*tasks)
        return most

    most = asyncio.run(crowd())
    assert len(most) == 10
    assert max(most) == intake.PLACES == 4


async def trickle():
    yield b"\0"
    await asyncio.sleep(30)


def test_a_body_that_does_not_come_to_its_end_is_given_up_and_gives_its_place_back(monkeypatch):
    monkeypatch.setattr(intake, "SECONDS", 0.2)
    document = document_of({"a": 1})
    good = struct.pack(">Q", len(document)) + document

    async def crowd():
        doors = Intake(SERVICE)
        slow = [asyncio.create_task(_given_up(doors)) for _ in range(2 * intake.PLACES)]
        await asyncio.gather(*slow)
        return await taken(doors, Sender(good))

    assert asyncio.run(crowd()) == good


async def _given_up(doors):
    with pytest.raises(TimeoutError):
        async with doors.body(trickle()):
            raise AssertionError("it was taken in")


def test_how_long_an_answer_takes_is_not_counted_against_the_body(monkeypatch):
    monkeypatch.setattr(intake, "SECONDS", 0.2)
    document = document_of({"a": 1})

    async def slowly():
        async with Intake(SERVICE).body(aiter(Sender(struct.pack(">Q", len(document)) + document))) as body:
            await asyncio.sleep(0.5)
            return body

    assert asyncio.run(slowly()).endswith(document)


def test_a_body_that_takes_too_long_is_put_off_in_the_constant_words_and_counted(world, monkeypatch):
    monkeypatch.setattr(intake, "SECONDS", 0.2)

    async def sent():
        transport = httpx.ASGITransport(application(world.releases))
        async with httpx.AsyncClient(transport=transport, base_url="http://keyholder") as client:
            return await client.post("/v1/release", content=trickle())

    answer = asyncio.run(sent())
    assert (answer.status_code, answer.content) == (503, NOT_NOW)
    assert written_down(world) == [(1, "the request took too long")]


def test_strangers_have_no_row_each(world):
    app = application(world.releases)
    for _ in range(20):
        assert asked(app, "POST", "/v1/release", b"?").content == REFUSAL
    world.clock.advance(59)
    asked(app, "POST", "/v1/release", b"?")
    assert written_down(world) == [(1, "the request is too short")]
    world.clock.advance(1)
    asked(app, "POST", "/v1/release", b"\0" * 100)
    assert written_down(world) == [(1, "the request is too short"), (21, "the request's document is of another form")]
    assert rows(world, "refusals") == 0
    assert strangers_since(world.keys.engine, NOW - timedelta(seconds=1)) == 22


def test_what_is_counted_is_written_down_at_the_end(world):
    app = application(world.releases)

    async def life():
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://keyholder") as client:
                for _ in range(5):
                    await client.post("/v1/release", content=b"?")

    asyncio.run(life())
    assert [requests for requests, _ in written_down(world)] == [1, 4]


def test_strangers_who_cannot_be_written_down_are_counted_on(world, monkeypatch, caplog):
    strangers = Strangers(world.releases.ledger)

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.releases.ledger), "count_strangers", full)
        strangers.count("one")
        strangers.count("two")
    assert caplog.text.count("could not be written down") == 1
    strangers.write()
    strangers.write()
    assert written_down(world) == [(2, "two")]


def test_many_threads_of_strangers_are_all_counted(world):
    strangers = Strangers(world.releases.ledger)
    threads = [threading.Thread(target=lambda: [strangers.count("x") for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    strangers.write()
    assert sum(requests for requests, _ in written_down(world)) == 400
