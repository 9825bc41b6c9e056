"""How a server lets a stream begin that an edge sends: it judges the request as if it were its own, and answers what
the edge has to know for it. So a stream through an edge has the rights, the cursor and the refusals of the server.
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
    """That a stream may begin: of which log, for whom, behind which cursor, and what it may show."""

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
    """Whether nothing will ever come after the cursor."""

    @property
    def caller(self) -> Caller:
        """Whose stream it is; what it may see stands in the filter."""
        return Caller(self.name, Scope(), self.credential, self.expires_at, parents=self.parents)

    def limits(self, wanted: Filter) -> Filter:
        """What a client wants, within what it may see."""
        return replace(wanted, scope=self.scope, seen_until=self.seen_until)

    def as_json(self) -> bytes:
        """The document; `read` reads it."""
        shown = {
            "scope": as_json(self.scope),
            "expires_at": self.expires_at and self.expires_at.timestamp(),
            "known": self.known and list(self.known),
        }
        return orjson.dumps(self._asdict() | shown)


def read(body: bytes) -> Admission:
    """The admission in a document.

    Raises:
        ValueError: it is none, or of another version of the program, whose scopes this one cannot read.
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
    """The answer to an edge; `cursor` is where the stream will begin."""

    media_type = MEDIA_TYPE

    def __init__(self, request: Request, asked: StreamQuery, log: str) -> None:
        """Raises Forbidden for auditors: what they were granted may end, which an edge does not see."""
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
