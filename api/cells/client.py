"""Asks several logs the same question at once, with the credential of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
import orjson

from api.problems.codes import PROBLEMS
from domain.errors import DomainError

WITHIN = httpx.Timeout(5.0, connect=2.0)
"""Seconds that a log has to answer: its database has half a second for a list."""
PASSING = frozenset({429, 502, 503, 504})


Query = list[tuple[str, str | int | float | bool | None]]
"""Parameters, in order, repeated ones repeated."""


class CellAway(DomainError):
    """One of the logs does not answer; send it again, or ask with `partial=true` for what the others have."""

    code = "cell-away"


class Asked(NamedTuple):
    """What one log answered: a JSON object, and how far its log went; or why it gave none."""

    body: Any
    position: int
    away: str | None = None


class CellClient:
    """Sends requests to the servers of logs. It follows no redirect, as a credential goes along."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def ask(
        self,
        urls: Mapping[str, str],
        path: str,
        query: Mapping[str, Query],
        headers: Mapping[str, str],
    ) -> dict[str, Asked]:
        """The answers of logs by their names; `query` has the parameters for each that is asked.

        Raises:
            DomainError: one of them refuses; it says which, as `cell`.
        """
        names = list(query)
        asked = [self._one(name, urls[name] + path, query[name], headers) for name in names]
        return dict(zip(names, await asyncio.gather(*asked), strict=True))

    async def _one(self, name: str, url: str, query: Query, headers: Mapping[str, str]) -> Asked:
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport, timeout=WITHIN, trust_env=False
            )
        try:
            answer = await self._client.get(url, params=query, headers=headers)
            if answer.status_code in PASSING:
                return Asked(None, 0, f"it answers {answer.status_code}")
            body = orjson.loads(answer.content)
        except (httpx.HTTPError, ValueError) as error:
            return Asked(None, 0, f"it does not answer: {type(error).__name__}")
        if not answer.is_success:
            raise _refused(name, body)
        return Asked(body, int(answer.headers.get("log-position", "0")))


def _refused(name: str, problem: Any) -> DomainError:
    """The refusal of one log, as that of all."""
    found = problem if isinstance(problem, dict) else {}
    code = str(found.get("type", "")).rpartition("/")[2]
    members = {"errors": found["errors"]} if "errors" in found else {}
    error = DomainError(f"The log `{name}` says: {found.get('detail', 'no')}", cell=name, **members)
    error.code = code if code in PROBLEMS else CellAway.code
    return error
