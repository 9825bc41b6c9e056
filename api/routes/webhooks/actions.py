"""Actions on webhooks: test, list deliveries, redeliver, rewind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from starlette.types import ASGIApp

from api.routes.catalog import entry_response
from api.routes.commands import NewId
from api.routes.webhooks.lookup import FoundWebhook, Webhooks
from api.routes.webhooks.schemas import RedeliverFailed, RewindWebhook
from api.web import responses
from api.web.input.command_body import parse
from api.web.request import Request
from domain.catalog.webhook_commands import (
    DisableWebhook,
    EnableWebhook,
    HookCommand,
    RotateSecret,
)
from domain.errors import Invalid, NotFound
from domain.eventlog.store import Store
from domain.json_forms import format_time
from domain.model import aggregate_id
from domain.writer.command_bus import Answer, Bus
from projections.deliveries import requests
from projections.deliveries.hooks import id_of
from projections.representations.cloudevents import source
from workers.webhooks.caller import Client, call
from workers.webhooks.message import message_headers

EXECUTION = "execution/"


class WebhookActions:
    """Handles the actions on webhooks, of the whole log and of executions."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        webhooks: Webhooks,
        client: Client,
        *,
        new_id: NewId,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._store = store
        self._webhooks = webhooks
        self._client = client
        self._new_id = new_id
        self._clock = clock

    async def rotate(self, request: Request) -> ASGIApp:
        """Rotate the secret, and show the new one this once. The former secret signs, too, for a while."""
        known, answer = await self._send(request, parse(RotateSecret, request.body))
        secret = await self._webhooks.secret(known, answer.versioned.state.generation)
        return entry_response(answer, f"webhooks/{known.webhook}", {"secret": secret})

    async def disable(self, request: Request) -> ASGIApp:
        """Disable a webhook."""
        known, answer = await self._send(request, parse(DisableWebhook, request.body))
        return entry_response(answer, f"webhooks/{known.webhook}")

    async def enable(self, request: Request) -> ASGIApp:
        """Enable a webhook."""
        known, answer = await self._send(request, parse(EnableWebhook, request.body))
        return entry_response(answer, f"webhooks/{known.webhook}")

    async def _send(self, request: Request, command: HookCommand) -> tuple[FoundWebhook, Answer]:
        known = await self._webhooks.find(request)
        message = request.message(f"webhook/{known.webhook}", command.of(known.execution))
        answer = await self._bus.send(message)
        return known, answer._replace(
            created=False
        )  # the command may begin the stream, but the webhook existed

    async def _find_enabled(self, request: Request) -> FoundWebhook:
        """Find a webhook that is to be called. Raises IllegalTransition where it is disabled."""
        known = await self._webhooks.find(request)
        await self._webhooks.require_enabled(request, known)
        return known

    async def test(self, request: Request) -> ASGIApp:
        """Call a webhook with a signed test event that is not in the log; also while the webhook is disabled, to show
        whether it can be enabled.
        """
        known = await self._webhooks.find(request)
        hook = await self._webhooks.settings(known)
        identity, message, now = id_of(known.webhook), self._new_id("test"), self._clock()
        event = _test_event(identity, message, format_time(now), self._store.log_name)
        shown = event if hook.format == "json" else {"text": f"A test of webhook {identity}"}
        body = orjson.dumps(shown)
        secrets = await self._webhooks.secrets(known, now)
        headers = message_headers(hook, secrets, f"msg_{message}", now, body)
        outcome = await call(self._client, hook.target, headers, body)
        tested = {
            "delivered": outcome.error is None,
            "status": outcome.status,
            "latency": outcome.latency,
            "answer": outcome.answer or None,
            "error": outcome.error,
        }
        return responses.json({n: value for n, value in tested.items() if value is not None})

    async def deliveries(self, request: Request) -> ASGIApp:
        """Answer a page of the waiting and sent deliveries of a webhook, the newest first."""
        known = await self._webhooks.find(request)
        limit = request.integer("limit", 1, 500) or 50
        before = request.integer("cursor", 1, requests.NEWEST)
        state = request.choice("state", *requests.STATES)
        position = await self._webhooks.wait(request)
        async with self._store.reader() as connection:
            found = await requests.page(connection, known.webhook, before, state, limit + 1)
        following = str(found[limit - 1].position) if len(found) > limit else None
        await self._store.keys({delivery.stream for delivery in found})
        erased = self._store.keyring.is_destroyed
        owed = dict.fromkeys(delivery.stream for delivery in found[:limit])
        request.shown = [aggregate_id(stream) for stream in owed if stream.startswith(EXECUTION)]
        items = [
            orjson.dumps(
                delivery.document(erased=erased(delivery.stream), log=self._store.log_name)
            )
            for delivery in found[:limit]
        ]
        return responses.json(responses.page(items, following), {"log-position": str(position)})

    async def redeliver(self, request: Request) -> ASGIApp:
        """Send one event again, whatever the outcome of its delivery."""
        known = await self._find_enabled(request)
        text = request.path["position"]
        position = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
        async with self._store.reader() as connection:
            found = await requests.redeliver(connection, known.webhook, position, self._clock())
        if not found:
            raise NotFound("There is no such delivery; those of more than 30 days ago are dropped.")
        return responses.json({"redelivered": 1}, status=202)

    async def redeliver_failed(self, request: Request) -> ASGIApp:
        """Send the events again that were given up since a time."""
        since = parse(RedeliverFailed, request.body).since
        known = await self._find_enabled(request)
        async with self._store.reader() as connection:
            number = await requests.redeliver_failed(
                connection, known.webhook, since, self._clock()
            )
        return responses.json({"redelivered": number}, status=202)

    async def rewind(self, request: Request) -> ASGIApp:
        """Send all events after a position again."""
        begins = parse(RewindWebhook, request.body).begins
        if begins == "now":
            raise Invalid.field("from", "must be `start`, a position or a time, but is `now`")
        known = await self._find_enabled(request)
        position = await self._webhooks.position(begins)
        async with self._store.reader() as connection:
            if await requests.find(connection, known.webhook) is None:
                raise NotFound("This webhook is not known to the read model yet.")
            await requests.rewind(connection, known.webhook, position, self._clock())
        return responses.json({"from": position}, status=202)


def _test_event(webhook: str, message: str, time: str, log: str | None) -> dict[str, Any]:
    """An envelope of a test event, without a position."""
    return {
        "specversion": "1.0",
        "id": message,
        "type": "webhook.test",
        "source": source(f"webhook/{webhook}", log),
        "subject": webhook,
        "time": time,
        "datacontenttype": "application/json",
        "data": {},
        "timestamp": time,
    }
