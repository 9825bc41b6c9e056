"""Records reads of executions in the access log before their answers are sent."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.grants import Grants
from api.access.purpose import purpose
from api.web.access.admitted import Stream
from api.web.operation import Operation
from api.web.request import Request
from api.web.streams.admission import AdmissionAnswer
from api.web.streams.event_source import EventSource
from api.web.streams.event_stream import EventStream
from api.web.streams.narrowing import end_with_grants
from api.web.streams.stream_request import FULL
from domain.errors import Overloaded
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.entry import Access

OF_EXECUTIONS = ("/executions/{id}", "/audit/bundle/{id}")
"""Paths that show, with all paths below, the execution that they name."""
UNSAID = frozenset({"text", "cursor"})
"""Query parameters whose values are not recorded: `text` searches sealed content, `cursor` has no information."""
LONGEST_FILTER = 2_000
"""Bytes of a body that are recorded as text; of a longer body, its hash is."""
HIDDEN = "…"
"""The recorded value of `UNSAID` parameters."""


class Recorder:
    """Records in the access log which executions an operation shows."""

    def __init__(self, access_log: AccessLog, grants: Grants) -> None:
        self._log = access_log
        self.grants = grants

    async def record(self, operation: Operation, request: Request, answer: ASGIApp) -> ASGIApp:
        """Record a read, and return its answer. A stream is returned as one that records its end; of a stream that an
        edge sends, only the beginning is recorded here.

        Raises:
            Overloaded: the read cannot be recorded, so its answer must not be sent; or there is no room for a stream.
        """
        if isinstance(answer, AdmissionAnswer):
            await self.record_opening(operation, request, answer.cursor)
            return answer
        if not isinstance(answer, EventStream | EventSource):
            await self._log.record(access(operation, request, {}))
            return answer
        await self.record_opening(operation, request, answer.cursor)
        if answer.full:  # other streams may have begun while this one was recorded
            raise Overloaded(FULL)
        return RecordedStream(self, operation, request, answer)

    async def page(self, operation: Operation, request: Request) -> None:
        """Record a page of an answer that is being sent.

        Raises:
            Overloaded: the page cannot be recorded, so it must not be sent.
        """
        await self._log.record(access(operation, request, {}))

    async def record_opening(self, operation: Operation, request: Request, cursor: object) -> None:
        """Record that a stream begins after a cursor.

        Raises:
            Overloaded: the opening cannot be recorded, so the stream must not begin.
        """
        await self._log.record(access(operation, request, {"stream": "opened", "after": cursor}))

    async def sought(self, operation: Operation, request: Request, cursor: object) -> None:
        """Record that a stream continues after another cursor.

        Raises:
            Overloaded: the seek cannot be recorded, so the stream must not move.
        """
        await self._log.record(access(operation, request, {"stream": "moved", "after": cursor}))

    async def record_end(self, operation: Operation, request: Request, cursor: object) -> None:
        """Record that a stream has ended, if the database is available; its opening is recorded already."""
        with suppress(Overloaded):
            await self._log.record(access(operation, request, {"stream": "ended", "at": cursor}))


class RecordedStream(Stream):
    """A stream whose opening was recorded, and which records its end."""

    def __init__(
        self,
        recorder: Recorder,
        operation: Operation,
        request: Request,
        answer: EventStream | EventSource,
    ) -> None:
        self._recorder = recorder
        self._operation = operation
        self._request = request
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        grants, caller, end = self._recorder.grants, self._request.caller, self._answer.say_goodbye
        try:
            async with end_with_grants(grants, caller, end):
                await self._answer(scope, receive, send)
        finally:
            await self._recorder.record_end(self._operation, self._request, self._answer.cursor)

    def end_access(self, reason: str) -> None:
        self._answer.end_access(reason)


def access(operation: Operation, request: Request, more: dict[str, Any]) -> Access:
    """The entry of the access log for an answer: it shows the execution in the path, and those its handler has noted."""
    executions = request.shown
    if operation.path.startswith(OF_EXECUTIONS):
        executions = [request.path["id"], *executions]
    detail = _request_detail(operation, request) | {
        name: value for name, value in more.items() if value is not None
    }
    return Access(
        request.caller.name,
        request.caller.credential,
        operation.name,
        tuple(dict.fromkeys(executions)),
        request.address,
        purpose(request.headers) or "",
        request.correlation,
        orjson.dumps(detail).decode() if detail else "",
    )


def _request_detail(operation: Operation, request: Request) -> dict[str, Any]:
    """The path parameters, the query and the filter of a request, as the access log has them.

    The body of a command is left out, though its answer may be a read: it has content, which must be destroyed when
    the execution is erased.
    """
    asked: dict[str, Any] = {}
    parts = {name: value for name, value in request.path.items() if name != "id"}
    if parts:
        asked["path"] = parts
    if request.query:
        asked["query"] = [
            (name, HIDDEN if name in UNSAID else value) for name, value in request.query
        ]
    if request.body and operation.shows_executions:
        text = request.body.decode(errors="replace").replace("\0", "")
        fits = len(request.body) <= LONGEST_FILTER
        asked["body"] = text if fits else f"sha256 {sha256(request.body).hexdigest()}"
    return asked
