"""Random sequences of commands on an execution, as strategies of hypothesis."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import hypothesis.strategies as st
import orjson
from hypothesis import note

from domain.errors import DomainError
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.execution.commands import (
    COMMANDS,
    SERVER_COMMANDS,
    ClaimExecution,
    CreateExecution,
)
from domain.execution.state import Execution
from domain.model import Command, Context, Event, Recorded, Versioned, replay
from domain.registry import codec
from tests.support.given import NOON, SECOND
from tests.support.histories import ORDER, SERVICE

STREAM = "execution/e-1"


KEY = DataKey(b"k" * 32, STREAM)
FORK = "execution/fork"
FORK_KEY = DataKey(b"f" * 32, FORK)
CODEC = codec()


KNOWN: dict[str, Versioned[Any] | None] = {
    "order/o-1": Versioned(ORDER, 1, 1, NOON),
    "service/s-1": Versioned(SERVICE, 1, 1, NOON),
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
flat = st.lists(
    st.builds(lambda i: {"id": i, "name": i}, steps), min_size=1, max_size=2, unique_by=str
)
tree = {"parent": steps, "kind": st.sampled_from(["agent", "tool"])}
plans = st.lists(
    st.builds(
        lambda i, rest: {"id": i, "name": i, **rest},
        steps,
        st.just({}) | st.fixed_dictionaries({}, optional=tree),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda plan: plan["id"],
)
hooks = st.just([{"url": "https://a.example", "events": ["*"], "headers": {"K": "v"}}])

workers = st.sampled_from(["w-1", "w-2"])
silences = st.integers(1_000, 30_000)


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
    "fail": st.fixed_dictionaries(error, optional={"step": steps}),
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
            "heartbeatTimeout": st.none() | silences,
            "onLeaseLost": st.none() | st.just("resume"),
        },
    ),
    "recordUsage": usage,
    "checkpoint": st.fixed_dictionaries({"state": objects}, optional={"step": steps}),
    "declareSteps": st.fixed_dictionaries({"steps": plans}),
    "startStep": st.fixed_dictionaries({"step": steps}, optional={"input": content, **tree}),
    "completeStep": st.fixed_dictionaries(
        {"step": steps}, optional={"output": content, "usage": usage}
    ),
    "failStep": st.fixed_dictionaries({"step": steps, **error}),
    "skipStep": st.builds(lambda step, reason: {"step": step, **reason}, steps, reasons),
    "timeOut": st.just({}),
    "startRetry": st.just({}),
    "autoCheckpoint": st.just({}),
    "claim": st.fixed_dictionaries({"worker": workers, "lease": st.integers(1_000, 60_000)}),
    "heartbeat": st.fixed_dictionaries({}, optional={"worker": workers}),
    "release": st.fixed_dictionaries({"worker": workers}),
    "stall": st.just({}),
}


WORDS: dict[str, type[Command[Execution]]] = {
    **COMMANDS,
    **SERVER_COMMANDS,
    ClaimExecution.wire_name: ClaimExecution,
}


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
        "steps": flat,
        "webhooks": hooks,
        "heartbeatTimeout": silences,
        "onLeaseLost": st.sampled_from(["restart", "resume"]),
    },
).map(lambda body: CreateExecution.model_validate_json(orjson.dumps(body)))


# Commands that continue a walk are drawn often, those that end it rarely: walks get long.
OFTEN = [
    "start",
    "claim",
    "release",
    "pause",
    "resume",
    "fail",
    "retry",
    "startStep",
    "completeStep",
    "update",
]


moves = st.tuples(
    st.sampled_from(OFTEN * 2 + sorted(BODIES)).flatmap(commands),
    st.integers(0, 40).map(lambda seconds: seconds * SECOND),
    st.integers(0, 20).map(lambda seconds: seconds * SECOND),
)


ways = st.lists(moves, min_size=5, max_size=30)


class Path(NamedTuple):
    """The result of a walk: the stored rows and the state after each."""

    rows: list[EventRow]
    states: list[Versioned[Any]]


def walk(creation: CreateExecution, way: list[tuple[Any, timedelta, timedelta]]) -> Path:
    path, now = Path([], []), NOON
    for command, wait, earlier in [(creation, timedelta(), timedelta()), *way]:
        now += wait
        back = timedelta() if command.wire_name in SERVER_COMMANDS else earlier  # these are of now
        versioned = path.states[-1] if path.states else None
        context = Context(
            now, now - back, "t", str, lambda: 0.5, importing=False, states=KNOWN, stream=STREAM
        )
        with suppress(DomainError):
            for event in command.outcome(versioned.state if versioned else None, context):
                if not isinstance(event, Event):
                    continue
                n = len(path.rows) + 1
                occurred_at = context.when if back else None
                recorded = Recorded(STREAM, n, n, now, event, "t", occurred_at=occurred_at)
                versioned = replay(versioned, [recorded])
                assert versioned is not None
                path.rows.append(CODEC.encode(recorded, KEY))
                path.states.append(versioned)
                note(f"{n} {event.type} -> {versioned.state.status}")
    return path
