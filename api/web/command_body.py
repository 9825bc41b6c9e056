"""Bodies of requests as commands."""

from __future__ import annotations

from typing import Any, TypeVar

from api.command_body import prepare
from api.error_texts import kind_of
from api.exact_numbers import require_exact_cost
from api.routes.commands import encoded, parsed_json
from api.web.body import MIB
from domain.errors import Invalid, TooLarge
from domain.model import Command, Value

C = TypeVar("C", bound=Command[Any])
V = TypeVar("V", bound=Value)


def parsed(command: type[V], body: bytes, step: str | None = None, bare: str | None = None) -> V:
    """The command, or another value, of a body; `step` is the one of the path.

    Raises:
        Malformed: the body is not JSON.
        Invalid, ValidationError: it is not valid.
    """
    given = fields(body, bare)
    require_exact_cost(body)
    if not prepare(command, given, step) and bare is None:
        return command.model_validate_json(body or b"{}")
    return built(command, given)


def built(command: type[V], fields: dict[str, Any]) -> V:
    """The command, or the log line, of `prepare`d fields.

    Raises:
        ValidationError: it is not valid.
        TooLarge: it has more bytes than a command may have.
    """
    body = encoded(fields)
    if len(body) > MIB:
        raise TooLarge(f"A command has at most {MIB} bytes.", limit=MIB)
    return command.model_validate_json(body)


def fields(body: bytes, bare: str | None = None) -> dict[str, Any]:
    """The members of a JSON object; `bare` is the one that a list is taken for.

    Raises:
        Malformed: the body is not JSON.
        Invalid: it is not an object.
    """
    found = parsed_json(body or b"{}")
    if bare is not None and isinstance(found, list):
        return {bare: found}
    if not isinstance(found, dict):
        raise Invalid.field("", f"must be an object, not {kind_of(found)}")
    return found
