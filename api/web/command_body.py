"""Bodies of requests as commands."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic_core import to_json

from api.web import problems
from api.web.body import MIB
from api.web.ids import checked_id, checked_new_id
from api.web.ndjson import value
from api.web.request import Call
from domain.errors import Invalid, TooLarge
from domain.model import Command, Value

NOT_OURS = ("$id", "$type", "$context")

C = TypeVar("C", bound=Command[Any])
V = TypeVar("V", bound=Value)


def parsed(command: type[C], body: bytes) -> C:
    """The command of a body. Raises ValidationError."""
    return command.model_validate_json(body or b"{}")


def built(command: type[V], fields: dict[str, Any]) -> V:
    """The command, or the log line, of fields that came apart from each other.

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


def identified(given: dict[str, Any], call: Call, kind: str) -> str:
    """The id a client brings as `$id`, or a new one; the members of JSON-LD are taken out."""
    identity, _, _ = (given.pop(name, None) for name in NOT_OURS)
    if identity is None:
        return call.system.new_id(kind)
    return (checked_new_id if kind == "exec" else checked_id)(identity)
