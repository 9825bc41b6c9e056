"""Figures about many executions."""

from __future__ import annotations

from typing import cast, get_args

from starlette.types import ASGIApp

from api.access.rights import Right
from api.routes import history
from api.web import responses
from api.web.consistency import MIN_POSITION, fresh, reached
from api.web.operation import Operation, Parameter
from api.web.request import Call
from domain.errors import Invalid
from domain.execution.types import Status
from projections.analytics import queries

INDEXED = ("service", "order", "customer", "provider", "from", "to")
ONLY = ("service", "order", "customer", "provider", "status")
GROUPS = get_args(queries.By)


async def executions(call: Call) -> ASGIApp:
    """Counts, rates, durations and cost of the executions that are meant, and by group."""
    by, status = call.parameter("by"), call.parameter("status")
    if by is not None and by not in GROUPS:
        raise Invalid.field("by", f"must be one of {', '.join(GROUPS)}")
    if status is not None and status not in list(Status):
        raise Invalid.field("status", f"must be one of {', '.join(Status)}")
    since, until = call.parameter("from"), call.parameter("to")
    question = queries.Question(
        by=cast("queries.By | None", by),
        only={name: value for name in ONLY if (value := call.parameter(name)) is not None},
        since=None if since is None else history.timed("from", since),
        until=None if until is None else history.timed("to", until),
    )
    await fresh(call, "analytics")
    async with call.system.store.searcher(INDEXED) as connection:
        answer = await call.system.figures.answer(connection, question)
    reached(call, answer.position)
    return responses.json(answer.document, {"log-position": str(answer.position)})


PARAMETERS = (
    *(Parameter(name, "Only these") for name in ONLY if name != "status"),
    Parameter("status", "Only these", {"type": "string", "enum": list(Status)}),
    Parameter("from", "Created at or after", {"type": "string", "format": "date-time"}),
    Parameter("to", "Created before", {"type": "string", "format": "date-time"}),
    Parameter("by", "What to group by", {"type": "string", "enum": list(GROUPS)}),
    MIN_POSITION,
)
OPERATIONS = tuple(
    Operation(
        name,
        "GET",
        path,
        Right.READ_ANALYTICS,
        summary,
        executions,
        answer={"type": "object", "required": ["total"]},
        sends=responses.AS_OF,
        parameters=PARAMETERS,
        problems=("too-expensive",),
    )
    for name, path, summary in (
        (
            "analyseExecutions",
            "/analytics/executions",
            "Counts, rates, durations and cost, in all and by group",
        ),
        ("analyseExecutionsToo", "/executions/analytics", "The same as `/analytics/executions`"),
    )
)
