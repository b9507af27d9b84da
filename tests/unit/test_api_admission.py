"""A file that an asset's declaration does not allow is refused before a byte of it is received: rows of an encrypted asset never come here."""

import pytest

from assets.admission import most_bytes
from assets.declaration import parse_declaration
from tests.api_world import ApiWorld, visits
from tests.policies_world import quick_folder
from tests.unit.test_assets_encrypted import HOSPITAL

ENCRYPTED, PLAIN = "medical/stays_a", "medical/visits"


@pytest.fixture(scope="module")
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        made.register()
        made.register(HOSPITAL.replace("population: {name: patients", "population: {name: guests"))
        yield made


class Body:
    """A body that says how much of it was taken, and whether a staging file was ever there."""

    def __init__(self, world, piece=b"p1,north,12.50\n", pieces=1000):
        self.world, self.piece, self.pieces = world, piece, pieces
        self.taken, self.staged = 0, False

    async def read(self):
        for _ in range(self.pieces):
            self.taken += 1
            yield self.piece
            self.staged = self.staged or bool(list(self.world.server.uploads.glob("*")))


def sent(world, asset, form, body, **headers):
    return world.call(
        "olga", "POST", f"/v1/assets/{asset}/versions", params={"format": form}, content=body.read(), headers=headers
    )


@pytest.mark.parametrize(
    ("asset", "form", "code"),
    [
        (ENCRYPTED, "csv", "asset.encrypted"),
        (ENCRYPTED, "parquet", "asset.encrypted"),
        (ENCRYPTED, "arrow", "asset.encrypted"),
        (PLAIN, "hev", "asset.not_encrypted"),
    ],
)
def test_a_file_of_the_wrong_kind_is_refused_before_a_byte_is_received(world, asset, form, code):
    body, size = Body(world), len(world.entries())
    answer = sent(world, asset, form, body)
    assert (answer.status, answer.code) == (422, code)
    assert answer.json["way_out"]
    assert (body.taken, body.staged) == (0, False)
    assert answer.headers["connection"] == "close", "else the HTTP server would take the rest in"
    (event,) = world.entries()[size:]
    assert (event["type"], event["subject"], event["facts"]) == ("version:refused", asset, {"code": code})


def test_rows_of_an_asset_that_takes_them_are_received(world):
    body = Body(world, visits(), 1)
    answer = sent(world, PLAIN, "csv", body)
    assert (answer.status, answer.json["repeated"]) == (201, False)
    assert "connection" not in answer.headers
    assert "connection" not in world.get("olga", "/v1/assets").headers
    assert (body.taken, body.staged) == (1, True)


def test_an_upload_is_received_up_to_the_size_that_the_declaration_implies(world):
    declared = parse_declaration(HOSPITAL, "hospital.yaml").encrypted
    most = most_bytes(declared.terms, declared.vectors)
    # Four vectors of few numbers: one ciphertext of 2 · 2 · 8192 words each, and what an Arrow file and its header take.
    payload = 4 * 8 * 2 * 2 * 8192
    assert payload < most < payload + (1 << 20) < world.server.settings.upload_bytes
    piece = bytes(1 << 16)
    body = Body(world, piece, 1000)
    answer = sent(world, ENCRYPTED, "hev", body)
    assert (answer.status, answer.code) == (413, "ingest.upload_too_large")
    assert body.taken == most // len(piece) + 1
    assert answer.headers["connection"] == "close"
    body = Body(world)
    answer = sent(world, ENCRYPTED, "hev", body, **{"Content-Length": str(most + 1)})
    assert (answer.status, answer.code) == (413, "ingest.upload_too_large")
    assert (body.taken, body.staged) == (0, False)
    assert not list(world.server.uploads.glob("*"))
