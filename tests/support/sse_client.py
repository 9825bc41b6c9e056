"""A consumer of server-sent events: opens a stream, reads frames, and stores its position."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
from httpx_sse import EventSource, connect_sse

JSON = dict[str, Any]
NOT_EVENTS = {"checkpoint", "caught-up", "closing"}


class Frame(NamedTuple):
    """One frame as received: with an id of its own, or none."""

    type: str
    id: str
    data: JSON
    retry: int | None

    @property
    def is_event(self) -> bool:
        return self.type not in NOT_EVENTS


@contextmanager
def opened(
    api: httpx.Client, path: str = "/events", after: int | str | None = None, **query: str
) -> Iterator[EventSource]:
    """A stream; `after` is the Last-Event-ID."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with connect_sse(api, "GET", path, headers=headers, params=query) as source:
        if source.response.status_code == 503:
            raise httpx.RemoteProtocolError(f"refused for now: {source.response.read()!r}")
        assert source.response.status_code == 200, source.response.read()
        yield source


def frames(source: EventSource) -> Iterator[Frame]:
    """Every frame until the server ends the stream."""
    for sse in source.iter_sse():
        yield Frame(sse.event, sse.id, json.loads(sse.data), sse.retry)


def until_caught_up(source: EventSource) -> list[Frame]:
    """The frames up to the one that marks the end of the past, inclusive."""
    read = []
    for frame in frames(source):
        read.append(frame)
        if frame.type == "caught-up":
            break
    return read


def positions(read: list[Frame]) -> list[int]:
    """The positions of the events among the frames."""
    return [frame.data["position"] for frame in read if frame.is_event]
