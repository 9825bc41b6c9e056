"""Reading executions: one, its parts, its past, and many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes import history
from api.routes.catalog import loaded
from api.routes.commands import CREATE
from api.web import responses
from api.web.command_body import fields
from api.web.consistency import MIN_POSITION, fresh, reached
from api.web.operation import Operation, Parameter
from api.web.request import Call
from domain.errors import Invalid, NotFound
from domain.eventlog.codec import open_json, sealed_json
from domain.execution.types import Status
from domain.model import Held
from projections.executions.columns import field
from projections.executions.projection import Listed
from projections.query import parser
from projections.query.ast import Condition
from projections.query.pagination import DEFAULT_SORT
from projections.representations.execution import checkpoint_document
from projections.representations.execution_schema import ServiceExecution

LOGS_WITHIN = 1.0
"""Seconds that a read waits for the server's own log lines."""
RELATIONS = {
    "order": "order",
    "service": "service",
    "workflow": "workflow",
    "customer": "user",
    "provider": "user",
}
PARTS = [
    "status",
    "progress",
    "result",
    "error",
    "steps",
    "attempts",
    "metrics",
    "webhooks",
]


async def read(call: Call) -> ASGIApp:
    """One execution, always current, or as it was at `?version=` or `?at=`."""
    relations = _expanded(call)

    past = call.parameter("version") or call.parameter("at")

    async def shown(document: dict[str, Any], held: Held[Any]) -> Any:
        await _expand(call, [document], relations)
        if not past:
            await _noted(call, held)
            document["logs"], document["logsTotal"] = await call.system.logs.latest(document["$id"])
        return document

    # With log lines in it, which move no version, what the client has may be old.
    return await history.show(call, shown, alone=bool(past) and not relations, durations=True)


async def _noted(call: Call, held: Held[Any]) -> None:
    """Wait a moment for what the server notes of the end, or of the failure before a retry."""
    if held.state.final or held.state.status is Status.RETRY:
        await call.system.runner.wait("logs", held.position, LOGS_WITHIN)


def part(name: str) -> Callable[[Call], Any]:
    """The handler of one member of the document."""

    async def handle(call: Call) -> ASGIApp:
        async def shown(document: dict[str, Any], _: Held[Any]) -> Any:
            return document.get(name)

        return await history.show(call, shown, durations=name == "metrics")

    return handle


async def checkpoints(call: Call) -> ASGIApp:
    """All checkpoints; the execution itself shows the latest ten."""

    async def shown(_: dict[str, Any], held: Held[Any]) -> Any:
        return [checkpoint_document(checkpoint) for checkpoint in held.state.checkpoints]

    return await history.show(call, shown)


async def step(call: Call) -> ASGIApp:
    """One step."""

    async def shown(document: dict[str, Any], _: Held[Any]) -> Any:
        for found in document["steps"]:
            if found["id"] == call.path["step"]:
                return found
        raise NotFound("There is no such step.")

    return await history.show(call, shown)


def relation(name: str) -> Callable[[Call], Any]:
    """The handler of one relation: the object behind the id."""

    async def handle(call: Call) -> ASGIApp:
        async def shown(document: dict[str, Any], _: Held[Any]) -> Any:
            await _expand(call, [document], [name])
            if not isinstance(document.get(name), dict):
                raise NotFound(f"This execution has no {name}.")
            return document[name]

        return await history.show(call, shown, alone=False)

    return handle


async def _expand(call: Call, documents: list[dict[str, Any]], names: list[str]) -> None:
    """Put objects in the place of ids, all of them read in one go; an id of nothing stays."""
    streams = {
        f"{RELATIONS[name]}/{item[name]}" for name in names for item in documents if name in item
    }
    entries = await loaded(call, streams) if streams else {}
    for item in documents:
        for name in names:
            if name in item:
                item[name] = entries.get(f"{RELATIONS[name]}/{item[name]}", item[name])


def _expanded(call: Call) -> list[str]:
    wanted = [name for name in (call.parameter("expand") or "").split(",") if name]
    for name in wanted:
        if name not in RELATIONS:
            raise Invalid.field("expand", f"must be of {', '.join(RELATIONS)}")
    return wanted


async def list_all(call: Call) -> ASGIApp:
    """The executions that meet the query's conditions, a page of them."""
    conditions = [item for item in call.query if item[0] not in PAGING]
    return await _page(call, parser.from_query(conditions, field))


async def find(call: Call) -> ASGIApp:
    """The executions that meet the body's conditions, a page of them."""
    return await _page(call, parser.from_json(fields(call.body), field))


async def _page(call: Call, condition: Condition) -> ASGIApp:
    relations = _expanded(call)
    count = call.parameter("count")
    if count not in {None, "true", "false"}:
        raise Invalid.field("count", "must be true or false")
    await fresh(call, "executions")
    async with call.system.store.reader() as connection:
        found = await call.system.executions.find(
            connection,
            call.system.clock(),
            condition,
            sort=call.parameter("sort") or DEFAULT_SORT,
            limit=call.whole("limit", 1, 500) or 50,
            cursor=call.parameter("cursor"),
            count=count == "true",
        )
    reached(call, found.position)
    items = await _items(call, found.data, relations)
    headers = {"log-position": str(found.position)}
    return responses.json(responses.page(items, found.next_cursor, found.total), headers)


async def _items(call: Call, rows: list[Listed], relations: list[str]) -> list[bytes]:
    keys = await call.system.store.keys(f"execution/{row.id}" for row in rows)
    if relations:
        documents = [orjson.loads(row.document) for row in rows]
        await _expand(call, documents, relations)
        rows = [
            Listed(row.id, sealed_json(item)) for row, item in zip(rows, documents, strict=True)
        ]
    return [open_json(row.document, keys[f"execution/{row.id}"]) for row in rows]


LIST_PARAMETERS = (
    Parameter(
        "sort", "Fields, comma-separated, `-` for descending; `-metadata.createdAt` by default"
    ),
    history.LIMIT,
    history.CURSOR,
    Parameter("count", "Whether to add the exact total", {"type": "boolean"}),
    Parameter("expand", f"Relations to show whole: {', '.join(RELATIONS)}"),
    MIN_POSITION,
)
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
NOT_MODIFIED = {304: "The client has it already (If-None-Match)"}


def _reading(
    name: str,
    path: str,
    summary: str,
    handler: Any,
    answer: Any,
    *,
    others: Mapping[int, str] = NOT_MODIFIED,
) -> Operation:
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
        others=others,
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
        answer=schemas.page_of({"$ref": "#/components/schemas/ServiceExecution"}),
        parameters=(*FILTER_PARAMETERS, *LIST_PARAMETERS),
        sends=responses.AS_OF,
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
        body=schemas.FILTER,
        answer=schemas.page_of({"$ref": "#/components/schemas/ServiceExecution"}),
        parameters=LIST_PARAMETERS,
        sends=responses.AS_OF,
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
        parameters=(*PAST, LIST_PARAMETERS[4]),
        answer_forms={responses.LD_JSON: {"type": "object", "required": ["@context", "@type"]}},
        others=NOT_MODIFIED,
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
            others={},
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
    _reading("readStep", "/steps/{step}", "One step", step, {"$ref": f"{SCHEMAS}/ShownStep"}),
)
