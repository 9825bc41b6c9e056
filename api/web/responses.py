"""How executions and catalog entries leave the house: JSON bytes, validators, positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from api.web.negotiation import prefers
from api.web.preferences import wants_minimal
from api.web.request import Call
from domain.eventlog.codec import plain_json
from domain.model import Held
from domain.writer.command_bus import Answer
from projections.representations.execution import document
from projections.representations.jsonld import linked_data

JSON = "application/json"
LD_JSON = "application/ld+json"
IMMUTABLE = "private, max-age=31536000, immutable"
REVALIDATE = "private, no-cache"
VARY = {"vary": "accept, authorization"}
"""Of answers in one of several forms, and of those that are kept: they are for one caller alone."""
AS_OF = ("Log-Position",)
PLACED = ("ETag", *AS_OF)
DONE = (*PLACED, "Idempotency-Replayed")
"""The headers that answers send: of what goes so far, of one entry, and to a command."""


def json(
    value: Any,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
    media: str = JSON,
) -> Response:
    """A JSON answer from a value, or from bytes that are JSON already."""
    return Response(
        value if isinstance(value, bytes) else plain_json(value), status, headers, media
    )


def executed(call: Call, answer: Answer) -> Response:
    """The answer to a command: the whole execution, or with `Prefer: return=minimal` its place."""
    held = answer.held
    headers = {"etag": f'"{held.version}"', "log-position": str(held.position)}
    if answer.replayed:
        headers["idempotency-replayed"] = "true"
    if answer.created:
        headers["location"] = f"/api/executions/{held.state.id}"
    status = 201 if answer.created else 200
    if (prefer := call.header("prefer")) is not None and wants_minimal(prefer):
        headers["preference-applied"] = "return=minimal"
        return json(place(held), headers, status)
    return json(document(held, held.at), headers, status)


def place(held: Held[Any]) -> dict[str, Any]:
    """Where an execution stands, without its content."""
    state = held.state
    return {
        "$id": state.id,
        "status": state.status,
        "version": held.version,
        "position": held.position,
    }


def execution(
    call: Call,
    shown: Any,
    held: Held[Any],
    position: int,
    *,
    immutable: bool = False,
    alone: bool = True,
) -> Response:
    """An execution, or a part of it; 304 where the client has it already.

    `immutable`: it will never be anything else. Not `alone`: it shows other entries, too, or
    durations that count on, which change without a new version of the execution.
    """
    tag = f'"{held.version}"'
    linked = wants_linked_data(call) and _is_execution(shown)
    if linked:
        shown, tag = linked_data(shown), f'"{held.version}-ld"'
    headers = {
        "etag": tag,
        "log-position": str(position),
        "cache-control": IMMUTABLE if immutable and alone else REVALIDATE,
        **VARY,
    }
    if alone and _is_known(call, tag):
        return Response(status_code=304, headers=headers)
    return json(shown, headers, media=LD_JSON if linked else JSON)


def _is_execution(shown: Any) -> bool:
    return isinstance(shown, dict) and shown.get("$type") == "ServiceExecution"


def _is_known(call: Call, tag: str) -> bool:
    known = (call.header("if-none-match") or "").split(",")
    return any(item.strip().removeprefix("W/") in {tag, "*"} for item in known)


def wants_linked_data(call: Call) -> bool:
    """Whether the client names JSON-LD, and would rather have it than JSON."""
    accept = call.header("accept")
    return accept is not None and prefers(accept, LD_JSON, JSON)


def page(items: Sequence[bytes], next_cursor: str | None, total: int | None = None) -> bytes:
    """One page of a list, from items that are JSON already."""
    more = orjson.dumps({"hasMore": next_cursor is not None, "nextCursor": next_cursor})
    count = b"" if total is None else b',"total":%d' % total
    return b'{"data":[%b],%b%b}' % (b",".join(items), more[1:-1], count)
