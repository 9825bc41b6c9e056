"""`POST /commands`: many commands in one request, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from pydantic import ValidationError
from starlette.types import ASGIApp

from api.access.rights import COMMANDS as RIGHTS
from api.access.rights import Right
from api.access.visibility import Visibility
from api.cells.directory import Directory
from api.client.ids import parse_id, parse_new_id
from api.documents import schemas
from api.problems import problems
from api.web.body import MIB
from api.web.input.command_body import build
from api.web.input.command_members import prepare
from api.web.input.exact_numbers import without_inexact_costs
from api.web.input.ndjson import items
from api.web.input.webhook_plans import WebhookPlans, plans_of
from api.web.operation import Operation
from api.web.request import Request
from api.web.responses import json
from domain.errors import DomainError, Invalid, Overloaded, instead, kind_of
from domain.eventlog.idempotency import outcome_of
from domain.eventlog.store import Store
from domain.execution.commands import COMMANDS
from domain.execution.commands.log import AppendLogLines, LogLine
from domain.model import Creation
from domain.writer.command_bus import Answer, Bus
from domain.writer.message import Message

log = structlog.get_logger()

MOST = 1_000
FEW = 20
"""Commands of one request up to which they wait as if they were sent alone."""
LOG = AppendLogLines.wire_name


class Submitted(NamedTuple):
    """One command of a batch. A log line has no version, so its outcome has none."""

    execution: str | None
    answer: Awaitable[Answer] | DomainError
    versioned: bool = True


Outcome = tuple[dict[str, Any], bool]
"""The outcome of one command, and whether it is the repetition of an earlier answer."""


class BatchHandlers:
    """Handles the operation for many commands."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        plans: WebhookPlans,
        *,
        visibility: Visibility,
        directory: Directory,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._visibility = visibility
        self._store = store
        self._plans = plans
        self._directory = directory
        self._clock = clock

    async def send(self, request: Request) -> ASGIApp:
        """Send all commands, and answer their outcomes in order. A refused command does not stop the others."""
        given = without_inexact_costs(request.body, items(request.body))
        if not 1 <= len(given) <= MOST:
            raise Invalid.field("", f"must have 1 to {MOST} commands, but has {len(given)}")
        self._bus.require_room(len(given))
        repeated = await self._is_repetition(request, len(given))
        messages = [self._read(request, item, index) for index, item in enumerate(given)]
        for index, message in enumerate(messages):
            if isinstance(message, Message) and plans_of(message.command):
                messages[index] = await self._vet(message)
        await self._refuse_hidden(request, messages)
        named = zip(given, messages, strict=True)
        bulk = len(given) > FEW
        waiting = [self._submit(item, message, bulk=bulk) for item, message in named]
        answered = [await _outcome(request, item) for item in waiting]
        outcomes = [outcome for outcome, _ in answered]
        if all(outcome["status"] == 503 for outcome in outcomes):
            raise Overloaded(outcomes[0]["problem"]["detail"])
        headers = {}
        if repeated and all(replayed for _, replayed in answered):
            headers["idempotency-replayed"] = "true"
        if positions := [outcome["position"] for outcome in outcomes if "position" in outcome]:
            headers["log-position"] = str(max(positions))
        return json(outcomes, headers)

    async def _is_repetition(self, request: Request, commands: int) -> bool:
        """Whether this request is a repetition, by its idempotency key, from which the keys of its commands are derived.

        Raises:
            IdempotencyKeyReused: the key was used for another request.
        """
        if b"idempotency-key" not in request.headers:
            return False
        once = request.idempotency()
        reply = await self._store.claim(once, {"commands": commands}, self._clock())
        if reply is None:
            return False
        outcome_of(reply, once.fingerprint)
        return True

    def _read(self, request: Request, item: Any, index: int) -> Message | DomainError:
        try:
            return self._message(request, item, index)
        except ValidationError as error:
            return problems.invalid(error)
        except DomainError as error:
            return error
        except Exception:  # an error in one command does not affect the others
            log.exception("command failed", index=index)
            return problems.Internal()

    async def _vet(self, message: Message) -> Message | DomainError:
        try:
            await self._plans.require(message.command)
        except DomainError as error:
            return error
        return message

    async def _refuse_hidden(self, request: Request, messages: list[Message | DomainError]) -> None:
        """Refuse commands to executions that the caller may not see, before the writer would load their whole states."""
        created: set[str] = set()
        for index, message in enumerate(messages):
            if isinstance(message, DomainError) or message.stream in created:
                continue
            if isinstance(message.command, Creation):
                created.add(message.stream)
                continue
            right = RIGHTS[message.command.wire_name]
            try:
                await self._visibility.require_for_command(request.caller, right, message.stream)
            except DomainError as error:
                messages[index] = error

    def _submit(self, item: Any, message: Message | DomainError, *, bulk: bool) -> Submitted:
        identity = item.get("execution") if isinstance(item, dict) else None
        shown = identity if isinstance(identity, str) else None
        if isinstance(message, DomainError):
            return Submitted(shown, message)
        try:
            versioned = message.command.wire_name != LOG
            return Submitted(shown, self._bus.submit(message._replace(bulk=bulk)), versioned)
        except DomainError as error:
            return Submitted(shown, error)

    def _message(self, request: Request, item: Any, index: int) -> Message:
        name, identity, if_match, given = _split(item)
        require_own = self._directory.require_own
        if name == LOG:
            stream = f"execution/{require_own(parse_id(identity, 'execution'))}"
            prepare(LogLine, given)
            command = AppendLogLines(lines=(build(LogLine, given),))
            return request.message(stream, command, str(index), if_match)
        if name not in COMMANDS:
            known = f"must be one of {', '.join((*COMMANDS, LOG))}"
            named = f"{known}, but is `{name[:100]}`" if name else f"is required: it {known}"
            raise Invalid.field("command", named)
        prepare(COMMANDS[name], given)
        if name == "create" and identity is None:
            identity = self._directory.new_id("exec")
        elif "execution" not in item:
            raise Invalid.field("execution", "is required")
        checked = parse_new_id if name == "create" else parse_id
        stream = f"execution/{require_own(checked(identity, 'execution'))}"
        return request.message(stream, build(COMMANDS[name], given), str(index), if_match)


def _split(item: Any) -> tuple[str, Any, int | None, dict[str, Any]]:
    """The name of a command, its execution, the expected version, and the members of the command."""
    if isinstance(item, DomainError):
        raise item
    if not isinstance(item, dict):
        raise Invalid.field("", f"must be an object, not {kind_of(item)}")
    given = dict(item)
    name, identity, if_match = (given.pop(key, None) for key in ("command", "execution", "ifMatch"))
    if not (if_match is None or (type(if_match) is int and 0 <= if_match < 2**63)):
        message = f"must be a version, a whole number from 0{instead(if_match)}"
        raise Invalid.field("ifMatch", message)
    return name if isinstance(name, str) else "", identity, if_match, given


async def _outcome(request: Request, submitted: Submitted) -> Outcome:
    identity, waiting, versioned_outcome = submitted
    try:
        if isinstance(waiting, DomainError):
            raise waiting
        answer = await waiting
    except ValidationError as error:
        return _refusal(request, identity, problems.invalid(error))
    except DomainError as error:
        return _refusal(request, identity, error)
    except Exception:  # noqa: BLE001 - an error in one command does not affect the others; the bus logs it
        return _refusal(request, identity, problems.Internal())
    if not versioned_outcome:
        return {"status": 200, "execution": identity}, answer.replayed
    versioned = answer.versioned
    outcome = {
        "status": 201 if answer.created else 200,
        "execution": versioned.state.id,
        "version": versioned.version,
        "position": versioned.position,
    }
    return outcome, answer.replayed


def _refusal(request: Request, identity: str | None, error: DomainError) -> Outcome:
    """The outcome of a refused command. One that is invalid counts as a repetition, as it is refused each time."""
    problem = problems.problem(error, request.url)
    outcome = {"status": problem["status"], "execution": identity, "problem": problem}
    return outcome, error.replayed or problem["status"] == 422


def routes(handlers: BatchHandlers) -> tuple[Operation, ...]:
    """The operation of `POST /commands`."""
    return (
        Operation(
            "sendCommands",
            "POST",
            "/commands",
            Right.SELF,  # each command has its own right
            "Send up to 1 000 commands, as a JSON list or as NDJSON",
            handlers.send,
            body=schemas.COMMAND_LIST,
            answer=schemas.OUTCOME_LIST,
            body_limit=16 * MIB,
            body_forms={"application/x-ndjson": {"type": "string"}},
            sends=("Log-Position", "Idempotency-Replayed"),
        ),
    )
