"""Commands to executions, one by one under the execution's path."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.web.dry_run import DRY_RUN, is_dry_run, rehearsed
from api.web.ids import checked_new_id
from api.web.input.command_body import C, built, fields, parsed
from api.web.input.command_members import prepare
from api.web.input.read_only import is_read_before, without_unchanged
from api.web.operation import Handler, Operation, Parameter
from api.web.request import Request
from api.web.responses import DONE, executed
from domain.errors import NotFound
from domain.eventlog.store import Store
from domain.execution.commands import COMMANDS
from domain.execution.commands.create import CreateExecution
from domain.execution.commands.fork import ForkExecution
from domain.execution.commands.lifecycle import StartExecution
from domain.execution.commands.update import UpdateExecution
from domain.model import Command
from domain.writer.command_bus import Bus
from projections.history.time_travel import History
from projections.representations.execution_schema import ServiceExecution

NewId = Callable[[str], str]
REFUSALS = ("not-found", "illegal-transition")
BARE = {"declareSteps": "steps"}
"""Commands that are also taken as a bare list, and the member which that is."""

# Path below the execution, command, summary. The first are the most frequent: routes are tried in order.
ROWS = (
    ("POST", "/progress", "updateProgress", "Tell the progress"),
    ("POST", "/steps/{step}/start", "startStep", "Start a step; an unknown one is added"),
    ("POST", "/steps/{step}/complete", "completeStep", "Complete a step"),
    ("POST", "/start", "start", "Start, or from `retry` start without further waiting"),
    ("POST", "/complete", "complete", "Complete with a result"),
    ("POST", "/fail", "fail", "Fail; a recoverable failure is retried by the policy"),
    ("POST", "/pause", "pause", "Pause, with a checkpoint"),
    ("POST", "/resume", "resume", "Resume from a checkpoint"),
    ("POST", "/cancel", "cancel", "Cancel"),
    ("POST", "/retry", "retry", "Retry a failed execution"),
    ("POST", "/metrics", "recordUsage", "Add to what was used: tokens, cost, calls"),
    ("POST", "/checkpoints", "checkpoint", "Keep a checkpoint"),
    ("POST", "/steps", "declareSteps", "Declare steps"),
    ("POST", "/steps/{step}/fail", "failStep", "Fail a step"),
    ("POST", "/steps/{step}/skip", "skipStep", "Skip a step"),
    ("PUT", "", "update", "Change what the client owns; what is left out stays"),
    ("PATCH", "", "update", "Change what the client owns; what is left out stays"),
)


ASYNC = Parameter(
    "async", "Leave it `starting`: who does the work sends `start` again", {"type": "boolean"}
)


CREATES = (*DONE, "Location", "Preference-Applied")


class CommandHandlers:
    """Takes commands to executions, and answers what they led to."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        history: History,
        *,
        new_id: NewId,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._store = store
        self._history = history
        self._new_id = new_id
        self._clock = clock

    def handler(self, command: type[Command[Any]]) -> Handler:
        """The handler of one command."""
        if command is UpdateExecution:
            return self.update
        if command is StartExecution:
            return self.start
        bare = BARE.get(command.wire_name)

        async def handle(request: Request) -> ASGIApp:
            parsed_command = parsed(command, request.body, request.path.get("step"), bare)
            return await self._answer(request, f"execution/{request.path['id']}", parsed_command)

        return handle

    async def create(self, request: Request) -> ASGIApp:
        """A new execution, under the client's id or one made here."""
        identity, parsed_command = creation(request, CreateExecution, "exec", self._new_id)
        return await self._answer(request, f"execution/{identity}", parsed_command)

    async def start(self, request: Request) -> ASGIApp:
        """Start; with `async=true` the execution stays `starting` until it is started once more."""
        parsed_command = parsed(StartExecution, request.body)
        if request.boolean("async"):
            parsed_command = parsed_command.model_copy(update={"asynchronous": True})
        return await self._answer(request, f"execution/{request.path['id']}", parsed_command)

    async def update(self, request: Request) -> ASGIApp:
        """Change settings; a document that was read before may be sent back whole."""
        given, stream = fields(request.body), f"execution/{request.path['id']}"
        if is_read_before(given):
            versioned = await self._store.load(stream)
            if versioned is None:
                raise NotFound
            given = without_unchanged(given, versioned, self._clock())
        prepare(UpdateExecution, given)
        return await self._answer(request, stream, built(UpdateExecution, given))

    async def fork(self, request: Request) -> ASGIApp:
        """A new execution that begins with the state of this one at a version."""
        identity, parsed_command = creation(request, ForkExecution, "exec", self._new_id)
        source = await self._history.at_version(
            f"execution/{request.path['id']}", parsed_command.version
        )
        return await self._answer(request, f"execution/{identity}", parsed_command.of(source.state))

    async def _answer(self, request: Request, stream: str, parsed_command: Command[Any]) -> ASGIApp:
        message = request.message(stream, parsed_command)
        if is_dry_run(request):
            return await rehearsed(self._bus, message)
        return executed(request, await self._bus.send(message))


def creation(request: Request, command: type[C], kind: str, new_id: NewId) -> tuple[str, C]:
    """The id that a client brings as `$id`, or a new one, and the command that creates it."""
    given = fields(request.body)
    identity = given.pop("$id", None)
    prepare(command, given)
    parsed_command = built(command, given)
    if identity is None:
        return new_id(kind), parsed_command
    return checked_new_id(identity), parsed_command


def routes(handlers: CommandHandlers) -> tuple[Operation, ...]:
    """The rows of all commands that have a path of their own."""
    below = (_operation(handlers, *row) for row in ROWS if row[1])
    return (*below, _fork(handlers), _create(handlers))


def update_routes(handlers: CommandHandlers) -> tuple[Operation, ...]:
    """The rows on the path of the execution itself: these come after `/executions/find` and the like."""
    return tuple(_operation(handlers, *row) for row in ROWS if not row[1])


def _operation(
    handlers: CommandHandlers, method: str, path: str, name: str, summary: str
) -> Operation:
    return Operation(
        name if method != "PATCH" else f"{name}Partly",
        method,
        f"/executions/{{id}}{path}",
        Right.COMMAND_EXECUTIONS,
        summary,
        handlers.handler(COMMANDS[name]),
        body=COMMANDS[name],
        answer=ServiceExecution,
        parameters=(ASYNC, DRY_RUN) if name == "start" else (DRY_RUN,),
        problems=(*REFUSALS, "read-only") if name == "update" else REFUSALS,
        sends=(*DONE, "Preference-Applied"),
        body_forms=_bare_form(COMMANDS[name], BARE[name]) if name in BARE else {},
    )


def _bare_form(command: type[Command[Any]], member: str) -> dict[str, Any]:
    schema = f"#/components/schemas/{command.__name__}"
    forms = [{"$ref": schema}, {"$ref": f"{schema}/properties/{member}"}]
    return {"application/json": {"anyOf": forms}}


def _fork(handlers: CommandHandlers) -> Operation:
    return Operation(
        "forkExecution",
        "POST",
        "/executions/{id}/fork",
        Right.COMMAND_EXECUTIONS,
        "Create an execution that begins with the state of this one at a version",
        handlers.fork,
        body=ForkExecution,
        answer=ServiceExecution,
        parameters=(DRY_RUN,),
        status=201,
        problems=("not-found", "already-exists"),
        sends=CREATES,
    )


def _create(handlers: CommandHandlers) -> Operation:
    return Operation(
        "createExecution",
        "POST",
        "/executions",
        Right.COMMAND_EXECUTIONS,
        "Create an execution",
        handlers.create,
        body=CreateExecution,
        answer=ServiceExecution,
        parameters=(DRY_RUN,),
        status=201,
        problems=("already-exists", "unknown-reference"),
        sends=CREATES,
    )
