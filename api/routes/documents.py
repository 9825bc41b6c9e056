"""The OpenAPI document, and what each problem code means."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents.openapi import document
from api.web.operation import Operation
from api.web.problem_codes import PROBLEMS
from api.web.request import Request
from api.web.responses import json


@cache
def _served() -> dict[str, Any]:
    from api.app import OPERATIONS as ALL  # the document describes itself, too

    return document(ALL)


async def serve(_: Request) -> ASGIApp:
    """This document."""
    return json(_served())


async def problem(request: Request) -> ASGIApp:
    """What a problem code means."""
    from domain.errors import NotFound

    kind = PROBLEMS.get(request.path["code"])
    if kind is None:
        raise NotFound(f"There is no such problem code; there are {', '.join(PROBLEMS)}.")
    return json({"code": request.path["code"], **kind._asdict()})


OPERATIONS = (
    Operation(
        "openapi",
        "GET",
        "/openapi.json",
        Right.OPEN,
        "This document",
        serve,
        answer={"type": "object"},
    ),
    Operation(
        "problem",
        "GET",
        "/problems/{code}",
        Right.OPEN,
        "What a problem code means",
        problem,
        answer={"type": "object", "required": ["code", "status", "title", "cause", "cure"]},
        problems=("not-found",),
    ),
)
