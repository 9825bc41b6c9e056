"""Sends one request to several logs at once, with the credential of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from api.cells.connection import ConnectionPool, Query
from api.cells.remote import Away, CellReply, Questions, RemoteLog
from api.problems.codes import PROBLEMS
from domain.errors import DomainError, Overloaded
from domain.lru import LruCache
from projections.representations.exact_json import exact_json

if TYPE_CHECKING:
    import httpx

ANSWER_TIMEOUT = 5.0
"""Seconds for the whole answer of a log, whose database has half a second for a list."""
MOST_ASKED = 32
"""Requests to several logs that are answered at the same time; each may hold an answer of every log in memory."""
UNKNOWN_FOR = 60.0
"""Seconds for which a token that a log has refused is not sent to it again: the log counts failed attempts by the
address of this server, and would soon refuse all of its requests.
"""
UNKNOWN = {"type": "/unauthenticated", "detail": "This token is not valid."}
REMEMBERED = 10_000
"""Refused tokens that are cached."""
OF_EVERY_PROBLEM = frozenset({"type", "title", "status", "detail", "instance", "cell"})


class CellAway(DomainError):
    """One of the logs does not answer; send it again, or with `partial=true` for the answers of the others."""

    code = "cell-away"


class Asked(NamedTuple):
    """The answer of one log and its position; or why there is no answer (`away`)."""

    body: Any
    position: int
    away: str | None = None


class CellRequest(NamedTuple):
    """A request to all logs: a path, headers, and a function that parses the JSON text of an answer.

    `read` raises ValueError, TypeError, LookupError or AttributeError where the text is no such answer.
    """

    path: str
    headers: Mapping[str, str]
    read: Callable[[bytes], Any] = exact_json

    @property
    def token(self) -> bytes:
        """The hash of the credential, under which a refusal is cached."""
        return sha256(self.headers.get("authorization", "").encode("latin-1")).digest()


class CellClient:
    """Sends requests to the servers of logs. A slow log does not delay requests to the others."""

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
        self._refused_tokens: LruCache[tuple[str, bytes], float] = LruCache(REMEMBERED)
        self._running = 0

    def answer_here(self, name: str, own: Questions) -> None:
        """Send the requests to a log by `own`, as it is the log of this server."""
        self._own[name] = own

    async def aclose(self) -> None:
        """Close all connections."""
        for log in self._logs.values():
            await log.aclose()

    async def ask(
        self, urls: Mapping[str, str], query: Mapping[str, Query], request: CellRequest
    ) -> dict[str, Asked]:
        """Send a request to all logs in `query`, which has the parameters for each, and return their answers by name.

        Raises:
            DomainError: a log refuses the request; the member `cell` names the log.
            Overloaded: too many such requests are being answered.
        """
        with self._count_request():
            answers = await asyncio.gather(
                *(self._ask_log(name, urls[name], query[name], request) for name in query)
            )
        for answer in answers:
            if isinstance(answer, DomainError):
                raise answer
        return {
            name: answer
            for name, answer in zip(query, answers, strict=True)
            if not isinstance(answer, DomainError)
        }

    @contextmanager
    def _count_request(self) -> Iterator[None]:
        if self._running >= MOST_ASKED:
            raise Overloaded(
                "Too many questions to several logs are being answered; send it again."
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _ask_log(
        self, name: str, url: str, query: Query, request: CellRequest
    ) -> Asked | DomainError:
        if self._is_refused_token(name, request):
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
        """Open a stream of a log. The caller has to close it.

        Raises:
            Away: the log does not answer with a stream.
            DomainError: the log refuses the request.
        """
        if self._is_refused_token(name, request):
            raise _refusal(name, UNKNOWN)
        answer = await self._log(name, url).open(request.path, query, request.headers)
        if isinstance(answer, CellReply):
            raise self._refusal(name, request, answer)
        return answer

    def _is_refused_token(self, name: str, request: CellRequest) -> bool:
        return self._steady() < (self._refused_tokens.get((name, request.token)) or 0)

    def _refusal(self, name: str, request: CellRequest, reply: CellReply) -> DomainError:
        """The refusal in an answer. Raises Away where the answer is not of a log."""
        problem = _read(reply, _as_object)
        if reply.status == 401:
            self._refused_tokens.put((name, request.token), self._steady() + UNKNOWN_FOR)
            self._refused_tokens.trim()
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
    """The refusal of one log as the refusal of the whole request."""
    code = str(problem.get("type", "")).rpartition("/")[2]
    members = {key: value for key, value in problem.items() if key not in OF_EVERY_PROBLEM}
    error = DomainError(f"The log `{name}` says: {problem.get('detail', 'no')}", cell=name)
    error.members |= members
    error.code = code if code in PROBLEMS else CellAway.code
    return error
