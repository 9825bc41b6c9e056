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
    "Whether what goes wrong is passed over."

    def create(self, execution: str, members: JSON) -> None:
        """Create an execution that is at work."""
        ...

    def send(self, execution: str, command: Command, members: JSON) -> None:
        """Send a command to it."""
        ...


class DirectRecorder:
    """Sends each command at once, and says when it cannot."""

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
    """Hands each command to the buffer, with the time at which it happened. Never raises."""

    is_tolerant = True

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def create(self, execution: str, members: JSON) -> None:
        self._add("create", execution, members)

    def send(self, execution: str, command: Command, members: JSON) -> None:
        self._add(command.name, execution, members)

    def _add(self, name: str, execution: str, members: dict[str, Any]) -> None:
        said = {"command": name, "execution": execution, **members, "occurredAt": now()}
        self._buffer.add(said)
