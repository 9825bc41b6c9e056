"""Erasing the content of one execution."""

from __future__ import annotations

from starlette.types import ASGIApp

from api.access.rights import Right
from api.web.dry_run import DRY_RUN, dry_run_answer, is_dry_run
from api.web.input.command_body import parsed
from api.web.operation import Operation
from api.web.reads.consistency import Consistency
from api.web.request import Request
from api.web.responses import DONE, executed
from domain.errors import NotFound, OnHold, Overtaken
from domain.eventlog.store import Store
from domain.execution.commands.erase import EraseExecution
from domain.execution.state import Execution
from domain.model import Versioned
from domain.retention.hold import HoldPlaced
from domain.writer.command_bus import Bus
from domain.writer.message import Message, Unless
from projections.log_lines.archive.holds_on import holds_on
from projections.representations.execution_schema import ServiceExecution

TRIES = 5
"""How often it is decided again, as a hold was placed meanwhile."""


class ErasureHandlers:
    """Erases, unless a legal hold keeps it."""

    def __init__(self, bus: Bus, store: Store, consistency: Consistency) -> None:
        self._bus = bus
        self._store = store
        self._consistency = consistency

    async def erase(self, request: Request) -> ASGIApp:
        """The execution without its content.

        Raises:
            NotFound: there is none, as far as the caller reaches.
            OnHold: a hold keeps it as it is.
            Erased: it was erased before, for another reason.
        """
        command = parsed(EraseExecution, request.body)
        message = request.message(f"execution/{request.path['id']}", command)
        for _ in range(TRIES):
            checked = await self._unless_held(request, message)
            if is_dry_run(request):
                return await dry_run_answer(request, self._bus, checked._replace(unless=None))
            try:
                return executed(request, await self._bus.send(checked))
            except Overtaken:
                continue
        raise Overtaken

    async def _unless_held(self, request: Request, message: Message) -> Message:
        """The message on the condition that no hold is placed meanwhile."""
        versioned = await self._reached(message)
        if versioned.state.erasure is not None:
            return message
        head, _ = await self._store.head()
        await self._consistency.wait_for_projection(request, "catalog", head)
        async with self._store.reader() as connection:
            found = await holds_on(connection, [versioned.state])
        if found.holds:
            raise OnHold(holds=found.holds[versioned.state.id])
        return message._replace(unless=Unless(HoldPlaced.type, found.position))

    async def _reached(self, message: Message) -> Versioned[Execution]:
        versioned = await self._store.load(message.stream)
        if versioned is None or (message.permits is not None and not message.permits(versioned)):
            raise NotFound
        return versioned


def routes(handlers: ErasureHandlers) -> tuple[Operation, ...]:
    """The row of an erasure."""
    return (
        Operation(
            "eraseExecution",
            "POST",
            "/executions/{id}/erase",
            Right.ERASE,
            "Destroy the key of what people wrote in it: it reads as null from now on, everywhere",
            handlers.erase,
            body=EraseExecution,
            answer=ServiceExecution,
            parameters=(DRY_RUN,),
            problems=("not-found", "held", "erased", "not-yet-visible"),
            sends=(*DONE, "Preference-Applied"),
        ),
    )
