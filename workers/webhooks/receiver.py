"""Makes the call of one event to one webhook, from what the log holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import NamedTuple, Protocol

from domain.errors import Damaged
from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.eventlog.store import Store
from domain.execution.events import ExecutionCreated, ExecutionUpdated
from domain.execution.types import Webhook
from domain.sealing import Ciphertext
from projections.deliveries.calls import Key, Next, Outcome
from projections.deliveries.secrets import signing_secret
from workers.webhooks.http_client import CallFailed, Response
from workers.webhooks.message import json_body, message_headers, slack_body

LONGEST_ERROR = 500
UNREADABLE = "the webhook cannot be called, as its settings or their key cannot be read"


class Client(Protocol):
    """What sends a body to a URL."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """The response. Raises CallFailed where there is none."""


class Result(NamedTuple):
    """What came of a call, and the header `Retry-After` of the answer."""

    outcome: Outcome
    retry_after: str | None = None


class Receiver:
    """Those who are called: it reads what to send to them, and sends it."""

    def __init__(self, store: Store, client: Client) -> None:
        self._store = store
        self._client = client

    async def send(self, key: Key, owed: Next, at: datetime) -> Result:
        """Send the event that is owed; any 2xx is success.

        Raises:
            Overloaded: the database is away.
        """
        try:
            url, headers, body = await self._call(key, owed, at)
        except Damaged:
            return Result(Outcome(None, 0, error=UNREADABLE))
        began = monotonic()
        try:
            response = await self._client.post(url, headers, body)
        except CallFailed as error:
            return Result(Outcome(None, _since(began), error=_text(str(error))[:LONGEST_ERROR]))
        failed = None if 200 <= response.status < 300 else f"answered {response.status}"
        answer = _text(response.body.decode("utf-8", "replace"))
        outcome = Outcome(response.status, _since(began), answer, failed)
        return Result(outcome, response.retry_after)

    async def _call(
        self, key: Key, owed: Next, at: datetime
    ) -> tuple[str, Mapping[str, str], bytes]:
        stream = f"execution/{key.execution}"
        data_key = (await self._store.keys([stream]))[stream]
        if data_key is None:
            raise Damaged(UNREADABLE)
        row = await self._event(stream, owed.version)
        settings = row if owed.hook_version == owed.version else None
        hook = self._hook(settings or await self._event(stream, owed.hook_version), data_key, key)
        body = await self._body(row, data_key, hook)
        secret = signing_secret(data_key, hook.id)
        message = f"msg_{owed.position}_{hook.id}"
        return hook.url, message_headers(hook, secret, message, at, body), body

    async def _event(self, stream: str, version: int) -> EventRow:
        [row] = await self._store.history(stream, version - 1, version)
        return row

    def _hook(self, row: EventRow, data_key: DataKey, key: Key) -> Webhook:
        event = self._store.codec.decode(row, data_key).event
        assert isinstance(event, ExecutionCreated | ExecutionUpdated)
        hook = next(hook for hook in event.webhooks if hook.id == key.webhook)
        if any(isinstance(value, Ciphertext) for value in (hook.headers or {}).values()):
            raise Damaged(UNREADABLE)
        return hook

    async def _body(self, row: EventRow, data_key: DataKey, hook: Webhook) -> bytes:
        if hook.format == "json":
            return json_body(row, data_key)
        after = await self._store.load(row.stream, row.version)
        assert after is not None
        return slack_body(row, after)


def _since(began: float) -> int:
    return round((monotonic() - began) * 1_000)


def _text(text: str) -> str:
    """Without what PostgreSQL's texts cannot hold."""
    return text.replace("\0", "")
