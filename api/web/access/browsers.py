"""The cookie of a session, and the checks of its origin (CSRF).

A cookie is sent by whichever site the page is from. So what changes something, or opens a WebSocket, has to come from
a page of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import Scope

from api.access.identity import OF_COOKIES
from api.problems.problems import Unauthenticated
from domain.errors import Forbidden

COOKIE = "executions_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
Headers = Mapping[bytes, bytes]


class Browsers:
    """Reads and writes cookies. `public_url` is where clients find the service, if that is known."""

    def __init__(self, public_url: str | None) -> None:
        parts = urlsplit(public_url) if public_url else None
        self._origin = None if parts is None else f"{parts.scheme}://{parts.netloc}".lower()

    def session(self, headers: Headers) -> bytes | None:
        """What the cookie of a session has; None without one.

        Raises:
            Unauthenticated: it is none of ours. Keys and tokens are no cookies: such a session would have no end.
        """
        for part in headers.get(b"cookie", b"").split(b";"):
            name, _, value = part.strip().partition(b"=")
            if name == COOKIE.encode():
                if not (token := value.strip(b'"')).startswith(OF_COOKIES):
                    raise Unauthenticated("This cookie is not of a session.")
                return token
        return None

    def require_own_page(self, scope: Scope, headers: Headers) -> None:
        """Raises Forbidden where a request changes something, and comes from the page of another origin."""
        if scope["type"] == "websocket":
            if not self._is_own(headers):
                raise Forbidden(
                    "A WebSocket with a cookie needs an `Origin` that is this service's."
                )
        elif scope["method"] not in SAFE and not (
            headers.get(b"sec-fetch-site") == b"same-origin" or self._is_own(headers)
        ):
            raise Forbidden(
                "A request with a cookie that changes something needs `Sec-Fetch-Site: same-origin`, or "
                "an `Origin` that is this service's."
            )

    def require_no_foreign_page(self, headers: Headers) -> None:
        """Raises Forbidden where a page of another origin says that it sends this."""
        said = headers.get(b"sec-fetch-site", b"same-origin")
        if said not in {b"same-origin", b"none"} or not self._is_own(headers, absent=True):
            raise Forbidden("A session begins at a page of this service.")

    def cookie(self, value: str, seconds: int, headers: Headers) -> str:
        """The header that sets the cookie; with 0 seconds it forgets it."""
        over_tls = headers.get(b"x-forwarded-proto") == b"https"
        secure = "; Secure" if over_tls or (self._origin or "").startswith("https:") else ""
        kept = f"{COOKIE}={value}; Path=/; Max-Age={seconds}"
        return f"{kept}; HttpOnly; SameSite=Strict{secure}"

    def _is_own(self, headers: Headers, *, absent: bool = False) -> bool:
        if (said := headers.get(b"origin")) is None:
            return absent
        origin = said.decode("latin-1").lower()
        if self._origin is not None:
            return origin == self._origin
        host = headers.get(b"host", b"").decode("latin-1").lower()
        return origin in {f"http://{host}", f"https://{host}"}
