"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import httpx2
from pydantic_core import from_json

from service_executions._sync.runtime import sleep
from service_executions._sync.transport import Transport
from service_executions.errors import ExecutionsError, NotFound, VersionMismatch
from service_executions.ids import new_id
from service_executions.requests import (
    Command,
    CommandOptions,
    Repeat,
    Request,
    option_headers,
    post,
    read,
    segment,
    with_time,
)
from service_executions.retries import maybe_recorded, passing
from service_executions.values import JSON

AT_ONCE = 100
"Events of a page that is looked through for one of our own."


class Commands:
    """Sends commands, each as its kind of repeat asks for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(
        self,
        execution: str,
        command: Command,
        members: JSON,
        options: CommandOptions,
        *,
        minimal: bool = False,
    ) -> bytes:
        """The document after a command, as JSON; a `minimal` one says only where the execution stands.

        Raises:
            ApiError: the service refused.
            ConnectionFailed: it gave no answer.
        """
        path = f"/executions/{segment(execution)}/{command.path}"
        request = post(path, with_time(members, options), option_headers(options))
        if minimal:
            request = _with(request, "Prefer", "return=minimal")
        has_guard = "idempotency_key" in options or "if_match" in options
        if command.repeat is Repeat.GUARDED and (not has_guard):
            return self._send_once(execution, request)
        if command.repeat is Repeat.KEYED and "idempotency_key" not in options:
            request = _with(request, "Idempotency-Key", new_id("key"))
        return self._transport.send(request).content

    def _send_once(self, execution: str, request: Request) -> bytes:
        """Send once; before a repeat look whether it was recorded, and let it through only where nothing
        else was recorded since that look.
        """
        causation = new_id("try")
        request = _with(request, "X-Causation-Id", causation)
        attempt = 0
        while True:
            try:
                return self._transport.once(request, attempt + 1).content
            except ExecutionsError as failure:
                pause = self._pause(attempt, failure)
                if pause is None:
                    raise
            sleep(pause)
            attempt += 1
            seen = self._transport.send(read(f"/executions/{segment(execution)}"))
            if self._is_recorded(execution, causation):
                return self._transport.send(read(f"/executions/{segment(execution)}")).content
            request = _with(request, "If-Match", f'''"{from_json(seen.content)["version"]}"''')

    def _pause(self, attempt: int, failure: ExecutionsError) -> float | None:
        """As for all requests; a version that is another than the one seen leads to another look."""
        if attempt and isinstance(failure, VersionMismatch):
            return 0.0 if attempt < self._transport.retries.most else None
        return self._transport.retries.pause(attempt, failure) if passing(failure) else None

    def _is_recorded(self, execution: str, causation: str) -> bool:
        """Looks from the last event back to the first: any number may have been recorded since."""
        path = f"/executions/{segment(execution)}/events"
        cursor: str | None = None
        while True:
            request = read(path, {"order": "desc", "limit": AT_ONCE, "cursor": cursor})
            page = from_json(self._transport.send(request).content)
            if any(event.get("causationid") == causation for event in page["data"]):
                return True
            if not page["hasMore"]:
                return False
            cursor = page["nextCursor"]


def create(transport: Transport, request: Request, where: str) -> httpx2.Response:
    """The answer to a creation. One whose answer was lost is looked for: what has its id by then is that one.

    Raises:
        AlreadyExists: another creation has taken the id.
    """
    attempt, is_lost = (0, False)
    while True:
        try:
            return transport.once(request, attempt + 1)
        except ExecutionsError as failure:
            pause = transport.retries.pause(attempt, failure)
            if pause is None:
                raise
            is_lost = is_lost or maybe_recorded(failure)
        sleep(pause)
        attempt += 1
        if is_lost:
            with suppress(NotFound):
                return transport.send(read(where))


def _with(request: Request, name: str, value: str) -> Request:
    return replace(request, headers={**request.headers, name: value})
