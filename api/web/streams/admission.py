"""The admission of a stream that an edge sends: the server authorizes the request as if it were its own, and answers
what the edge needs for the stream. So a stream through an edge has the rights, cursors and refusals of the server.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

from api.access.identity import Caller
from api.access.scope import AUDITING, Scope
from api.streaming.filter import Filter
from api.streaming.topic import KnownStream
from api.web.request import Request
from api.web.streams.stream_request import StreamQuery
from domain.errors import Forbidden
from projections.executions.columns import field
from projections.query.as_json import as_json
from projections.query.ast import Condition
from projections.query.parser import from_json

MEDIA_TYPE = "application/vnd.executions.admission+json"
ENDS_UNSEEN = (
    "What an auditor was granted may end at any time, which an edge does not see: open this stream at "
    "the server itself."
)


class Admission(NamedTuple):
    """The permission to begin a stream: the log, the caller, the cursor, and the scope of the caller."""

    log: str
    name: str
    credential: str
    parents: tuple[str, ...]
    expires_at: datetime | None
    cursor: int
    head: int
    scope: Condition
    seen_until: int
    known: KnownStream | None
    over: bool
    """Whether nothing can follow the cursor, as the execution has ended."""

    @property
    def caller(self) -> Caller:
        """The caller of the stream, without its scope, which `limits` puts into the filter."""
        return Caller(self.name, Scope(), self.credential, self.expires_at, parents=self.parents)

    def limits(self, wanted: Filter) -> Filter:
        """Restrict the filter of a client to what the client may see."""
        return replace(wanted, scope=self.scope, seen_until=self.seen_until)

    def as_json(self) -> bytes:
        """Serialize the admission for `read`."""
        shown = {
            "scope": as_json(self.scope),
            "expires_at": self.expires_at and self.expires_at.timestamp(),
            "known": self.known and list(self.known),
        }
        return orjson.dumps(self._asdict() | shown)


def read(body: bytes) -> Admission:
    """Parse an admission.

    Raises:
        ValueError: the document is no admission, or is from another version of the program, whose scopes this one
            cannot read.
    """
    try:
        found: dict[str, Any] = orjson.loads(body)
        expires, known = found["expires_at"], found["known"]
        return Admission(
            **found
            | {
                "parents": tuple(found["parents"]),
                "expires_at": None if expires is None else datetime.fromtimestamp(expires, UTC),
                "scope": from_json(found["scope"], field),
                "known": None if known is None else KnownStream(*known),
            }
        )
    except Exception as error:
        raise ValueError("it is no admission of this version") from error


class AdmissionAnswer(Response):
    """The answer to an edge. `cursor` is the position after which the stream begins."""

    media_type = MEDIA_TYPE

    def __init__(self, request: Request, asked: StreamQuery, log: str) -> None:
        """Raises Forbidden for auditors: an edge does not notice when their grants end."""
        caller, wanted = request.caller, asked.filter
        if AUDITING in caller.scope.reaches:
            raise Forbidden(ENDS_UNSEEN)
        self.cursor = asked.cursor
        admission = Admission(
            log,
            caller.name,
            caller.credential,
            caller.parents,
            caller.expires_at,
            asked.cursor,
            asked.head,
            wanted.scope,
            wanted.seen_until,
            asked.known,
            asked.over,
        )
        super().__init__(admission.as_json(), headers={"cache-control": "no-store"})
