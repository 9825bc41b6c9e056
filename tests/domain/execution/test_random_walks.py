"""Random sequences of commands on an execution: the invariants always hold."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given

from domain.eventlog.codec import to_sealed_json
from domain.execution.commands import CreateExecution
from domain.execution.commands.fork import ForkExecution
from domain.execution.events.creation import ExecutionCreated
from domain.execution.state import FINAL, Execution
from domain.execution.types import Status, StepStatus
from domain.model import Context, Recorded, Versioned, replay
from projections.representations.client_json import open_json
from projections.representations.execution import document
from projections.representations.execution_schema import ServiceExecution
from tests.support.random_executions import (
    BODIES,
    CODEC,
    FORK,
    FORK_KEY,
    KEY,
    STREAM,
    WORDS,
    Path,
    creations,
    walk,
    ways,
)


@given(creations, ways)
def test_invariants_hold_on_every_random_walk(creation: CreateExecution, way: list[Any]) -> None:
    path = walk(creation, way)
    live = path.states[-1]
    # The events, and a snapshot with the later events, lead to the state that the writer had.
    assert same(replay(None, (CODEC.decode(row, KEY) for row in path.rows)), live)
    restored = CODEC.restore(CODEC.take_snapshot(STREAM, live, KEY), KEY)
    assert same(restored, live)
    assert list(restored.state.steps) == list(live.state.steps)
    middle = len(path.rows) // 2
    snapshot = CODEC.restore(CODEC.take_snapshot(STREAM, path.states[middle], KEY), KEY)
    rest = (CODEC.decode(row, KEY) for row in path.rows[middle + 1 :])
    assert same(replay(snapshot, rest), live)
    _check_view(path, live)
    for versioned in path.states:
        _check_state(versioned)
        _check_times(versioned)
        _check_tree(versioned.state)
        _check_fork(versioned)
    for before, after in pairwise(path.states):
        _check_step(before.state, after.state)


def same(one: Versioned[Any] | None, other: Versioned[Any]) -> bool:
    """Sizes may differ: they depend on what a state was made from."""
    return one is not None and one._replace(size=0) == other._replace(size=0)


def _check_view(path: Path, live: Versioned[Execution]) -> None:
    """A view without keys has the same document, sealed."""
    view = replay(None, map(CODEC.decode, path.rows))
    assert view is not None
    assert same(CODEC.restore(CODEC.take_snapshot(STREAM, view, None)), view)
    shown = document(live, live.at)
    sealed = to_sealed_json(document(view, live.at))
    assert orjson.loads(open_json(sealed, KEY)) == orjson.loads(orjson.dumps(shown))


def _check_state(versioned: Versioned[Execution]) -> None:
    state = versioned.state
    ServiceExecution.model_validate_json(orjson.dumps(document(versioned, versioned.at)))
    assert 0 <= state.progress <= 100
    assert state.steps_completed <= state.steps_total
    assert (state.next_retry_at is not None) == (state.status is Status.RETRY)
    assert (state.active_since is not None) == (state.status in {Status.STARTING, Status.RUNNING})
    assert (state.cancellation is not None) == (state.status is Status.CANCELLED)
    assert (state.pause is not None) == (state.status is Status.PAUSED)
    if state.status is Status.COMPLETED:
        assert state.error is None
        assert state.progress == 100
    if state.completed_at:
        assert all(step.status not in {"pending", "running"} for step in state.steps.values())
    assert [attempt.number for attempt in state.attempts] == [*range(1, len(state.attempts) + 1)]
    assert all(attempt.outcome for attempt in state.attempts[:-1])
    if (
        state.claim is not None and state.status is not Status.QUEUED
    ):  # otherwise it starts in this commit
        assert state.status in {Status.STARTING, Status.RUNNING, Status.PAUSED}
        assert state.attempts[-1].worker == state.claim.worker
        assert state.attempts[-1].outcome is None
    assert not state.stalled or state.status is Status.RUNNING


def _check_times(versioned: Versioned[Execution]) -> None:
    """Nothing ends before it began, and no part lasts longer than the whole."""
    state, metrics = versioned.state, document(versioned, versioned.at)["metrics"]
    assert metrics.get("activeDuration", 0) <= metrics.get("duration", 0)
    assert state.created_at <= state.since <= state.updated_at <= versioned.at
    periods = [(state.started_at, state.completed_at)]
    periods += [(attempt.started_at, attempt.ended_at) for attempt in state.attempts]
    periods += [(step.started_at, step.completed_at) for step in state.steps.values()]
    assert all(end is None or begin is None or begin <= end for begin, end in periods)
    if state.pause:
        assert state.pause.at == state.since


def _check_tree(state: Execution) -> None:
    for step in state.steps.values():
        above, steps_up = step.parent, 0
        while above is not None:
            above, steps_up = state.steps[above].parent, steps_up + 1
            assert steps_up < len(state.steps)


def _check_fork(versioned: Versioned[Execution]) -> None:
    """A fork begins with the ended steps, and with no running one."""
    source = versioned.state
    at = versioned.at
    context = Context(at, at, "t", str, lambda: 0.5, False, {}, "execution/e-1")
    command = ForkExecution(version=versioned.version).of(source)
    [event] = command.outcome(None, context)
    assert isinstance(event, ExecutionCreated)
    row = CODEC.encode(Recorded(FORK, 1, 1, versioned.at, event, "t"), FORK_KEY)
    forked = replay(None, [CODEC.decode(row, FORK_KEY)])
    assert forked is not None
    _check_state(forked)
    assert forked.state.status is Status.QUEUED
    assert forked.state.steps_completed == source.steps_completed
    assert {step.status for step in forked.state.steps.values()} <= {*StepStatus} - {"running"}
    outputs = {step.id: step.output for step in forked.state.steps.values()}
    assert outputs == {step.id: step.output for step in source.steps.values()}
    assert forked.state.checkpoints == source.checkpoints


def _check_step(before: Execution, after: Execution) -> None:
    if before.status in FINAL and before.completed_at and after.status is not before.status:
        assert (before.status, after.status) in {
            (Status.FAILED, Status.RETRY),
            (Status.FAILED, Status.CANCELLED),
        }
    if before.status in {Status.COMPLETED, Status.CANCELLED}:
        assert (after.result, after.cancellation) == (before.result, before.cancellation)
    assert after.used.tokens_used >= before.used.tokens_used
    assert list(after.steps)[: len(before.steps)] == list(before.steps)
    for step in before.steps.values():
        moved = after.steps[step.id]
        assert (moved.parent, moved.kind) == (step.parent, step.kind)
    assert (after.parties, after.created_at) == (before.parties, before.created_at)


@given(creations, ways)
def test_repeated_command_changes_nothing_or_is_refused(
    creation: CreateExecution, way: list[Any]
) -> None:
    twice = [move for command, wait, back in way for move in ((command, wait, back),) * 2]
    _check_state(walk(creation, twice).states[-1])


def test_random_walks_use_every_command() -> None:
    assert BODIES.keys() == WORDS.keys() - {"create"}
