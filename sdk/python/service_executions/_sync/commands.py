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
"Events in a page of the history that is searched for an event of our own command."


class Commands:
    """Sends commands, and repeats each after a lost answer in the way that its `Repeat` requires."""

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
        """Send a command and return the document after it, as JSON; a `minimal` one has only status, version and position.

        Raises:
            ApiError: the service refused.
            ConnectionFailed: the service gave no answer.
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
        """Send a command. Before a repeat, check whether it was recorded, and repeat it on the condition that nothing was
        recorded since that check.
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
        """Return the seconds to wait before a repeat; None for no repeat. A version mismatch after a check leads to another
        check at once.
        """
        if attempt and isinstance(failure, VersionMismatch):
            return 0.0 if attempt < self._transport.retries.most else None
        return self._transport.retries.pause(attempt, failure) if passing(failure) else None

    def _is_recorded(self, execution: str, causation: str) -> bool:
        """Whether an event has this causation id, searched from the last event back to the first."""
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
    """Send a creation and return the answer. If an answer was lost, read `where`: an object with the id is then ours.

    Raises:
        AlreadyExists: the id is taken.
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
