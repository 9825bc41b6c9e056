"""Where a client asks a stream to begin."""

from __future__ import annotations

from api.streaming.stream_position import Start, start_at
from api.web.request import Request


async def start(request: Request, default: str) -> Start:
    """The cursor a client asks for, by `Last-Event-ID` or `?from=`. Raises BadCursor."""
    head = await request.system.hub.head()
    last, wanted = request.header("last-event-id"), request.parameter("from")
    return await start_at(last, wanted or default, head, request.system.store.position_before)
