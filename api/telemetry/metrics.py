"""The metrics for Prometheus. Labels have few values, such as the names of operations, never paths; the only ids are
those of the few webhooks that fail or are behind.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from api.telemetry.log_limit import LEFT_OUT
from domain.damage import REPORTS

REQUESTS = Counter("executions_requests_total", "Requests by operation", ["operation"])
REFUSALS = Counter("executions_refusals_total", "Refused requests by problem code", ["code"])
LOG_WENT_BACK = Counter(
    "executions_log_went_back", "How often events that were recorded were not in the log any more"
)
CONNECTIONS_CUT = Counter(
    "executions_connections_cut_total", "Connections that the server ended, by reason", ["reason"]
)
RELAY_PUBLISHES = Gauge("executions_relay_publishes", "Whether this relay publishes, or stands by")
RELAY_HEAD = Gauge("executions_relay_head", "Position of the last event of the log that is relayed")
RELAY_POSITION = Gauge("executions_relay_position", "Position of the last event that NATS has kept")
RELAYED = Counter("executions_relayed_total", "Events that this relay has published")
EDGE_POSITION = Gauge(
    "executions_edge_position", "Position of the last event that this edge has read"
)
EDGE_LAG = Gauge("executions_edge_lag", "Events in NATS that this edge has not read yet")
STREAMS = Gauge("executions_streams", "Open streams")
MOST_WEBHOOKS = 20


GAUGES = {
    "log": ("The name of the log whose figures these are", "log"),
    "logs": ("Other logs of this server, by their state", "state"),
    "log_position": ("Position of the last event of the log",),
    "reads_from_standby": ("Whether lists, figures and the past are read from a standby",),
    "standby_lag_seconds": ("For how long the standby has lacked what the primary shows",),
    "view_position": ("How far a view is", "view"),
    "view_parked": ("Events that a view could not apply", "view"),
    "commands_waiting": ("Commands that wait for the next batch",),
    "timers_due": ("Timers that are due and have not been fired",),
    "timers_late_seconds": ("For how long the oldest of them is due",),
    "webhook_deliveries_waiting": ("Events that wait for webhooks",),
    "webhooks_failing": ("Webhooks whose last call failed",),
    "webhook_oldest_waiting_seconds": ("For how long the oldest of these events waits",),
    "webhook_waiting": (
        "Events that wait for a webhook, of those that wait for longest or fail",
        "webhook",
    ),
    "work_owned": ("Whether a process does this kind of work", "work"),
    "claims": ("Claims since the log began",),
    "leases_lost": ("Leases that were lost since the log began",),
    "claimers_waiting": ("Workers that wait here for an execution to claim",),
    "queued_seconds": ("For how long the execution that was queued first has waited",),
    "tree_size": ("Events that the signed tree head covers",),
    "tree_stopped": ("Whether the tree of the log does not grow any more",),
    "auditor_position": ("How far the auditor is in its round",),
    "auditor_rounds": ("Rounds that the auditor has begun",),
    "audit_faults": ("What the auditor has found that does not fit",),
    "witnesses_failing": ("Witnesses that did not keep the last head",),
    "witnessed_size": ("Events of the last head that a witness has kept", "witness"),
    "log_lines_age_seconds": ("Age of the oldest log line that is not archived",),
    "archive_age_seconds": ("Time since log lines last left the database for the archive",),
    "events_archived": ("Events that are in files of the archive",),
    "events_archived_bytes": ("Bytes of those files",),
    "database_bytes": ("What the database takes on its disk; of a log among many, its tables",),
}
"""The description of each gauge of a log, and its label, if it has one."""


class LogMetrics:
    """The gauges of one log, made for one answer, so that they have no values of another log of the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(f"executions_{name}", text, labels, registry=self._registry)
            for name, (text, *labels) in GAUGES.items()
        }

    def set(self, name: str, value: float, label: str | None = None) -> None:
        """Set a gauge, for one label value where it has a label."""
        gauge = self._gauges[name]
        (gauge if label is None else gauge.labels(label)).set(value)

    def text(self) -> bytes:
        """The gauges in the text format of Prometheus."""
        return generate_latest(self._registry)


class _ProcessCounts(Collector):
    """The counts of this process that are not kept as metrics: unreadable data, and left-out log lines."""

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "executions_unreadable",
            "Events, keys and log lines that this process could not read",
            REPORTS.count,
        )
        yield CounterMetricFamily(
            "executions_log_lines_left_out",
            "Lines of the program's own log beyond those of their kind",
            LEFT_OUT.count,
        )


REGISTRY.register(_ProcessCounts())
