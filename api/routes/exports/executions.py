"""Exports the current list of executions as a file, with the filter and order of the list, and all rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple

from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from api.access.rights import Right
from api.routes.execution_lists import PAGING
from api.routes.exports import csv_text
from api.web import responses
from api.web.operation import Operation
from api.web.parameters import FRESH
from api.web.reads.consistency import Consistency, require_position
from api.web.reads.list_request import SORT
from api.web.reads.opened_rows import open_rows
from api.web.request import Request
from domain.errors import Invalid, TooExpensive
from domain.eventlog.store import Store
from projections.executions.columns import INDEXED, field
from projections.executions.projection import MOST_ROWS, ExecutionPage, Executions
from projections.query import parser
from projections.query.ast import Condition
from projections.query.pagination import DEFAULT_SORT
from projections.read_sources import ReadSources

FEW_ROWS = 50
"""Rows of a page that is read again because all of its rows took too long."""
OWN = frozenset({SORT.name, *(parameter.name for parameter in FRESH)})
OF_LISTS = PAGING - OWN
"""Parameters of lists that a file does not take."""


class Form(NamedTuple):
    """The format of a file: the extension, the media type, the beginning of the file, the rows of a page, and whether they
    have sealed content.
    """

    name: str
    media_type: str
    header: Callable[[], str]
    rows: Callable[[Iterable[bytes]], str]
    content: bool


CSV = Form("csv", "text/csv; charset=utf-8", csv_text.header, csv_text.rows, content=False)
NDJSON = Form(
    "ndjson",
    "application/x-ndjson",
    lambda: "",
    lambda documents: "".join(f"{document.decode()}\n" for document in documents),
    content=True,
)


class ExportHandlers:
    """Handles the operations of exports."""

    def __init__(
        self,
        store: Store,
        sources: ReadSources,
        executions: Executions,
        consistency: Consistency,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._sources = sources
        self._executions = executions
        self._consistency = consistency
        self._clock = clock

    async def export(self, request: Request, form: Form) -> ASGIApp:
        """Answer all executions that meet the conditions in the query, read page by page while they are sent.

        Executions that are created or changed meanwhile may be in the file as before or as after. In an order by fields that
        never change, such as the default, no execution that existed all the time is missing, and none is in the file twice.
        In another order, one that changes meanwhile, and so its place, may be missing or twice.

        Raises:
            Invalid: a condition is not valid, or a parameter is of lists alone.
        """
        for name, _ in request.query:
            if name in OF_LISTS:
                message = (
                    "is a parameter of lists: a file has all executions, whole, as they are now"
                )
                raise Invalid.field(name, message)
        conditions = [item for item in request.query if item[0] not in OWN]
        condition = parser.from_query(conditions, field)
        condition = request.caller.scope.within(Right.READ_EXECUTIONS, condition)
        sort = request.non_empty(SORT.name) or DEFAULT_SORT
        read = partial(self._page, condition, sort, None)
        first = await self._consistency.of_view(request, "executions", read)
        require_position(request, first.position)
        request.shown = [listed.id for listed in first.data]
        return StreamingResponse(
            self._parts(request, form, condition, sort, first),
            media_type=form.media_type,
            headers={
                "content-disposition": f'attachment; filename="executions.{form.name}"',
                "log-position": str(first.position),
                "cache-control": "no-store",
            },
        )

    async def _page(
        self, condition: Condition, sort: str, cursor: str | None, store: Store
    ) -> ExecutionPage:
        """Read a page; if that takes too long, as from a cold disk, a page of few rows."""
        with suppress(TooExpensive):
            return await self._rows(condition, sort, cursor, store, MOST_ROWS)
        return await self._rows(condition, sort, cursor, store, FEW_ROWS)

    async def _rows(
        self, condition: Condition, sort: str, cursor: str | None, store: Store, limit: int
    ) -> ExecutionPage:
        async with store.searcher(INDEXED) as connection:
            return await self._executions.find(
                connection, self._clock(), condition, sort=sort, limit=limit, cursor=cursor
            )

    async def _parts(
        self, request: Request, form: Form, condition: Condition, sort: str, page: ExecutionPage
    ) -> AsyncIterator[str]:
        if header := form.header():
            yield header
        while True:
            yield form.rows(
                await open_rows(self._store, page.data)
                if form.content
                else (listed.document for listed in page.data)
            )
            if page.next_cursor is None:
                return
            read = partial(self._page, condition, sort, page.next_cursor)
            page = await self._sources.of_view("executions", page.position, read)
            request.shown = [listed.id for listed in page.data]
            await request.record(request)


def routes(handlers: ExportHandlers) -> tuple[Operation, ...]:
    """The operations of exports, which come before those of one execution."""
    return (
        _route(handlers, "exportExecutions", CSV, "as CSV"),
        _route(handlers, "exportDocuments", NDJSON, "as lines of JSON"),
    )


def _route(handlers: ExportHandlers, name: str, form: Form, words: str) -> Operation:
    return Operation(
        name,
        "GET",
        f"/executions.{form.name}",
        Right.READ_EXECUTIONS,
        f"The list of executions {words}, every row of it; any scalar field filters, also dotted",
        partial(handlers.export, form=form),
        answer={"type": "string"},
        media_type=form.media_type.partition(";")[0],
        parameters=(SORT, *FRESH),
        sends=responses.AS_OF,
        problems=("too-expensive",),
        fields=True,
    )
