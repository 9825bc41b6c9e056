"""A question to analytics: which executions it covers, and by which keys they are grouped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from projections.analytics.step_tables import PARTS

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
"""The keys for which running totals are kept. (`COLUMNS` has the SQL of all keys, for facts.)"""
OF_STEPS = COLUMNS | {"day": "to_char(created_at, 'YYYY-MM-DD')"}
"""The SQL of the keys, for runs of steps."""
OF_EXECUTIONS = ("order", "service", "customer", "provider")
"""The keys that runs of steps take from the facts of their executions."""
RANKED = SLICED | {"status"}
"""The keys for which an index has the durations in order."""
Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnalyticsQuery:
    """The executions that a question covers, and the keys by which they are grouped.

    `by` is one key, two keys or None. If `step` is one of the keys, the question covers runs of steps, and `status` is
    that of the run. `only` limits service, order, customer, provider or status, as the caller asked; `scope` limits the
    same members to what the caller may see. `since` (inclusive) and `until` (exclusive) limit the time of creation.
    """

    by: By | tuple[By, ...] | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    scope: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None

    @property
    def keys(self) -> tuple[By, ...]:
        """The keys of `by` as a tuple."""
        return self.by if isinstance(self.by, tuple) else (self.by,) if self.by else ()

    @property
    def steps(self) -> bool:
        """Whether the question covers runs of steps instead of executions."""
        return "step" in self.keys

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """The members of `only` and `scope` with the values that they must have."""
        return list(dict.fromkeys([*self.only.items(), *self.scope.items()]))

    @property
    def timed(self) -> bool:
        """Whether the time of creation is limited."""
        return self.since is not None or self.until is not None

    @property
    def slice(self) -> tuple[str, str | None] | None:
        """The slice of the running totals that has the answer, as a key and a value; None if only the facts have it."""
        limits = [condition for condition in self.conditions if condition[0] != "status"]
        if self.timed or len(limits) > 1 or not {name for name, _ in limits} <= SLICED:
            return None
        if len(self.keys) > 1 or not set(self.keys) <= SLICED | {"status", "errorCode"}:
            return None
        grouped = next((key for key in self.keys if key in SLICED), None)
        if not limits:
            return (grouped, None) if grouped else ("", None)
        return limits[0] if grouped in (None, limits[0][0]) else None


def source(question: AnalyticsQuery, values: list[Any]) -> tuple[str, str]:
    """Return the SQL of a table and of the condition for its rows that a question covers; values to bind are appended to
    `values`. The table has facts, or runs of steps joined with the facts that the question needs.
    """
    return _table(question, values), _where(question, values)


def _table(question: AnalyticsQuery, values: list[Any]) -> str:
    """Return the SQL of the table.

    Each partition of the runs is joined by itself: autovacuum never analyzes partitioned tables, and without statistics
    PostgreSQL would expect far too many rows, and look up the fact of each run by itself.
    """
    if not question.steps:
        return "analytics_facts"
    named = {*question.keys, *(name for name, _ in question.conditions)}
    wanted = [COLUMNS[name] for name in OF_EXECUTIONS if name in named]
    if not wanted:
        return "analytics_steps"
    condition = _conditions(question, OF_EXECUTIONS, values)
    facts = f"SELECT created, {', '.join(wanted)} FROM analytics_facts WHERE {condition}"
    joined = (f"SELECT * FROM {part} JOIN facts USING (created)" for part in PARTS)
    return f"(WITH facts AS MATERIALIZED ({facts}) {' UNION ALL '.join(joined)}) AS runs"


def columns(question: AnalyticsQuery, keys: Sequence[By]) -> tuple[str, str]:
    """Return the SQL of two keys; an empty SQL text for a missing one."""
    known = OF_STEPS if question.steps else COLUMNS
    one, other, *_ = [*(known[key] for key in keys), "''", "''"]
    return one, other


def only_failed(keys: Sequence[By]) -> str:
    """Return the SQL that limits a condition to failures if a key is `errorCode`; else an empty text."""
    return " AND status = 'failed'" if "errorCode" in keys else ""


def _where(question: AnalyticsQuery, values: list[Any]) -> str:
    # Run 0 of a forked execution was done, and is counted, in the execution from which it was forked.
    if question.steps:
        return f"run > 0 AND {_conditions(question, ('status',), values)}"
    return _conditions(question, (*OF_EXECUTIONS, "status"), values)


def _conditions(question: AnalyticsQuery, names: Sequence[str], values: list[Any]) -> str:
    """Return the SQL of the conditions on the members in `names` and on the time."""
    limits = [limit for limit in question.conditions if limit[0] in names]
    parts = [f"{COLUMNS[name]} = %s" for name, _ in limits]
    values += [value for _, value in limits]
    for time, limit in ((question.since, "created_at >= %s"), (question.until, "created_at < %s")):
        if time is not None:
            parts.append(limit)
            values.append(time)
    return " AND ".join(parts) or "true"
