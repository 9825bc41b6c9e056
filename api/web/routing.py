"""Makes routes of operations, and the middleware that runs before them."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems.problems import Malformed
from api.problems.refusals import refusal
from api.web import headers as request_headers
from api.web.admission import AdmissionControl
from api.web.body import Bodies
from api.web.endpoint import Endpoint
from api.web.operation import Operation
from api.web.path_segments import SEGMENT, decode_path

PREFIX = "/api"


def routes(
    admission: AdmissionControl, bodies: Bodies, operations: Iterable[Operation]
) -> list[BaseRoute]:
    """One route a path, in the order of the rows."""
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        # Ids have no encoded characters; a step may have any name.
        path = operation.path.replace("{step}", f"{{step:{SEGMENT}}}")
        paths.setdefault(path, []).append(operation)
    return [Route(path, Endpoint(admission, bodies, rows)) for path, rows in paths.items()]


def with_prefix(router: Router) -> ASGIApp:
    """Wrap a router: each path is served with and without `PREFIX`, and headers are parsed, or refused, before."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            try:
                scope["state"]["headers"] = request_headers.read(scope)
            except Malformed as error:
                await refusal(error, scope)(scope, receive, send)
                return
            if b"%" in scope["raw_path"]:
                scope["path"] = decode_path(scope["raw_path"])
            if scope["path"].startswith(PREFIX + "/"):
                scope["root_path"] = PREFIX
        await router(scope, receive, send)

    return app
