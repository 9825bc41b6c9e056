"""The claims row of an execution agrees with its state after every event."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from domain.execution.commands import CreateExecution
from domain.execution.state import FINAL, Execution
from domain.execution.types import Status
from domain.json_forms import in_milliseconds
from projections.claims.row import CONCERNED, RANKS, Claimable, after
from tests.support.random_executions import CODEC, KEY, creations, walk, ways


@given(creations, ways)
def test_row_agrees_with_the_state_after_every_event(
    creation: CreateExecution, way: list[Any]
) -> None:
    path, row = walk(creation, way), None
    for stored, versioned in zip(path.rows, path.states, strict=True):
        recorded = CODEC.decode(stored, KEY)
        if isinstance(recorded.event, CONCERNED):
            row = after(row, recorded)
        _check(row, versioned.state)


def _check(row: Claimable | None, state: Execution) -> None:
    if row is None:
        assert state.status in FINAL - {Status.FAILED}
        return
    assert (row.status, row.rank, row.service) == (
        state.status,
        RANKS[state.priority],
        state.service,
    )
    assert row.assignee == (state.assignee.id if state.assignee else None)
    assert row.worker == (state.claim.worker if state.claim else None)
    silence = state.heartbeat_timeout
    assert row.silence == (None if silence is None else in_milliseconds(silence))
    ends = [at for at in (state.lease_until(), state.stalls_at()) if at is not None]
    if state.status is not Status.QUEUED:  # a claim starts it in the same commit
        assert (row.due is None) == (not ends)
        assert row.due is None or row.due <= min(ends)  # so that an expired lease is found
