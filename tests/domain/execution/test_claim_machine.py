"""Claims under random actions of workers and of the engine, with a leaping clock: the invariants always hold."""

from __future__ import annotations

from datetime import datetime, timedelta

import hypothesis.strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain.errors import DomainError, LeaseLost, Taken
from domain.execution.commands import (
    ClaimExecution,
    CompleteExecution,
    FailExecution,
    HeartbeatExecution,
    PauseExecution,
    ReleaseExecution,
    ResumeExecution,
    SaveCheckpoint,
    StallExecution,
    StartRetry,
    UpdateProgress,
)
from domain.execution.events.claims import ExecutionReleased
from domain.execution.retry_policy import RetryPolicy
from domain.execution.state import Execution
from domain.execution.types import Status
from domain.model import Command, Event, HeartbeatEntry, Recorded
from tests.support.given import SECOND, Given, given
from tests.support.histories import CREATED

LEASE, SILENCE = 10 * SECOND, 7 * SECOND
POLICY = RetryPolicy(
    max_retries=2, backoff="linear", initial_delay=3 * SECOND, max_delay=3 * SECOND
)
WORKERS = ("w-1", "w-2", "w-3")
workers = st.sampled_from(WORKERS)
WORK: tuple[Command[Execution], ...] = (
    UpdateProgress(progress=5),
    SaveCheckpoint(state={"page": 1}),
    PauseExecution(),
    ResumeExecution(),
    FailExecution(code="X", message="x", recoverable=True),
    CompleteExecution(success=True, output=None, summary=""),
)


class Claims(RuleBasedStateMachine):
    """One execution. The model knows its holder, and when the holder last gave a sign of life."""

    @initialize(on_lease_lost=st.sampled_from(["restart", "resume"]))
    def queue(self, on_lease_lost: str) -> None:
        settings = {"on_lease_lost": on_lease_lost, "heartbeat_timeout": SILENCE}
        created = CREATED.model_copy(update={**settings, "retry_policy": POLICY})
        self.at: Given = given(created)
        self.heard_at: datetime | None = None
        self.holder: str | None = None
        self.sign_at = self.at.now
        self.events: list[Event] = []

    @property
    def state(self) -> Execution:
        state: Execution = self.at.state
        return state

    def _send(self, command: Command[Execution], worker: str | None = None) -> list[Event]:
        """The events that a command records; as in the writer, the worker is compared first."""
        if worker is not None:
            self.state.require_worker(worker)
        outcome = self.at.when(command)
        if outcome.error is not None:
            raise outcome.error
        recorded = [event for event in outcome.events if isinstance(event, Event)]
        for event in outcome.events:
            if isinstance(event, HeartbeatEntry):
                self.heard_at = event.at
        for event in recorded:  # all of one commit, so at the same time
            at = Given(self.at.stream, self.at.now, self.at.version + 1, None)
            envelope = Recorded(at.stream, at.version, at.version, at.now, event, "tester")
            self.at = Given(at.stream, at.now, at.version, event.apply(self.state, envelope))
        self.events += recorded
        return recorded

    @rule(seconds=st.integers(0, 12))
    def time_passes(self, seconds: int) -> None:
        self.at = self.at.after(timedelta(seconds=seconds))

    @rule(worker=workers)
    def claim(self, worker: str) -> None:
        queued = self.state.status is Status.QUEUED
        try:
            self._send(ClaimExecution(worker=worker, lease=LEASE))
        except Taken:
            assert not queued
        else:
            assert queued
            assert self.holder is None
            self.holder, self.sign_at = worker, self.at.now

    @rule(worker=workers, command=st.sampled_from(WORK))
    def work(self, worker: str, command: Command[Execution]) -> None:
        before = self.state
        try:
            recorded = self._send(command, worker)
        except LeaseLost:
            assert worker != self.holder
        except DomainError:
            pass
        else:
            if recorded:
                assert worker == (self.holder or before.attempts[-1].worker)
                self.sign_at = self.at.now
        if self.state.claim is None:
            self.holder = None

    @rule(worker=workers)
    def beat(self, worker: str) -> None:
        events = len(self.events)
        stalled = self.state.stalled
        try:
            self._send(HeartbeatExecution(worker=worker))
        except DomainError:
            assert worker != self.holder or self.state.final
        else:
            self.sign_at = self.at.now
            assert len(self.events) - events == stalled  # otherwise it records no event
        assert not (worker == self.holder and self.state.stalled)

    @rule(worker=workers)
    def engine_releases(self, worker: str) -> None:
        holder, before = self.holder, self.state
        try:
            recorded = self._send(ReleaseExecution(worker=worker, heard_at=self.heard_at))
        except DomainError:
            return
        for event in recorded:
            assert isinstance(event, ExecutionReleased)
            assert event.worker == holder == worker
            assert before.working
            assert self.at.now >= self.sign_at + LEASE
            self.holder = None

    @rule()
    def engine_stalls(self) -> None:
        status = self.state.status
        try:
            recorded = self._send(StallExecution(heard_at=self.heard_at))
        except DomainError:
            return
        assert self.state.status is status
        if recorded:
            assert self.at.now >= self.sign_at + SILENCE

    @precondition(lambda self: self.state.status is Status.RETRY)
    @rule()
    def engine_retries(self) -> None:
        self._send(StartRetry())
        due = self.state.status is not Status.RETRY
        assert not due or self.state.status is Status.QUEUED

    @invariant()
    def state_names_the_holder(self) -> None:
        assert self.holder == (self.state.claim.worker if self.state.claim else None)

    @invariant()
    def queued_execution_has_no_holder(self) -> None:
        if self.state.status is Status.QUEUED or self.state.final:
            assert self.state.claim is None
        if self.state.status is not Status.RUNNING:
            assert not self.state.stalled


def test_claims_keep_their_invariants_under_random_actions() -> None:
    run_state_machine_as_test(Claims)
