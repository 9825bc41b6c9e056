"""The rows of the streams."""

from __future__ import annotations

from api.access import Right
from api.operations import Operation, Parameter
from api.streams import sse

FROM = Parameter("from", "start, now, a position, or a time: where the stream begins")
FILTERS = tuple(
    Parameter(name, f"Only events of executions with this {name}, or one of several by commas")
    for name in ("service", "order", "customer", "provider", "tag", "status")
)
SPEED = Parameter(
    "speed",
    "Replay the past with its gaps divided by this; 0 is as fast as can be",
    {"type": "number", "minimum": 0, "maximum": 1_000_000},
)
TYPES = Parameter("types", "Only these, with `*` for any characters, comma-separated")
FORMAT = Parameter("format", "The words of watchers, or envelopes", {"enum": ["watch", "events"]})
INCLUDE = Parameter(
    "include", "`execution` adds the state after the event to each frame", {"enum": ["execution"]}
)
REFUSALS = ("malformed", "not-acceptable", "invalid")

OPERATIONS = (
    Operation(
        "streamEvents",
        "GET",
        "/events",
        Right.READ_EVENTS,
        "Every event, from any position on, and what comes (server-sent events, or WebSocket)",
        sse.events_of_log,
        answer={"type": "string"},
        media_type="text/event-stream",
        parameters=(FROM, TYPES, *FILTERS, SPEED, FORMAT, INCLUDE),
        problems=REFUSALS,
    ),
    Operation(
        "watchExecutions",
        "GET",
        "/executions/watch",
        Right.READ_EVENTS,
        "What happens to all executions, from now on (server-sent events, or WebSocket)",
        sse.watch_log,
        answer={"type": "string"},
        media_type="text/event-stream",
        parameters=(FROM, TYPES, *FILTERS, SPEED, FORMAT, INCLUDE),
        problems=REFUSALS,
    ),
    Operation(
        "watchExecution",
        "GET",
        "/executions/{id}/watch",
        Right.READ_EVENTS,
        "What happens to an execution, until it has ended (server-sent events, or WebSocket)",
        sse.watch_execution,
        answer={"type": "string"},
        media_type="text/event-stream",
        parameters=(FROM, TYPES, SPEED, FORMAT, INCLUDE),
        problems=(*REFUSALS, "not-found"),
    ),
)
