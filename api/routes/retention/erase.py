"""Erases the content of one execution, or of one order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from api.access.rights import Right
from api.documents import schemas
from api.routes.catalog import entry_response
from api.web.dry_run import DRY_RUN, dry_run_answer, is_dry_run
from api.web.input.command_body import parse
from api.web.operation import Operation
from api.web.reads.consistency import Consistency
from api.web.request import Request
from api.web.responses import DONE, command_response
from domain.catalog.order import EraseOrder
from domain.errors import NotFound, OnHold, Overtaken
from domain.eventlog.store import Store
from domain.execution.commands.erase import EraseExecution
from domain.model import Command, Versioned
from domain.retention.hold import HoldPlaced
from domain.writer.command_bus import Answer, Bus
from domain.writer.message import Message, Unless
from projections.log_lines.archive.holds_on import HoldsOn, holds_on, holds_on_orders
from projections.representations.execution_schema import ServiceExecution

TRIES = 5
"""Attempts of an erasure, as holds may be placed meanwhile."""


class Erasable(NamedTuple):
    """The command that erases a kind of stream, and the function that finds its holds."""

    command: type[Command[Any]]
    holds: Callable[[Any, list[Any]], Awaitable[HoldsOn]]


ERASABLE: Mapping[str, Erasable] = {
    "execution": Erasable(EraseExecution, holds_on),
    "order": Erasable(EraseOrder, holds_on_orders),
}


class ErasureHandlers:
    """Handles the operations of erasures, which legal holds prevent."""

    def __init__(self, bus: Bus, store: Store, consistency: Consistency) -> None:
        self._bus = bus
        self._store = store
        self._consistency = consistency

    async def erase_execution(self, request: Request) -> ASGIApp:
        """Erase an execution, and answer it without its content. Raises the errors of `_erase`."""
        erased = await self._erase(request, "execution")
        return command_response(request, erased) if isinstance(erased, Answer) else erased

    async def erase_order(self, request: Request) -> ASGIApp:
        """Erase an order, and answer it without its content. Raises the errors of `_erase`."""
        erased = await self._erase(request, "order")
        if not isinstance(erased, Answer):
            return erased
        return entry_response(erased, f"orders/{erased.versioned.state.id}")

    async def _erase(self, request: Request, kind: str) -> Answer | ASGIApp:
        """Send the command, and return the writer's answer; with `?dryRun=true`, the response.

        Raises:
            NotFound: there is no such stream in the caller's scope.
            OnHold: a legal hold prevents the erasure.
            Erased: the stream was erased before, for another reason.
        """
        command = parse(ERASABLE[kind].command, request.body)
        message = request.message(f"{kind}/{request.path['id']}", command)
        for _ in range(TRIES):
            checked = await self._unless_held(request, message, ERASABLE[kind])
            if is_dry_run(request):
                return await dry_run_answer(request, self._bus, checked._replace(unless=None))
            try:
                return await self._bus.send(checked)
            except Overtaken:
                continue
        raise Overtaken

    async def _unless_held(self, request: Request, message: Message, erasable: Erasable) -> Message:
        """Add to the message the condition that no hold is placed meanwhile."""
        versioned = await self._load_visible(message)
        if versioned.state.erasure is not None:
            return message
        head, _ = await self._store.head()
        await self._consistency.wait_for_projection(request, "catalog", head)
        async with self._store.reader() as connection:
            found = await erasable.holds(connection, [versioned.state])
        if found.holds:
            raise OnHold(holds=found.holds[versioned.state.id])
        return message._replace(unless=Unless(HoldPlaced.type, found.position))

    async def _load_visible(self, message: Message) -> Versioned[Any]:
        versioned = await self._store.load(message.stream)
        if versioned is None or (message.permits is not None and not message.permits(versioned)):
            raise NotFound.of(message.stream)
        return versioned


def routes(handlers: ErasureHandlers) -> tuple[Operation, ...]:
    """The operations of an erasure."""
    return (
        Operation(
            "eraseExecution",
            "POST",
            "/executions/{id}/erase",
            Right.ERASE,
            "Destroy the data key of an execution: its content reads as null from now on, everywhere",
            handlers.erase_execution,
            body=EraseExecution,
            answer=ServiceExecution,
            parameters=(DRY_RUN,),
            problems=("not-found", "held", "erased", "not-yet-visible"),
            sends=(*DONE, "Preference-Applied"),
        ),
        Operation(
            "eraseOrder",
            "POST",
            "/orders/{id}/erase",
            Right.ERASE,
            "Destroy the data key of an order: its parameters read as null from now on, everywhere",
            handlers.erase_order,
            body=EraseOrder,
            answer=schemas.ENTRY,
            parameters=(DRY_RUN,),
            problems=("not-found", "held", "erased", "not-yet-visible"),
            sends=(*DONE, "Location"),
        ),
    )
