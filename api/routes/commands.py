"""Commands to executions, one by one under the execution's path."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from api.access.rights import COMMANDS as COMMAND_RIGHTS
from api.access.rights import Right
from api.cells.directory import Directory
from api.client.ids import parse_new_id
from api.web.dry_run import DRY_RUN, dry_run_answer, is_dry_run
from api.web.input.command_body import C, build, fields, parse
from api.web.input.command_members import prepare
from api.web.input.read_only import is_read_before, without_shown, without_unchanged
from api.web.input.webhook_plans import WebhookPlans, plans_of
from api.web.operation import Handler, Operation, Parameter, Prepare, PreparedCommand
from api.web.request import Request
from api.web.responses import DONE, command_response
from domain.errors import NotFound
from domain.eventlog.store import Store
from domain.execution.commands import COMMANDS, HeartbeatExecution
from domain.execution.commands.create import CreateExecution
from domain.execution.commands.fork import ForkExecution
from domain.execution.commands.lifecycle import StartExecution
from domain.execution.commands.update import UpdateExecution
from domain.model import Command
from domain.writer.command_bus import Bus
from projections.history.time_travel import History
from projections.representations.execution_schema import ServiceExecution

NewId = Callable[[str], str]
REFUSALS = ("not-found", "illegal-transition", "erased")
BARE = {"declareSteps": "steps"}
"""Commands that are also accepted as a bare list, and the member that the list becomes."""

# Path below the execution, command, summary. The most frequent come first, as routes are tried in order.
ROWS = (
    ("/progress", "updateProgress", "Update the progress"),
    ("/steps/{step}/start", "startStep", "Start a step; an unknown one is added"),
    ("/steps/{step}/complete", "completeStep", "Complete a step"),
    ("/start", "start", "Start, or from `retry` start without further waiting"),
    ("/complete", "complete", "Complete with a result"),
    ("/fail", "fail", "Fail; a recoverable failure is retried by the policy"),
    ("/pause", "pause", "Pause, with a checkpoint"),
    ("/resume", "resume", "Resume from a checkpoint"),
    ("/cancel", "cancel", "Cancel"),
    ("/retry", "retry", "Retry a failed execution"),
    ("/heartbeat", "heartbeat", "Send a heartbeat: renews the lease, ends a stall"),
    ("/metrics", "recordUsage", "Record usage: tokens, cost, calls"),
    ("/checkpoints", "checkpoint", "Save a checkpoint"),
    ("/steps", "declareSteps", "Declare steps"),
    ("/steps/{step}/fail", "failStep", "Fail a step"),
    ("/steps/{step}/skip", "skipStep", "Skip a step"),
)


ASYNC = Parameter(
    "async", "Leave it `starting`; the worker sends `start` again", {"type": "boolean"}
)


CREATES = (*DONE, "Location", "Preference-Applied")


class CommandHandlers:
    """Handles the operations that are commands to executions."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        history: History,
        plans: WebhookPlans,
        *,
        directory: Directory,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._store = store
        self._history = history
        self._plans = plans
        self._directory = directory
        self._clock = clock

    def preparing(self, command: type[Command[Any]]) -> Prepare:
        """The function that prepares a command to an existing execution."""
        bare = BARE.get(command.wire_name)

        def prepare(request: Request) -> PreparedCommand:
            parsed_command = parse(command, request.body, request.path.get("step"), bare)
            if command is StartExecution and request.boolean(ASYNC.name):
                parsed_command = parsed_command.model_copy(update={"asynchronous": True})
            if isinstance(parsed_command, HeartbeatExecution):
                return _heartbeat(request, parsed_command, self._clock())
            return _prepare(request, request.path["id"], parsed_command)

        return prepare

    def prepare_creation(self, request: Request) -> PreparedCommand:
        """Prepare the creation of an execution, under the client's id or a new one."""
        return _prepare(request, *creation(request, CreateExecution, "exec", self._directory))

    def handler(self, prepare: Prepare) -> Handler:
        """The handler of a command that `prepare` prepares."""

        async def handle(request: Request) -> ASGIApp:
            return await self._send(request, prepare(request))

        return handle

    async def update(self, request: Request) -> ASGIApp:
        """Change settings. A document that was read before may be sent back whole."""
        given, stream = fields(request.body), f"execution/{request.path['id']}"
        if "webhooks" in given:
            given["webhooks"] = without_shown(given["webhooks"])
        if is_read_before(given):
            versioned = await self._store.load(stream)
            if versioned is None:
                raise NotFound.of(stream)
            given = without_unchanged(given, versioned, self._clock())
        prepare(UpdateExecution, given)
        command = build(UpdateExecution, given)
        return await self._send(request, _prepare(request, request.path["id"], command))

    async def fork(self, request: Request) -> ASGIApp:
        """Create an execution that begins with the state of this one at a version. This is recorded as a read of this one."""
        identity, parsed_command = creation(request, ForkExecution, "exec", self._directory)
        stream = f"execution/{request.path['id']}"
        source = await self._history.at_version(stream, parsed_command.version)
        command = parsed_command.of(source.state)
        await request.record(request)
        return await self._send(request, _prepare(request, identity, command))

    async def _send(self, request: Request, prepared: PreparedCommand) -> ASGIApp:
        if is_dry_run(request):
            return await dry_run_answer(request, self._bus, prepared.message)
        if not prepared.waits:
            return prepared.respond(await self._bus.send(prepared.message))
        await self._plans.require(prepared.message.command)
        answer = await self._bus.send(prepared.message)
        secrets = await self._plans.secrets(prepared.message, answer)
        return command_response(request, answer, more=secrets)


def _prepare(request: Request, identity: str, command: Command[Any]) -> PreparedCommand:
    message = request.message(f"execution/{identity}", command)
    return PreparedCommand(message, partial(command_response, request), bool(plans_of(command)))


def _heartbeat(request: Request, command: HeartbeatExecution, at: datetime) -> PreparedCommand:
    message = request.message(f"execution/{request.path['id']}", command.received_at(at))
    return PreparedCommand(message, partial(command_response, request, heard_at=at))


def creation(request: Request, command: type[C], kind: str, directory: Directory) -> tuple[str, C]:
    """The id of a new resource, from `$id` or a new one, and the command that creates it."""
    given = fields(request.body)
    identity = given.pop("$id", None)
    prepare(command, given)
    parsed_command = build(command, given)
    if identity is None:
        return directory.new_id(kind), parsed_command
    return directory.require_own(parse_new_id(identity)), parsed_command


def routes(handlers: CommandHandlers) -> tuple[Operation, ...]:
    """The operations of all commands that have a path of their own."""
    below = (_operation(handlers, *row) for row in ROWS)
    return (*below, _fork(handlers), _create(handlers))


def update_routes(handlers: CommandHandlers) -> tuple[Operation, ...]:
    """The operations on the path of the execution itself, which come after literal paths such as `/executions/find`."""
    return (_update(handlers, "PUT", "update"), _update(handlers, "PATCH", "updatePartly"))


def _operation(handlers: CommandHandlers, path: str, name: str, summary: str) -> Operation:
    prepare = handlers.preparing(COMMANDS[name])
    return Operation(
        name,
        "POST",
        f"/executions/{{id}}{path}",
        COMMAND_RIGHTS[name],
        summary,
        handlers.handler(prepare),
        body=COMMANDS[name],
        answer=ServiceExecution,
        parameters=(ASYNC, DRY_RUN) if name == "start" else (DRY_RUN,),
        problems=REFUSALS,
        sends=(*DONE, "Preference-Applied"),
        body_forms=_bare_form(COMMANDS[name], BARE[name]) if name in BARE else {},
        prepare=prepare,
    )


def _update(handlers: CommandHandlers, method: str, name: str) -> Operation:
    return Operation(
        name,
        method,
        "/executions/{id}",
        Right.COMMAND_EXECUTIONS,
        "Change what the client owns; what is left out stays",
        handlers.update,
        body=UpdateExecution,
        answer=ServiceExecution,
        parameters=(DRY_RUN,),
        problems=(*REFUSALS, "read-only"),
        sends=(*DONE, "Preference-Applied"),
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
        Right.CREATE_EXECUTIONS,
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
        Right.CREATE_EXECUTIONS,
        "Create an execution",
        handlers.handler(handlers.prepare_creation),
        body=CreateExecution,
        answer=ServiceExecution,
        parameters=(DRY_RUN,),
        status=201,
        problems=("already-exists", "unknown-reference"),
        sends=CREATES,
        prepare=handlers.prepare_creation,
    )
