"""The inbox: steps and paused executions that wait for people."""

from __future__ import annotations

from typing import get_args

import orjson
from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.web import responses
from api.web.operation import Operation, Parameter
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.reads.consistency import Consistency, require_position
from api.web.request import Request
from domain.eventlog.store import Store
from domain.execution.types import Status, StepKind, StepStatus
from domain.types import Priority
from projections.inbox import VIEWS, inbox

TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
ITEM = {
    "type": "object",
    "required": [
        "type",
        "execution",
        "order",
        "service",
        "customer",
        "status",
        "priority",
        "since",
    ],
    "properties": {
        "type": {"enum": ["step", "paused"]},
        "execution": TEXT,
        "order": TEXT,
        "service": TEXT,
        "customer": TEXT,
        "status": {"enum": list(Status)},
        "priority": {"enum": list(Priority)},
        "since": TIME,
        "assignee": {
            "type": "object",
            "properties": {"type": TEXT, "id": TEXT},
            "additionalProperties": False,
        },
        "step": {
            "type": "object",
            "required": ["id", "name", "status"],
            "properties": {
                "id": TEXT,
                "name": TEXT,
                "status": {"enum": list(StepStatus)},
                "kind": {"enum": list(get_args(StepKind))},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
ASSIGNEE = Parameter("assignee", "The id of the person; by default, items for any person")
NARROWED_BY = ("assignee",)


class InboxHandlers:
    """Handles the operation of the inbox."""

    def __init__(self, store: Store, consistency: Consistency) -> None:
        self._store = store
        self._consistency = consistency

    async def list_all(self, request: Request) -> ASGIApp:
        """Answer a page of open steps and paused executions, the most urgent and oldest first."""
        limit = request.integer("limit", 1, 500) or 50
        assignee, cursor = request.non_empty("assignee"), request.parameter("cursor")
        for view in VIEWS:
            await self._consistency.wait_for_projection(request, view)
        async with self._store.searcher(NARROWED_BY) as connection:
            scope = request.caller.scope.condition(Right.READ_EXECUTIONS)
            page = await inbox(connection, assignee, limit, cursor, scope)
        require_position(request, page.position)
        request.shown += [item.execution for item in page.items]
        items = [orjson.dumps(item.document()) for item in page.items]
        headers = {"log-position": str(page.position)}
        return responses.json(responses.page(items, page.next_cursor), headers)


def routes(handlers: InboxHandlers) -> tuple[Operation, ...]:
    """The operation of the inbox."""
    return (
        Operation(
            "inbox",
            "GET",
            "/inbox",
            Right.READ_EXECUTIONS,
            "Open steps and paused executions that wait for a person, the most urgent and oldest first",
            handlers.list_all,
            answer=schemas.page_of(ITEM),
            parameters=(ASSIGNEE, LIMIT, CURSOR, *FRESH),
            sends=responses.AS_OF,
            problems=("too-expensive",),
        ),
    )
