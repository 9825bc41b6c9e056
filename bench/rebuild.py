"""Measures the rebuild of a view from the whole log, while the service is running."""

from __future__ import annotations

import psycopg

from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.read import populate
from bench.stand import Stand

EVENTS = "SELECT position FROM executions.head"


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure the command `executions rebuild`, from its start to its end."""
    stand.once("lives", lambda: populate(stand, plan))
    conninfo = stand.conninfo("lives")
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(EVENTS).fetchone()
    assert row is not None
    seconds = [stand.run(conninfo, "rebuild", "executions") for _ in range(plan.repetitions)]
    rates = [row[0] / each for each in seconds]
    note = f"{row[0]} events; start and end of the command included"
    measurements = [
        Measurement("executions rebuild executions", "events/s", rates, Target("≥", 40_000), note),
        Measurement("executions rebuild executions", "s", seconds),
    ]
    report.add("Rebuild of the view executions", measurements)
