"""Random walks through an execution's life: what always holds, whatever is commanded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given

from domain.eventlog.codec import open_json, sealed_json
from domain.execution.commands import CreateExecution
from domain.execution.state import FINAL, Execution
from domain.execution.types import Status
from domain.model import Held, replay
from projections.representations.execution import ServiceExecution, document
from tests.support.random_executions import (
    BODIES,
    CODEC,
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
    # The events alone lead to the state that the writer had; so do a snapshot and the rest.
    assert same(replay(None, (CODEC.decode(row, KEY) for row in path.rows)), live)
    thawed = CODEC.thaw(CODEC.freeze(STREAM, live, KEY), KEY)
    assert same(thawed, live)
    assert list(thawed.state.steps) == list(live.state.steps)
    middle = len(path.rows) // 2
    snapshot = CODEC.thaw(CODEC.freeze(STREAM, path.states[middle], KEY), KEY)
    rest = (CODEC.decode(row, KEY) for row in path.rows[middle + 1 :])
    assert same(replay(snapshot, rest), live)
    _check_view(path, live)
    for held in path.states:
        _check_state(held)
    for before, after in pairwise(path.states):
        _check_step(before.state, after.state)


def same(one: Held[Any] | None, other: Held[Any]) -> bool:
    """Sizes may differ: they tell what a state was made from."""
    return one is not None and one._replace(size=0) == other._replace(size=0)


def _check_view(path: Path, live: Held[Execution]) -> None:
    """A view without keys has the same document, sealed."""
    view = replay(None, map(CODEC.decode, path.rows))
    assert view is not None
    assert same(CODEC.thaw(CODEC.freeze(STREAM, view, None)), view)
    shown = document(live, live.at)
    sealed = sealed_json(document(view, live.at))
    assert orjson.loads(open_json(sealed, KEY)) == orjson.loads(orjson.dumps(shown))


def _check_state(held: Held[Execution]) -> None:
    state = held.state
    ServiceExecution.model_validate_json(orjson.dumps(document(held, held.at)))
    assert 0 <= state.progress <= 100
    assert state.steps_completed <= state.steps_total
    assert (state.next_retry_at is not None) == (state.status is Status.RETRY)
    assert (state.active_since is not None) == (state.status in {Status.STARTING, Status.RUNNING})
    assert (state.cancellation is not None) == (state.status is Status.CANCELLED)
    if state.status is Status.COMPLETED:
        assert state.error is None
        assert state.progress == 100
    if state.completed_at:
        assert all(step.status not in {"pending", "running"} for step in state.steps.values())
    assert [attempt.number for attempt in state.attempts] == [*range(1, len(state.attempts) + 1)]
    assert all(attempt.outcome for attempt in state.attempts[:-1])


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
    assert (after.parties, after.created_at) == (before.parties, before.created_at)


@given(creations, ways)
def test_repeated_command_changes_nothing_or_is_refused(
    creation: CreateExecution, way: list[Any]
) -> None:
    twice = [move for command, wait, back in way for move in ((command, wait, back),) * 2]
    _check_state(walk(creation, twice).states[-1])


def test_random_walks_use_every_command() -> None:
    assert BODIES.keys() == WORDS.keys() - {"create"}
