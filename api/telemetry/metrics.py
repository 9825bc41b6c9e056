"""What Prometheus reads. Labels are operation names, never paths or ids."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

REQUESTS = Counter("executions_requests_total", "Requests by operation", ["operation"])
REFUSALS = Counter("executions_refusals_total", "Refused requests by problem code", ["code"])
LOG_POSITION = Gauge("executions_log_position", "Position of the last event of the log")
VIEW_POSITION = Gauge("executions_view_position", "How far a view is", ["view"])
VIEW_PARKED = Gauge("executions_view_parked", "Events that a view could not apply", ["view"])
COMMANDS_WAITING = Gauge("executions_commands_waiting", "Commands that wait for the next batch")
STREAMS = Gauge("executions_streams", "Open streams")
UNREADABLE = Counter(
    "executions_unreadable_total", "Events that this process could not tell to watchers"
)
