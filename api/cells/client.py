"""Asks several logs the same question at once, with the credential of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from time import monotonic
from typing import Any, NamedTuple

import httpx

from api.cells.connection import ConnectionPool, Query
from api.cells.remote import Away, CellReply, Questions, RemoteLog
from api.problems.codes import PROBLEMS
from domain.errors import DomainError, Overloaded
from domain.lru import LruCache
from projections.representations.exact_json import exact_json

ANSWER_TIMEOUT = 5.0
"""Seconds that a log has for its whole answer: its database has half a second for a list."""
MOST_ASKED = 32
"""Callers who ask several logs at once; each may hold an answer of every log."""
UNKNOWN_FOR = 60.0
"""Seconds in which a log is not asked with a token that it did not know: it counts such attempts by the address of
this server, and would soon refuse all that come from there.
"""
UNKNOWN = {"type": "/unauthenticated", "detail": "This token is not valid."}
REMEMBERED = 10_000
"""Tokens that a log did not know."""
OF_EVERY_PROBLEM = frozenset({"type", "title", "status", "detail", "instance", "cell"})


class CellAway(DomainError):
    """One of the logs does not answer; send it again, or ask with `partial=true` for what the others have."""

    code = "cell-away"


class Asked(NamedTuple):
    """What one log answered, and how far it went; or why it gave no answer."""

    body: Any
    position: int
    away: str | None = None


class CellRequest(NamedTuple):
    """What all logs are asked: a path, the headers that go along, and what makes of the JSON text of an answer what
    was asked for. That raises ValueError, TypeError, LookupError or AttributeError where it is something else.
    """

    path: str
    headers: Mapping[str, str]
    read: Callable[[bytes], Any] = exact_json

    @property
    def token(self) -> bytes:
        """What its credential is remembered by."""
        return sha256(self.headers.get("authorization", "").encode("latin-1")).digest()


class CellClient:
    """Sends requests to the servers of logs: one that is slow holds up the answers of no other."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        questions: Callable[[str], Questions] = ConnectionPool,
        seconds: float = ANSWER_TIMEOUT,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._transport = transport
        self._questions = questions
        self._seconds = seconds
        self._steady = steady
        self._own: dict[str, Questions] = {}
        self._logs: dict[str, RemoteLog] = {}
        self._unknown: LruCache[tuple[str, bytes], float] = LruCache(REMEMBERED)
        self._under_way = 0

    def answer_here(self, name: str, own: Questions) -> None:
        """Ask the log of this name by other means, as it is that of this server."""
        self._own[name] = own

    async def aclose(self) -> None:
        """Close all connections."""
        for log in self._logs.values():
            await log.aclose()

    async def ask(
        self, urls: Mapping[str, str], query: Mapping[str, Query], request: CellRequest
    ) -> dict[str, Asked]:
        """The answers of logs by their names; `query` has the parameters for each that is asked.

        Raises:
            DomainError: one of them refuses; it says which, as `cell`.
            Overloaded: too many ask.
        """
        with self._one_more():
            asked = await asyncio.gather(
                *(self._one(name, urls[name], query[name], request) for name in query)
            )
        for found in asked:
            if isinstance(found, DomainError):
                raise found
        return {
            name: found
            for name, found in zip(query, asked, strict=True)
            if not isinstance(found, DomainError)
        }

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        if self._under_way >= MOST_ASKED:
            raise Overloaded(
                "Too many questions to several logs are being answered; send it again."
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _one(
        self, name: str, url: str, query: Query, request: CellRequest
    ) -> Asked | DomainError:
        if self._is_unknown(name, request):
            return _refusal(name, UNKNOWN)
        try:
            reply = await self._log(name, url).get(request.path, query, request.headers)
            if reply.status == 200:
                return Asked(_read(reply, request.read), reply.position)
            return self._refusal(name, request, reply)
        except Away as away:
            return Asked(None, 0, str(away))

    async def stream(
        self, name: str, url: str, query: Query, request: CellRequest
    ) -> httpx.Response:
        """The stream of a log. The caller has to close it.

        Raises:
            Away: it gives none.
            DomainError: it refuses.
        """
        if self._is_unknown(name, request):
            raise _refusal(name, UNKNOWN)
        answer = await self._log(name, url).open(request.path, query, request.headers)
        if isinstance(answer, httpx.Response):
            return answer
        raise self._refusal(name, request, answer)

    def _is_unknown(self, name: str, request: CellRequest) -> bool:
        return self._steady() < (self._unknown.get((name, request.token)) or 0)

    def _refusal(self, name: str, request: CellRequest, reply: CellReply) -> DomainError:
        """Raises Away where the answer is none of a log."""
        problem = _read(reply, _as_object)
        if reply.status == 401:
            self._unknown.put((name, request.token), self._steady() + UNKNOWN_FOR)
            self._unknown.trim()
        return _refusal(name, problem)

    def _log(self, name: str, url: str) -> RemoteLog:
        if name not in self._logs:
            asking = self._own.get(name) or self._questions(url)
            self._logs[name] = RemoteLog(url, self._seconds, self._transport, asking)
        return self._logs[name]


def _as_object(text: bytes) -> dict[str, Any]:
    return dict(exact_json(text))


def _read(reply: CellReply, read: Callable[[bytes], Any]) -> Any:
    try:
        return read(reply.text)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise Away(f"it answers {reply.status}, but not what a log does") from None


def _refusal(name: str, problem: Mapping[str, Any]) -> DomainError:
    """The refusal of one log, as that of all."""
    code = str(problem.get("type", "")).rpartition("/")[2]
    members = {key: value for key, value in problem.items() if key not in OF_EVERY_PROBLEM}
    error = DomainError(f"The log `{name}` says: {problem.get('detail', 'no')}", cell=name)
    error.members |= members
    error.code = code if code in PROBLEMS else CellAway.code
    return error
