"""Recorders: they send recorded commands to the service at once, or put them into the buffer."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from service_executions._async.commands import AsyncCommands, create
from service_executions._async.transport import AsyncTransport
from service_executions.recording.buffer import Buffer
from service_executions.recording.ends import now
from service_executions.requests import Command, post, segment
from service_executions.values import JSON

OnError = Literal["raise", "buffer"]


class AsyncRecorder(Protocol):
    """Takes the commands of recorded work."""

    is_tolerant: bool
    """Whether errors of the recording are logged instead of raised."""

    async def create(self, execution: str, members: JSON) -> None:
        """Create a running execution."""
        ...

    async def send(self, execution: str, command: Command, members: JSON) -> None:
        """Send a command to an execution."""
        ...


class AsyncDirectRecorder:
    """Sends each command at once, and raises errors."""

    is_tolerant = False

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._commands = AsyncCommands(transport)

    async def create(self, execution: str, members: JSON) -> None:
        request = post("/executions", {"$id": execution, **members})
        await create(self._transport, request, f"/executions/{segment(execution)}")

    async def send(self, execution: str, command: Command, members: JSON) -> None:
        own = {name: value for name, value in members.items() if name != command.of}
        await self._commands.send(execution, command, own, {}, minimal=True)


class AsyncBufferedRecorder:
    """Puts each command into the buffer, with the time at which it happened."""

    is_tolerant = True

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    async def create(self, execution: str, members: JSON) -> None:
        self._add("create", execution, members)

    async def send(self, execution: str, command: Command, members: JSON) -> None:
        self._add(command.name, execution, members)

    def _add(self, name: str, execution: str, members: dict[str, Any]) -> None:
        command = {"command": name, "execution": execution, **members, "occurredAt": now()}
        self._buffer.add(command)
