"""Where a client asks a stream to begin."""

from __future__ import annotations

from api.streaming.stream_position import Start, start_at
from api.web.request import Call


async def start(call: Call, default: str) -> Start:
    """The cursor a client asks for, by `Last-Event-ID` or `?from=`. Raises BadCursor."""
    head = await call.system.hub.head()
    last, wanted = call.header("last-event-id"), call.parameter("from")
    return await start_at(last, wanted or default, head, call.system.store.position_before)
