"""A timer agrees with the state of its execution: when it times out, is retried, or is due for a checkpoint."""

from __future__ import annotations

from typing import Any

import hypothesis

from domain.execution.state import checkpoint_due
from domain.execution.types import Status
from projections.timers.timer import CONCERNED, Timer, after
from tests.support.random_executions import CODEC, creations, walk, ways


@hypothesis.given(creations, ways)
def test_timer_agrees_with_the_state_after_each_event(creation: Any, way: Any) -> None:
    path = walk(creation, way)
    timer: Timer | None = None
    for row, versioned in zip(path.rows, path.states, strict=True):
        recorded = CODEC.decode(row)
        if isinstance(recorded.event, CONCERNED):
            timer = after(timer, recorded)
        state = versioned.state
        if state.status in (Status.COMPLETED, Status.CANCELLED):
            assert timer is None
            continue
        assert timer is not None
        assert timer.status == state.status
        assert timer.times_out_at == state.times_out_at
        assert timer.retry_at == state.next_retry_at
        last = state.checkpoints[-1].at if state.checkpoints else None
        running = state.status is Status.RUNNING
        expected = checkpoint_due(state.active_since, last) if running else None
        assert timer.checkpoint_due == expected
        deadlines = (timer.retry_at, timer.times_out_at)
        assert timer.due == min(filter(None, deadlines), default=None)
