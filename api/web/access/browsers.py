"""The cookie of a session, and the checks against cross-site request forgery (CSRF).

Browsers send a cookie with requests from pages of any site. So a request with a cookie that changes something or
opens a WebSocket has to come from a page of this service.
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
    """Reads and writes session cookies. `public_url` is the address of the service for clients, if it is configured."""

    def __init__(self, public_url: str | None) -> None:
        parts = urlsplit(public_url) if public_url else None
        self._origin = None if parts is None else f"{parts.scheme}://{parts.netloc}".lower()

    def session(self, headers: Headers) -> bytes | None:
        """The token in the session cookie; None without a cookie.

        Raises:
            Unauthenticated: the cookie has no token of a session. Keys and other tokens are not accepted in a cookie, as
                such a session would not end.
        """
        for part in headers.get(b"cookie", b"").split(b";"):
            name, _, value = part.strip().partition(b"=")
            if name == COOKIE.encode():
                if not (token := value.strip(b'"')).startswith(OF_COOKIES):
                    raise Unauthenticated("This cookie is not of a session.")
                return token
        return None

    def require_own_page(self, scope: Scope, headers: Headers) -> None:
        """Raises Forbidden where a request with a cookie changes something and is not from a page of this service."""
        if scope["type"] == "websocket":
            if not self._is_own_origin(headers):
                raise Forbidden(
                    "A WebSocket with a cookie needs an `Origin` that is this service's."
                )
        elif scope["method"] not in SAFE and not (
            headers.get(b"sec-fetch-site") == b"same-origin" or self._is_own_origin(headers)
        ):
            raise Forbidden(
                "A request with a cookie that changes something needs `Sec-Fetch-Site: same-origin`, or "
                "an `Origin` that is this service's."
            )

    def require_no_foreign_page(self, headers: Headers) -> None:
        """Raises Forbidden where the headers of a request name a page of another origin."""
        site = headers.get(b"sec-fetch-site", b"same-origin")
        if site not in {b"same-origin", b"none"} or not self._is_own_origin(headers, absent=True):
            raise Forbidden("A session begins at a page of this service.")

    def cookie(self, value: str, seconds: int, headers: Headers) -> str:
        """The value of Set-Cookie for a session; 0 seconds delete the cookie."""
        over_tls = headers.get(b"x-forwarded-proto") == b"https"
        secure = "; Secure" if over_tls or (self._origin or "").startswith("https:") else ""
        cookie = f"{COOKIE}={value}; Path=/; Max-Age={seconds}"
        return f"{cookie}; HttpOnly; SameSite=Strict{secure}"

    def _is_own_origin(self, headers: Headers, *, absent: bool = False) -> bool:
        if (named := headers.get(b"origin")) is None:
            return absent
        origin = named.decode("latin-1").lower()
        if self._origin is not None:
            return origin == self._origin
        host = headers.get(b"host", b"").decode("latin-1").lower()
        return origin in {f"http://{host}", f"https://{host}"}
