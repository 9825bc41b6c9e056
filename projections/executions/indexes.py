"""What lists find rows by.

An index costs an execution about 4 microseconds and up to a hundred bytes once, when it ends: its row
hardly changes then. The rows of executions that go on have indexes only of what does not change from
event to event: an update of a field that is in an index has to write all of them.
"""

from __future__ import annotations

from projections.executions.columns import FIELDS

LISTED_BY = ("service", "customer", "provider", "order")
"""Lists of one of these are in the order of creation, mostly."""
SORTED_BY = (
    "position",
    "priority",
    "metrics.duration",
    "metrics.activeDuration",
    "metrics.tokensUsed",
    "metrics.cost",
    "metrics.apiCalls",
    "metrics.retries",
    "metrics.stepsCompleted",
    "metrics.stepsTotal",
    "metadata.updatedAt",
    "metadata.startedAt",
    "metadata.completedAt",
)
"""Lists are often in the order of these."""
SELDOM_SET = (
    "nextRetryAt",
    "error.code",
    "error.step",
    "error.recoverable",
    "error.retryCount",
    "cancellation.by",
    "cancellation.at",
    "pause.by",
    "pause.at",
    "resumedFrom",
    "forkedFrom.execution",
    "forkedFrom.version",
)
"""Most executions have none of these, and are in no index of them."""
WITH_CREATION = ("status", *LISTED_BY)
UNLIKE = ("position", "metadata.updatedAt", "metadata.completedAt")
"""Few executions have the same of these, and none is without in the table that has an index of it. So the
index, like those that go on with the creation, need not have the id, which is most of an entry: those few
are sorted when they are read."""
FILTERED_BY = tuple(
    path
    for path in FIELDS
    if path not in {"$id", "metadata.createdAt", *WITH_CREATION, *SORTED_BY, *SELDOM_SET}
)
"""Few values, each of which an index has once."""


def _index(table: str, path: str, rest: str, *, name: str = "") -> str:
    name = f"{table}_by_{name or FIELDS[path].column}"
    return f"CREATE INDEX IF NOT EXISTS {name} ON {table} {rest};"


def _rank(path: str) -> str:
    field = FIELDS[path]
    rank = field.kind.order(field.column)
    return f"({rank})" if field.kind.words else rank


def _tie(path: str) -> str:
    return "" if path in UNLIKE else ", id"


def _common(table: str) -> list[str]:
    return [
        _index(table, "", "(created_at, id)", name="creation"),
        *(_index(table, path, f"({FIELDS[path].column}, created_at)") for path in LISTED_BY),
        _index(table, "", "USING gin (tags) WITH (fastupdate = off)", name="tag"),
        _index(
            table,
            "",
            "USING gin (metadata jsonb_path_ops) WITH (fastupdate = off)",
            name="attribute",
        ),
    ]


def _of_open(table: str) -> list[str]:
    return [*_common(table), _index(table, "metrics.duration", "(duration, id)")]


def _of_ended(table: str) -> list[str]:
    return [
        *_common(table),
        _index(table, "status", "(status, created_at)"),
        *(_index(table, path, f"({_rank(path)}{_tie(path)})") for path in SORTED_BY),
        _index(table, "", f"({_rank('priority')} DESC, created_at, id)", name="urgency"),
        *(_index(table, path, f"({_rank(path)})") for path in FILTERED_BY),
        *(
            _index(table, path, "({0}, id) WHERE {0} IS NOT NULL".format(FIELDS[path].column))
            for path in SELDOM_SET
        ),
    ]


INDEXES = "\n".join([*_of_open("executions_open"), *_of_ended("executions_ended")])
