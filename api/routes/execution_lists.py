"""Lists of executions: filtered, sorted and counted, as they are now or as they were at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from api.access.identity import Caller
from api.access.rights import Right
from api.documents import schemas
from api.routes.executions import EXPAND
from api.web import responses
from api.web.input.command_body import fields
from api.web.operation import Operation, Parameter
from api.web.parameters import FRESH
from api.web.reads.consistency import Consistency, require_position
from api.web.reads.list_request import (
    BODY_SCHEMAS,
    Facets,
    ListRequest,
    filter_of,
    list_request,
    page_answer,
)
from api.web.reads.list_request import PARAMETERS as LIST_WORDS
from api.web.reads.opened_rows import open_rows
from api.web.reads.related import expand, require_relations
from api.web.reads.selection import Selection
from api.web.request import Request
from domain.eventlog.codec import to_sealed_json
from domain.eventlog.store import Store
from projections.executions.columns import INDEXED, field
from projections.executions.past import PastLists
from projections.executions.projection import ExecutionPage, Executions
from projections.executions.references import Choose, Listed, whole
from projections.list_counts import find_and_count
from projections.query import parser
from projections.query.ast import Condition, Field
from projections.representations.client_json import plain_json
from projections.representations.exact_json import exact_json

LIST_PARAMETERS = (*LIST_WORDS, EXPAND, *FRESH)


FILTER_PARAMETERS = (
    Parameter("status", "One or more, comma-separated"),
    Parameter("service", "Id"),
    Parameter("order", "Id"),
    Parameter("customer", "Id"),
    Parameter("provider", "Id"),
    Parameter("tag", "Has this tag"),
    Parameter("metadata.createdAt[$gte]", "Created at or after; any field takes such operators"),
)


PAGING = frozenset(parameter.name for parameter in LIST_PARAMETERS)


class ListHandlers:
    """Handles the operations of lists."""

    def __init__(
        self,
        store: Store,
        executions: Executions,
        past_lists: PastLists,
        consistency: Consistency,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._executions = executions
        self._past_lists = past_lists
        self._consistency = consistency
        self._clock = clock

    async def list_all(self, request: Request) -> ASGIApp:
        """Answer a page of the executions that meet the conditions in the query."""
        conditions = [item for item in request.query if item[0] not in PAGING]
        return await self._page(
            request, parser.from_query(conditions, field), list_request(request)
        )

    async def find(self, request: Request) -> ASGIApp:
        """Answer a page of the executions that meet the conditions in the body."""
        condition, path, beside = filter_of(fields(request.body))
        return await self._page(
            request, parser.from_json(condition, field, path), list_request(request, beside)
        )

    async def _page(self, request: Request, condition: Condition, asked: ListRequest) -> ASGIApp:
        relations = require_relations(asked.expand)
        scope = request.caller.scope
        options = asked.paging | {"choose": _choosing(asked.fields)}
        counts: Facets | None = None
        if asked.at is not None:
            found = await self._past_page(request, condition, asked.at, options)
        else:
            options["cursors"] = asked.cursors
            within = scope.within(Right.READ_EXECUTIONS, condition)
            read = partial(self._count, within, asked.facets, options)
            found, counts = await self._consistency.of_view(request, "executions", read)
        require_position(request, found.position)
        request.shown += [row.id for row in found.data]
        items = await self._items(request.caller, found.data, relations, asked.fields, asked.at)
        return page_answer(request, asked, found, items, counts)

    async def _count(
        self,
        condition: Condition,
        fields: Mapping[str, Field],
        options: dict[str, Any],
        store: Store,
    ) -> tuple[ExecutionPage, Facets | None]:
        async with store.searcher(INDEXED) as connection:
            return await find_and_count(
                self._executions, connection, self._clock(), condition, fields, **options
            )

    async def _past_page(
        self, request: Request, condition: Condition, at: datetime, options: dict[str, Any]
    ) -> ExecutionPage:
        """A page of executions at a time, of those that the caller may see now."""
        scope = request.caller.scope.condition(Right.READ_EXECUTIONS)
        await self._consistency.wait_for_projection(request, "executions")
        moment = await self._past_lists.moment(at)

        async def read(store: Store) -> ExecutionPage:
            async with store.searcher(INDEXED) as connection:
                return await self._past_lists.find(
                    connection, self._clock(), moment, condition, scope=scope, **options
                )

        found = await self._consistency.of_view(request, "executions", read, moment.position)
        require_position(request, found.position, moment.position)
        return found

    async def _items(
        self,
        caller: Caller,
        rows: list[Listed],
        relations: list[str],
        chosen: Selection | None,
        at: datetime | None,
    ) -> list[bytes]:
        if relations:
            documents = [exact_json(row.document) for row in rows]
            await expand(self._store, caller, documents, relations, at)
            rows = [
                row._replace(document=to_sealed_json(item))
                for row, item in zip(rows, documents, strict=True)
            ]
        opened = await open_rows(self._store, rows)
        if chosen and chosen.deep:
            return [
                item if row.damaged else plain_json(chosen.of(exact_json(item)))
                for row, item in zip(rows, opened, strict=True)
            ]
        return opened


def _choosing(fields: Selection | None) -> Choose:
    """The function that selects members of a stored document; parts of members are selected after decryption."""
    if fields is None:
        return whole
    return lambda document: to_sealed_json(fields.members(exact_json(document)))


def routes(handlers: ListHandlers) -> tuple[Operation, ...]:
    """The operations of lists, which come before those of one execution."""
    return (
        Operation(
            "listExecutions",
            "GET",
            "/executions",
            Right.READ_EXECUTIONS,
            "List executions; any scalar field filters, also dotted",
            handlers.list_all,
            answer=schemas.EXECUTION_LIST,
            parameters=(*FILTER_PARAMETERS, *LIST_PARAMETERS),
            sends=(*responses.AS_OF, "Link", "Next-Cursor", "Total-Count"),
            problems=("too-expensive",),
            fields=True,
        ),
        Operation(
            "findExecutions",
            "POST",
            "/executions/find",
            Right.READ_EXECUTIONS,
            "Find executions by a JSON filter",
            handlers.find,
            body=schemas.filter_beside(BODY_SCHEMAS),
            answer=schemas.EXECUTION_LIST,
            parameters=LIST_PARAMETERS,
            sends=(*responses.AS_OF, "Link", "Next-Cursor", "Total-Count"),
            problems=("too-expensive",),
        ),
    )
