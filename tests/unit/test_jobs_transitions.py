"""The table of job states: total where it must be, final where it must be."""

import pytest

from jobs.model import PUBLIC_STATE
from jobs.transitions import FINAL, TRANSITIONS, JobEvent, JobState, after


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_a_public_name(state):
    assert PUBLIC_STATE[state]


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.parametrize("event", JobEvent)
def test_nothing_leads_out_of_a_final_state(state, event):
    assert after(state, event) is None


@pytest.mark.parametrize("state", JobState)
def test_every_state_leads_to_a_final_one(state):
    reached, frontier = {state}, [state]
    while frontier:
        here = frontier.pop()
        for (source, _), target in TRANSITIONS.items():
            if source is here and target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached & FINAL


@pytest.mark.parametrize("event", JobEvent)
def test_every_event_can_happen_somewhere(event):
    assert any(happens is event for _, happens in TRANSITIONS)


def test_a_touched_job_is_refused_only_before_its_release_and_never_fails_by_itself():
    """FAILED comes from RUNNING only, where the reconciler writes it after its last infrastructure attempt (design R9)."""
    assert {source for (source, event), _ in TRANSITIONS.items() if event is JobEvent.FAIL} == {JobState.RUNNING}
    assert after(JobState.RELEASED, JobEvent.REFUSE) is None
