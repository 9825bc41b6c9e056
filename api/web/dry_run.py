"""`?dryRun=true`: answers the events that a command would record, and records nothing."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from api.web import responses
from api.web.operation import Parameter
from api.web.request import Request
from domain.execution.state import Execution
from domain.model import Creation, Versioned
from domain.writer.command_bus import Bus
from domain.writer.message import Message
from projections.representations import catalog
from projections.representations.client_json import plain_json
from projections.representations.cloudevents import envelope
from projections.representations.exact_json import exact_json
from projections.representations.execution import document

DRY_RUN = Parameter(
    "dryRun",
    "Answer the events that would be recorded and the state after them, and record nothing",
    {"type": "boolean"},
)
EXECUTION = "execution"
ONLY_RECORDED = ("id", "position")
"""Members of an envelope that only a recorded event has."""


def is_dry_run(request: Request) -> bool:
    """Whether a request asks for a dry run."""
    return request.boolean(DRY_RUN.name)


async def dry_run_answer(request: Request, bus: Bus, message: Message) -> ASGIApp:
    """Answer the events of a command, and the aggregate after them. For an execution that is a read, which is noted."""
    decided = await bus.dry_run(message)
    events = [exact_json(envelope(row, key, log=decided.log)) for row, key in decided.rows]
    for event in events:
        for name in ONLY_RECORDED:
            del event[name]
    kind, _, identity = message.stream.partition("/")
    if kind == EXECUTION and not isinstance(message.command, Creation):
        request.shown.append(identity)
    shown = {"events": events, kind: _document(decided.versioned)}
    headers = {"cache-control": "no-store"}
    return responses.json(plain_json(shown), headers)


def _document(versioned: Versioned[Any]) -> dict[str, Any]:
    of_execution = isinstance(versioned.state, Execution)
    shown = document(versioned, versioned.at) if of_execution else catalog.document(versioned)
    del shown["position"]
    return shown
