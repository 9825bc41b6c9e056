"""Makes routes of operations, and the middleware that runs before them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.routing import BaseRoute, Match, Route, Router
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
        # Ids have no encoded characters. A step may have any name, and the webhook of an earlier build has a slash.
        path = operation.path
        for name in ("step", "webhook"):
            path = path.replace(f"{{{name}}}", f"{{{name}:{SEGMENT}}}")
        paths.setdefault(path, []).append(operation)
    return [Route(path, Endpoint(admission, bodies, rows)) for path, rows in paths.items()]


class LiteralPathRouter(Router):
    """A router that finds a route without path parameters by its path. All others are tried in their order, as in any
    router, which took 60 microseconds for a list: a literal path comes before those with parameters in that order, too.
    """

    def __init__(self, routes: Sequence[BaseRoute], **more: Any) -> None:
        super().__init__(routes, **more)
        self._literal: dict[str, Route] = {}
        for route in self.routes:
            if isinstance(route, Route) and not route.param_convertors:
                self._literal.setdefault(route.path, route)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope["root_path"]) if scope["type"] == "http" else ""
        if (route := self._literal.get(path)) is not None:
            match, values = route.matches(scope)
            if match is Match.FULL:
                scope.update({"router": self, "route": route, **values})
                await route.handle(scope, receive, send)
                return
        await super().app(scope, receive, send)


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
