"""Makes the call of one event to one webhook, from what the log holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from time import monotonic
from typing import NamedTuple, Protocol

from domain.catalog.webhook import WebhookSettings
from domain.errors import Damaged
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey, usable
from domain.eventlog.store import Store
from domain.execution.events.creation import ExecutionCreated, ExecutionUpdated
from domain.execution.webhook import Webhook
from domain.lru import LruCache
from domain.sealing import Ciphertext
from projections.deliveries.hooks import id_of
from projections.deliveries.queue import WaitingDelivery
from projections.deliveries.secrets import signing_generations, signing_secret
from workers.webhooks.http_client import CallFailed
from workers.webhooks.http_connection import Response
from workers.webhooks.message import json_body, message_headers, slack_body

LONGEST_ERROR = 500
UNREADABLE = "the webhook cannot be called, as its settings or their key cannot be read"
MOST_CACHED = 10_000
"""Settings and secrets of webhooks that are kept from call to call."""


class Client(Protocol):
    """What sends a body to a URL."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """The response. Raises CallFailed where there is none."""


class Outcome(NamedTuple):
    """What came of a call: the status (None where there was no answer), how many milliseconds it took,
    the first KiB of the answer, why it counts as failed, the answer's `Retry-After`, and whether a call was attempted.
    """

    status: int | None
    latency: int
    answer: str = ""
    error: str | None = None
    retry_after: str | None = None
    attempted: bool = True


async def call(client: Client, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Call a receiver; any 2xx is success."""
    began = monotonic()
    try:
        response = await client.post(url, headers, body)
    except CallFailed as error:
        return Outcome(None, _since(began), error=_text(str(error))[:LONGEST_ERROR])
    failed = None if 200 <= response.status < 300 else f"answered {response.status}"
    answer = _text(response.body.decode("utf-8", "replace"))
    return Outcome(response.status, _since(began), answer, failed, response.retry_after)


class WebhookCaller:
    """Reads from the log what a webhook gets, and sends it."""

    def __init__(self, store: Store, client: Client) -> None:
        self._store = store
        self._client = client
        self._hooks: LruCache[tuple[str, str, int], Webhook] = LruCache(MOST_CACHED)
        self._secrets: LruCache[tuple[str, str, int], bytes] = LruCache(MOST_CACHED)
        store.keyring.on_destroyed.append(self._forget)

    def _forget(self, _: Iterable[str]) -> None:
        """Keep no settings and no secrets, as keys were destroyed: others are read again."""
        self._hooks.clear()
        self._secrets.clear()

    async def send(self, waiting: WaitingDelivery, at: datetime) -> Outcome:
        """Send an event that waits.

        Raises:
            Overloaded: the database is away.
        """
        try:
            url, headers, body = await self._call(waiting, at)
        except Damaged:
            return Outcome(None, 0, error=UNREADABLE, attempted=False)
        return await call(self._client, url, headers, body)

    async def _call(
        self, waiting: WaitingDelivery, at: datetime
    ) -> tuple[str, Mapping[str, str], bytes]:
        stream, data = waiting.lane.stream, waiting.data
        keys = await self._store.keys([stream, waiting.set_by])
        if (hook_key := usable(keys[waiting.set_by])) is None:
            raise Damaged(UNREADABLE)
        if data is None:
            data = (await self._event(stream, waiting.version)).data
        place = waiting.position, waiting.version, waiting.at
        row = EventRow(*place, stream, waiting.type, waiting.meta, data)
        hook = await self._hook(waiting, hook_key)
        body = await self._body(row, keys[stream], hook)
        message = f"msg_{waiting.position}_{id_of(waiting.lane.webhook)}"
        secrets = self._signing(waiting, hook_key, at)
        return hook.target, message_headers(hook, secrets, message, at, body), body

    def _signing(self, waiting: WaitingDelivery, key: DataKey, at: datetime) -> list[bytes]:
        generations = signing_generations(waiting.generation, waiting.overlap_until, at)
        return [self._secret(waiting, key, generation) for generation in generations]

    def _secret(self, waiting: WaitingDelivery, key: DataKey, generation: int) -> bytes:
        name = waiting.set_by, waiting.lane.webhook, generation
        if (found := self._secrets.get(name)) is None:
            found = signing_secret(key, id_of(waiting.lane.webhook), generation)
            self._secrets.put(name, found)
            self._secrets.trim()
        return found

    async def _event(self, stream: str, version: int) -> EventRow:
        [row] = await self._store.history(stream, version - 1, version)
        return row

    async def _hook(self, waiting: WaitingDelivery, key: DataKey) -> Webhook:
        name = waiting.lane.webhook, waiting.set_by, waiting.set_at
        if (found := self._hooks.get(name)) is None:
            row = await self._event(waiting.set_by, waiting.set_at)
            found = self._settings(row, key, id_of(waiting.lane.webhook))
            self._hooks.put(name, found)
            self._hooks.trim()
        return found

    def _settings(self, row: EventRow, key: DataKey, webhook: str) -> Webhook:
        event = self._store.codec.decode(row, key).event
        if isinstance(event, WebhookSettings):
            hook = event.settings(webhook)
        else:
            assert isinstance(event, ExecutionCreated | ExecutionUpdated)
            hook = next(hook for hook in event.webhooks if hook.id == webhook)
        secrets = (hook.target, *(hook.headers or {}).values())
        if any(isinstance(value, Ciphertext) for value in secrets):
            raise Damaged(UNREADABLE)
        return hook

    async def _body(self, row: EventRow, key: DataKey | None, hook: Webhook) -> bytes:
        if hook.format == "json":
            return json_body(row, key, self._store.log_name)
        after = await self._store.load(row.stream, row.version)
        assert after is not None
        return slack_body(row, after)


def _since(began: float) -> int:
    return round((monotonic() - began) * 1_000)


def _text(text: str) -> str:
    """Without what PostgreSQL's texts cannot hold."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
