"""The documents about the API: OpenAPI, AsyncAPI, and the problem codes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import asyncapi, openapi
from api.problems.codes import PROBLEMS
from api.web.operation import Operation
from api.web.request import Request
from api.web.responses import json
from api.web.streams.stream_request import STREAM_OPERATIONS
from domain.errors import NotFound


class DocumentHandlers:
    """Handles the operations of the documents. `rows` are all other operations; the documents describe both."""

    def __init__(self, rows: Iterable[Operation]) -> None:
        self._rows = (*rows, *routes(self))
        self._openapi = cache(self._describe)
        self._asyncapi = cache(self._describe_streams)

    async def openapi(self, _: Request) -> ASGIApp:
        """Answer the OpenAPI document."""
        return json(self._openapi())

    async def asyncapi(self, _: Request) -> ASGIApp:
        """Answer the AsyncAPI document."""
        return json(self._asyncapi())

    async def problem(self, request: Request) -> ASGIApp:
        """Answer the meaning of a problem code."""
        kind = PROBLEMS.get(request.path["code"])
        if kind is None:
            raise NotFound(f"There is no such problem code; there are {', '.join(PROBLEMS)}.")
        return json({"code": request.path["code"], **kind._asdict()})

    def _describe(self) -> dict[str, Any]:
        return openapi.document(self._rows)

    def _describe_streams(self) -> dict[str, Any]:
        return asyncapi.document(row for row in self._rows if row.name in STREAM_OPERATIONS)


def routes(handlers: DocumentHandlers) -> tuple[Operation, ...]:
    """The operations of the documents."""
    return (
        Operation(
            "openapi",
            "GET",
            "/openapi.json",
            Right.OPEN,
            "This document",
            handlers.openapi,
            answer={"type": "object"},
        ),
        Operation(
            "asyncapi",
            "GET",
            "/asyncapi.json",
            Right.OPEN,
            "The AsyncAPI document of the streams",
            handlers.asyncapi,
            answer={"type": "object"},
        ),
        Operation(
            "problem",
            "GET",
            "/problems/{code}",
            Right.OPEN,
            "What a problem code means",
            handlers.problem,
            answer={"type": "object", "required": ["code", "status", "title", "cause", "cure"]},
            problems=("not-found",),
        ),
    )
