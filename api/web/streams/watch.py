"""Streams a document: sent at first, and again whenever it has changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson
from starlette.types import ASGIApp

from api.streaming.hub import Hub
from api.web.request import Request
from api.web.streams import event_stream
from api.web.streams.event_source import EventSource, frame
from api.web.streams.stream_request import FULL
from domain.errors import Overloaded

POLL = 1.0
"""Seconds between two reads of the document."""

Look = Callable[[], Awaitable[dict[str, Any]]]


def watch(
    hub: Hub,
    request: Request,
    name: str,
    look: Look,
    most: int | None = None,
    *,
    over: Callable[[dict[str, Any]], bool] = lambda _: False,
) -> ASGIApp:
    """Stream the document that `look` returns as frames of a name, to at most `most` clients at once.

    Nothing is sent while `look` raises Overloaded, as the database is unavailable. The stream ends with a document
    that is `over`.

    Raises:
        Overloaded: there is no room for another stream.
    """
    if hub.full or (most is not None and hub.external_streams(name) >= most):
        return event_stream.refuse_browser(request, Overloaded(FULL))

    async def frames(source: EventSource) -> AsyncGenerator[bytes]:
        last = b""
        while not source.closing:
            with suppress(Overloaded):
                found = await look()
                data = orjson.dumps(found)
                if data != last:
                    last = data
                    yield frame(name, data)
                if over(found):
                    return
            await source.wake.wait(POLL)

    return EventSource(hub, frames, kind=name)
