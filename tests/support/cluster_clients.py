"""Clients of several servers of one log: they move from one server to the next, and record their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from time import monotonic, sleep

import httpx
from websockets.exceptions import WebSocketException

from domain.eventlog.codec import EventRow
from tests.support.service_process import AUTHORIZED, Service, correlation
from tests.support.stream_consumers import OURS, Read

AT_ONCE = 300
"""The number of frames after which a consumer moves to the next server."""
PAUSE = 0.05


class UnkeyedCaller:
    """Sends each command once, to the servers in turn; refused commands are not repeated."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.answered: dict[str, int] = {}
        self.refused: set[str] = set()
        self.gap = 0.0
        """The longest time without an answer, in seconds, since it was set to 0."""
        self._services = services
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        async with httpx.AsyncClient(headers=AUTHORIZED, timeout=20) as client:
            last = monotonic()
            for number in count():
                service = self._services[number % len(self._services)]
                answered = await self._send(client, service, f"unkeyed-{number}")
                self.gap = max(self.gap, (now := monotonic()) - last)
                last = now if answered else last
                await asyncio.sleep(PAUSE)

    async def _send(self, client: httpx.AsyncClient, service: Service, label: str) -> bool:
        body = {"$id": label, "name": "Ann", "kind": "person"}
        headers = {"X-Correlation-Id": label}
        self.refused.add(label)  # until it is answered
        try:
            response = await client.post(f"{service.url}/api/users", json=body, headers=headers)
        except httpx.TransportError:
            return False
        if not response.is_success:
            assert response.status_code in (503, 504), response.text
            assert response.status_code == 504 or int(response.headers["retry-after"]) >= 1
            return False
        self.refused.remove(label)
        self.answered[label] = int(response.headers["log-position"])
        return True


class MovingConsumer:
    """Reads the log from its beginning to an end that is set later, from the servers in turn."""

    def __init__(self, services: Sequence[Service], read: Read) -> None:
        self.positions: list[int] = []
        self.end: int | None = None
        self._stopped = False
        self._services = services
        self._read = read
        self._task = asyncio.create_task(asyncio.to_thread(self._follow))

    async def finish(self, end: int) -> None:
        """Return once it has read up to `end`; an event must be written after `end` has been set."""
        self.end = end
        async with asyncio.timeout(60):
            await asyncio.shield(self._task)

    def stop(self) -> None:
        """Stop reading at any position."""
        self._stopped = True

    @property
    def _done(self) -> bool:
        return self.end is not None and bool(self.positions) and self.positions[-1] >= self.end

    def _follow(self) -> None:
        for number in count():
            cursor = self.positions[-1] if self.positions else 0
            service = self._services[number % len(self._services)]
            try:
                for frame in self._read(service, "/events", cursor, AT_ONCE):
                    if frame["type"] not in OURS:
                        self.positions.append(frame["position"])
                    if self._done:
                        return
            except (httpx.HTTPError, WebSocketException, OSError, AssertionError):
                sleep(PAUSE)  # it is away or full: the next one may accept
            if self._stopped:
                return


def assert_once(log: Sequence[EventRow], caller: UnkeyedCaller) -> None:
    """Raises AssertionError unless each answered command is at its position in the log, and none is recorded twice."""
    labels = [label for row in log if (label := correlation(row)) and label.startswith("unkeyed-")]
    assert len(labels) == len(set(labels))
    for label, position in caller.answered.items():
        assert correlation(log[position - 1]) == label
    assert set(labels) <= set(caller.answered) | caller.refused
