"""The migrations alone make the tables that the rooms declare."""

import assets.records
import audit.records
import jobs.records
import policies.records
from core.database import engine_for
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
