"""Reads one execution: the whole of it, its parts, and the entries that it refers to."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.web import responses
from api.web.operation import Handler, Operation, Parameter
from api.web.parameters import PAST
from api.web.reads.consistency import Consistency
from api.web.reads.list_request import (
    FIELDS,
    words_of,
)
from api.web.reads.related import RELATIONS, expand, require_relations, shows_erased
from api.web.reads.selection import selection
from api.web.reads.state_reader import StateReader, state_response
from api.web.request import Request
from domain.errors import Invalid, NotFound
from domain.eventlog.store import Store
from projections.log_lines.reader import LogLinePages
from projections.representations.execution import checkpoint_document, with_logs
from projections.representations.execution_schema import ServiceExecution

PARTS = ["status", "progress", "result", "error", "attempts", "metrics"]


EXPAND = Parameter("expand", f"Relations to show whole: {', '.join(RELATIONS)}")


class ExecutionHandlers:
    """Handles the read operations of one execution."""

    def __init__(
        self, reader: StateReader, store: Store, logs: LogLinePages, consistency: Consistency
    ) -> None:
        self._reader = reader
        self._store = store
        self._logs = logs
        self._consistency = consistency

    async def read(self, request: Request) -> ASGIApp:
        """Read an execution, always current, or at `?version=` or `?at=`."""
        relations = require_relations(words_of(request, "expand"))
        chosen = selection(words_of(request, "fields"))
        if chosen and responses.wants_linked_data(request):
            raise Invalid.field("fields", "must be left out where linked data is asked for")
        state = await self._reader.read_whole(request)
        is_without_steps = chosen is not None and not chosen.has("steps")
        document, lines = state.document(() if is_without_steps else None), None
        versions = await expand(self._store, request.caller, [document], relations, state.moment)
        if state.moment is None:
            await self._consistency.wait_for_log_lines(state.versioned)
            latest, lines = await self._logs.latest(
                document["$id"], created=state.versioned.state.created_at
            )
            document = with_logs(document, latest, lines)
        tag = responses.Tag(
            state.versioned.version, lines, versions, state.counting, beside=state.heard_at
        )
        shown = document if chosen is None else chosen.select(document)
        if shows_erased([document], relations):
            state = state._replace(erased=True)
        return state_response(request, state, shown, tag)

    def part(self, name: str) -> Handler:
        """The handler that reads one member of the document."""

        async def handle(request: Request) -> ASGIApp:
            state = await self._reader.read(request)
            counting = name == "metrics" and state.counting
            tag = responses.Tag(state.versioned.version, counting=counting)
            shown = state.document(steps=()).get(name)
            return state_response(request, state, shown, tag, revalidated=not counting)

        return handle

    async def checkpoints(self, request: Request) -> ASGIApp:
        """Read all checkpoints; the execution itself shows the latest ten."""
        state = await self._reader.read(request)
        shown = [
            checkpoint_document(checkpoint) for checkpoint in state.versioned.state.checkpoints
        ]
        return state_response(request, state, shown)

    def relation(self, name: str) -> Handler:
        """The handler that reads one relation: the entry behind an id, as of the same position or time."""

        async def handle(request: Request) -> ASGIApp:
            state = await self._reader.read(request)
            document = state.document(steps=())
            versions = await expand(self._store, request.caller, [document], [name], state.moment)
            if not versions:
                raise NotFound(f"This execution has no {name}, or none that is shown to you.")
            if shows_erased([document], [name]):
                state = state._replace(erased=True)
            return state_response(request, state, document[name], responses.Tag(versions[name]))

        return handle


def routes(handlers: ExecutionHandlers) -> tuple[Operation, ...]:
    """The operations of one execution."""
    return (
        Operation(
            "readExecution",
            "GET",
            "/executions/{id}",
            Right.READ_EXECUTIONS,
            "One execution, always current, or at a version or time",
            handlers.read,
            answer=ServiceExecution,
            parameters=(*PAST, EXPAND, FIELDS),
            answer_forms={responses.LD_JSON: {"type": "object", "required": ["@context", "@type"]}},
            others=responses.NOT_MODIFIED,
            sends=responses.VERSIONED,
        ),
        *(_reading(name, handlers.part(name), _shape(name)) for name in PARTS),
        *(_reading(name, handlers.relation(name), schemas.ENTRY) for name in RELATIONS),
        _reading("checkpoints", handlers.checkpoints, _shape("checkpoints")),
    )


def _reading(name: str, handler: Handler, answer: Any) -> Operation:
    return Operation(
        f"read{name.capitalize()}",
        "GET",
        f"/executions/{{id}}/{name}",
        Right.READ_EXECUTIONS,
        f"The {name} of an execution",
        handler,
        answer=answer,
        parameters=PAST,
        sends=responses.VERSIONED,
        others=responses.NOT_MODIFIED,
    )


SCHEMAS = "#/components/schemas"


def _shape(part: str) -> dict[str, Any]:
    """The schema of a part; a missing part is answered as null."""
    shape = {"$ref": f"{SCHEMAS}/ServiceExecution/properties/{part}"}
    required = ServiceExecution.model_fields[part].is_required()
    return shape if required else {"anyOf": [shape, {"type": "null"}]}
