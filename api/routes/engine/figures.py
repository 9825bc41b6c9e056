"""The figures of what the database says: timers, claims, webhooks, proofs, log lines, storage."""

from __future__ import annotations

from datetime import datetime

from api.telemetry import metrics
from domain.eventlog.store import Store
from projections.audit.rounds.walk import audit_totals
from projections.audit.tables import head_of
from projections.audit.witnessed import witnessed
from projections.claims.totals import claim_totals
from projections.deliveries.totals import delivery_totals, waiting_for
from projections.diagnosis.measurements import database_bytes
from projections.log_lines.archive.verify import ages
from projections.timers import due
from workers.ownership import WORK, without_owner


async def set_figures(store: Store, now: datetime) -> None:
    """Read them, and set the gauges."""
    await _set_engine_figures(store, now)
    await _set_archive_figures(store, now)


async def _set_engine_figures(store: Store, now: datetime) -> None:
    async with store.reader() as connection:
        late = await due.late(connection, now)
        missing = await without_owner(connection, store.schema)
        claims = await claim_totals(connection)
        tree, audit = await head_of(connection), await audit_totals(connection)
        witnesses = await witnessed(connection)
        webhooks = await delivery_totals(connection, now, metrics.MOST_WEBHOOKS)
        waiting = await waiting_for(connection, webhooks.lags)
        metrics.DATABASE_BYTES.set(await database_bytes(connection))
    metrics.WEBHOOKS_WAITING.set(webhooks.waiting)
    metrics.WEBHOOKS_FAILING.set(webhooks.failing)
    metrics.WEBHOOKS_OLDEST.set(webhooks.oldest)
    metrics.WEBHOOK_WAITING.clear()
    for name, number in waiting.items():
        metrics.WEBHOOK_WAITING.labels(name).set(number)
    metrics.TREE_SIZE.set(tree.size if tree is not None else 0)
    metrics.TREE_STOPPED.set(tree is None or tree.fault is not None)
    metrics.AUDITOR_POSITION.set(audit.position)
    metrics.AUDITOR_ROUNDS.set(audit.rounds)
    metrics.AUDIT_FAULTS.set(audit.faults)
    metrics.WITNESSES_FAILING.set(sum(each.failing_since is not None for each in witnesses))
    metrics.WITNESSED_SIZE.clear()
    for each in witnesses:
        metrics.WITNESSED_SIZE.labels(each.name).set(each.size)
    metrics.TIMERS_DUE.set(late.number)
    metrics.TIMERS_LATE.set(late.seconds(now))
    for work in WORK:
        metrics.WORK_OWNED.labels(work).set(work not in missing)
    since = claims.queued_since or now
    metrics.CLAIMS.set(claims.claimed)
    metrics.LEASES_LOST.set(claims.lost)
    metrics.QUEUED_FOR.set((now - since).total_seconds())


async def _set_archive_figures(store: Store, now: datetime) -> None:
    found = await ages(store)
    for gauge, at in (
        (metrics.LOG_LINES_AGE, found.oldest_line),
        (metrics.ARCHIVE_AGE, found.last_archived),
    ):
        gauge.set(0 if at is None else max(0.0, (now - at).total_seconds()))
