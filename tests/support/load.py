"""Clients that repeat each command until it is answered, as docs/api.md says: with idempotency keys or without."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, NamedTuple

import httpx

from domain.eventlog.codec import EventRow
from tests.support.service_process import AUTHORIZED, Service, correlation

CALLERS = 12
PAUSE = 0.06
"""Seconds between two commands of a caller: the other processes of the test need processors, too."""
CATALOG: tuple[tuple[str, dict[str, Any]], ...] = (
    ("users", {"$id": "acme", "name": "Acme", "kind": "organization"}),
    ("users", {"$id": "outreach", "name": "Outreach", "kind": "organization"}),
    ("services", {"$id": "sdr", "name": "Outreach", "provider": "outreach"}),
    ("orders", {"$id": "order-1", "service": "sdr", "customer": "acme"}),
)
EVENTS = {"create": 3, "usage": 1, "checkpoint": 1, "complete": 1}
"""The number of events that a command writes, in one commit."""
LONGEST = 300
"""Seconds within which the last answers must arrive."""
OF_THE_SERVICE = {"access-log", "timer"}
"""The correlations of events that the service records by itself."""
DONE = {"success": True, "output": {"sent": 2}, "summary": "done"}
RETRY_PAUSE = 0.1
"""Seconds before the next attempt."""


class OutcomeUnknown(Exception):
    """It is not known whether an attempt was recorded."""


class Acknowledged(NamedTuple):
    """The answer to a command: its label, and the version and position of its last event."""

    label: str
    execution: str
    version: int
    position: int


class Load:
    """Callers that write to executions of their own until `stop`, each with a pause after an answer.

    With `keys` they repeat a command, under its idempotency key, until it is answered. Without keys they
    repeat commands that were refused (503), or arrived too slowly to be read (408). If an outcome is unknown, they stop using
    that execution.
    """

    def __init__(self, service: Service, name: str, pause: float, *, keys: bool = True) -> None:
        self.answers: list[Acknowledged] = []
        self.refusals: list[httpx.Response] = []
        self.refused: set[str] = set()
        """The labels of attempts without a key that were refused: none of them is in the log."""
        self.unknown: set[str] = set()
        """The labels of attempts without a key whose outcome is unknown."""
        self.sent = 0
        self._name = name
        self._pause = pause
        self._keys = keys
        self._over = False
        self._running: asyncio.Task[None] | None = None
        limits = httpx.Limits(max_connections=2 * CALLERS)
        self._client = httpx.AsyncClient(
            base_url=f"{service.url}/api", headers=AUTHORIZED, timeout=20, limits=limits
        )

    def start(self) -> asyncio.Task[None]:
        """Start calling."""
        self._running = asyncio.create_task(self._run())
        return self._running

    async def _run(self) -> None:
        async with self._client:
            for path, entry in CATALOG:
                label = f"{self._name}-catalog-{entry['$id']}"
                await self._repeat_until_answered(path, entry, label)
            async with asyncio.TaskGroup() as group:
                for caller in range(CALLERS):
                    group.create_task(self._call(f"{self._name}-{caller}"))

    def stop(self) -> None:
        """Let every caller receive its pending answer, and end."""
        self._over = True

    async def answered(self, more: int, seconds: float = 60) -> None:
        """Wait until `more` further commands are answered; fails at once if a caller has failed."""
        wanted = len(self.answers) + more
        async with asyncio.timeout(seconds):
            while len(self.answers) < wanted:
                if self._running is not None and self._running.done():
                    await self._running
                await asyncio.sleep(0.02)

    async def _call(self, caller: str) -> None:
        for number in count():
            with suppress(OutcomeUnknown):
                await self._live(f"{caller}-{number}")
            if self._over:
                return

    async def _live(self, execution: str) -> None:
        await self._send_command(execution, "create", "executions")
        for place in range(1, 9):
            kind, path = ("checkpoint", "checkpoints") if place == 4 else ("usage", "metrics")
            await self._send_command(execution, f"{kind}-{place}", f"executions/{execution}/{path}")
            if self._over:
                return
        await self._send_command(execution, "complete", f"executions/{execution}/complete")

    async def _send_command(self, execution: str, command: str, path: str) -> None:
        kind, _, place = command.partition("-")
        ids = {"$id": execution, "order": "order-1", "service": "sdr", "status": "running"}
        usage = {"tokensUsed": int(place or 0)}
        body: dict[str, dict[str, Any]]
        body = {"create": ids, "usage": usage, "checkpoint": {"state": usage}, "complete": DONE}
        send = self._repeat_until_answered if self._keys else self._send_without_key
        label, response = await send(path, body[kind], f"{execution}:{command}")
        assert response.status_code in (200, 201), response.text
        received = response.json()
        assert received["$id"] == execution
        self.answers.append(
            Acknowledged(label, execution, received["version"], received["position"])
        )
        await asyncio.sleep(self._pause)

    async def _repeat_until_answered(
        self, path: str, body: dict[str, Any], label: str
    ) -> tuple[str, httpx.Response]:
        headers = {"Idempotency-Key": label, "X-Correlation-Id": label}
        while True:
            with suppress(httpx.TransportError):  # it may have been recorded or not
                response = await self._post(path, body, headers)
                if response.status_code not in (408, 503, 504):
                    return label, response
                self._note(response)
            await asyncio.sleep(RETRY_PAUSE)

    def _note(self, response: httpx.Response) -> None:
        if response.status_code != 408:  # a caller that was stopped half-way is not overloaded
            self.refusals.append(response)

    async def _send_without_key(
        self, path: str, body: dict[str, Any], label: str
    ) -> tuple[str, httpx.Response]:
        for attempt in count():
            tried = f"{label}-{attempt}"
            self.unknown.add(tried)
            try:
                response = await self._post(path, body, {"X-Correlation-Id": tried})
            except httpx.ConnectError:  # it was never sent
                self.unknown.discard(tried)
            except httpx.TransportError as error:
                raise OutcomeUnknown(tried) from error
            else:
                if response.status_code == 504:
                    raise OutcomeUnknown(tried)
                self.unknown.discard(tried)
                if response.status_code not in (408, 503):
                    return tried, response
                self._note(response)
                self.refused.add(tried)
            await asyncio.sleep(RETRY_PAUSE)
        raise AssertionError

    async def _post(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> httpx.Response:
        self.sent += 1
        return await self._client.post(path, json=body, headers=headers)


@asynccontextmanager
async def under_load(
    service: Service, name: str, *, thorough: bool = False, pause: float = PAUSE, keys: bool = True
) -> AsyncIterator[Load]:
    """Callers while the block runs; all of them are answered in the end.

    Only in a `thorough` run they write as fast as they are answered.
    """
    load = Load(service, name, 0 if thorough else pause, keys=keys)
    running = load.start()
    try:
        await load.answered(20)
        yield load
    except BaseException:
        running.cancel()  # the failure is more useful than callers that may wait forever
        raise
    load.stop()
    async with asyncio.timeout(LONGEST):
        await running


def assert_log_contains(log: Sequence[EventRow], answers: Sequence[Acknowledged]) -> None:
    """Raises AssertionError unless each answer is in the log once, and each commit is complete."""
    assert [row.position for row in log] == list(range(1, len(log) + 1))
    labels = [correlation(row) for row in log]
    for label, events in Counter(filter(None, labels)).items():
        if label in OF_THE_SERVICE:
            continue
        kind = label.rpartition(":")[2].partition("-")[0]
        assert events == EVENTS.get(kind, 1), label
    for received in answers:
        row = log[received.position - 1]
        assert (row.stream, row.version) == (f"execution/{received.execution}", received.version)
        assert labels[received.position - 1] == received.label
    versions: Counter[str] = Counter()
    for row in log:
        versions[row.stream] += 1
        assert row.version == versions[row.stream]


def assert_refused_are_absent(log: Sequence[EventRow], load: Load) -> None:
    """Raises AssertionError if a refused attempt is in the log."""
    assert load.refused.isdisjoint(map(correlation, log))
    assert all(refusal.headers["retry-after"] for refusal in load.refusals)


async def assert_views_follow(service: Service) -> None:
    """Every view reaches the end of the log, and the list equals a new fold of every execution."""
    head = len(service.events())
    async with httpx.AsyncClient(headers=AUTHORIZED, timeout=60) as client:
        listed = await client.get(
            f"{service.url}/executions?minPosition={head}", headers={"Prefer": "wait=30"}
        )
        assert listed.status_code == 200, listed.text
        views = (await client.get(f"{service.url}/readyz")).json()["views"]
    assert [view["parked"] for view in views.values()] == [0] * len(views)
    verified = await asyncio.to_thread(service.verify)
    assert verified.returncode == 0, verified.stdout + verified.stderr
