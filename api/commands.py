"""Commands to executions: one by one under the execution's path, many at once as `POST /commands`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.types import ASGIApp

from api import logs, problems, schemas
from api.access import Right
from api.answers import DONE, executed, json
from api.bodies import MIB
from api.items import items, value
from api.operations import Call, Handler, Operation
from domain.batch import Message, recalled
from domain.bus import Answer
from domain.errors import DomainError, Invalid, Overloaded, TooLarge
from domain.execution.commands import COMMANDS
from domain.execution.shape import ServiceExecution
from domain.kernel import Command
from projections.lines import LogLine

MOST = 1_000
NOT_OURS = ("$id", "$type", "$context")
REFUSALS = ("not-found", "illegal-transition")
LOG = "log"
BARE = {"declareSteps": "steps"}
"""Commands that are also taken as a bare list, and the member which that is."""

C = TypeVar("C", bound=Command[Any])

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


def parsed(command: type[C], body: bytes) -> C:
    """The command of a body. Raises ValidationError."""
    return command.model_validate_json(body or b"{}")


def built(command: type[Command[Any]], fields: dict[str, Any]) -> Command[Any]:
    """The command of fields that came apart from each other.

    Raises:
        ValidationError: it is not valid.
        TooLarge: it has more bytes than a command may have.
    """
    try:
        body = orjson.dumps(fields)
    except TypeError:  # a whole number beyond 64 bits: it is the model that refuses it
        body = to_json(fields)
    if len(body) > MIB:
        raise TooLarge(f"A command has at most {MIB} bytes.", limit=MIB)
    return command.model_validate_json(body)


def fields(body: bytes, bare: str | None = None) -> dict[str, Any]:
    """The members of a JSON object; `bare` is the one that a list is taken for.

    Raises:
        Malformed: the body is not JSON.
        Invalid: it is not an object.
    """
    try:
        found = value(body or b"{}")
    except ValueError as error:
        raise problems.Malformed(f"The body is not well-formed JSON: {error}.") from None
    if bare is not None and isinstance(found, list):
        return {bare: found}
    if not isinstance(found, dict):
        raise Invalid.field("", "must be an object")
    return found


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


def identified(given: dict[str, Any], call: Call, kind: str) -> str:
    """The id a client brings as `$id`, or a new one; the members of JSON-LD are taken out."""
    identity, _, _ = (given.pop(name, None) for name in NOT_OURS)
    if identity is None:
        return call.system.new_id(kind)
    return (schemas.checked_new_id if kind == "exec" else schemas.checked_id)(identity)


async def many(call: Call) -> ASGIApp:
    """Every command is answered in order with its own status; one refusal does not stop the rest."""
    given = items(call.body)
    if not 1 <= len(given) <= MOST:
        raise Invalid.field("", f"must be 1 to {MOST} commands, not {len(given)}")
    call.system.bus.require_room(len(given))
    repeated = await _came_before(call, len(given))
    waiting = [_submitted(call, item, place) for place, item in enumerate(given)]
    answered = [await _outcome(call, item) for item in waiting]
    outcomes = [outcome for outcome, _ in answered]
    if all(outcome["status"] == 503 for outcome in outcomes):
        raise Overloaded
    headers = {}
    if repeated and all(replayed for _, replayed in answered):
        headers["idempotency-replayed"] = "true"
    if positions := [outcome["position"] for outcome in outcomes if "position" in outcome]:
        headers["log-position"] = str(max(positions))
    return json(outcomes, headers)


async def _came_before(call: Call, commands: int) -> bool:
    """Whether this very call came before, under its key; its commands have keys made of that one.

    Raises:
        IdempotencyKeyReused: the key came with another request.
    """
    if b"idempotency-key" not in call.headers:
        return False
    once = call.idempotency()
    reply = await call.system.store.claim(once, {"commands": commands}, call.system.clock())
    if reply is None:
        return False
    recalled(reply, once.fingerprint)
    return True


Submitted = tuple[str | None, Awaitable[Answer | bool] | DomainError]
Outcome = tuple[dict[str, Any], bool]
"""What one command of many is answered, and whether it was answered so before."""


def _submitted(call: Call, item: Any, place: int) -> Submitted:
    identity = item.get("execution") if isinstance(item, dict) else None
    shown = identity if isinstance(identity, str) else None
    try:
        if isinstance(item, dict) and item.get("command") == LOG:
            return shown, _log(call, item, place)
        return shown, call.system.bus.submit(_message(call, item, place))
    except ValidationError as error:
        return shown, problems.invalid(error)
    except DomainError as error:
        return shown, error


def _message(call: Call, item: Any, place: int) -> Message:
    name, identity, if_match, given = _parted(item)
    if name not in COMMANDS:
        raise Invalid.field("command", f"must be one of {', '.join((*COMMANDS, LOG))}")
    if name == "create" and identity is None:
        identity = call.system.new_id("exec")
    checked = schemas.checked_new_id if name == "create" else schemas.checked_id
    stream = f"execution/{checked(identity, 'execution')}"
    return call.message(stream, built(COMMANDS[name], given), f"#{place}", if_match)


async def _log(call: Call, item: Any, place: int) -> bool:
    """Log lines are no events: they go beside the bus, when all before them is done.

    Whether it was done before.
    """
    _, identity, if_match, given = _parted(item)
    execution = schemas.checked_id(identity, "execution")
    line = LogLine.model_validate_json(orjson.dumps(given))
    expected = None if if_match is None else (if_match,)
    return await logs.kept(call, execution, [line], f"#{place}", expected)


def _parted(item: Any) -> tuple[str, Any, int | None, dict[str, Any]]:
    """The word of a command, its execution, the version it expects, and its own members."""
    if not isinstance(item, dict):
        raise Invalid.field("", "must be an object")
    given = dict(item)
    name, identity, if_match = (given.pop(key, None) for key in ("command", "execution", "ifMatch"))
    if not (if_match is None or (type(if_match) is int and 0 <= if_match < 2**63)):
        raise Invalid.field("ifMatch", "must be a version: a whole number")
    return name if isinstance(name, str) else "", identity, if_match, given


async def _outcome(call: Call, submitted: Submitted) -> Outcome:
    identity, waiting = submitted
    try:
        if isinstance(waiting, DomainError):
            raise waiting
        answer = await waiting
    except ValidationError as error:
        return _refused(call, identity, problems.invalid(error))
    except DomainError as error:
        return _refused(call, identity, error)
    except Exception:  # noqa: BLE001 - a mistake in one command is that command's alone; the bus logs it
        return _refused(call, identity, problems.Internal())
    if isinstance(answer, bool):
        return {"status": 200, "execution": identity}, answer
    held = answer.held
    outcome = {
        "status": 201 if answer.created else 200,
        "execution": held.state.id,
        "version": held.version,
        "position": held.position,
    }
    return outcome, answer.replayed


def _refused(call: Call, identity: str | None, error: DomainError) -> Outcome:
    """What is invalid is so each time, whether or not it is kept under a key."""
    problem = problems.problem(error, call.url)
    outcome = {"status": problem["status"], "execution": identity, "problem": problem}
    return outcome, error.replayed or problem["status"] == 422


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


BELOW = tuple(_operation(*row) for row in ROWS if row[1])
"""The commands with a path of their own below the execution's."""
OPERATIONS = (
    *(_operation(*row) for row in ROWS if not row[1]),
    Operation(
        "sendCommands",
        "POST",
        "/commands",
        Right.COMMAND_EXECUTIONS,
        "Send up to 1 000 commands, as a JSON list or as NDJSON",
        many,
        body=schemas.COMMAND_LIST,
        answer=schemas.OUTCOME_LIST,
        body_limit=16 * MIB,
        body_forms={"application/x-ndjson": {"type": "string"}},
        sends=("Log-Position", "Idempotency-Replayed"),
    ),
)
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
    sends=(*DONE, "Location", "Preference-Applied"),
)
