"""The operations of the streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from api.access.rights import Right
from api.web.operation import Handler, Operation, Parameter
from api.web.parameters import LOG

FROM = Parameter("from", "start, now, a position, or a time: where the stream begins")
FILTERS = tuple(
    Parameter(name, f"Only events of executions with this {name}, or one of several by commas")
    for name in ("service", "order", "customer", "provider", "tag", "status")
)
SPEED = Parameter(
    "speed",
    "Replay past events with their gaps divided by this; 0 leaves the gaps out",
    {"type": "number", "minimum": 0, "maximum": 1_000_000},
)
TYPES = Parameter(
    "types",
    "Only these, with `*` for any characters, comma-separated; `execution.` may be left out. Of the "
    "frames of watchers: those of all events that have one of these types, or one such frame. `log`, "
    "which no `*` means, adds log lines to them, live",
)
FORMAT = Parameter("format", "Frames for watchers, or envelopes", {"enum": ["watch", "events"]})
INCLUDE = Parameter(
    "include", "`execution` adds `state`, the execution after the event", {"enum": ["execution"]}
)


class StreamHandlers(Protocol):
    """Makes the handlers of streams."""

    def handler(self, operation: str) -> Handler:
        """The handler of one of the `STREAM_OPERATIONS`."""
        ...


def routes(streams: StreamHandlers) -> tuple[Operation, ...]:
    """The operations of the streams, those for watchers under both of their names."""
    return (
        _stream(
            streams,
            "streamEvents",
            "/events",
            "Every event, from any position on, and those that follow",
            *FILTERS,
        ),
        *_watches("watch", streams),
        *_watches("monitor", streams),
    )


def _watches(word: str, streams: StreamHandlers) -> tuple[Operation, ...]:
    """The streams for watchers under one of their names, `watch` and `monitor`."""
    return (
        _stream(
            streams,
            f"{word}Executions",
            f"/executions/{word}",
            "What happens to all executions, from now on",
            *FILTERS,
        ),
        _stream(
            streams,
            f"{word}Execution",
            f"/executions/{{id}}/{word}",
            "What happens to an execution, until it has ended",
            problems=("not-found",),
            others={204: "The execution has ended, and this client has all of it"},
        ),
    )


def _stream(
    streams: StreamHandlers,
    name: str,
    path: str,
    summary: str,
    *narrowed: Parameter,
    problems: tuple[str, ...] = (),
    others: Mapping[int, str] = {},
) -> Operation:
    return Operation(
        name,
        "GET",
        path,
        Right.READ_EVENTS,
        f"{summary} (server-sent events, or WebSocket)",
        streams.handler(name),
        answer={"type": "string"},
        media_type="text/event-stream",
        parameters=(FROM, LOG, TYPES, *narrowed, SPEED, FORMAT, INCLUDE),
        problems=("malformed", "not-acceptable", "invalid", "other-log", *problems),
        others=others,
        fields=True,
    )
