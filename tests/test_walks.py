"""Random walks through an execution's life: what always holds, whatever is commanded."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import hypothesis.strategies as st
import orjson
from hypothesis import given, note

from domain.errors import DomainError
from domain.eventlog.codec import Stored, open_json, sealed_json
from domain.eventlog.encryption import DataKey
from domain.execution.commands import COMMANDS, SERVER_COMMANDS, CreateExecution
from domain.execution.state import FINAL, Execution
from domain.execution.types import Status
from domain.model import Command, Context, Held, Recorded, replay
from domain.registry import codec
from projections.representations.execution import ServiceExecution, document
from tests.given import NOON, SECOND
from tests.stories import ORDER, SERVICE

STREAM = "execution/e-1"
KEY = DataKey(b"k" * 32, STREAM)
CODEC = codec()
KNOWN: dict[str, Held[Any] | None] = {
    "order/o-1": Held(ORDER, 1, 1, NOON),
    "service/s-1": Held(SERVICE, 1, 1, NOON),
}

content = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "\0", "é", '"$"']),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
steps = st.sampled_from(["a", "b", "c#2"])
objects = st.dictionaries(st.sampled_from("pq"), content, max_size=2)
usage = st.fixed_dictionaries(
    {}, optional={"tokensUsed": st.integers(0, 99), "cost": st.sampled_from([0, 0.1, 0.25, 3])}
)
error = {
    "code": st.sampled_from(["X", "Y"]),
    "message": st.sampled_from(["", "x"]),
    "recoverable": st.booleans(),
}
policies = st.fixed_dictionaries(
    {
        "maxRetries": st.integers(0, 2),
        "backoff": st.sampled_from(["linear", "exponential"]),
        "initialDelay": st.integers(0, 2000),
        "maxDelay": st.integers(0, 3000),
        "jitter": st.sampled_from(["none", "full", "equal"]),
    }
)
reasons = st.fixed_dictionaries({}, optional={"reason": st.sampled_from(["r", "s"])})
plans = st.lists(
    st.builds(lambda i: {"id": i, "name": i}, steps), min_size=1, max_size=2, unique_by=str
)
hooks = st.just([{"url": "https://a.example", "events": ["*"], "headers": {"K": "v"}}])
BODIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "start": st.just({}),
    "pause": st.fixed_dictionaries({}, optional={"state": objects, "reason": st.just("r")}),
    "resume": st.fixed_dictionaries(
        {}, optional={"checkpointId": st.sampled_from(["cp-1", "cp-9"])}
    ),
    "complete": st.fixed_dictionaries(
        {"success": st.booleans(), "summary": st.just("s"), "output": content},
        optional={"usage": usage},
    ),
    "fail": st.fixed_dictionaries(error),
    "retry": st.just({}),
    "cancel": reasons,
    "updateProgress": st.fixed_dictionaries({"progress": st.sampled_from([0, 33.3, 100])}),
    "update": st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["running", "paused", "cancelled"]),
            "retryPolicy": st.none() | policies,
            "timeout": st.integers(1, 60_000),
            "priority": st.sampled_from(["low", "urgent", None]),
            "tags": st.none() | st.just(["t"]),
            "metadata": st.none()
            | objects.map(
                lambda o: orjson.loads(orjson.dumps(o).replace(b"\\u0000", b"")),
            ),
            "webhooks": st.none() | hooks,
            "progress": st.just(5),
        },
    ),
    "recordUsage": usage,
    "checkpoint": st.fixed_dictionaries({"state": objects}, optional={"step": steps}),
    "declareSteps": st.fixed_dictionaries({"steps": plans}),
    "startStep": st.fixed_dictionaries({"step": steps}, optional={"input": content}),
    "completeStep": st.fixed_dictionaries(
        {"step": steps}, optional={"output": content, "usage": usage}
    ),
    "failStep": st.fixed_dictionaries({"step": steps, **error}),
    "skipStep": st.builds(lambda step, reason: {"step": step, **reason}, steps, reasons),
    "timeOut": st.just({}),
    "autoCheckpoint": st.just({}),
}
WORDS = {**COMMANDS, **SERVER_COMMANDS}


def commands(word: str) -> st.SearchStrategy[Command[Execution]]:
    kind = WORDS[word]
    return BODIES[word].map(lambda body: kind.model_validate_json(orjson.dumps(body)))


creations = st.fixed_dictionaries(
    {
        "order": st.just("o-1"),
        "service": st.just("s-1"),
        "status": st.sampled_from(["running", "queued"]),
    },
    optional={
        "retryPolicy": policies,
        "timeout": st.integers(1, 60_000),
        "steps": plans,
        "webhooks": hooks,
    },
).map(lambda body: CreateExecution.model_validate_json(orjson.dumps(body)))
# What leads on comes often, what ends a walk is one of many, or no walk would get far.
OFTEN = ["start", "pause", "resume", "fail", "retry", "startStep", "completeStep", "update"]
moves = st.tuples(
    st.sampled_from(OFTEN * 2 + sorted(BODIES)).flatmap(commands),
    st.integers(0, 40).map(lambda seconds: seconds * SECOND),
    st.integers(0, 20).map(lambda seconds: seconds * SECOND),
)
ways = st.lists(moves, min_size=5, max_size=30)


class Path(NamedTuple):
    """What a walk left behind: the stored rows and the state after each."""

    rows: list[Stored]
    states: list[Held[Any]]


def walk(creation: CreateExecution, way: list[tuple[Any, timedelta, timedelta]]) -> Path:
    path, now = Path([], []), NOON
    for command, wait, back in [(creation, timedelta(), timedelta()), *way]:
        now += wait
        held = path.states[-1] if path.states else None
        context = Context(now, now - back, "t", str, lambda: 0.5, importing=False, states=KNOWN)
        with suppress(DomainError):
            for event in command.outcome(held.state if held else None, context):
                n = len(path.rows) + 1
                occurred_at = context.when if back else None
                recorded = Recorded(STREAM, n, n, now, event, "t", occurred_at=occurred_at)
                held = replay(held, [recorded])
                assert held is not None
                path.rows.append(CODEC.encode(recorded, KEY))
                path.states.append(held)
                note(f"{n} {event.type} -> {held.state.status}")
    return path


@given(creations, ways)
def test_what_always_holds(creation: CreateExecution, way: list[Any]) -> None:
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
def test_a_command_that_comes_twice_is_never_worse_than_refused(
    creation: CreateExecution, way: list[Any]
) -> None:
    twice = [move for command, wait, back in way for move in ((command, wait, back),) * 2]
    _check_state(walk(creation, twice).states[-1])


def test_every_command_takes_part() -> None:
    assert BODIES.keys() == WORDS.keys() - {"create"}
