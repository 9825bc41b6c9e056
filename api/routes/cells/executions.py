"""The executions of several logs: one list of them, and figures of all."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.cells import merge
from api.cells.connection import Query
from api.cells.merge import CellPage
from api.cells.sums import summed, sums_of
from api.documents import schemas
from api.routes.analytics import PARAMETERS as FIGURE_PARAMETERS
from api.routes.cells.asking import CELLS, OWN, PARTIAL, Asking, rest
from api.routes.execution_lists import FILTER_PARAMETERS, PAGING
from api.web.operation import Operation
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.reads.list_request import COUNT, FIELDS, SORT
from api.web.request import Request
from api.web.responses import VARY, json
from projections.executions.columns import field
from projections.executions.projection import MOST_ROWS
from projections.query import parser
from projections.query.pagination import DEFAULT_SORT, packed

LIST, ANALYTICS = "/api/executions", "/api/analytics/executions"


class CellHandlers:
    """Asks all logs the same, and answers what that comes to together."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def executions(self, request: Request) -> ASGIApp:
        """A page of the executions that the caller reaches in each log."""
        _require_filter(request)
        names = self._asking.names(request)
        limit = request.integer("limit", 1, MOST_ROWS) or 50
        sort = request.filled("sort") or DEFAULT_SORT
        before = merge.decode(request.filled("cursor"), names, sort)
        same: Query = [*rest(request, "limit", "cursor"), ("limit", limit), ("cursors", "true")]
        query = {
            name: [*same, ("cursor", place)] if place else same for name, place in before.items()
        }
        answers = await self._asking.answers(request, LIST, query, CellPage.of)
        pages = {name: answer.body for name, answer in answers.given.items()}
        found = merge.merged(pages, before, sort, limit)
        goes_on = found.more or bool(answers.away)
        shown: dict[str, Any] = {
            "data": [{"cell": name, **document} for name, document in found.rows],
            "hasMore": found.more,
            "nextCursor": packed(found.places) if goes_on else None,
        }
        totals = [page.total for page in pages.values() if page.total is not None]
        if totals:
            shown["total"] = sum(totals)
        return json(shown | answers.shown, VARY)

    async def analytics(self, request: Request) -> ASGIApp:
        """The figures of the executions that the caller reaches, in all logs together."""
        query = dict.fromkeys(self._asking.names(request), rest(request))
        answers = await self._asking.answers(request, ANALYTICS, query, sums_of)
        figures = summed([answer.body for answer in answers.given.values()])
        return json(figures | answers.shown, VARY)


def _require_filter(request: Request) -> None:
    """Raises Invalid where the query has a condition that no log takes: so none is asked."""
    known = PAGING.union(OWN)
    parser.from_query([item for item in request.query if item[0] not in known], field)


def routes(handlers: CellHandlers) -> tuple[Operation, ...]:
    """The rows of what is asked of several logs."""
    return (
        Operation(
            "listExecutionsOfCells",
            "GET",
            "/cells/executions",
            Right.SELF,  # each log looks at the right of the caller by itself
            "List the executions of several logs in one order; filters and sort as for one",
            handlers.executions,
            answer=schemas.CELLS_LIST,
            parameters=(*FILTER_PARAMETERS, SORT, LIMIT, CURSOR, COUNT, FIELDS, CELLS, PARTIAL),
            problems=("not-found", "too-expensive", "cell-away"),
            fields=True,
            long=True,
        ),
        Operation(
            "analyseExecutionsOfCells",
            "GET",
            "/cells/analytics/executions",
            Right.SELF,
            "Counts, durations and cost of executions in several logs together, in all and by group",
            handlers.analytics,
            answer={"type": "object", "required": ["total", "cells"]},
            parameters=(
                *(each for each in FIGURE_PARAMETERS if each not in FRESH),
                *(CELLS, PARTIAL),
            ),
            problems=("not-found", "too-expensive", "cell-away"),
            long=True,
        ),
    )
