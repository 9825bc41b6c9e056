"""A literal path is found as it would be by trying all routes in their order."""

from __future__ import annotations

from typing import cast
from unittest.mock import MagicMock

import pytest
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from api.web.routing import LiteralPathRouter, routes
from tests.support.operations import OPERATIONS

ROUTES = routes(MagicMock(), MagicMock(), OPERATIONS)
LITERAL = sorted({row.path for row in OPERATIONS if "{" not in row.path})


def scope_of(path: str) -> Scope:
    return {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}


@pytest.mark.parametrize("path", LITERAL)
def test_first_route_that_matches_a_literal_path_has_that_path(path: str) -> None:
    first = next(route for route in ROUTES if route.matches(scope_of(path))[0] is Match.FULL)
    assert cast(Route, first).path == path


class Handler:
    """Notes the path of its route, and the values of its parameters."""

    def __init__(self, path: str, handled: list[object]) -> None:
        self._path, self._handled = path, handled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._handled.append((self._path, scope["path_params"]))


@pytest.mark.anyio
async def test_methods_prefixes_and_other_paths_are_left_to_the_routes() -> None:
    handled: list[object] = []
    only_post, one, literal = (
        Route(path, Handler(path, handled)) for path in ("/a", "/{id}", "/b")
    )
    only_post.methods = {"POST"}
    router = LiteralPathRouter([only_post, one, literal], redirect_slashes=False)
    prefixed = {**scope_of("/api/b"), "root_path": "/api"}
    for scope in (scope_of("/a"), scope_of("/x"), scope_of("/b"), prefixed):
        await router(scope, MagicMock(), MagicMock())
    assert handled == [("/{id}", {"id": "a"}), ("/{id}", {"id": "x"}), ("/b", {}), ("/b", {})]
