"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from service_executions._sync.commands import Commands, create
from service_executions._sync.transport import Transport
from service_executions.recording.buffer import Buffer
from service_executions.recording.ends import now
from service_executions.requests import Command, post, segment
from service_executions.values import JSON

OnError = Literal["raise", "buffer"]


class Recorder(Protocol):
    """Takes the commands of recorded work."""

    is_tolerant: bool
    "Whether errors of the recording are logged instead of raised."

    def create(self, execution: str, members: JSON) -> None:
        """Create a running execution."""
        ...

    def send(self, execution: str, command: Command, members: JSON) -> None:
        """Send a command to an execution."""
        ...


class DirectRecorder:
    """Sends each command at once, and raises errors."""

    is_tolerant = False

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._commands = Commands(transport)

    def create(self, execution: str, members: JSON) -> None:
        request = post("/executions", {"$id": execution, **members})
        create(self._transport, request, f"/executions/{segment(execution)}")

    def send(self, execution: str, command: Command, members: JSON) -> None:
        own = {name: value for name, value in members.items() if name != command.of}
        self._commands.send(execution, command, own, {}, minimal=True)


class BufferedRecorder:
    """Puts each command into the buffer, with the time at which it happened."""

    is_tolerant = True

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def create(self, execution: str, members: JSON) -> None:
        self._add("create", execution, members)

    def send(self, execution: str, command: Command, members: JSON) -> None:
        self._add(command.name, execution, members)

    def _add(self, name: str, execution: str, members: dict[str, Any]) -> None:
        command = {"command": name, "execution": execution, **members, "occurredAt": now()}
        self._buffer.add(command)
