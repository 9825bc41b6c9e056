"""Adds to every response the security headers for browsers, and the headers of CORS."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.transport.http_answer import PROTECTIVE

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSED = ", ".join(
    (
        *("ETag", "Idempotency-Replayed", "Link", "Location", "Log-Id", "Log-Name"),
        *("Log-Position", "Next-Cursor", "Preference-Applied", "Retry-After", "Total-Count"),
        "WWW-Authenticate",
    )
)
"""The headers that pages of allowed origins may read (CORS)."""
PREFLIGHT_SECONDS = "600"
"""Seconds for which a browser may cache the answer to a preflight request."""
STARTS = frozenset({"http.response.start", "websocket.http.response.start"})


class AnswerHeaders:
    """An ASGI middleware that adds the security headers (`PROTECTIVE`) to responses.

    Pages of the `allowed` origins may read responses to requests with a token; browsers send them no cookie.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str]) -> None:
        self._app = app
        self._allowed = {origin.encode(): origin for origin in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        origin = self._allowed_origin(scope)
        if origin is not None and is_preflight(scope):
            await _preflight(origin, scope)(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] in STARTS:
                headers = message["headers"] = list(message.get("headers", ()))
                names = {name for name, _ in headers}
                headers += [field for field in PROTECTIVE if field[0] not in names]
                if origin is not None:
                    headers += _cors_headers(origin)
            await send(message)

        await self._app(scope, receive, send_protected)

    def _allowed_origin(self, scope: Scope) -> str | None:
        if not self._allowed or scope["type"] != "http":
            return None
        origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
        return self._allowed.get(origin.lower())


def is_preflight(scope: Scope) -> bool:
    """Whether a request is a preflight of CORS: a browser asks whether a page may send a request."""
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


def _cors_headers(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-expose-headers", EXPOSED.encode()),
        (b"vary", b"origin"),
    ]


def _preflight(origin: str, scope: Scope) -> Response:
    requested = [
        value for name, value in scope["headers"] if name == b"access-control-request-headers"
    ]
    headers = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": b", ".join(requested).decode("latin-1"),
        "access-control-max-age": PREFLIGHT_SECONDS,
        "vary": "origin, access-control-request-headers",
    }
    return Response(status_code=204, headers=headers)
