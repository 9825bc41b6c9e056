"""The executions of several logs: one list, and the analytics of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from api.access.rights import Right
from api.cells import merge
from api.cells.client import CellAway
from api.cells.connection import Query
from api.cells.merge import CellPage, LogCursors, MergedPage
from api.cells.order import CellOrder
from api.cells.rows import of_cell
from api.cells.sums import add_up, sums_of
from api.documents import schemas
from api.routes.analytics import PARAMETERS as FIGURE_PARAMETERS
from api.routes.cells.asking import CELLS, OWN, PARTIAL, Asking, parameters_to_pass_on
from api.routes.execution_lists import FILTER_PARAMETERS, PAGING
from api.web.operation import Operation
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.reads.list_request import COUNT, FIELDS, SORT
from api.web.request import Request
from api.web.responses import VARY, json
from domain.errors import Overloaded
from projections.executions.columns import field
from projections.executions.projection import MOST_ROWS
from projections.query import parser
from projections.query.pagination import DEFAULT_SORT, encode_cursor
from projections.representations.client_json import plain_json

PAGE = ("limit", "cursor")
LIST, ANALYTICS = "/api/executions", "/api/analytics/executions"


class WantedPage(NamedTuple):
    """A page of all logs: the common query parameters, the order, the cursor of each log, and the number of rows."""

    same: Query
    order: CellOrder
    before: LogCursors
    limit: int

    @property
    def share(self) -> int:
        """The number of rows that each log is asked for at first."""
        return merge.share(self.limit, len(self.before))

    def query(self, limit: int, cursor: str | None) -> Query:
        """The query of a log for `limit` rows behind a cursor."""
        own: Query = [("limit", limit), ("cursors", "true")]
        return [*self.same, *own, *([("cursor", cursor)] if cursor else [])]

    def read(self, text: bytes) -> CellPage:
        """Parse the page of a log. Raises the errors of `CellPage.of`."""
        return CellPage.of(self.order, text)

    def merge(self, pages: Mapping[str, CellPage]) -> MergedPage:
        """Merge the pages of logs, as far as their rows suffice."""
        return merge.merge(pages, self.before, self.order, self.limit)


class CellHandlers:
    """Handles the list and the analytics of several logs."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def executions(self, request: Request) -> ASGIApp:
        """Answer a page of the executions that the caller may see in each log."""
        _require_filter(request)
        names = self._asking.names(request)
        limit = request.integer("limit", 1, MOST_ROWS) or 50
        order = CellOrder.of(request.non_empty("sort") or DEFAULT_SORT)
        before = merge.decode(request.non_empty("cursor"), names, order)
        wanted = WantedPage(parameters_to_pass_on(request, *PAGE), order, before, limit)
        query = {name: wanted.query(wanted.share, cursor) for name, cursor in before.items()}
        answers = await self._asking.answers(request, LIST, query, wanted.read)
        pages = {name: answer.body for name, answer in answers.given.items()}
        found = await self._merge(request, wanted, pages)
        continues = found.more or bool(answers.away)
        shown: dict[str, Any] = {
            "hasMore": found.more,
            "nextCursor": encode_cursor(found.cursors) if continues else None,
        }
        totals = [page.total for page in pages.values() if page.total is not None]
        if totals:
            shown["total"] = sum(totals)
        rows = b",".join(of_cell(name, row) for name, row in found.rows)
        return json(b'{"data":[%b],%b' % (rows, plain_json(shown | answers.shown)[1:]), VARY)

    async def _merge(
        self, request: Request, wanted: WantedPage, pages: dict[str, CellPage]
    ) -> MergedPage:
        """Merge pages into one. A log with more rows in it than its share is asked once more, for all missing rows."""
        found = wanted.merge(pages)
        for _ in wanted.before:
            dry = found.dry
            if dry is None or not len(pages[dry].rows) == wanted.share < wanted.limit:
                break
            missing = wanted.limit - len(found.rows)
            query = {dry: wanted.query(missing, pages[dry].cursors[-1])}
            try:
                answers = await self._asking.answers(request, LIST, query, wanted.read)
            except (CellAway, Overloaded):
                break  # the page ends before the next row of this log
            pages[dry] = pages[dry].append(answers.given[dry].body)
            found = wanted.merge(pages)
        return found

    async def analytics(self, request: Request) -> ASGIApp:
        """Answer the analytics of the executions that the caller may see, in all logs together."""
        query = dict.fromkeys(self._asking.names(request), parameters_to_pass_on(request))
        answers = await self._asking.answers(request, ANALYTICS, query, sums_of)
        figures = add_up([answer.body for answer in answers.given.values()])
        return json(figures | answers.shown, VARY)


def _require_filter(request: Request) -> None:
    """Check the conditions before any request is sent. Raises Invalid where no log would accept them."""
    known = PAGING.union(OWN)
    parser.from_query([item for item in request.query if item[0] not in known], field)


def routes(handlers: CellHandlers) -> tuple[Operation, ...]:
    """The operations on several logs."""
    return (
        Operation(
            "listExecutionsOfCells",
            "GET",
            "/cells/executions",
            Right.SELF,  # each log checks the right of the caller
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
