"""A job is created, advanced page by page, and completed or cancelled."""

from __future__ import annotations

import pytest

from domain.errors import DomainError, IllegalTransition, VersionMismatch
from domain.jobs.job import (
    SHOWN_REFUSALS,
    AdvanceJob,
    CancelJob,
    CreateJob,
    FailJob,
    Job,
    JobCancelled,
    JobCompleted,
    JobCreated,
    JobFailed,
    JobProgressed,
    JobStatus,
    Refusal,
)
from domain.model import Event
from tests.support.given import Given

CREATED = JobCreated(command="cancel", filter={"status": "queued"}, reason="old", matching=3)
REFUSED = Refusal(execution="e", code="illegal-transition", detail="It has ended.")


def given() -> Given:
    return Given("job/j")


def advance(after: str | None, cursor: str | None, *refused: Refusal) -> AdvanceJob:
    return AdvanceJob(after=after, cursor=cursor, done=2, refused=refused)


def test_created_job_stores_its_request() -> None:
    command = CreateJob(command="cancel", filter={"status": "queued"}, reason="old", matching=3)
    given().when(command).then(CREATED)
    state: Job = given().happened(CREATED).state
    assert (state.status, state.reason, state.matching, state.created_by) == (
        *(JobStatus.RUNNING, "old", 3),
        "tester",
    )


def test_last_page_completes_the_job() -> None:
    first = JobProgressed(cursor="c1", done=2, refused=(REFUSED,))
    given().happened(CREATED).when(advance(None, "c1", REFUSED)).then(first)
    last = given().happened(CREATED, first).when(advance("c1", None))
    last.then(JobProgressed(done=2), JobCompleted())
    state: Job = given().happened(CREATED, first, JobProgressed(done=2), JobCompleted()).state
    assert (state.status, state.done, state.refused) == (JobStatus.COMPLETED, 4, 1)


def test_page_that_another_worker_has_done_is_refused() -> None:
    first = JobProgressed(cursor="c1", done=2)
    given().happened(CREATED, first).when(advance(None, "c1")).refused(VersionMismatch)


@pytest.mark.parametrize("end", [JobCompleted(), JobCancelled(), JobFailed(error="e")])
def test_ended_job_is_not_advanced_or_failed(end: Event) -> None:
    given().happened(CREATED, end).when(advance(None, None)).refused(IllegalTransition)
    given().happened(CREATED, end).when(FailJob(error="x")).then()


def test_only_a_running_job_can_be_cancelled() -> None:
    given().happened(CREATED).when(CancelJob()).then(JobCancelled())
    given().happened(CREATED, JobCancelled()).when(CancelJob()).then()
    refused: type[DomainError] = IllegalTransition
    for end in (JobCompleted(), JobFailed(error="its filter")):
        given().happened(CREATED, end).when(CancelJob()).refused(refused)


def test_state_stores_the_first_refusals_and_counts_all() -> None:
    page = JobProgressed(cursor="c", done=0, refused=(REFUSED,) * SHOWN_REFUSALS)
    state: Job = given().happened(CREATED, page, page).state
    assert (len(state.refusals), state.refused) == (SHOWN_REFUSALS, 2 * SHOWN_REFUSALS)
