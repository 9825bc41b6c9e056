"""Parses the bodies of requests as commands."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic_core import to_json

from api.problems import problems
from api.web.input.command_members import prepare
from api.web.input.exact_numbers import require_exact_cost
from api.web.input.ndjson import value
from domain.errors import Invalid, TooLarge, kind_of
from domain.model import Command, Value
from domain.writer.message import LARGEST_COMMAND

C = TypeVar("C", bound=Command[Any])
V = TypeVar("V", bound=Value)


def encode(value: Any) -> bytes:
    """Serialize a parsed value as JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, which the model refuses afterwards
        return to_json(value)


def parse_json(body: bytes) -> Any:
    """Parse a body as JSON.

    Raises:
        Malformed: the body is not JSON, or has a key twice in one object.
        Invalid: the body is too deep.
    """
    try:
        return value(body)
    except ValueError as error:
        raise problems.Malformed(f"The body is not well-formed JSON: {error}.") from None


def parse(command: type[V], body: bytes, step: str | None = None, bare: str | None = None) -> V:
    """Parse a body as a command or another model. `step` is the step in the path; `bare` is the member for which a
    bare list is accepted.

    Raises:
        Malformed: the body is not JSON.
        Invalid, ValidationError: the command is not valid.
    """
    given = fields(body, bare)
    require_exact_cost(body)
    if not prepare(command, given, step) and bare is None:
        return command.model_validate_json(body or b"{}")
    return build(command, given)


def build(command: type[V], fields: dict[str, Any]) -> V:
    """Make a command, or a log line, of fields that `prepare` has adapted.

    Raises:
        ValidationError: the command is not valid.
        TooLarge: the command has more than `LARGEST_COMMAND` bytes.
    """
    body = encode(fields)
    if len(body) > LARGEST_COMMAND:
        raise TooLarge(f"A command has at most {LARGEST_COMMAND} bytes.", limit=LARGEST_COMMAND)
    return command.model_validate_json(body)


def fields(body: bytes, bare: str | None = None) -> dict[str, Any]:
    """The members of the JSON object in a body. A bare list becomes the member `bare`, if that is given.

    Raises:
        Malformed: the body is not JSON.
        Invalid: the body is not an object.
    """
    found = parse_json(body or b"{}")
    if bare is not None and isinstance(found, list):
        return {bare: found}
    if not isinstance(found, dict):
        raise Invalid.field("", f"must be an object, not {kind_of(found)}")
    return found
