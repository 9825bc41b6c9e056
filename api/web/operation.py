"""An operation is one row: method, path, right, models, handler. Routing, checks and the OpenAPI
document all follow from the rows.
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
    """A request as a message for the writer, and what makes the response of its answer. One that `waits`
    needs more than the writer, so it is left to the handler of its operation.
    """

    message: Message
    respond: Callable[[Answer], Response]
    waits: bool = False


Prepare = Callable[[Request], PreparedCommand]
"""Reads a request, without waiting for anything. Raises a `DomainError` where it is not valid."""


class Parameter(NamedTuple):
    """A query parameter, as the OpenAPI document shows it."""

    name: str
    description: str
    schema: Mapping[str, Any] = {"type": "string"}
    required: bool = False


class Operation(NamedTuple):
    """What one method of one path does. `body` and `answer` are pydantic models or JSON schemas.

    `body_forms` and `answer_forms` are schemas of other media types; `others` are other good statuses, and what
    they mean, `other_answers` the schemas of those that have content; `sends` are headers of a good answer. Query parameters
    other than `parameters` are refused, unless they are `fields` to filter by, which the handler reads.
    A `long` one may take seconds: it ends when its client goes. One that has `prepare` is nothing but
    a command, so it may be answered without its handler. `content`: it shows what executions
    hold, though its right is for something else.
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
        """Whether its answer shows what executions hold: such reads are recorded."""
        return self.content or self.right in CONTENT
