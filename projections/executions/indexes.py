"""What lists find rows by.

An index costs an execution about 4 microseconds and up to a hundred bytes when it ends or comes to rest: its
row hardly changes then. Those that are active are few, and read whole where they are not in the order of creation:
all other indexes of them made half the work of PostgreSQL on an execution that ends within a minute.
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
"""Most executions have none of these, and are in no index of them. Those that have one are in the order of creation."""
WITH_CREATION = ("status", *LISTED_BY)
UNLIKE = ("position", "metadata.updatedAt", "metadata.completedAt")
"""Few executions have the same of these, and all that have ended have one or all that go on have none. So the index
need not go on with the creation: those few are sorted when they are read, as in all indexes those of one value
and one creation are, whose ids would be most of an entry."""
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
    return "" if path in UNLIKE else ", created_at"


def _of_active(table: str) -> list[str]:
    return [_index(table, "", "(created_at, id)", name="creation")]


def _of_lasting(table: str) -> list[str]:
    return [
        *_of_active(table),
        *(_index(table, path, f"({FIELDS[path].column}, created_at)") for path in WITH_CREATION),
        _index(table, "", "USING gin (tags) WITH (fastupdate = off)", name="tag"),
        _index(
            table,
            "",
            "USING gin (metadata jsonb_path_ops) WITH (fastupdate = off)",
            name="attribute",
        ),
        *(_index(table, path, f"({_rank(path)}{_tie(path)})") for path in SORTED_BY),
        _index(table, "", f"({_rank('priority')} DESC, created_at)", name="urgency"),
        *(_index(table, path, f"({_rank(path)})") for path in FILTERED_BY),
        *(
            _index(
                table, path, "({0}, created_at) WHERE {0} IS NOT NULL".format(FIELDS[path].column)
            )
            for path in SELDOM_SET
        ),
    ]


INDEXES = "\n".join(
    [
        *_of_active("executions_active"),
        *_of_lasting("executions_resting"),
        *_of_lasting("executions_ended"),
    ]
)
