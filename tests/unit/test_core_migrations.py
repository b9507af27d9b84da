"""The migrations alone make the tables that the rooms declare."""

import json

from sqlalchemy import text

import assets.records
import audit.records
import jobs.records
import policies.records
from core.database import changing, engine_for, reading
from core.migrate import differences, is_current, upgrade

ROOMS = (assets.records, audit.records, jobs.records, policies.records)


def test_the_migrated_database_is_what_the_rooms_declare(tmp_path):
    engine = engine_for(f"sqlite:///{tmp_path / 'banyan.db'}")
    assert not is_current(engine)
    upgrade(engine)
    assert is_current(engine)
    assert differences(engine) == []
    upgrade(engine)
    engine.dispose()


def test_a_job_that_waits_while_the_database_is_brought_on_can_be_carried_out(tmp_path):
    """Its plan then says what plans say now; the plan of an ended job stays as its receipt binds it."""
    engine = engine_for(f"sqlite:///{tmp_path / 'banyan.db'}")
    upgrade(engine, "0001")
    row = {
        "mode": "real", "principal": "p-1", "organisation": "o", "asset": "a/b", "request": "{}", "identity": "i", "submitted_at": "now",
        "attempt": 0, "touched": 0, "plan": '{"blocks":8,"kind":"query"}',
    }  # fmt: skip
    with changing(engine) as connection:
        for sequence, state in enumerate(("queued", "running", "released")):
            names = ", ".join([*row, "id", "sequence", "state"])
            places = ", ".join(f":{name}" for name in [*row, "id", "sequence", "state"])
            values = {**row, "id": f"j-{state}", "sequence": sequence, "state": state}
            connection.execute(text(f"INSERT INTO jobs ({names}) VALUES ({places})"), values)
    upgrade(engine)
    with reading(engine) as connection:
        found = {
            each.id: (json.loads(each.plan), each.joined) for each in connection.execute(text("SELECT * FROM jobs"))
        }
    ready = {"blocks": 8, "kind": "query", "joined": [], "stored_blocks": 8}
    assert found == {
        "j-queued": (ready, "[]"),
        "j-running": (ready, "[]"),
        "j-released": ({"blocks": 8, "kind": "query"}, "[]"),
    }
    engine.dispose()
