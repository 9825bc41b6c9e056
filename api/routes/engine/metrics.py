"""Operational metrics that are read from the database: timers, claims, webhooks, proofs, log lines, storage."""

from __future__ import annotations

from datetime import datetime

from api.telemetry.metrics import MOST_WEBHOOKS, LogMetrics
from domain.eventlog.store import Store
from projections.audit.rounds.walk import audit_totals
from projections.audit.tables import head_of
from projections.audit.witnessed import read_witnesses
from projections.claims.totals import claim_totals
from projections.deliveries.totals import delivery_totals, waiting_for
from projections.diagnosis.measurements import database_bytes
from projections.log_lines.archive.verify import ages
from projections.timers import due
from workers.ownership import WORK, without_owner


async def set_metrics(metrics: LogMetrics, store: Store, now: datetime, *, among: bool) -> None:
    """Read the metrics of a log, and set its gauges. Of a log `among` others, `database_bytes` is only of its tables."""
    await _set_engine_metrics(metrics, store, now)
    async with store.reader() as connection:
        metrics.set("database_bytes", await database_bytes(connection, of_log=among))
    await _set_archive_metrics(metrics, store, now)


async def _set_engine_metrics(metrics: LogMetrics, store: Store, now: datetime) -> None:
    async with store.reader() as connection:
        late = await due.late(connection, now)
        missing = await without_owner(connection, store.schema)
        claims = await claim_totals(connection)
        tree, audit = await head_of(connection), await audit_totals(connection)
        witnesses = await read_witnesses(connection)
        webhooks = await delivery_totals(connection, now, MOST_WEBHOOKS)
        waiting = await waiting_for(connection, webhooks.lags)
    metrics.set("webhook_deliveries_waiting", webhooks.waiting)
    metrics.set("webhooks_failing", webhooks.failing)
    metrics.set("webhook_oldest_waiting_seconds", webhooks.oldest)
    for name, number in waiting.items():
        metrics.set("webhook_waiting", number, name)
    metrics.set("tree_size", tree.size if tree is not None else 0)
    metrics.set("tree_stopped", tree is None or tree.fault is not None)
    metrics.set("auditor_position", audit.position)
    metrics.set("auditor_rounds", audit.rounds)
    metrics.set("audit_faults", audit.faults)
    metrics.set("witnesses_failing", sum(each.failing_since is not None for each in witnesses))
    for each in witnesses:
        metrics.set("witnessed_size", each.size, each.name)
    metrics.set("timers_due", late.number)
    metrics.set("timers_late_seconds", late.seconds(now))
    for work in WORK:
        metrics.set("work_owned", work not in missing, work)
    since = claims.queued_since or now
    metrics.set("claims", claims.claimed)
    metrics.set("leases_lost", claims.lost)
    metrics.set("queued_seconds", (now - since).total_seconds())


async def _set_archive_metrics(metrics: LogMetrics, store: Store, now: datetime) -> None:
    found = await ages(store)
    metrics.set("events_archived", found.events)
    metrics.set("events_archived_bytes", found.event_bytes)
    for name, at in (
        ("log_lines_age_seconds", found.oldest_line),
        ("archive_age_seconds", found.last_archived),
    ):
        metrics.set(name, 0 if at is None else max(0.0, (now - at).total_seconds()))
