"""Claims: a worker claims the next execution of the queue."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.identity import Caller
from api.access.rights import Right
from api.claiming.dispatcher import ClaimDispatcher
from api.web.dry_run import DRY_RUN, dry_run_answer, is_dry_run
from api.web.input.command_body import parse
from api.web.operation import Operation
from api.web.preferences import seconds_to_wait
from api.web.request import Request
from api.web.responses import DONE, command_response
from domain.errors import UnknownReference
from domain.eventlog.store import Store
from domain.execution.commands import ClaimExecution
from domain.execution.types import copy_set_fields
from domain.lru import LruCache
from domain.types import Number
from domain.writer.batch import repeat_of
from domain.writer.command_bus import Answer, Bus
from domain.writer.message import Message
from domain.writer.visible_states import load_answered_state
from projections.claims.queue import ClaimFilter, Owner
from projections.representations.execution_schema import ServiceExecution

LONGEST_WAIT = 60
"""Seconds that a claim may wait for an execution."""
COLUMNS = {"customer": "customer", "provider": "provider", "assignee.id": "assignee"}
"""The columns of the queue with the fields by which an execution belongs to a caller."""
MOST_SERVICES = 10_000
"""Services that are cached as existing."""


class ClaimNext(ClaimExecution):
    """Claim the queued execution of the highest priority, of these the oldest.

    Of a `service`, and assigned to an `assignee`, by id, where they are given. `lease` is how many
    milliseconds the worker keeps it after each sign of life, `wait` for how many seconds it waits where
    there is none.
    """

    wire_name: ClassVar[str] = "claim"

    wait: Annotated[float, Number(0, LONGEST_WAIT), Field(validate_default=False)] = 0


class ClaimHandlers:
    """Handles the operation of claims."""

    def __init__(self, dispatcher: ClaimDispatcher, bus: Bus, store: Store) -> None:
        self._dispatcher = dispatcher
        self._bus = bus
        self._store = store
        self._services = LruCache[str, bool](MOST_SERVICES)
        """Services that were found; a service is never removed."""

    async def claim(self, request: Request) -> ASGIApp:
        """Claim an execution, and answer it; 204 where there is none to claim.

        Raises:
            UnknownReference: there is no such service.
        """
        asked = parse(ClaimNext, request.body)
        await self._require_service(asked.service)
        command = copy_set_fields(asked, ClaimExecution)
        wanted = ClaimFilter(asked.service, asked.assignee, _owners(request.caller))
        # Made before, so that the headers are checked even where there is nothing to claim.
        of_any = request.message("", command)._replace(worker=None)

        def message(execution: str) -> Message:
            return of_any._replace(stream=f"execution/{execution}")

        if is_dry_run(request):
            execution = await self._dispatcher.first(wanted)
            return (
                await dry_run_answer(request, self._bus, message(execution))
                if execution
                else _nothing()
            )
        answer = await self._find_earlier_answer(request)
        if answer is None:
            answer = await self._dispatcher.claim(wanted, message, _patience(request, asked))
        return _nothing() if answer is None else command_response(request, answer)

    async def _require_service(self, service: str | None) -> None:
        if service is None or service in self._services:
            return
        if await self._store.load(f"service/{service}") is None:
            raise UnknownReference(f"There is no service `{service}`.", field="service")
        self._services.put(service, True)
        self._services.trim()

    async def _find_earlier_answer(self, request: Request) -> Answer | None:
        """The answer to an earlier request with the same key, as another execution may be next now."""
        if b"idempotency-key" not in request.headers:
            return None
        once = request.idempotency()
        if (reply := await self._store.reply(once)) is None:
            return None
        repeat = repeat_of(reply, once.fingerprint)
        permits = request.caller.permits(Right.WORK)
        return Answer(await load_answered_state(self._store, *repeat[:3], permits), replayed=True)


def _owners(caller: Caller) -> tuple[tuple[Owner, ...], ...] | None:
    """The owners whose executions a caller may work on; None for all executions."""
    if caller.scope.is_unlimited(Right.WORK):
        return None
    found = caller.scope.owners(Right.WORK)
    queued = [pairs for pairs in found if all(path in COLUMNS for path, _ in pairs)]
    return tuple(tuple((COLUMNS[path], name) for path, name in pairs) for pairs in queued)


def _patience(request: Request, asked: ClaimNext) -> float:
    """The seconds to wait: `wait` of the body, at most those of `Prefer: wait=<seconds>`."""
    prefer = request.header("prefer")
    preferred = None if prefer is None else seconds_to_wait(prefer)
    return asked.wait if preferred is None else min(asked.wait, preferred)


def _nothing() -> Response:
    return Response(status_code=204)


def routes(handlers: ClaimHandlers) -> tuple[Operation, ...]:
    """The operation of claims, which comes before those of one execution."""
    return (
        Operation(
            "claimExecution",
            "POST",
            "/executions/claim",
            Right.WORK,
            "Claim the queued execution of the highest priority, of these the oldest; wait for one",
            handlers.claim,
            body=ClaimNext,
            answer=ServiceExecution,
            parameters=(DRY_RUN,),
            sends=(*DONE, "Preference-Applied"),
            problems=("unknown-reference",),
            others={204: "There is none to claim"},
            long=True,
        ),
    )
