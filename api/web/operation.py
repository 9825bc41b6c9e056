"""An operation as one row: method, path, right, models, handler. Routing, authorization and the OpenAPI document
are made from the rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from starlette.responses import Response
from starlette.types import ASGIApp

from api.access.rights import CONTENT, Right
from api.web.body import MIB
from api.web.request import Request
from domain.writer.command_bus import Answer
from domain.writer.message import Message

Handler = Callable[[Request], Awaitable[ASGIApp]]


class PreparedCommand(NamedTuple):
    """A request as a message for the writer, and the function that makes the response of the writer's answer.

    One that `waits` needs more than the writer, so the handler of its operation has to answer it.
    """

    message: Message
    respond: Callable[[Answer], Response]
    waits: bool = False


Prepare = Callable[[Request], PreparedCommand]
"""A function that parses a request without waiting. Raises a `DomainError` where the request is not valid."""


class Parameter(NamedTuple):
    """A query parameter, as the OpenAPI document describes it."""

    name: str
    description: str
    schema: Mapping[str, Any] = {"type": "string"}
    required: bool = False


class Operation(NamedTuple):
    """One method of one path. `body` and `answer` are pydantic models or JSON schemas. `right` has no default: an operation
    without one is an error at the start.

    `body_forms`, `answer_forms`: the schemas of other media types, by media type.
    `others`: further statuses of success, with their meaning; `other_answers`: the schemas of those that have content.
    `sends`: the headers of an answer of success.
    `fields`: query parameters besides `parameters` are fields to filter by, which the handler reads; otherwise they
    are refused.
    `long`: the operation may take seconds, and is cancelled when the client disconnects.
    `prepare`: the operation is only a command, which may be answered without the handler.
    `content`: the answer shows content of executions, although the right does not imply it.
    """

    name: str
    method: str
    path: str
    right: Right
    summary: str
    handler: Handler
    body: Any = None
    answer: Any = None
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    body_limit: int = MIB
    media_type: str = "application/json"
    body_forms: Mapping[str, Any] = {}
    answer_forms: Mapping[str, Any] = {}
    others: Mapping[int, str] = {}
    other_answers: Mapping[int, Any] = {}
    fields: bool = False
    sends: tuple[str, ...] = ()
    long: bool = False
    prepare: Prepare | None = None
    content: bool = False

    @property
    def shows_executions(self) -> bool:
        """Whether the answer shows content of executions; such reads are recorded in the access log."""
        return self.content or self.right in CONTENT
