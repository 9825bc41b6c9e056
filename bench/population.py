"""Creates the executions that are measured, over HTTP as any client does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from bench.client import Answer, Caller, caller, request
from bench.events import CUSTOMER, PROVIDER

A_CALL = 500
"""Commands in a call of `POST /commands`."""
CALLS_AT_ONCE = 3
SERVICES = [f"service-{number}" for number in range(10)]
DAYS = 60
"""Days over which the executions are created."""
STEPS = ("collect", "decide")
FATES = ("complete", "complete", "complete", "complete", "complete", "fail", "fail", "cancel", None)
"""The commands that end executions, by their number; None: the execution keeps running."""
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """A client's view of a running service: its port and a token."""

    port: int
    token: str

    def request(self, method: str, path: str, body: object = None) -> bytes:
        return request(method, f"/api{path}", body, self.token)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Caller]:
        async with caller(self.port) as connection:
            yield connection

    async def call(self, method: str, path: str, body: object = None, expect: int = 200) -> Answer:
        """Send a request on a connection of its own, and return the answer."""
        async with self.connect() as connection:
            return await connection.call(self.request(method, path, body), expect)

    def progress(self, execution: str, value: float) -> bytes:
        return self.request("POST", f"/executions/{execution}/progress", {"progress": value})

    async def prepare(self) -> None:
        """Create the users, services and orders to which the executions refer."""
        for user in (CUSTOMER, PROVIDER):
            given = {"$id": user, "name": user, "kind": "organization"}
            await self.call("POST", "/users", given, 201)
        for service in SERVICES:
            given = {"$id": service, "name": service, "provider": PROVIDER}
            await self.call("POST", "/services", given, 201)
            given = {"$id": f"order-of-{service}", "service": service, "customer": CUSTOMER}
            await self.call("POST", "/orders", given, 201)

    async def running(self, prefix: str, count: int) -> list[str]:
        """Create `count` running executions; return their ids."""
        made = [f"{prefix}-{number}" for number in range(count)]
        await self.send(_creation(name, number) for number, name in enumerate(made))
        return made

    async def populate(self, count: int) -> int:
        """Record whole lives of `count` executions, spread over `DAYS`; return the last position."""
        start = datetime.now(UTC) - timedelta(days=DAYS + 1)
        every = timedelta(days=DAYS) / count
        lives = (life(number, start + number * every) for number in range(count))
        return await self.send(item for items in lives for item in items)

    async def send(self, items: Iterator[Item]) -> int:
        """Send commands in calls of about `A_CALL`; return the last position. Raises RuntimeError if one is refused."""
        calls, last = _calls(items), 0

        async def work(connection: Caller) -> None:
            nonlocal last
            for part in calls:
                answer = await connection.call(self.request("POST", "/commands", part))
                check_all(answer.body, len(part))
                last = max(last, int(answer.body.rpartition(b'"position":')[2].partition(b"}")[0]))

        async def worker() -> None:
            async with self.connect() as connection:
                await work(connection)

        await asyncio.gather(*(worker() for _ in range(CALLS_AT_ONCE)))
        return last

    async def visible(self, position: int) -> None:
        """Wait until the lists and the analytics have reached a position."""
        async with self.connect() as connection:
            for path in ("/executions?limit=1", "/analytics/executions?"):
                wanted = self.request("GET", f"{path}&minPosition={position}")
                while (await connection.call(wanted, None)).status == 504:
                    pass  # the service itself waits for some seconds before it answers


def check_all(body: bytes, expected: int) -> int:
    """Return the number of recorded commands in an answer. Raises RuntimeError if it is not the expected one."""
    recorded = body.count(b'"status":20')
    if recorded != expected:
        refused = [item for item in orjson.loads(body) if item["status"] >= 300]
        raise RuntimeError(f"{len(refused)} of {expected} commands were refused: {refused[:1]}")
    return recorded


def life(number: int, begun: datetime) -> list[Item]:
    """Return the commands of one execution; most executions end."""
    name, fate = f"execution-{number:06}", FATES[number % len(FATES)]
    ended = begun + timedelta(seconds=60 + number % 3_600)
    items = [_creation(name, number, begun)]
    items += [_step(name, word, begun) for word in ("startStep", "completeStep")]
    if fate is not None:
        items.append(
            {
                "command": fate,
                "execution": name,
                "occurredAt": _text(ended),
                **_content(fate, number),
            }
        )
    return items


def _content(fate: str, number: int) -> Item:
    if fate == "complete":
        return {"success": True, "output": {"number": number}, "summary": "done"}
    if fate == "fail":
        return {"code": f"E{number % 7}", "message": "broken", "recoverable": False}
    return {"reason": "not needed"}


def _creation(name: str, number: int, begun: datetime | None = None) -> Item:
    service = SERVICES[number % len(SERVICES)]
    item: Item = {
        "command": "create",
        "execution": name,
        "order": f"order-of-{service}",
        "service": service,
        "status": "running",
        "assignee": {"type": "ai-agent", "id": f"agent-{number % 23}", "name": "Agent"},
        "steps": [{"id": step, "name": step} for step in STEPS],
        "tags": [f"tag-{number % 5}"],
        "metadata": {"environment": "bench", "number": number},
    }
    return item if begun is None else {**item, "occurredAt": _text(begun)}


def _step(name: str, command: str, at: datetime) -> Item:
    return {"command": command, "execution": name, "step": STEPS[0], "occurredAt": _text(at)}


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _calls(items: Iterator[Item]) -> Iterator[list[Item]]:
    # A call has all commands of its executions, because several calls are sent at the same time.
    part: list[Item] = []
    for item in items:
        if len(part) >= A_CALL and item["command"] == "create":
            yield part
            part = []
        part.append(item)
    if part:
        yield part
