"""Reading executions: one, its parts, its past, and many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes import history
from api.routes.commands import CREATE
from api.routes.related import RELATIONS, expand, expanded, relation
from api.web import responses
from api.web.command_body import fields
from api.web.consistency import MIN_POSITION, fresh, noted, reached
from api.web.list_request import (
    BODY_SCHEMAS,
    FIELDS,
    Facets,
    ListRequest,
    filter_of,
    list_request,
    listed,
    page_answer,
)
from api.web.list_request import PARAMETERS as LIST_WORDS
from api.web.operation import Operation, Parameter
from api.web.request import Request
from api.web.selection import Selection, selection
from domain.errors import Invalid
from domain.eventlog.codec import open_json, sealed_json
from projections.executions import facets
from projections.executions.columns import INDEXED, field
from projections.executions.projection import Listed, Page
from projections.query import parser
from projections.query.ast import Condition
from projections.representations.execution import checkpoint_document, with_logs
from projections.representations.execution_schema import ServiceExecution

PARTS = ["status", "progress", "result", "error", "attempts", "metrics", "webhooks"]


async def read(request: Request) -> ASGIApp:
    """One execution, always current, or as it was at `?version=` or `?at=`."""
    relations = expanded(listed(request, "expand"))
    chosen = selection(listed(request, "fields"))
    if chosen and responses.wants_linked_data(request):
        raise Invalid.field("fields", "must be left out where linked data is asked for")
    seen = await history.read_state(request)
    document, lines = seen.document(), None
    versions = await expand(request, [document], relations, seen.moment)
    if seen.moment is None:
        await noted(request, seen.held)
        latest, lines = await request.system.logs.latest(document["$id"])
        document = with_logs(document, latest, lines)
    tag = responses.Tag(seen.held.version, lines, versions, seen.counting)
    shown = document if chosen is None else chosen.shown(document)
    return history.answered(request, seen, shown, tag)


def part(name: str) -> Callable[[Request], Any]:
    """The handler of one member of the document."""

    async def handle(request: Request) -> ASGIApp:
        seen = await history.read_state(request)
        counting = name == "metrics" and seen.counting
        tag = responses.Tag(seen.held.version, counting=counting)
        shown = seen.document(steps=()).get(name)
        return history.answered(request, seen, shown, tag, revalidated=not counting)

    return handle


async def checkpoints(request: Request) -> ASGIApp:
    """All checkpoints; the execution itself shows the latest ten."""
    seen = await history.read_state(request)
    shown = [checkpoint_document(checkpoint) for checkpoint in seen.held.state.checkpoints]
    return history.answered(request, seen, shown)


async def list_all(request: Request) -> ASGIApp:
    """The executions that meet the query's conditions, a page of them."""
    conditions = [item for item in request.query if item[0] not in PAGING]
    return await _page(request, parser.from_query(conditions, field), list_request(request))


async def find(request: Request) -> ASGIApp:
    """The executions that meet the body's conditions, a page of them."""
    condition, path, beside = filter_of(fields(request.body))
    return await _page(
        request, parser.from_json(condition, field, path), list_request(request, beside)
    )


async def _page(request: Request, condition: Condition, asked: ListRequest) -> ASGIApp:
    relations = expanded(asked.expand)
    await fresh(request, "executions")
    counts: Facets | None = None
    if asked.at is not None:
        found = await _past_page(request, condition, asked, asked.at)
    else:
        async with request.system.store.searcher(INDEXED) as connection:
            found = await request.system.executions.find(
                connection, request.system.clock(), condition, **asked.paging
            )
            if asked.facets:
                counts = await facets.counted(connection, asked.facets, condition)
    reached(request, found.position)
    items = await _items(request, found.data, relations, asked.fields, asked.at)
    return page_answer(request, asked, found, items, counts)


async def _past_page(
    request: Request, condition: Condition, asked: ListRequest, at: datetime
) -> Page:
    lists = request.system.past_lists
    moment = await lists.moment(at)
    await fresh(request, "executions", moment.position)
    async with request.system.store.searcher(INDEXED) as connection:
        found = await lists.find(
            connection, request.system.clock(), moment, condition, **asked.paging
        )
    reached(request, found.position, moment.position)
    return found


async def _items(
    request: Request,
    rows: list[Listed],
    relations: list[str],
    chosen: Selection | None,
    at: datetime | None,
) -> list[bytes]:
    keys = await request.system.store.keys(f"execution/{row.id}" for row in rows)
    if relations or chosen:
        documents = [orjson.loads(row.document) for row in rows]
        if chosen:
            documents = [chosen.members(item) for item in documents]
        await expand(request, documents, relations, at)
        rows = [
            Listed(row.id, sealed_json(item)) for row, item in zip(rows, documents, strict=True)
        ]
    opened = [open_json(row.document, keys[f"execution/{row.id}"]) for row in rows]
    if chosen and chosen.deep:
        return [orjson.dumps(chosen.of(orjson.loads(item))) for item in opened]
    return opened


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
PAST = (history.VERSION, history.AT, MIN_POSITION)


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


LISTS = (
    Operation(
        "listExecutions",
        "GET",
        "/executions",
        Right.READ_EXECUTIONS,
        "List executions; any scalar field filters, also dotted",
        list_all,
        answer=schemas.EXECUTION_LIST,
        parameters=(*FILTER_PARAMETERS, *LIST_PARAMETERS),
        sends=(*responses.AS_OF, "Link", "Next-Cursor", "Total-Count"),
        problems=("too-expensive",),
        fields=True,
    ),
    CREATE,
    Operation(
        "findExecutions",
        "POST",
        "/executions/find",
        Right.READ_EXECUTIONS,
        "Find executions by a JSON filter",
        find,
        body=schemas.filter_beside(BODY_SCHEMAS),
        answer=schemas.EXECUTION_LIST,
        parameters=LIST_PARAMETERS,
        sends=(*responses.AS_OF, "Link", "Next-Cursor", "Total-Count"),
        problems=("too-expensive",),
    ),
)
OPERATIONS = (
    Operation(
        "readExecution",
        "GET",
        "/executions/{id}",
        Right.READ_EXECUTIONS,
        "One execution, always current, or as it was",
        read,
        answer=ServiceExecution,
        parameters=(*PAST, EXPAND, FIELDS),
        answer_forms={responses.LD_JSON: {"type": "object", "required": ["@context", "@type"]}},
        others=responses.NOT_MODIFIED,
        sends=responses.PLACED,
    ),
    *(
        _reading(f"read{name.capitalize()}", f"/{name}", f"Its {name}", part(name), _shape(name))
        for name in PARTS
    ),
    *(
        _reading(
            f"read{name.capitalize()}",
            f"/{name}",
            f"Its {name}",
            relation(name),
            schemas.ENTRY,
        )
        for name in RELATIONS
    ),
    _reading(
        "readCheckpoints",
        "/checkpoints",
        "All its checkpoints",
        checkpoints,
        _shape("checkpoints"),
    ),
)
