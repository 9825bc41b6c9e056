"""Requests to other logs, answered by a function without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from api.cells.connection import Answered, BrokenAnswer, Query


class ScriptedQuestions:
    """Requests to the server of a URL."""

    def __init__(self, answers: Callable[[httpx.Request], Any], url: str) -> None:
        self._client = httpx.AsyncClient(transport=httpx.MockTransport(answers), base_url=url)

    async def get(self, path: str, query: Query, headers: Mapping[str, str], most: int) -> Answered:
        """The answer of the function, if it does not exceed this many bytes."""
        content = b""
        async with self._client.stream("GET", path, params=query, headers=headers) as answer:
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > most:
                    raise BrokenAnswer("it is too long")
        return Answered(answer.status_code, answer.headers, content)

    def close(self) -> None:
        """Nothing is open."""
