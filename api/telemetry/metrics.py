"""What Prometheus reads. Labels are names that are few, such as those of operations, never paths; ids are those of
the few webhooks that need to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.damage import REPORTS

REQUESTS = Counter("executions_requests_total", "Requests by operation", ["operation"])
REFUSALS = Counter("executions_refusals_total", "Refused requests by problem code", ["code"])
LOG_POSITION = Gauge("executions_log_position", "Position of the last event of the log")
LOG_WENT_BACK = Counter(
    "executions_log_went_back", "How often events that were recorded were not in the log any more"
)
READS_FROM_STANDBY = Gauge(
    "executions_reads_from_standby", "Whether lists, figures and the past are read from a standby"
)
STANDBY_LAG = Gauge(
    "executions_standby_lag_seconds", "For how long the standby has lacked what the primary shows"
)
VIEW_POSITION = Gauge("executions_view_position", "How far a view is", ["view"])
VIEW_PARKED = Gauge("executions_view_parked", "Events that a view could not apply", ["view"])
COMMANDS_WAITING = Gauge("executions_commands_waiting", "Commands that wait for the next batch")
TIMERS_DUE = Gauge("executions_timers_due", "Timers that are due and have not been fired")
TIMERS_LATE = Gauge("executions_timers_late_seconds", "For how long the oldest of them is due")
WEBHOOKS_WAITING = Gauge("executions_webhook_deliveries_waiting", "Events that wait for webhooks")
WEBHOOKS_FAILING = Gauge("executions_webhooks_failing", "Webhooks whose last call failed")
WEBHOOKS_OLDEST = Gauge(
    "executions_webhook_oldest_waiting_seconds", "For how long the oldest of these events waits"
)
MOST_WEBHOOKS = 20
WEBHOOK_WAITING = Gauge(
    "executions_webhook_waiting",
    "Events that wait for a webhook, of those that wait for longest or fail",
    ["webhook"],
)
WORK_OWNED = Gauge("executions_work_owned", "Whether a process does this kind of work", ["work"])
CLAIMS = Gauge("executions_claims", "Claims since the log began")
LEASES_LOST = Gauge("executions_leases_lost", "Leases that were lost since the log began")
CLAIMERS = Gauge("executions_claimers_waiting", "Workers that wait here for an execution to claim")
QUEUED_FOR = Gauge(
    "executions_queued_seconds", "For how long the execution that was queued first has waited"
)
TREE_SIZE = Gauge("executions_tree_size", "Events that the signed tree head covers")
TREE_STOPPED = Gauge(
    "executions_tree_stopped", "Whether the tree of the log does not grow any more"
)
AUDITOR_POSITION = Gauge("executions_auditor_position", "How far the auditor is in its round")
AUDITOR_ROUNDS = Gauge("executions_auditor_rounds", "Rounds that the auditor has begun")
AUDIT_FAULTS = Gauge("executions_audit_faults", "What the auditor has found that does not fit")
WITNESSES_FAILING = Gauge(
    "executions_witnesses_failing", "Witnesses that did not keep the last head"
)
WITNESSED_SIZE = Gauge(
    "executions_witnessed_size", "Events of the last head that a witness has kept", ["witness"]
)
CONNECTIONS_CUT = Counter(
    "executions_connections_cut_total", "Connections that the server ended, by reason", ["reason"]
)
LOG_LINES_LEFT_OUT = Counter(
    "executions_log_lines_left_out_total",
    "Lines of the program's own log beyond those of their kind",
)
LOG_LINES_AGE = Gauge(
    "executions_log_lines_age_seconds", "Age of the oldest log line that is not archived"
)
ARCHIVE_AGE = Gauge(
    "executions_archive_age_seconds", "Time since log lines last left the database for the archive"
)
RELAY_PUBLISHES = Gauge("executions_relay_publishes", "Whether this relay publishes, or stands by")
RELAY_HEAD = Gauge("executions_relay_head", "Position of the last event of the log that is relayed")
RELAY_POSITION = Gauge("executions_relay_position", "Position of the last event that NATS has kept")
RELAYED = Counter("executions_relayed_total", "Events that this relay has published")
EDGE_LAG = Gauge("executions_edge_lag", "Events in NATS that this edge has not read yet")
STREAMS = Gauge("executions_streams", "Open streams")
DATABASE_BYTES = Gauge("executions_database_bytes", "What the database takes on its disk")


class _Unreadable(Collector):
    """How much of what is stored this process could not read."""

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "executions_unreadable",
            "Events, keys and log lines that this process could not read",
            REPORTS.count,
        )


REGISTRY.register(_Unreadable())
