"""Every way to open a stream and leave it."""

from __future__ import annotations

from tests.support.running_server import AUTHORIZED

VISITORS = 50


SSE = "Accept: text/event-stream"


SOCKET = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)


VISITS = [
    f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTHORIZED['Authorization']}\r\n"
    f"{transport}\r\n\r\n".encode()
    for path in ("/api/events", "/api/executions/watch?status=failed", "/api/events?types=user.*")
    for transport in (SSE, SOCKET)
]
