"""Sends requests, repeats them where that is safe, and raises refusals."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

import httpx2

from service_executions._async.runtime import HttpClient, sleep
from service_executions.address import Address
from service_executions.errors import ExecutionsError, OtherLog
from service_executions.requests import Request, refusal
from service_executions.retries import Retries, connection_failed, require_service
from service_executions.session import Session

USER_AGENT = (
    f"service-executions/0.1.0 python/{platform.python_version()} httpx2/{httpx2.__version__}"
)
LONGEST_WAIT = 30
"""Seconds for which the service lets a read wait for a position, at most."""
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
"""No limit on connections, because each stream has its own, and streams must not block commands."""


class AsyncTransport:
    """Sends requests to one service. Several transports may share a connection pool and a session."""

    def __init__(
        self,
        address: Address,
        http: HttpClient,
        session: Session,
        retries: Retries,
        *,
        timeout: float,
        consistent: bool,
        headers: dict[str, str],
    ) -> None:
        self.address = address
        self.http = http
        self.session = session
        self.retries = retries
        self.timeout = timeout
        self._consistent = consistent
        own = {"User-Agent": USER_AGENT, "Accept": "application/json", **headers}
        if address.token:
            own["Authorization"] = f"Bearer {address.token}"
        self.headers = own
        self._prefer = {"Prefer": f"wait={max(1, min(LONGEST_WAIT, int(timeout / 2)))}"}

    async def send(self, request: Request) -> httpx2.Response:
        """Send a request and return the answer. After a temporary failure, send it again, as often as is allowed.

        Raises:
            ApiError: the service refused.
            ConnectionFailed: the service gave no answer.
        """
        attempt = 0
        while True:
            try:
                return await self.once(request, attempt + 1)
            except ExecutionsError as error:
                failure, pause = error, self.retries.pause(attempt, error)
                if pause is None:
                    raise
            await sleep(pause)
            if self.http.is_closed:
                raise failure
            attempt += 1

    async def once(self, request: Request, attempt: int = 1) -> httpx2.Response:
        """Send a request once and return the answer. A read that follows the log waits for the session's position."""
        if not (request.follows and self._consistent and "minPosition" not in request.query):
            return await self._send(request, attempt)
        waiting = replace(
            request,
            query={**request.query, **self.session.query()},
            headers={**request.headers, **self._prefer},
        )
        try:
            return await self._send(waiting, attempt)
        except OtherLog:
            # The log was restored from a backup, so the position that this session has seen is meaningless.
            self.session.forget()
            return await self._send(request, attempt)

    async def _send(self, request: Request, attempt: int) -> httpx2.Response:
        options: dict[str, Any] = {"params": request.query} if request.query else {}
        try:
            response = await self.http.request(
                request.method,
                self.address.api + request.path,
                content=request.content,
                headers={**self.headers, **request.headers},
                timeout=request.timeout or self.timeout,
                **options,
            )
        except httpx2.TransportError as error:
            raise connection_failed(self.address.url, error) from error
        self.session.note(response.headers)
        if not response.is_success:
            raise refusal(response, attempt)
        if "Accept" not in request.headers:
            require_service(self.address.url, response)
        return response
