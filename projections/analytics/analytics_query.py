"""What is asked of analytics: which executions are meant, and what to group them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

By = Literal[
    "service",
    "customer",
    "provider",
    "assignee",
    "assigneeType",
    "model",
    "step",
    "hour",
    "day",
    "week",
    "status",
    "errorCode",
]
MOST_KEYS = 2
COLUMNS = {
    "service": "service",
    "order": '"order"',
    "customer": "customer",
    "provider": "provider",
    "assignee": "assignee",
    "assigneeType": "assignee_type",
    "model": "model",
    "step": "name",
    "hour": """to_char(created_at, 'YYYY-MM-DD"T"HH24:00"Z"')""",
    "day": "day",
    "week": """to_char(created_at, 'IYYY-"W"IW')""",
    "status": "status",
    "errorCode": "error_code",
}
SLICED = frozenset({"service", "assignee", "assigneeType", "model", "customer", "provider", "day"})
OF_STEPS = COLUMNS | {"day": "to_char(created_at, 'YYYY-MM-DD')"}
"""The same of the runs of steps."""
OF_EXECUTIONS = ("order", "service", "customer", "provider")
"""What is said of steps by the facts of their executions."""
RANKED = SLICED | {"status"}
"""What the durations are indexed by."""
Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnalyticsQuery:
    """Which executions are meant, and how to group them.

    `by` is a key, two of them, or none; with `step` among them the runs of steps are meant, and their
    status. `only` names service, order, customer, provider or status; `scope` the same, and holds as
    well, whatever the caller asked. `since` (inclusive) and `until` (exclusive) limit the creation.
    """

    by: By | tuple[By, ...] | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None

    @property
    def keys(self) -> tuple[By, ...]:
        """What to group by."""
        return self.by if isinstance(self.by, tuple) else (self.by,) if self.by else ()

    @property
    def steps(self) -> bool:
        """Whether runs of steps are meant."""
        return "step" in self.keys

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """Names and values that must all be equal."""
        return list(dict.fromkeys([*self.only.items(), *self.scope.items()]))

    @property
    def timed(self) -> bool:
        """Whether the time of creation matters."""
        return self.since is not None or self.until is not None

    @property
    def slice(self) -> tuple[str, str | None] | None:
        """The slice of the totals that holds the answer; None where only the facts do."""
        limits = [condition for condition in self.conditions if condition[0] != "status"]
        if self.timed or len(limits) > 1 or not {name for name, _ in limits} <= SLICED:
            return None
        if len(self.keys) > 1 or not set(self.keys) <= SLICED | {"status", "errorCode"}:
            return None
        grouped = next((key for key in self.keys if key in SLICED), None)
        if not limits:
            return (grouped, None) if grouped else ("", None)
        return limits[0] if grouped in (None, limits[0][0]) else None


def table(question: AnalyticsQuery) -> str:
    """The rows that a question is about, as SQL: facts, or runs of steps, with what it needs of their executions."""
    if not question.steps:
        return "analytics_facts"
    named = {*question.keys, *(name for name, _ in question.conditions)}
    wanted = [COLUMNS[name] for name in OF_EXECUTIONS if name in named]
    if not wanted:
        return "analytics_steps"
    facts = f"SELECT created, {', '.join(wanted)} FROM analytics_facts"
    return f"analytics_steps JOIN ({facts}) AS facts USING (created)"


def columns(question: AnalyticsQuery, keys: Sequence[By]) -> tuple[str, str]:
    """The keys as SQL, one and another; an empty text for what is not there."""
    known = OF_STEPS if question.steps else COLUMNS
    one, other, *_ = [*(known[key] for key in keys), "''", "''"]
    return one, other


def only_failed(keys: Sequence[By]) -> str:
    """What is added to a condition where only failures have the key."""
    return " AND status = 'failed'" if "errorCode" in keys else ""


def where(question: AnalyticsQuery, values: list[Any]) -> str:
    """Which rows are meant, as SQL; what has to be bound is appended to `values`."""
    parts = ["run > 0"] if question.steps else []  # those of other executions count there
    parts += [f"{COLUMNS[name]} = %s" for name, _ in question.conditions]
    values += [value for _, value in question.conditions]
    for time, limit in ((question.since, "created_at >= %s"), (question.until, "created_at < %s")):
        if time is not None:
            parts.append(limit)
            values.append(time)
    return " AND ".join(parts) or "true"
