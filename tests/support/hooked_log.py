"""A log whose webhooks are called, with receivers and a clock that the test controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from domain.execution.webhook import Webhook
from domain.writer.guarded_writer import GuardedWriter
from projections.deliveries.health import WebhookHealth, health_of
from projections.deliveries.hooks import key_of
from projections.deliveries.queue import DeliveryQueue
from tests.support.followed_log import FollowedLog
from workers.webhooks.caller import Client, WebhookCaller
from workers.webhooks.deliveries import DeliveryWorker, WebhookWorker
from workers.webhooks.http_connection import Response

OK = Response(200, b"ok", None)


@dataclass
class FakeClient:
    """Answers as `answer` says, and stores what was sent."""

    answer: Callable[[str], Response] = lambda _: OK
    refuses: Callable[[bytes], bool] = lambda _: False
    sent: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        self.sent.append((url, headers, body))
        return Response(500, b"", None) if self.refuses(body) else self.answer(url)

    def received(self, url: str = "https://a.example/") -> list[tuple[int, str]]:
        """Version and type of each event that was sent to a URL."""
        bodies = [orjson.loads(body) for to, _, body in self.sent if to == url]
        return [(body["version"], body["type"].removeprefix("execution.")) for body in bodies]


def hook(url: str = "https://a.example/", *events: str, **more: Any) -> Webhook:
    return Webhook(**{"id": "wh-1", "url": url, "events": events or ("*",), **more})


@dataclass
class World(FollowedLog):
    """With the read model of its webhooks, and receivers whose answers the test sets."""

    client: FakeClient = field(default_factory=FakeClient)

    async def begin_hooked(
        self, id_: str, *hooks: Webhook, occurred_at: datetime | None = None, **fields: Any
    ) -> None:
        """Start an execution that has webhooks."""
        await self.begin(id_, occurred_at=occurred_at, webhooks=hooks, **fields)

    def worker(self, client: Client | None = None) -> DeliveryWorker:
        caller = WebhookCaller(self.store, client or self.client)
        writer = GuardedWriter(self.store, lambda: self.now, str, lambda: 0.5)
        worker = WebhookWorker(
            caller, self.store, writer, "", clock=lambda: self.now, chance=lambda: 0.0
        )
        return worker.calls(DeliveryQueue(self.connection))

    async def enter(self, worker: DeliveryWorker) -> None:
        """Queue the deliveries that are owed by now, without calling."""
        await self.follow()
        while await worker._dispatcher.step():
            pass

    async def call(self, worker: DeliveryWorker, after: timedelta = timedelta()) -> None:
        """Let time pass, and call until nothing is due."""
        self.now += after
        await self.follow()
        while await worker._dispatcher.step() or await worker.begin():
            await worker.settle()
            await self.follow()

    async def health(self, id_: str = "e", webhook: str = "wh-1") -> WebhookHealth:
        key = key_of(id_, webhook)
        return (await health_of(self.connection, [key]))[key]

    async def count(self, table: str) -> int:
        """The number of rows of a table."""
        cursor = await self.connection.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - a test's own
        [(rows,)] = await cursor.fetchall()
        return int(rows)
