"""Makes JSON responses, with their ETag and their position of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zlib import crc32

import orjson
from starlette.responses import Response

from api.web.negotiation import prefers
from api.web.preferences import wants_minimal
from api.web.request import Request
from domain.model import Versioned
from domain.writer.command_bus import Answer
from projections.representations.client_json import plain_json
from projections.representations.execution import claim_document, execution_json
from projections.representations.jsonld import to_jsonld

JSON = "application/json"
LD_JSON = "application/ld+json"
IMMUTABLE = "private, max-age=31536000, immutable"
REVALIDATE = "private, no-cache"
VARY = {"vary": "accept, authorization, cookie"}
"""The header of responses in one of several media types, and of responses that may be cached, for one caller."""
AS_OF = ("Log-Position",)
VERSIONED = ("ETag", *AS_OF)
DONE = (*VERSIONED, "Idempotency-Replayed")
"""The headers of answers: `AS_OF` of lists, `VERSIONED` of one entry, `DONE` of commands."""
NOT_MODIFIED = {304: "The client has it already (If-None-Match)"}


def json(
    value: Any,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
    media: str = JSON,
) -> Response:
    """A JSON response, from a value or from bytes that are JSON already."""
    return Response(
        value if isinstance(value, bytes) else plain_json(value), status, headers, media
    )


def command_response(
    request: Request,
    answer: Answer,
    heard_at: datetime | None = None,
    more: Mapping[str, dict[str, str]] | None = None,
) -> Response:
    """The response to a command: the whole execution, or with `Prefer: return=minimal` its status and version.

    `heard_at` is the time of the heartbeat, where the command is one; the minimal answer then has the lease, too.
    `more` are further members of webhooks, by id. Where the command has led to no event, showing the whole execution
    is noted as a read, as no event records the caller.
    """
    versioned = answer.versioned
    headers = {"etag": f'"{versioned.version}"', "log-position": str(versioned.position)}
    if answer.replayed:
        headers["idempotency-replayed"] = "true"
    if answer.created:
        headers["location"] = f"/api/executions/{versioned.state.id}"
    status = 201 if answer.created else 200
    if (prefer := request.header("prefer")) is not None and wants_minimal(prefer):
        headers["preference-applied"] = "return=minimal"
        claim = None if heard_at is None else claim_document(versioned.state, heard_at)
        return json(
            minimal_document(versioned) | ({"claimedBy": claim} if claim else {}), headers, status
        )
    if not answer.recorded:
        request.shown.append(versioned.state.id)
    return json(execution_json(versioned, heard_at, more), headers, status)


def minimal_document(versioned: Versioned[Any]) -> dict[str, Any]:
    """The status, version and position of an execution, without its content."""
    state = versioned.state
    return {
        "$id": state.id,
        "status": state.status,
        "version": versioned.version,
        "position": versioned.position,
    }


class Tag(NamedTuple):
    """The parts of an answer's ETag, which changes when any of them does.

    `version`: the version of the execution, which `If-Match` compares. `lines`: the number of its log lines.
    `related`: the versions of other entries that are shown. `beside`: shown data that is in no event.
    `counting`: durations grow, so the tag is a weak one.
    """

    version: int
    lines: int | None = None
    related: Mapping[str, int] = {}
    counting: bool = False
    beside: Any = None

    def text(self, *, linked: bool = False) -> str:
        """The value of the header ETag; the JSON-LD form has a tag of its own."""
        parts = [str(self.version)]
        if self.lines is not None:
            parts.append(str(self.lines))
        parts += [f"{name}{version}" for name, version in self.related.items()]
        if self.beside is not None:
            parts.append(f"{crc32(plain_json(self.beside)):08x}")
        if linked:
            parts.append("ld")
        return f'{"W/" if self.counting else ""}"{"-".join(parts)}"'


def read(
    request: Request,
    shown: Any,
    tag: Tag,
    position: int,
    *,
    immutable: bool = False,
    revalidated: bool = True,
) -> Response:
    """The response with an execution, a part of it, or an entry; 304 where the client has it already.

    `immutable`: the answer can never change. Not `revalidated`: never answered by 304, as it hardly ever stays the
    same.
    """
    linked = wants_linked_data(request) and _is_execution(shown)
    text = tag.text(linked=linked)
    headers = {
        "etag": text,
        "log-position": str(position),
        "cache-control": IMMUTABLE if immutable else REVALIDATE,
        **VARY,
    }
    if revalidated and _client_has(request, text):
        return Response(status_code=304, headers=headers)
    if linked:
        return json(to_jsonld(shown), headers, media=LD_JSON)
    return json(shown, headers)


def _is_execution(shown: Any) -> bool:
    return isinstance(shown, dict) and shown.get("$type") == "ServiceExecution"


def _client_has(request: Request, tag: str) -> bool:
    """Whether If-None-Match has a tag, by weak comparison (RFC 9110, 13.1.2)."""
    listed = (request.header("if-none-match") or "").split(",")
    known = [item.strip().removeprefix("W/") for item in listed]
    return "*" in known or tag.removeprefix("W/") in known


def wants_linked_data(request: Request) -> bool:
    """Whether the client accepts JSON-LD by name, and prefers it to JSON."""
    accept = request.header("accept")
    return accept is not None and prefers(accept, LD_JSON, JSON)


def page(
    items: Sequence[bytes],
    next_cursor: str | None,
    total: int | None = None,
    facets: Mapping[str, Any] | None = None,
    members: Mapping[str, Any] | None = None,
    *,
    lengths: bool = False,
) -> bytes:
    """A page of a list, from items that are JSON already, with further `members`.

    With `lengths`, the page begins with the bytes of each item, so that a server that forwards the items need not
    parse them.
    """
    following = {"hasMore": next_cursor is not None, "nextCursor": next_cursor}
    more = orjson.dumps({**following, **(members or {})})
    count = b"" if total is None else b',"total":%d' % total
    counts = b"" if facets is None else b',"facets":%b' % orjson.dumps(facets)
    sizes = b'"lengths":%b,' % orjson.dumps([*map(len, items)]) if lengths else b""
    return b'{%b"data":[%b],%b%b%b}' % (sizes, b",".join(items), more[1:-1], count, counts)
