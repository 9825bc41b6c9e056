"""Claims, leases and signs of life, decided on states alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import IllegalTransition, LeaseLost, Taken
from domain.execution.commands import (
    AutoCheckpoint,
    ClaimExecution,
    CompleteExecution,
    HeartbeatExecution,
    ReleaseExecution,
    ResumeExecution,
    StallExecution,
    StartRetry,
    UpdateExecution,
    UpdateProgress,
)
from domain.execution.events.claims import (
    ExecutionClaimed,
    ExecutionRecovered,
    ExecutionReleased,
    ExecutionStalled,
)
from domain.execution.events.creation import ExecutionUpdated
from domain.execution.events.lifecycle import (
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionStarting,
    RetryScheduled,
)
from domain.execution.events.progress import ProgressUpdated
from domain.execution.events.steps import StepCompleted, StepStarted
from domain.execution.types import Status
from domain.model import Event, HeartbeatEntry
from domain.types import Assignee
from tests.support.given import NOON, SECOND, Given, given
from tests.support.histories import (
    BROKEN,
    CHECKPOINT,
    CREATED,
    HISTORIES,
    PAUSED,
    RESULT,
    RUNNING,
    THREE_RETRIES,
)

LEASE = 30 * SECOND
CLAIMED = (ExecutionClaimed(worker="w-1", lease=LEASE), ExecutionStarting(), ExecutionStarted())
LOST = ExecutionReleased(worker="w-1", reason="lease-lost")
CLAIM = ClaimExecution(worker="w-1", lease=LEASE)


def given_claimed(**fields: object) -> Given:
    return given(CREATED.model_copy(update=fields), *CLAIMED)


def test_claim_starts_a_queued_execution() -> None:
    after = given(CREATED).when(CLAIM).then(*CLAIMED)
    assert after.state.status is Status.RUNNING
    assert after.state.attempts[-1].worker == "w-1"


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
def test_claim_of_an_execution_that_is_not_queued_is_refused(status: Status) -> None:
    given(*HISTORIES[status]).when(CLAIM).refused(Taken)


def test_claim_of_an_execution_that_does_not_match_the_request_is_refused() -> None:
    agent = Assignee(type="ai-agent", id="a-1", name="Agent")
    queued = given(CREATED.model_copy(update={"assignee": agent}))
    for wrong in ({"service": "another"}, {"assignee": "a-2"}):
        queued.when(CLAIM.model_copy(update=wrong)).refused(Taken)
    queued.when(CLAIM.model_copy(update={"service": "s-1", "assignee": "a-1"})).then(*CLAIMED)


def test_lease_is_counted_from_the_last_sign_of_life() -> None:
    running = given_claimed()
    assert running.state.lease_until() == running.now + LEASE
    later = running.after(9 * SECOND, ProgressUpdated(progress=5))
    assert later.state.lease_until() == later.now + LEASE
    heard_at = later.now + 7 * SECOND
    assert later.state.lease_until(heard_at) == heard_at + LEASE
    assert later.state.lease_until(NOON) == later.now + LEASE


def test_update_and_automatic_checkpoint_are_no_signs_of_life() -> None:
    running = given_claimed()
    until = running.state.lease_until()
    updated = running.after(SECOND, ExecutionUpdated(tags=("new",)))
    assert updated.state.lease_until() == until
    late = updated.after(timedelta(minutes=20)).when(AutoCheckpoint())
    assert late.then(*late.events).state.lease_until() == until


def test_lost_lease_releases_the_execution_to_the_queue() -> None:
    running = given_claimed().happened(StepStarted(step="a"))
    early = running.after(LEASE - SECOND).when(ReleaseExecution(worker="w-1"))
    early.then_nothing()
    after = running.after(LEASE).when(ReleaseExecution(worker="w-1")).then(LOST)
    assert after.state.status is Status.QUEUED
    assert after.state.claim is None
    assert after.state.attempts[-1].outcome == "released"
    assert after.state.steps["a"].status == "pending"
    assert after.state.active_since is None


def test_release_respects_the_last_heartbeat() -> None:
    late = given_claimed().after(LEASE)
    late.when(ReleaseExecution(worker="w-1", heard_at=late.now - SECOND)).then_nothing()


def test_release_of_another_claim_does_nothing() -> None:
    given_claimed().after(LEASE).when(ReleaseExecution(worker="w-2")).then_nothing()
    given(*RUNNING).after(LEASE).when(ReleaseExecution(worker="w-1")).then_nothing()


def test_pause_stops_the_lease_and_resuming_restarts_it() -> None:
    paused = given_claimed().happened(CHECKPOINT, PAUSED)
    assert paused.state.lease_until() is None
    paused.after(10 * LEASE).when(ReleaseExecution(worker="w-1")).refused(IllegalTransition)
    resumed = paused.after(10 * LEASE, ExecutionResumed(checkpoint="cp-1"))
    assert resumed.state.claim == paused.state.claim
    assert resumed.state.lease_until() == resumed.now + LEASE


@pytest.mark.parametrize(
    "end",
    [
        ExecutionCompleted(success=True, result=RESULT),
        ExecutionFailed(error=BROKEN, final=True, will_retry=False),
        LOST,
    ],
)
def test_end_of_an_attempt_ends_the_claim(end: ExecutionCompleted) -> None:
    assert given_claimed().happened(end).state.claim is None


def test_next_worker_resumes_from_the_last_checkpoint_if_the_policy_says_so() -> None:
    released = given_claimed(on_lease_lost="resume").happened(CHECKPOINT, LOST)
    second = ExecutionClaimed(worker="w-2", lease=LEASE)
    released.when(ClaimExecution(worker="w-2", lease=LEASE)).then(
        second, ExecutionStarting(), ExecutionResumed(checkpoint="cp-1")
    )
    restarting = given_claimed().happened(CHECKPOINT, LOST)
    restarting.when(ClaimExecution(worker="w-2", lease=LEASE)).then(
        second, ExecutionStarting(), ExecutionStarted()
    )


def lose_two_leases(*times: Event, **fields: object) -> Given:
    """An execution that has lost two leases, and is about to lose the third; `times` happened before the second."""
    return given_claimed(**fields).happened(LOST, *CLAIMED, *times, LOST, *CLAIMED).after(LEASE)


RELEASE = ReleaseExecution(worker="w-1", most_lost=3)


def test_execution_that_loses_too_many_leases_in_a_row_fails_finally() -> None:
    given_claimed().happened(LOST, *CLAIMED).after(LEASE).when(RELEASE).then(LOST)
    outcome = lose_two_leases().when(RELEASE)
    [failed] = outcome.events
    assert isinstance(failed, ExecutionFailed)
    assert (failed.error.code, failed.final) == ("LEASE_LOST", True)
    after = outcome.then(failed).state
    assert (after.status, after.claim) == (Status.FAILED, None)
    assert [attempt.outcome for attempt in after.attempts] == ["released", "released", "failed"]


def test_execution_that_lost_too_many_leases_is_retried_by_its_policy_and_the_count_restarts() -> (
    None
):
    outcome = lose_two_leases(retry_policy=THREE_RETRIES).when(RELEASE)
    failed, scheduled = outcome.events
    assert isinstance(scheduled, RetryScheduled)
    queued = outcome.then(failed, scheduled).happened(
        ExecutionReleased(worker="w-1", reason="retry"), *CLAIMED
    )
    queued.after(LEASE).when(RELEASE).then(LOST)


@pytest.mark.parametrize("kept", [CHECKPOINT, StepCompleted(step="new")])
def test_lost_leases_count_from_the_last_checkpoint_or_completed_step(kept: Event) -> None:
    lose_two_leases(StepStarted(step="new"), kept).when(RELEASE).then(LOST)


def test_progress_alone_does_not_restart_the_count_of_lost_leases() -> None:
    outcome = lose_two_leases(StepStarted(step="new"), ProgressUpdated(progress=5)).when(RELEASE)
    assert isinstance(outcome.events[0], ExecutionFailed)


def test_released_execution_can_be_resumed_manually() -> None:
    released = given_claimed().happened(CHECKPOINT, LOST)
    after = released.when(ResumeExecution()).then(
        ExecutionStarting(), ExecutionResumed(checkpoint="cp-1")
    )
    assert after.state.status is Status.RUNNING
    assert after.state.resumed_from == "cp-1"
    assert after.state.attempts[-1].worker is None
    complete = CompleteExecution(success=True, output=None, summary="")
    for queued, possible in ((released, True), (given_claimed().happened(LOST), False)):
        refused = queued.when(complete).error
        assert isinstance(refused, IllegalTransition)
        assert ("resume" in refused.members["allowedCommands"]) is possible
    given_claimed().happened(LOST).when(ResumeExecution()).refused(IllegalTransition)
    given(CREATED).when(ResumeExecution()).refused(IllegalTransition)


def test_due_retry_of_a_claimed_execution_queues_it() -> None:
    failed = given_claimed().happened(
        ExecutionFailed(error=BROKEN, final=False, will_retry=True),
        RetryScheduled(retry=1, max_retries=3, delay=SECOND, next_retry_at=NOON + 9 * SECOND),
    )
    after = failed.after(9 * SECOND).when(StartRetry())
    queued = after.then(ExecutionReleased(worker="w-1", reason="retry"))
    assert queued.state.status is Status.QUEUED
    assert queued.state.next_retry_at is None
    assert [attempt.outcome for attempt in queued.state.attempts] == ["failed"]


def test_worker_is_compared_with_the_holder_of_the_last_attempt() -> None:
    running = given_claimed()
    running.state.require_worker("w-1")
    running.happened(ExecutionCompleted(success=True, result=RESULT)).state.require_worker("w-1")
    lost = running.happened(LOST)
    taken = lost.happened(
        ExecutionClaimed(worker="w-2", lease=LEASE), ExecutionStarting(), ExecutionStarted()
    )
    for state, holder in ((running.state, "w-2"), (lost.state, "w-1"), (taken.state, "w-1")):
        with pytest.raises(LeaseLost):
            state.require_worker(holder)
    with pytest.raises(LeaseLost) as refused:
        taken.state.require_worker("w-1")
    assert refused.value.members == {"worker": "w-1", "claimedBy": "w-2"}


def test_heartbeat_is_a_sign_of_life_and_no_event() -> None:
    running = given_claimed()
    running.when(HeartbeatExecution(worker="w-1")).then(HeartbeatEntry(running.now))
    running.when(HeartbeatExecution(worker="w-2")).refused(LeaseLost)
    paused = running.happened(CHECKPOINT, ExecutionPaused(checkpoint="cp-1"))
    paused.when(HeartbeatExecution()).then(HeartbeatEntry(paused.now))


def test_silent_execution_is_stalled_once_and_recovers_by_any_sign_of_life() -> None:
    running = given_claimed(heartbeat_timeout=5 * SECOND)
    running.after(4 * SECOND).when(StallExecution()).then_nothing()
    late = running.after(5 * SECOND)
    late.when(StallExecution(heard_at=late.now - SECOND)).then_nothing()
    stalled = late.when(StallExecution()).then(ExecutionStalled(since=running.now))
    assert stalled.state.stalled
    assert stalled.state.status is Status.RUNNING
    stalled.when(StallExecution()).then_nothing()
    beat = stalled.when(HeartbeatExecution())
    assert not beat.then(HeartbeatEntry(stalled.now), ExecutionRecovered()).state.stalled
    assert (
        not stalled.when(UpdateProgress(progress=5)).then(ProgressUpdated(progress=5)).state.stalled
    )


def test_stall_ends_when_silence_is_no_longer_watched() -> None:
    late = given_claimed(heartbeat_timeout=5 * SECOND).after(
        5 * SECOND, ExecutionStalled(since=NOON)
    )
    update = late.when(UpdateExecution(heartbeat_timeout=None))
    assert not update.then(ExecutionUpdated(heartbeat_timeout=None)).state.stalled


def test_claim_is_dated_no_earlier_than_its_execution_was_queued() -> None:
    early = CLAIM.model_copy(update={"occurred_at": NOON - SECOND})
    given(CREATED).when(early).refused_field("occurredAt")
