"""Makes problem documents (RFC 9457, `application/problem+json`) of errors, by the table `PROBLEMS`."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from api.problems.codes import PROBLEMS
from api.problems.error_texts import sentences
from domain.errors import DomainError, Invalid

PROBLEM_JSON = "application/problem+json"


# In a problem document, `status` is the HTTP status (RFC 9457, 3.1.2).
MEMBERS = {"status": "currentStatus"}
PASSING = frozenset(
    {"overloaded", "cell-away", "rate-limited", "not-yet-visible", "outcome-unknown"}
)
"""Codes of refusals after which the same request may succeed a second later."""


class Malformed(DomainError):
    """The body is not well-formed JSON."""

    code = "malformed"


class Unauthenticated(DomainError):
    """Send the token as `Authorization: Bearer <token>`; the server prints where it is kept."""

    code = "unauthenticated"


class TooSlow(DomainError):
    """The request came too slowly: send it again, in one go."""

    code = "too-slow"


class TooManyConnections(DomainError):
    """There are too many connections from this address; close some."""

    code = "rate-limited"


class TooManyAttempts(DomainError):
    """Too many requests with a token that is not valid came from this address; try again later."""

    code = "rate-limited"


class TooManyRequests(DomainError):
    """You have sent more requests than you may in a second: send this again after the seconds in Retry-After."""

    code = "rate-limited"


class HeadTooLarge(DomainError):
    """The request line and the headers are longer than 64 KiB: shorten them."""

    code = "head-too-large"


class UnsupportedMediaType(DomainError):
    """The body must be JSON: send `Content-Type: application/json`."""

    code = "unsupported-media-type"


class NotYetVisible(DomainError):
    """The data has not reached `minPosition` yet; ask again, or wait longer with `Prefer: wait=30`."""

    code = "not-yet-visible"


class Internal(DomainError):
    """Something went wrong here, not with the request; it has been logged."""

    code = "internal"


def problem(error: DomainError, instance: str) -> dict[str, Any]:
    """The problem document of a refusal; `instance` is the path of the request."""
    kind = PROBLEMS[error.code]
    return {
        "type": f"/problems/{error.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
        "instance": instance,
        **{MEMBERS.get(name, name): value for name, value in error.members.items()},
    }


def answer(error: DomainError, instance: str) -> Response:
    """The response to a refused request."""
    headers = {"retry-after": "1"} if error.code in PASSING else {}
    if "retryAfter" in error.members:
        headers["retry-after"] = str(error.members["retryAfter"])
    if error.code == "unauthenticated":
        headers["www-authenticate"] = "Bearer"
    if error.code == "too-slow":
        headers["connection"] = "close"
    if "allow" in error.members:
        headers["allow"] = error.members["allow"]
    if error.code == "version-mismatch" and "version" in error.members:
        headers["etag"] = f'"{error.members["version"]}"'
    if error.replayed:
        headers["idempotency-replayed"] = "true"
    return Response(
        orjson.dumps(problem(error, instance)),
        PROBLEMS[error.code].status,
        headers,
        PROBLEM_JSON,
    )


def invalid(error: ValidationError) -> DomainError:
    """Convert the errors of pydantic: the path of each field, and what is wrong with it."""
    found = error.errors(include_url=False)
    if found[0]["type"] == "json_invalid":
        return Malformed(f"The body is not well-formed JSON: {found[0]['ctx']['error']}.")
    texts = sentences(found)
    return Invalid(errors=[{"path": path, "message": message} for path, message in texts[:100]])
