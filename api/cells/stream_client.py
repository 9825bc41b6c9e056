"""Opens streams of another log by a general HTTP client, which takes 5 MB: imported when the first stream is opened."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from api.cells.connection import CONNECT_TIMEOUT, MEDIA_TYPE, Answered, BrokenAnswer, Query

SILENCE = 45.0
"""Seconds without a frame or heartbeat, after which a stream counts as lost."""


class StreamClient:
    """Opens streams at a server, each on a connection of its own. Redirects are not followed."""

    def __init__(
        self, url: str, seconds: float, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self._url = url
        self._timeout = httpx.Timeout(seconds, connect=CONNECT_TIMEOUT, read=SILENCE)
        self._client = httpx.AsyncClient(
            transport=transport, limits=httpx.Limits(max_connections=None), trust_env=False
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def open(
        self, path: str, query: Query, headers: Mapping[str, str], most: int
    ) -> httpx.Response | Answered:
        """Open a stream of server-sent events, which the caller has to close; or return another answer as a whole.

        Raises:
            ConnectionError: the server does not answer.
            BrokenAnswer: the other answer has more than `most` bytes.
        """
        try:
            request = self._client.build_request(
                "GET", self._url + path, params=query, headers=headers, timeout=self._timeout
            )
            answer = await self._client.send(request, stream=True)
            media_type = answer.headers.get("content-type", "")
            if answer.status_code == 200 and media_type.startswith(MEDIA_TYPE):
                return answer
            try:
                return await _read_all(answer, most)
            finally:
                await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionError(type(error).__name__) from error


async def _read_all(answer: httpx.Response, most: int) -> Answered:
    text = bytearray()
    async for part in answer.aiter_bytes():
        text += part
        if len(text) > most:
            raise BrokenAnswer(f"it answers more than {most} bytes")
    return Answered(answer.status_code, answer.headers, bytes(text))
