"""The current list of executions as CSV: the same filter and order, every row, no sealed content."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from io import StringIO
from typing import Any

import orjson
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from api.access.rights import Right
from api.web import responses
from api.web.operation import Operation
from api.web.parameters import FRESH
from api.web.reads.consistency import Consistency, require_position
from api.web.reads.list_request import SORT
from api.web.request import Request
from domain.eventlog.store import Store
from projections.executions.columns import INDEXED, field
from projections.executions.projection import MOST_ROWS, Executions, Page
from projections.query import parser
from projections.query.ast import Condition
from projections.query.pagination import DEFAULT_SORT

COLUMNS = (
    *("$id", "status", "progress", "order", "service", "workflow", "customer", "provider"),
    *("assignee.type", "assignee.id", "assignee.name", "assignee.model", "priority", "tags"),
    *("error.code", "error.step", "metadata.createdAt", "metadata.startedAt"),
    *("metadata.completedAt", "metadata.updatedAt", "metrics.duration", "metrics.activeDuration"),
    *("metrics.cost", "metrics.currency", "metrics.tokensUsed", "metrics.apiCalls"),
    *("metrics.retries", "metrics.stepsCompleted", "metrics.stepsTotal", "version", "position"),
)
"""Members of the document, in the order of the columns. None of them is sealed."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that spreadsheets take for a formula (OWASP, "CSV Injection")."""
OWN = frozenset({SORT.name, *(parameter.name for parameter in FRESH)})
BYTE_ORDER_MARK = "\ufeff"
"""Without it spreadsheets take UTF-8 for another encoding."""


class CsvHandlers:
    """Answers lists of executions as CSV."""

    def __init__(
        self,
        store: Store,
        executions: Executions,
        consistency: Consistency,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._executions = executions
        self._consistency = consistency
        self._clock = clock

    async def export(self, request: Request) -> ASGIApp:
        """All executions that meet the query's conditions, page by page as they are sent.

        Executions that begin or change meanwhile may be in it as they were or as they became; none is missing that was
        there all the time, and none comes twice.
        """
        conditions = [item for item in request.query if item[0] not in OWN]
        condition = parser.from_query(conditions, field)
        condition = request.caller.scope.within(Right.READ_EXECUTIONS, condition)
        sort = request.filled(SORT.name) or DEFAULT_SORT
        await self._consistency.wait_for_projection(request, "executions")
        first = await self._page(condition, sort, None)
        require_position(request, first.position)
        request.shown = [listed.id for listed in first.data]
        return StreamingResponse(
            self._lines(request, condition, sort, first),
            media_type="text/csv; charset=utf-8",
            headers={
                "content-disposition": 'attachment; filename="executions.csv"',
                "log-position": str(first.position),
                "cache-control": "no-store",
            },
        )

    async def _page(self, condition: Condition, sort: str, cursor: str | None) -> Page:
        async with self._store.searcher(INDEXED) as connection:
            return await self._executions.find(
                connection, self._clock(), condition, sort=sort, limit=MOST_ROWS, cursor=cursor
            )

    async def _lines(
        self, request: Request, condition: Condition, sort: str, page: Page
    ) -> AsyncIterator[str]:
        yield BYTE_ORDER_MARK + _text([COLUMNS])
        while True:
            yield _text(_row(orjson.loads(listed.document)) for listed in page.data)
            if page.next_cursor is None:
                return
            page = await self._page(condition, sort, page.next_cursor)
            request.shown = [listed.id for listed in page.data]
            await request.record(request)


def _row(document: dict[str, Any]) -> list[str]:
    return [_cell(_member(document, path.split("."))) for path in COLUMNS]


def _member(found: Any, keys: list[str]) -> Any:
    for key in keys:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def _cell(value: Any) -> str:
    """A value as text. One that would be a formula has an apostrophe before it; numbers are numbers."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if not isinstance(value, str):
        return str(value)
    return f"'{value}" if value.startswith(FORMULA) else value


def _text(rows: Iterable[Iterable[str]]) -> str:
    lines = StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue()


def routes(handlers: CsvHandlers) -> tuple[Operation, ...]:
    """The row of the CSV: it comes before those of one execution."""
    return (
        Operation(
            "exportExecutions",
            "GET",
            "/executions.csv",
            Right.READ_EXECUTIONS,
            "The list of executions as CSV, every row of it; any scalar field filters, also dotted",
            handlers.export,
            answer={"type": "string"},
            media_type="text/csv",
            parameters=(SORT, *FRESH),
            sends=responses.AS_OF,
            problems=("too-expensive",),
            fields=True,
        ),
    )
