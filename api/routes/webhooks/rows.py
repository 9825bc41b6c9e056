"""Makes the operations of webhooks, with their handlers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from api.access.visibility import Visibility
from api.routes.commands import NewId
from api.routes.webhooks import action_rows, of_execution, of_log
from api.routes.webhooks.actions import WebhookActions
from api.routes.webhooks.lookup import Webhooks
from api.web.operation import Operation
from api.web.reads.consistency import Consistency
from api.web.reads.state_reader import StateReader
from domain.eventlog.store import Store
from domain.writer.command_bus import Bus
from workers.webhooks.caller import Client
from workers.webhooks.vetting import Vetting


def routes(
    bus: Bus,
    store: Store,
    reader: StateReader,
    consistency: Consistency,
    visibility: Visibility,
    *,
    vetting: Vetting,
    client: Client,
    new_id: NewId,
    clock: Callable[[], datetime],
) -> tuple[Operation, ...]:
    """The operations of webhooks of executions and of the whole log, and of actions on both."""
    known = Webhooks(store, consistency, visibility)
    return (
        *of_execution.routes(of_execution.WebhookHandlers(reader, store)),
        *of_log.routes(of_log.LogWebhookHandlers(bus, store, known, vetting, new_id)),
        *action_rows.routes(WebhookActions(bus, store, known, client, new_id=new_id, clock=clock)),
    )
