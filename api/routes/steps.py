"""Reads the steps of an execution: all of them, a page, or one."""

from __future__ import annotations

from itertools import islice
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.web import responses
from api.web.operation import Operation, Parameter
from api.web.parameters import CURSOR, LIMIT, PAST
from api.web.reads.state_reader import StateReader, state_response
from api.web.request import Request
from domain.errors import Invalid, NotFound
from domain.execution.parts import Step
from domain.execution.state import Execution
from projections.representations.step import step_document

DEFAULT = 50
"""Steps of a page without `limit`."""


class StepHandlers:
    """Handles the operations of steps."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader

    async def read(self, request: Request) -> ASGIApp:
        """Answer the steps in their order: a list, or with `limit` or `cursor` a page."""
        slim = request.boolean("slim")
        limit, cursor = request.integer("limit", 1, 500), request.parameter("cursor")
        state = await self._reader.read(request)
        execution: Execution = state.versioned.state
        if limit is None and cursor is None:
            return state_response(
                request, state, _documents(execution, 0, len(execution.steps), slim)
            )
        after = _parse_cursor(cursor, len(execution.steps))
        until = after + (limit or DEFAULT)
        more = until < len(execution.steps)
        page = {
            "data": _documents(execution, after, until, slim),
            "hasMore": more,
            "nextCursor": str(until) if more else None,
        }
        return state_response(request, state, page)

    async def read_one(self, request: Request) -> ASGIApp:
        """Answer one step."""
        state = await self._reader.read(request)
        execution: Execution = state.versioned.state
        step = execution.steps.get(request.path["step"])
        if step is None:
            raise NotFound("There is no such step.", step=request.path["step"])
        shown = state.mark_erased(step_document(step, execution.assignee))
        return state_response(request, state, shown)


def _documents(execution: Execution, after: int, until: int, slim: bool) -> list[dict[str, Any]]:
    steps = islice(execution.steps.values(), after, until)
    return [step_document(_slim(step) if slim else step, execution.assignee) for step in steps]


def _slim(step: Step) -> Step:
    return step.evolve(input=None, output=None, error=None)


def _parse_cursor(cursor: str | None, steps: int) -> int:
    """How many steps come before: none ever goes, and each keeps its place."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10 and int(cursor) <= steps):
        raise Invalid.field("cursor", "is not a cursor of these pages")
    return int(cursor)


STEP = {"$ref": "#/components/schemas/ShownStep"}
LIST = {"$ref": "#/components/schemas/ServiceExecution/properties/steps"}
SLIM = Parameter("slim", "Without `input`, `output` and `error`", {"type": "boolean"})


def routes(handlers: StepHandlers) -> tuple[Operation, ...]:
    """The operations of the steps of an execution."""
    return (
        Operation(
            "readSteps",
            "GET",
            "/executions/{id}/steps",
            Right.READ_EXECUTIONS,
            "The steps of an execution; with `limit` or `cursor` a page of them",
            handlers.read,
            answer={"anyOf": [LIST, schemas.page_of(STEP)]},
            parameters=(*PAST, LIMIT, CURSOR, SLIM),
            sends=responses.VERSIONED,
            others=responses.NOT_MODIFIED,
        ),
        Operation(
            "readStep",
            "GET",
            "/executions/{id}/steps/{step}",
            Right.READ_EXECUTIONS,
            "One step",
            handlers.read_one,
            answer=STEP,
            parameters=PAST,
            sends=responses.VERSIONED,
            others=responses.NOT_MODIFIED,
        ),
    )
