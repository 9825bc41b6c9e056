"""Refusals as RFC 9457 `application/problem+json`: one table, one way to answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from domain.errors import DomainError, Invalid

PROBLEM_JSON = "application/problem+json"


class Kind(NamedTuple):
    """What one problem code means on the wire."""

    status: int
    title: str


PROBLEMS = {
    "malformed": Kind(400, "The request cannot be read"),
    "unauthenticated": Kind(401, "A valid token is needed"),
    "forbidden": Kind(403, "Not allowed"),
    "not-found": Kind(404, "Not found"),
    "method-not-allowed": Kind(405, "This method is not for this path"),
    "not-acceptable": Kind(406, "Not in this form"),
    "too-slow": Kind(408, "The body did not come"),
    "illegal-transition": Kind(409, "The status does not allow this"),
    "already-exists": Kind(409, "Already exists"),
    "version-mismatch": Kind(412, "The state has moved on"),
    "too-large": Kind(413, "Too large"),
    "unsupported-media-type": Kind(415, "This media type is not understood"),
    "invalid": Kind(422, "Not valid"),
    "unknown-reference": Kind(422, "Names something that does not exist"),
    "idempotency-key-reused": Kind(422, "Idempotency key reused"),
    "too-expensive": Kind(422, "Takes too long"),
    "rate-limited": Kind(429, "Too many requests"),
    "head-too-large": Kind(431, "Too much before the body"),
    "internal": Kind(500, "A mistake of the server"),
    "overloaded": Kind(503, "Not now"),
    "not-yet-visible": Kind(504, "Not yet visible"),
}
# In a problem document `status` is the number of the answer (RFC 9457, 3.1.2).
MEMBERS = {"status": "currentStatus"}
RETRY_AFTER = {"overloaded": "1", "rate-limited": "1", "not-yet-visible": "1"}


class Malformed(DomainError):
    """The body is not well-formed JSON."""

    code = "malformed"


class Unauthenticated(DomainError):
    """Send the token as `Authorization: Bearer <token>`; the server prints where it is kept."""

    code = "unauthenticated"


class TooSlow(DomainError):
    """For half a minute nothing more of the body came; send it again, in one go."""

    code = "too-slow"


class HeadTooLarge(DomainError):
    """The request line and the headers are longer than this server takes, 64 KiB."""

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
    headers = {}
    if error.code in RETRY_AFTER:
        headers["retry-after"] = RETRY_AFTER[error.code]
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


WORDS = {
    "extra_forbidden": "is not known here; /openapi.json lists what is",
    "string_pattern_mismatch": "is not in the form that is wanted here; /openapi.json gives it",
}
"""What is said in place of pydantic's own words, which speak of programs."""


def invalid(error: ValidationError, prefix: tuple[str | int, ...] = ()) -> DomainError:
    """Pydantic's findings as ours: the path of each field and what is wrong, never its content."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return Malformed(f"The body is not well-formed JSON: {found[0]['msg']}.")
    return Invalid(
        errors=[
            {
                "path": ".".join(str(part) for part in (*prefix, *item["loc"])),
                "message": WORDS.get(item["type"], item["msg"].removeprefix("Value error, ")),
            }
            for item in found[:100]
        ]
    )
