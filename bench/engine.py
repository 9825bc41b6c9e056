"""Measures timers, claims, log lines and their archive, webhooks, and the cost of an idle work process."""

from __future__ import annotations

from bench import engine_claims, engine_logs, engine_timers, engine_webhooks
from bench.measurements import Report
from bench.plan import Plan
from bench.stand import Stand

PARTS = (
    engine_timers.measure,
    engine_claims.measure,
    engine_logs.measure,
    engine_webhooks.measure,
)


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure each part on a database of its own, one after the other."""
    for part in PARTS:
        part(stand, plan, report)
