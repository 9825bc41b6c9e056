"""Answers below `/ui/`: the files, and for every other path the page, which reads the rest of the address itself.

Nothing here is secret, so it needs no right: what the page shows, it asks the API for with the session of
everyone who looks at it.
"""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from api.dashboard.files import INDEX, File, read_files
from api.web.admission import refusal
from domain.errors import NotFound

ROOT = "/ui"
ASSETS = "assets/"
"""Below this path a name is that of its content: another content has another name."""
NOT_BUILT = "The dashboard is not built: run `scripts/dashboard`, which needs no other set-up, and start again."
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept-encoding",
}


class Dashboard:
    """Serves the built files."""

    def __init__(self) -> None:
        self._files = read_files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._response(scope)
        await response(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        path = scope["path_params"]["path"]
        if INDEX not in self._files:
            return refusal(NotFound(NOT_BUILT), scope)
        if path.startswith(ASSETS) and path not in self._files:
            return refusal(NotFound(), scope)
        headers = scope["state"]["headers"]
        found = self._files.get(path) or self._files[INDEX]
        kept = "public, max-age=31536000, immutable" if path.startswith(ASSETS) else "no-cache"
        answered = {**HEADERS, "etag": found.etag, "cache-control": kept}
        if found.etag in headers.get(b"if-none-match", b"").decode("latin-1"):
            return Response(status_code=304, headers=answered)
        return _content(found, headers.get(b"accept-encoding", b""), answered)


def _content(found: File, accepted: bytes, headers: dict[str, str]) -> Response:
    if found.compressed is not None and b"gzip" in accepted:
        headers |= {"content-encoding": "gzip"}
        return Response(found.compressed, headers=headers, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)


class _Start:
    """The address alone, and `/ui`: both lead to the dashboard."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await RedirectResponse(f"{ROOT}/", 307)(scope, receive, send)


def routes() -> list[BaseRoute]:
    """The routes of the dashboard: GET and HEAD alone."""
    return [
        Route("/", _Start(), methods=["GET"]),
        Route(ROOT, _Start(), methods=["GET"]),
        Route(f"{ROOT}/{{path:path}}", Dashboard(), methods=["GET"]),
    ]
