"""Reading executions: one, its parts, its past, and many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes.related import RELATIONS, expand, expanded
from api.web import responses
from api.web.input.command_body import fields
from api.web.operation import Handler, Operation, Parameter
from api.web.parameters import MIN_POSITION, PAST
from api.web.reads.consistency import Consistency, require_position
from api.web.reads.list_request import (
    BODY_SCHEMAS,
    FIELDS,
    Facets,
    ListRequest,
    filter_of,
    list_request,
    listed,
    page_answer,
)
from api.web.reads.list_request import PARAMETERS as LIST_WORDS
from api.web.reads.selection import Selection, selection
from api.web.reads.state_reader import StateReader, state_response
from api.web.request import Request
from domain.errors import Invalid, NotFound
from domain.eventlog.codec import open_json, sealed_json
from domain.eventlog.store import Store
from projections.executions import facets
from projections.executions.columns import INDEXED, field
from projections.executions.past import PastLists
from projections.executions.projection import Executions, Listed, Page
from projections.log_lines.reader import LogBook
from projections.query import parser
from projections.query.ast import Condition
from projections.representations.execution import checkpoint_document, with_logs
from projections.representations.execution_schema import ServiceExecution

PARTS = ["status", "progress", "result", "error", "attempts", "metrics", "webhooks"]


EXPAND = Parameter("expand", f"Relations to show whole: {', '.join(RELATIONS)}")
LIST_PARAMETERS = (*LIST_WORDS, EXPAND, MIN_POSITION)
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


class ExecutionHandlers:
    """Answers one execution: the whole of it, its parts, and what it refers to."""

    def __init__(
        self, reader: StateReader, store: Store, logs: LogBook, consistency: Consistency
    ) -> None:
        self._reader = reader
        self._store = store
        self._logs = logs
        self._consistency = consistency

    async def read(self, request: Request) -> ASGIApp:
        """One execution, always current, or as it was at `?version=` or `?at=`."""
        relations = expanded(listed(request, "expand"))
        chosen = selection(listed(request, "fields"))
        if chosen and responses.wants_linked_data(request):
            raise Invalid.field("fields", "must be left out where linked data is asked for")
        state = await self._reader.read(request)
        document, lines = state.document(), None
        versions = await expand(self._store, [document], relations, state.moment)
        if state.moment is None:
            await self._consistency.wait_for_log_lines(state.held)
            latest, lines = await self._logs.latest(document["$id"])
            document = with_logs(document, latest, lines)
        tag = responses.Tag(state.held.version, lines, versions, state.counting)
        shown = document if chosen is None else chosen.shown(document)
        return state_response(request, state, shown, tag)

    def part(self, name: str) -> Handler:
        """The handler of one member of the document."""

        async def handle(request: Request) -> ASGIApp:
            state = await self._reader.read(request)
            counting = name == "metrics" and state.counting
            tag = responses.Tag(state.held.version, counting=counting)
            shown = state.document(steps=()).get(name)
            return state_response(request, state, shown, tag, revalidated=not counting)

        return handle

    async def checkpoints(self, request: Request) -> ASGIApp:
        """All checkpoints; the execution itself shows the latest ten."""
        state = await self._reader.read(request)
        shown = [checkpoint_document(checkpoint) for checkpoint in state.held.state.checkpoints]
        return state_response(request, state, shown)

    def relation(self, name: str) -> Handler:
        """The handler of one relation: the object behind the id, as it was at the same moment."""

        async def handle(request: Request) -> ASGIApp:
            state = await self._reader.read(request)
            document = state.document(steps=())
            versions = await expand(self._store, [document], [name], state.moment)
            if not versions:
                raise NotFound(f"This execution has no {name}.")
            return state_response(request, state, document[name], responses.Tag(versions[name]))

        return handle


class ListHandlers:
    """Answers lists of executions, as they are now or as they were at a time."""

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
        """The executions that meet the query's conditions, a page of them."""
        conditions = [item for item in request.query if item[0] not in PAGING]
        return await self._page(
            request, parser.from_query(conditions, field), list_request(request)
        )

    async def find(self, request: Request) -> ASGIApp:
        """The executions that meet the body's conditions, a page of them."""
        condition, path, beside = filter_of(fields(request.body))
        return await self._page(
            request, parser.from_json(condition, field, path), list_request(request, beside)
        )

    async def _page(self, request: Request, condition: Condition, asked: ListRequest) -> ASGIApp:
        relations = expanded(asked.expand)
        await self._consistency.wait_for_projection(request, "executions")
        counts: Facets | None = None
        if asked.at is not None:
            found = await self._past_page(request, condition, asked, asked.at)
        else:
            async with self._store.searcher(INDEXED) as connection:
                found = await self._executions.find(
                    connection, self._clock(), condition, **asked.paging
                )
                if asked.facets:
                    counts = await facets.counted(connection, asked.facets, condition)
        require_position(request, found.position)
        items = await self._items(found.data, relations, asked.fields, asked.at)
        return page_answer(request, asked, found, items, counts)

    async def _past_page(
        self, request: Request, condition: Condition, asked: ListRequest, at: datetime
    ) -> Page:
        lists = self._past_lists
        moment = await lists.moment(at)
        await self._consistency.wait_for_projection(request, "executions", moment.position)
        async with self._store.searcher(INDEXED) as connection:
            found = await lists.find(connection, self._clock(), moment, condition, **asked.paging)
        require_position(request, found.position, moment.position)
        return found

    async def _items(
        self,
        rows: list[Listed],
        relations: list[str],
        chosen: Selection | None,
        at: datetime | None,
    ) -> list[bytes]:
        keys = await self._store.keys(f"execution/{row.id}" for row in rows)
        if relations or chosen:
            documents = [orjson.loads(row.document) for row in rows]
            if chosen:
                documents = [chosen.members(item) for item in documents]
            await expand(self._store, documents, relations, at)
            rows = [
                Listed(row.id, sealed_json(item)) for row, item in zip(rows, documents, strict=True)
            ]
        opened = [open_json(row.document, keys[f"execution/{row.id}"]) for row in rows]
        if chosen and chosen.deep:
            return [orjson.dumps(chosen.of(orjson.loads(item))) for item in opened]
        return opened


def list_routes(handlers: ListHandlers) -> tuple[Operation, ...]:
    """The rows of the lists: these come before those of one execution."""
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


def routes(handlers: ExecutionHandlers) -> tuple[Operation, ...]:
    """The rows of one execution."""
    return (
        Operation(
            "readExecution",
            "GET",
            "/executions/{id}",
            Right.READ_EXECUTIONS,
            "One execution, always current, or as it was",
            handlers.read,
            answer=ServiceExecution,
            parameters=(*PAST, EXPAND, FIELDS),
            answer_forms={responses.LD_JSON: {"type": "object", "required": ["@context", "@type"]}},
            others=responses.NOT_MODIFIED,
            sends=responses.PLACED,
        ),
        *(
            _reading(
                f"read{name.capitalize()}",
                f"/{name}",
                f"Its {name}",
                handlers.part(name),
                _shape(name),
            )
            for name in PARTS
        ),
        *(
            _reading(
                f"read{name.capitalize()}",
                f"/{name}",
                f"Its {name}",
                handlers.relation(name),
                schemas.ENTRY,
            )
            for name in RELATIONS
        ),
        _reading(
            "readCheckpoints",
            "/checkpoints",
            "All its checkpoints",
            handlers.checkpoints,
            _shape("checkpoints"),
        ),
    )


def _reading(name: str, path: str, summary: str, handler: Any, answer: Any) -> Operation:
    return Operation(
        name,
        "GET",
        f"/executions/{{id}}{path}",
        Right.READ_EXECUTIONS,
        summary,
        handler,
        answer=answer,
        parameters=PAST,
        sends=responses.PLACED,
        others=responses.NOT_MODIFIED,
    )


SCHEMAS = "#/components/schemas"


def _shape(part: str) -> dict[str, Any]:
    """The schema of a part; one that may be missing is answered as null."""
    shape = {"$ref": f"{SCHEMAS}/ServiceExecution/properties/{part}"}
    required = ServiceExecution.model_fields[part].is_required()
    return shape if required else {"anyOf": [shape, {"type": "null"}]}
