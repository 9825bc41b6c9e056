"""Serves the dashboard below `/ui/`: the files, and for every other path the page, whose program reads the path.

The files are not secret, so no right is needed: the page gets its data from the API with the session of its user.
"""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from api.dashboard.files import INDEX, File, read_files
from api.problems.refusals import refusal
from domain.errors import NotFound

ROOT = "/ui"
ASSETS = "assets/"
"""The path of files whose names change with their content."""
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
        caching = "public, max-age=31536000, immutable" if path.startswith(ASSETS) else "no-cache"
        answer_headers = {**HEADERS, "etag": found.etag, "cache-control": caching}
        if found.etag in headers.get(b"if-none-match", b"").decode("latin-1"):
            return Response(status_code=304, headers=answer_headers)
        return _content(found, headers.get(b"accept-encoding", b""), answer_headers)


def _content(found: File, accepted: bytes, headers: dict[str, str]) -> Response:
    if found.compressed is not None and b"gzip" in accepted:
        headers |= {"content-encoding": "gzip"}
        return Response(found.compressed, headers=headers, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)


class _RedirectToDashboard:
    """Redirects `/` and `/ui` to the dashboard."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await RedirectResponse(f"{ROOT}/", 307)(scope, receive, send)


def routes() -> list[BaseRoute]:
    """The routes of the dashboard, for GET and HEAD."""
    return [
        Route("/", _RedirectToDashboard(), methods=["GET"]),
        Route(ROOT, _RedirectToDashboard(), methods=["GET"]),
        Route(f"{ROOT}/{{path:path}}", Dashboard(), methods=["GET"]),
    ]
