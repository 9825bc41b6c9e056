"""Records in the log that a webhook fails, that it is disabled for that, or that it takes events again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import structlog

from domain.catalog.webhook_commands import (
    EndWebhook,
    HookCommand,
    ReportFailing,
    ReportRecovered,
)
from domain.errors import DomainError, OutcomeUnknown, Overloaded
from domain.writer.guarded_writer import GuardedWriter
from domain.writer.message import Message
from projections.deliveries.queue import DeliveryQueue, Settled, Standing, WaitingDelivery

ACTOR = "system"
GONE = 410
DISABLE_AFTER = timedelta(days=5)
"""How long a webhook may fail before it is disabled."""
ATTEMPTS = 2
"""Calls of one event in vain before the log says that the webhook fails: one is not reported."""

log = structlog.get_logger()


class HealthReports:
    """Sends the commands that record how webhooks stand."""

    def __init__(self, writer: GuardedWriter, queue: DeliveryQueue) -> None:
        self._writer = writer
        self._queue = queue

    async def consider(
        self, waiting: WaitingDelivery, settled: Settled, standing: Standing
    ) -> None:
        """Report what an outcome means, where that has changed."""
        command = command_after(waiting.attempts + 1, settled, standing)
        if command is None or not await self._send(waiting, command):
            return
        failing, over = isinstance(command, ReportFailing), isinstance(command, EndWebhook)
        await self._queue.announce(waiting.lane.webhook, failing=failing, over=over)

    async def _send(self, waiting: WaitingDelivery, command: HookCommand) -> bool:
        webhook = waiting.lane.webhook
        meta = orjson.loads(waiting.meta)
        command = command.of(waiting.execution, (meta.get("customer"), meta.get("provider")))
        message = Message(f"webhook/{webhook}", command, ACTOR, correlation="webhook")
        try:
            await self._writer.send(message)
        except (Overloaded, OutcomeUnknown):
            return False  # the next outcome is reported as well
        except DomainError as error:
            log.debug("webhook has passed", webhook=webhook, reason=error.code)
        return True


def command_after(attempts: int, settled: Settled, standing: Standing) -> HookCommand | None:
    """The command that an outcome leads to, after so many calls of the event; None where it changes nothing."""
    if settled.error is None:
        return ReportRecovered() if standing.announced else None
    if settled.status == GONE:
        return EndWebhook(reason="gone")
    since = standing.failing_since or settled.at
    if settled.at - since >= DISABLE_AFTER:
        return EndWebhook(reason="failing")
    if attempts < ATTEMPTS or standing.announced:
        return None
    known: dict[str, Any] = {} if settled.status is None else {"status": settled.status}
    return ReportFailing(since=since, **known)
