"""Records reads of executions in the access log before they are answered."""

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
"""Paths below which everything is of the execution that they name."""
UNSAID = frozenset({"text", "cursor"})
"""Parameters whose values are left out: `text` is looked for in sealed content, `cursor` carries no information."""
LONGEST_FILTER = 2_000
HIDDEN = "…"


class Recorder:
    """Records what operations show of executions."""

    def __init__(self, access_log: AccessLog, grants: Grants) -> None:
        self._log = access_log
        self.grants = grants

    async def record(self, operation: Operation, request: Request, answer: ASGIApp) -> ASGIApp:
        """The same answer, once it is recorded. One that is a stream records its end by itself; of one
        that an edge sends only the beginning is known here.

        Raises:
            Overloaded: it cannot be recorded, so it must not be sent; or there is no room for another stream.
        """
        if isinstance(answer, AdmissionAnswer):
            await self.record_opening(operation, request, answer.cursor)
            return answer
        if not isinstance(answer, EventStream | EventSource):
            await self._log.record(access(operation, request, {}))
            return answer
        await self.record_opening(operation, request, answer.cursor)
        if answer.full:  # to record takes time, in which others come
            raise Overloaded(FULL)
        return RecordedStream(self, operation, request, answer)

    async def page(self, operation: Operation, request: Request) -> None:
        """Record a page of an answer that is on its way.

        Raises:
            Overloaded: it cannot be recorded, so it must not be sent.
        """
        await self._log.record(access(operation, request, {}))

    async def record_opening(self, operation: Operation, request: Request, cursor: object) -> None:
        """Record that a stream is about to begin after a cursor.

        Raises:
            Overloaded: it cannot be recorded, so it must not begin.
        """
        await self._log.record(access(operation, request, {"stream": "opened", "after": cursor}))

    async def sought(self, operation: Operation, request: Request, cursor: object) -> None:
        """Record that a stream is about to go on after another cursor.

        Raises:
            Overloaded: it cannot be recorded, so it must stay where it is.
        """
        await self._log.record(access(operation, request, {"stream": "moved", "after": cursor}))

    async def record_end(self, operation: Operation, request: Request, cursor: object) -> None:
        """Record that a stream has ended, where that can be recorded: its opening stands in any case."""
        with suppress(Overloaded):
            await self._log.record(access(operation, request, {"stream": "ended", "at": cursor}))


class RecordedStream(Stream):
    """An answer that goes on, whose opening is recorded, and which records its end."""

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
    """What an answer to a request shows: the execution of its path, and those that its handler has noted."""
    executions = request.shown
    if operation.path.startswith(OF_EXECUTIONS):
        executions = [request.path["id"], *executions]
    detail = _what_was_asked(operation, request) | {
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


def _what_was_asked(operation: Operation, request: Request) -> dict[str, Any]:
    """What was asked for, besides an execution: a part of it, a version, members, a filter.

    The body of a command is none of it, though its answer may be a read: it holds content, which must go when the
    execution is erased.
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
