"""The analytics of executions: figures about many."""

from __future__ import annotations

from typing import cast, get_args

from starlette.types import ASGIApp

from api.access.rights import Right
from api.web import responses
from api.web.operation import Operation, Parameter
from api.web.parameters import FRESH, parse_time_parameter
from api.web.reads.consistency import Consistency, require_position
from api.web.reads.list_request import words_of
from api.web.request import Request
from domain.errors import Forbidden, Invalid, but_is
from domain.eventlog.store import Store
from domain.execution.types import Status, StepStatus
from projections.analytics.analytics_query import MOST_KEYS, AnalyticsQuery, By
from projections.analytics.queries import AnalyticsQueries, AnalyticsResult

INDEXED = ("service", "order", "customer", "provider", "from", "to")
ONLY = ("service", "order", "customer", "provider", "status")
KEYS = get_args(By)


class AnalyticsHandlers:
    """Handles the operation of the analytics."""

    def __init__(self, analytics_queries: AnalyticsQueries, consistency: Consistency) -> None:
        self._queries = analytics_queries
        self._consistency = consistency

    async def executions(self, request: Request) -> ASGIApp:
        """Answer counts, rates, durations and cost of the selected executions, in all and by group."""
        since, until = request.parameter("from"), request.parameter("to")
        keys = _keys(request)
        question = AnalyticsQuery(
            by=keys,
            only={name: value for name in ONLY if (value := request.parameter(name)) is not None},
            scope=_scope(request),
            since=None if since is None else parse_time_parameter("from", since),
            until=None if until is None else parse_time_parameter("to", until),
        )
        statuses: list[str] = list(StepStatus if question.steps else Status)
        if (asked := question.only.get("status")) is not None and asked not in statuses:
            raise Invalid.field("status", f"must be one of {', '.join(statuses)}{but_is(asked)}")

        unused = request.find_unused(INDEXED)

        async def read(store: Store) -> AnalyticsResult:
            async with store.searcher(unused) as connection:
                return await self._queries.answer(connection, question)

        answer = await self._consistency.of_view(request, "analytics", read)
        require_position(request, answer.position)
        return responses.json(answer.document, {"log-position": str(answer.position)})


def _scope(request: Request) -> dict[str, str]:
    """The party whose executions are counted; empty where the caller may see all.

    Raises:
        Forbidden: the caller has no party, and may not see all.
        Invalid: the caller has several parties and names none of them.
    """
    scope = request.caller.scope
    if scope.is_unlimited(Right.READ_ANALYTICS):
        return {}
    parties = scope.parties(Right.READ_ANALYTICS)
    named = [pair for pair in parties if request.parameter(pair[0]) == pair[1]] or parties
    if not named:
        raise Forbidden("You may read the figures of your own party alone, and you have none.")
    if len(named) > 1:
        examples = " or ".join(f"{name}={value}" for name, value in parties)
        raise Invalid.field(parties[0][0], f"must name one of your parties: {examples}")
    return dict(named)


def _keys(request: Request) -> tuple[By, ...]:
    keys = tuple(words_of(request, "by"))
    if strange := [key for key in keys if key not in KEYS]:
        raise Invalid.field("by", f"must be of {', '.join(KEYS)}{but_is(strange[0])}")
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise Invalid.field("by", f"must name each key once, but `{twice[0]}` comes twice")
    if len(keys) > MOST_KEYS:
        raise Invalid.field("by", f"must name at most {MOST_KEYS} keys, but names {len(keys)}")
    return cast("tuple[By, ...]", keys)


PARAMETERS = (
    *(Parameter(name, "Only these") for name in ONLY if name != "status"),
    Parameter(
        "status",
        "Only these: of executions, or where `step` is among `by`, of steps",
        {"type": "string", "enum": sorted({*Status, *StepStatus})},
    ),
    Parameter("from", "Created at or after", {"type": "string", "format": "date-time"}),
    Parameter("to", "Created before", {"type": "string", "format": "date-time"}),
    Parameter("by", f"One or two keys, comma-separated, of {', '.join(KEYS)}"),
    *FRESH,
)


def routes(handlers: AnalyticsHandlers) -> tuple[Operation, ...]:
    """The operation of the analytics, at both of its paths."""
    return tuple(
        Operation(
            name,
            "GET",
            path,
            Right.READ_ANALYTICS,
            summary,
            handlers.executions,
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
            (
                "analyseExecutionsToo",
                "/executions/analytics",
                "The same as `/analytics/executions`",
            ),
        )
    )
