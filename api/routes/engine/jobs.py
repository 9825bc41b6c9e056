"""One command for all executions that meet a filter: counted in a preview, executed by a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import COMMANDS, Right
from api.client.ids import ID
from api.documents import schemas
from api.routes.catalog import CatalogHandlers, entry_response
from api.routes.catalog_kinds import JOB
from api.routes.commands import NewId
from api.streaming.hub import Hub
from api.web import responses
from api.web.input.command_body import parse
from api.web.operation import Operation
from api.web.parameters import CURSOR, FRESH, LIMIT
from api.web.reads.consistency import Consistency, require_position
from api.web.request import Request
from api.web.streams import event_stream, watch
from domain.errors import Invalid, NotFound
from domain.eventlog.store import Store
from domain.execution.transitions import move
from domain.execution.types import Status
from domain.jobs.job import BulkCommand, CancelJob, CreateJob, JobStatus
from domain.model import Value
from domain.types import JsonObject, Text
from domain.writer.command_bus import Bus
from projections.executions.columns import INDEXED, field
from projections.executions.projection import Executions
from projections.executions.references import nothing
from projections.list_counts import find_and_count
from projections.query import parser
from projections.representations.catalog import document

WITH_REASON = ("pause", "cancel")
COUNT = {"type": "integer", "minimum": 0}
EFFECTS = ("wouldChange", "unchanged", "wouldBeRefused")
PREVIEW = {
    "type": "object",
    "description": "The number of executions that the command would be sent to, and its effects on them",
    "required": ["command", "matching", *EFFECTS, "byStatus"],
    "properties": {
        "command": {"type": "string"},
        "matching": COUNT,
        **dict.fromkeys(EFFECTS, COUNT),
        "byStatus": {"type": "object", "additionalProperties": COUNT},
    },
}
SHOWN = {
    "type": "object",
    "description": "A command for many executions, and its progress",
    "required": ["$type", "$id", "command", "filter", "status", "matching", "done", "refused"],
    "properties": {
        "$type": {"const": "Job"},
        "$id": {"type": "string", "pattern": f"^{ID.pattern}$"},
        "command": {"type": "string"},
        "filter": {"type": "object"},
        "scope": {
            "type": "object",
            "description": "The executions that its maker could send the command to; absent: all",
        },
        "reason": {"type": ["string", "null"]},
        "status": {"enum": list(JobStatus)},
        "error": {"type": "string"},
        "matching": COUNT,
        "done": COUNT,
        "refused": COUNT,
        "refusals": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    **{name: {"type": "string"} for name in ("execution", "code", "detail")},
                    "holds": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
        "createdBy": {"type": "string"},
        "createdAt": {"type": "string", "format": "date-time"},
        "updatedAt": {"type": "string", "format": "date-time"},
        "version": {"type": "integer", "minimum": 1},
        "position": {"type": "integer", "minimum": 1},
    },
}


class Bulk(Value):
    """A command for every execution that meets a filter, `{}` for all; with `preview` they are only
    counted.
    """

    command: BulkCommand
    filter: JsonObject
    reason: Text | None = None
    preview: bool = False


class JobHandlers:
    """Handles the operations of jobs."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        executions: Executions,
        consistency: Consistency,
        catalog: CatalogHandlers,
        *,
        hub: Hub,
        new_id: NewId,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._store = store
        self._executions = executions
        self._consistency = consistency
        self._hub = hub
        self._new_id = new_id
        self._clock = clock
        self._read = catalog.reading("job")
        self.list_all = catalog.listing("job")

    async def bulk(self, request: Request) -> ASGIApp:
        """Answer the counts of a preview, or create a job.

        Raises:
            Invalid: the filter is not valid, or a reason is given for a command that takes none.
            Forbidden: the caller has not the right to the command.
        """
        asked = parse(Bulk, request.body)
        request.caller.require(COMMANDS[asked.command])
        if asked.reason is not None and asked.command not in WITH_REASON:
            raise Invalid.field("reason", f"belongs to {' and '.join(WITH_REASON)} alone")
        counts = await self._counts(request, asked)
        if asked.preview:
            position = counts.pop("position")
            return responses.json(counts, {"log-position": str(position)})
        command = CreateJob(
            command=asked.command,
            filter=asked.filter,
            reason=asked.reason,
            matching=counts["matching"],
            scope=request.caller.scope.filter(COMMANDS[asked.command]),
        )
        stream = f"job/{self._new_id('job')}"
        answer = await self._bus.send(request.message(stream, command))
        return entry_response(answer, f"jobs/{answer.versioned.state.id}", status=202)

    async def _counts(self, request: Request, asked: Bulk) -> dict[str, Any]:
        condition = request.caller.scope.within(
            COMMANDS[asked.command], parser.from_json(asked.filter, field, "filter")
        )
        await self._consistency.wait_for_projection(request, "executions")
        status = field("status")
        assert status is not None
        async with self._store.searcher(INDEXED) as connection:
            page, facets = await find_and_count(
                self._executions,
                connection,
                self._clock(),
                condition,
                {"status": status},
                count=True,
                limit=1,
                choose=nothing,
            )
        require_position(request, page.position)
        values = facets["status"]["values"] if facets else []
        statuses = {Status(each["value"]): int(each["count"]) for each in values}
        return {
            "command": asked.command,
            "matching": page.total,
            **_effects(asked.command, statuses),
            "byStatus": {str(status): count for status, count in statuses.items()},
            "position": page.position,
        }

    async def read(self, request: Request) -> ASGIApp:
        """Read a job, always current; as a stream, again whenever the job changes, until it has ended."""
        if not event_stream.is_preferred(request):
            return await self._read(request)

        async def load_document() -> dict[str, Any]:
            versioned = await self._store.load(f"job/{request.path['id']}")
            if versioned is None:
                raise NotFound.of("job")
            return document(versioned)

        await load_document()
        return watch.watch(self._hub, request, "job", load_document, over=_has_ended)

    async def cancel(self, request: Request) -> ASGIApp:
        """Stop a job. Executions that were changed stay changed."""
        command = parse(CancelJob, request.body)
        answer = await self._bus.send(request.message(f"job/{request.path['id']}", command))
        return entry_response(answer, f"jobs/{request.path['id']}")


def _effects(command: str, statuses: Mapping[Status, int]) -> dict[str, int]:
    """The number of executions that a command would change, leave unchanged, and be refused by. Queued executions are
    counted as not resumable, as most of them never had a worker.
    """
    counts = dict.fromkeys(EFFECTS, 0)
    names = {"=": "unchanged", ".": "wouldBeRefused"}
    for status, count in statuses.items():
        counts[names.get(move(command, status, resumable=False), "wouldChange")] += count
    return counts


def _has_ended(shown: Mapping[str, Any]) -> bool:
    return bool(shown["status"] != JobStatus.RUNNING)


def routes(handlers: JobHandlers) -> tuple[Operation, ...]:
    """The operations of jobs, which come before those of one execution."""
    return (*_command_rows(handlers), *_read_rows(handlers))


def _command_rows(handlers: JobHandlers) -> tuple[Operation, ...]:
    return (
        Operation(
            "bulkExecutions",
            "POST",
            "/executions/bulk",
            COMMANDS["createJob"],
            "One command for all executions that meet a filter; `preview` only counts them",
            handlers.bulk,
            body=Bulk,
            answer=SHOWN,
            status=202,
            parameters=FRESH,
            problems=(
                *("too-expensive", "idempotency-key-reused"),
                *("version-mismatch", "outcome-unknown"),
            ),
            sends=(*responses.DONE, "Location"),
            others={200: "The counts of a preview"},
            other_answers={200: PREVIEW},
        ),
        Operation(
            "cancelJob",
            "POST",
            "/jobs/{id}/cancel",
            COMMANDS["cancelJob"],
            "Stop a job; executions that were changed stay changed",
            handlers.cancel,
            body=CancelJob,
            answer=SHOWN,
            problems=("illegal-transition",),
            sends=(*responses.DONE, "Location"),
        ),
    )


def _read_rows(handlers: JobHandlers) -> tuple[Operation, ...]:
    return (
        Operation(
            "listJobs",
            "GET",
            "/jobs",
            Right.READ_EXECUTIONS,
            "List jobs",
            handlers.list_all,
            answer=schemas.page_of(SHOWN),
            parameters=(
                *JOB.parameters,
                LIMIT,
                CURSOR,
                *FRESH,
            ),
            sends=responses.AS_OF,
        ),
        Operation(
            "readJob",
            "GET",
            "/jobs/{id}",
            Right.READ_EXECUTIONS,
            "One job and its progress; as a stream until it has ended",
            handlers.read,
            answer=SHOWN,
            answer_forms={"text/event-stream": {"type": "string"}},
            parameters=FRESH,
            sends=responses.VERSIONED,
            others=responses.NOT_MODIFIED,
        ),
    )
