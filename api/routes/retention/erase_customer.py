"""Erases everything that was recorded for a customer: a job, and its receipt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.routes.catalog import entry_response
from api.routes.commands import NewId
from api.routes.engine.jobs import SHOWN
from api.web import responses
from api.web.input.command_body import parse
from api.web.operation import Operation
from api.web.parameters import CURSOR, FRESH
from api.web.reads.consistency import Consistency, require_position
from api.web.request import Request
from domain.errors import NotFound
from domain.eventlog.queries import NEWEST
from domain.eventlog.store import Store
from domain.execution.commands.erase import EraseExecution
from domain.jobs.job import CreateJob, Job, JobProgressed
from domain.json_forms import format_time
from domain.model import Value
from domain.types import Reason
from domain.writer.command_bus import Bus
from projections.catalog import Catalog
from projections.executions.columns import INDEXED, field
from projections.executions.projection import Executions
from projections.executions.references import nothing
from projections.list_counts import find_and_count
from projections.query import parser

PAGES = 10
"""Pages of the job, of 100 executions or orders each, in a page of the receipt."""
ID = {"type": "string"}
RECEIPT: dict[str, Any] = {
    "type": "object",
    "description": "The executions and orders that were erased, and those that were not, with their legal holds",
    "required": [
        *("job", "status", "requestedBy", "requestedAt", "erased", "orders", "kept", "hasMore"),
    ],
    "properties": {
        "job": ID,
        "customer": ID,
        "reason": {"type": ["string", "null"]},
        "status": {"type": "string"},
        "requestedBy": ID,
        "requestedAt": {"type": "string", "format": "date-time"},
        "erased": {"type": "array", "items": ID, "description": "Executions"},
        "orders": {"type": "array", "items": ID, "description": "Orders that were erased"},
        "kept": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "detail"],
                "properties": {
                    **dict.fromkeys(("execution", "order", "code", "detail"), ID),
                    "holds": {"type": "array", "items": ID},
                },
            },
        },
        "positions": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "Positions of the events of the job that record this",
        },
        "hasMore": {"type": "boolean"},
        "nextCursor": {"type": ["string", "null"]},
    },
    "additionalProperties": False,
}


class EraseCustomer(Value):
    """Erase every execution and every order of a customer that there is by now."""

    reason: Reason


class CustomerErasureHandlers:
    """Handles the operations of a customer's erasure."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        executions: Executions,
        catalog: Catalog,
        consistency: Consistency,
        *,
        new_id: NewId,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._store = store
        self._executions = executions
        self._catalog = catalog
        self._consistency = consistency
        self._new_id = new_id
        self._clock = clock

    async def erase(self, request: Request) -> ASGIApp:
        """Create the job of an erasure.

        Raises:
            NotFound: there is no such customer.
        """
        asked, customer = parse(EraseCustomer, request.body), request.path["id"]
        if await self._store.load(f"user/{customer}") is None:
            raise NotFound.of("user")
        wanted = {"customer": customer}
        command = CreateJob(
            command="erase",
            filter=wanted,
            reason=asked.reason,
            matching=await self._matching(request, wanted),
        )
        message = request.message(f"job/{self._new_id('job')}", command)
        answer = await self._bus.send(message)
        return entry_response(answer, f"jobs/{answer.versioned.state.id}", status=202)

    async def _matching(self, request: Request, wanted: dict[str, Any]) -> int:
        """The number of executions and orders of the customer."""
        for view in ("executions", self._catalog.name):
            await self._consistency.wait_for_projection(request, view)
        async with self._store.searcher(INDEXED) as connection:
            page, _ = await find_and_count(
                self._executions,
                connection,
                self._clock(),
                parser.from_json(wanted, field),
                {},
                count=True,
                limit=1,
                choose=nothing,
            )
            orders = await self._catalog.count(connection, "order", wanted)
        require_position(request, page.position)
        return (page.total or 0) + orders

    async def receipt(self, request: Request) -> ASGIApp:
        """Answer a page of the receipt: what the job has done so far, from its events.

        Raises:
            NotFound: there is no such job, or it is not an erasure.
            Invalid: the cursor is not of these pages.
        """
        stream = f"job/{request.path['id']}"
        versioned = await self._store.load(stream)
        if versioned is None or versioned.state.command != EraseExecution.wire_name:
            raise NotFound.of("erasure")
        after = request.integer("cursor", 0, NEWEST) or 0
        rows = await self._store.history(stream, after, limit=PAGES + 1)
        events = [self._store.codec.decode(row) for row in rows[:PAGES]]
        pages = [each.event for each in events if isinstance(each.event, JobProgressed)]
        more = len(rows) > PAGES
        shown = _job_members(versioned.state) | {
            "erased": [id_ for page in pages for id_ in page.erased],
            "orders": [id_ for page in pages for id_ in page.erased_orders],
            "kept": [
                each.model_dump(exclude_defaults=True) for page in pages for each in page.refused
            ],
            "positions": [each.position for each in events],
            "hasMore": more,
            "nextCursor": str(rows[PAGES - 1].version) if more else None,
        }
        return responses.json(shown, {"log-position": str(versioned.position)})


def _job_members(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "customer": job.filter["customer"],
        "reason": job.reason,
        "status": job.status,
        "requestedBy": job.created_by,
        "requestedAt": format_time(job.created_at),
    }


def routes(handlers: CustomerErasureHandlers) -> tuple[Operation, ...]:
    """The operations of the erasure of a customer."""
    return (
        Operation(
            "eraseCustomer",
            "POST",
            "/users/{id}/erase",
            Right.ERASE,
            "Erase all executions and orders of this customer that no legal hold keeps: a job",
            handlers.erase,
            body=EraseCustomer,
            answer=SHOWN,
            status=202,
            parameters=FRESH,
            problems=("not-found", "too-expensive", "idempotency-key-reused", "version-mismatch"),
            sends=(*responses.DONE, "Location"),
        ),
        Operation(
            "readReceipt",
            "GET",
            "/jobs/{id}/receipt",
            Right.ERASE,
            "The receipt of a customer's erasure: what was erased, and what legal holds kept, in pages",
            handlers.receipt,
            answer=RECEIPT,
            parameters=(CURSOR,),
            problems=("not-found",),
            sends=responses.AS_OF,
        ),
    )
