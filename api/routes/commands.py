"""Commands to executions, one by one under the execution's path."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from api.access.rights import Right
from api.web.command_body import built, fields, identified, parsed
from api.web.operation import Handler, Operation
from api.web.request import Call
from api.web.responses import DONE, executed
from domain.errors import Invalid
from domain.execution.commands import COMMANDS
from domain.execution.commands.fork import ForkExecution
from domain.model import Command
from projections.representations.execution_schema import ServiceExecution

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


def commanding(command: type[Command[Any]]) -> Handler:
    """The handler of one command."""
    bare = BARE.get(command.name)

    async def handle(call: Call) -> ASGIApp:
        if "step" in call.path:
            wish = built(command, _of_step(fields(call.body), call.path["step"]))
        elif bare is not None:
            wish = built(command, fields(call.body, bare))
        else:
            wish = parsed(command, call.body)
        return executed(
            call, await call.system.bus.send(call.message(f"execution/{call.path['id']}", wish))
        )

    return handle


def _of_step(given: dict[str, Any], step: str) -> dict[str, Any]:
    if given.setdefault("step", step) != step:
        raise Invalid.field("step", "is another one than in the path")
    return given


async def create(call: Call) -> ASGIApp:
    """A new execution, under the client's id or one made here."""
    given = fields(call.body)
    identity = identified(given, call, "exec")
    wish = built(COMMANDS["create"], given)
    return executed(call, await call.system.bus.send(call.message(f"execution/{identity}", wish)))


async def fork(call: Call) -> ASGIApp:
    """A new execution that begins with the state of this one at a version."""
    given = fields(call.body)
    identity = identified(given, call, "exec")
    wish = built(ForkExecution, given)
    source = await call.system.history.at_version(f"execution/{call.path['id']}", wish.version)
    message = call.message(f"execution/{identity}", wish.of(source.state))
    return executed(call, await call.system.bus.send(message))


def _operation(method: str, path: str, name: str, summary: str) -> Operation:
    return Operation(
        name if method != "PATCH" else f"{name}Partly",
        method,
        f"/executions/{{id}}{path}",
        Right.COMMAND_EXECUTIONS,
        summary,
        commanding(COMMANDS[name]),
        body=COMMANDS[name],
        answer=ServiceExecution,
        problems=REFUSALS,
        sends=(*DONE, "Preference-Applied"),
        body_forms=_bare_form(COMMANDS[name], BARE[name]) if name in BARE else {},
    )


def _bare_form(command: type[Command[Any]], member: str) -> dict[str, Any]:
    schema = f"#/components/schemas/{command.__name__}"
    forms = [{"$ref": schema}, {"$ref": f"{schema}/properties/{member}"}]
    return {"application/json": {"anyOf": forms}}


CREATES = (*DONE, "Location", "Preference-Applied")
FORK = Operation(
    "forkExecution",
    "POST",
    "/executions/{id}/fork",
    Right.COMMAND_EXECUTIONS,
    "Create an execution that begins with the state of this one at a version",
    fork,
    body=ForkExecution,
    answer=ServiceExecution,
    status=201,
    problems=("not-found", "already-exists"),
    sends=CREATES,
)
BELOW = (*(_operation(*row) for row in ROWS if row[1]), FORK)
"""The commands with a path of their own below the execution's."""
OPERATIONS = tuple(_operation(*row) for row in ROWS if not row[1])
CREATE = Operation(
    "createExecution",
    "POST",
    "/executions",
    Right.COMMAND_EXECUTIONS,
    "Create an execution",
    create,
    body=COMMANDS["create"],
    answer=ServiceExecution,
    status=201,
    problems=("already-exists", "unknown-reference"),
    sends=CREATES,
)
