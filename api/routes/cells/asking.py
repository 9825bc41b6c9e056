"""Sends requests to several logs, with the credential of the caller, and collects their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from api.cells.client import Asked, CellAway, CellClient, CellRequest
from api.cells.connection import MEDIA_TYPE, Query
from api.cells.cursor import CellCursor, CellPosition
from api.cells.directory import Directory
from api.cells.log_stream import Connect, LogStream
from api.cells.merged_stream import MergedStream
from api.web.operation import Parameter
from api.web.request import Request
from domain.errors import Invalid, NotFound

if TYPE_CHECKING:
    import httpx

PASSED_ON = ("authorization", "x-purpose", "traceparent")
OF_STREAMS = {"accept": MEDIA_TYPE, "accept-encoding": "identity"}
NO_MAP = "This server knows no other logs: there is no map of them (EXECUTIONS_CELLS)."
NO_TOKEN = "has to be there: a session is of one log alone, so ask several with a token"  # noqa: S105
OF_KEYS = "key/"
"""The prefix of the credentials of API keys."""
OF_ONE = "an API key is of one log, and the others do not know it"
CELLS = Parameter("cells", "Names of logs, comma-separated; all by default")
PARTIAL = Parameter(
    "partial",
    "Whether to answer without the logs that are away, and name them in `missing`",
    {"type": "boolean"},
)
OWN = ("cells", "partial")
OF_ONE_LOG = ("at", "cursors", "facets", "log", "minPosition", "profile", "speed")
"""Query parameters that are only for a single log."""


class CellAnswers(NamedTuple):
    """The answers of logs, and the reasons why unavailable logs did not answer."""

    given: Mapping[str, Asked]
    away: Mapping[str, str]

    @property
    def shown(self) -> dict[str, Any]:
        """The members `cells` and `missing`: the position of each log, and the logs without an answer."""
        cells = {name: {"position": answer.position} for name, answer in self.given.items()}
        missing = [{"cell": name, "reason": reason} for name, reason in self.away.items()]
        return {"cells": cells, **({"missing": missing} if missing else {})}


class Asking:
    """Sends requests to the logs of the directory, with the credential of the caller."""

    def __init__(self, directory: Directory, client: CellClient) -> None:
        self._directory = directory
        self._client = client

    def names(self, request: Request) -> list[str]:
        """The names of the logs that a request is for.

        Raises:
            NotFound: there is no directory of logs.
            Invalid: a log is not in the directory, or the request has a parameter that is only for a single log.
        """
        urls = self._directory.urls
        if not urls:
            raise NotFound(NO_MAP)
        for name in OF_ONE_LOG:
            if request.parameter(name) is not None:
                raise Invalid.field(name, "is for a question to one log: leave it out")
        chosen = request.non_empty("cells")
        names = list(urls) if chosen is None else list(dict.fromkeys(chosen.split(",")))
        if unknown := [name for name in names if name not in urls]:
            known = ", ".join(urls)
            raise Invalid.field("cells", f"must be of {known}, but has `{unknown[0][:100]}`")
        own = self._directory.own
        if request.caller.credential.startswith(OF_KEYS) and names != [own]:
            raise Invalid.field("cells", f"must be `{own}` alone: {OF_ONE}" if own else OF_ONE)
        return names

    async def answers(
        self,
        request: Request,
        path: str,
        query: Mapping[str, Query],
        read: Callable[[bytes], Any],
    ) -> CellAnswers:
        """Send each log its query, and return the answers, which `read` parses.

        Raises:
            CellAway: a log does not answer, and the request is not for partial answers.
            DomainError: a log refuses the request.
        """
        partial = request.boolean("partial")
        question = CellRequest(path, headers_to_pass_on(request), read)
        asked = await self._client.ask(self._directory.urls, query, question)
        away = {name: answer.away for name, answer in asked.items() if answer.away is not None}
        given = {name: answer for name, answer in asked.items() if name not in away}
        if away and not (partial and given):
            name, reason = next(iter(away.items()))
            raise CellAway(f"The log `{name}` is away: {reason}.", cell=name)
        return CellAnswers(given, away)

    def is_known(self, name: str) -> bool:
        """Whether a log is in the directory."""
        return name in self._directory.urls

    def merge_streams(
        self, request: Request, path: str, query: Query, names: Sequence[str], cursor: CellCursor
    ) -> MergedStream:
        """Make a merged stream of logs, which the caller has to open. A log without a position in the cursor begins at its
        first event.

        Raises:
            Invalid: the request has no token.
        """
        question = CellRequest(path, {**headers_to_pass_on(request), **OF_STREAMS})

        def connect(name: str) -> Connect:
            async def connect(start: Query) -> httpx.Response:
                url = self._directory.urls[name]
                return await self._client.stream(name, url, [*query, *start], question)

            return connect

        streams = [
            LogStream(name, cursor.get(name) or CellPosition(), connect(name)) for name in names
        ]
        return MergedStream(streams, cursor)


def parameters_to_pass_on(request: Request, *own: str) -> Query:
    """The query parameters of a request that are sent to each log."""
    left_out: Iterable[str] = {*OWN, *own}
    return [item for item in request.query if item[0] not in left_out]


def headers_to_pass_on(request: Request) -> dict[str, str]:
    """The headers of a request that are sent to each log. Raises Invalid where there is no token."""
    found = {name: request.header(name) for name in PASSED_ON}
    if found["authorization"] is None:
        raise Invalid.field("authorization", NO_TOKEN)
    found["x-correlation-id"] = request.correlation
    return {name: value for name, value in found.items() if value is not None}
