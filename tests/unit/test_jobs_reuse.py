"""Identical jobs share one release and one charge to the population, also while the first of them is still on its way (design R16)."""

import pytest

from tests.unit.test_jobs_reconciler import Hospital


@pytest.fixture
def hospital(tmp_path):
    made = Hospital(tmp_path)
    yield made
    made.close()


def test_identical_jobs_submitted_at_once_get_one_sample_of_noise_for_one_price(hospital):
    jobs = [hospital.submit() for _ in range(3)]
    reconciler = hospital.process()
    assert [hospital.run_until(reconciler, job) for job in jobs] == ["released"] * 3
    tables = [hospital.service.result(hospital.researcher, job)["rows"] for job in jobs]
    assert tables[0] == tables[1] == tables[2]
    assert str(hospital.spent()) == "1/2"


def test_where_the_first_ends_without_a_release_the_next_is_refused_and_nothing_is_charged_for_it(hospital):
    first, second = hospital.submit(), hospital.submit()
    hospital.service.cancel(hospital.researcher, first)
    reconciler = hospital.process()
    assert hospital.run_until(reconciler, first) == "cancelled"
    assert hospital.run_until(reconciler, second) == "refused"
    assert hospital.view(second)["refusal"]["code"] == "job.reuse_gone"
    assert hospital.spent() == 0
    assert hospital.run_until(reconciler, hospital.submit()) == "released"
