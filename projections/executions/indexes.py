"""The indexes by which lists find executions.

An index costs about 4 microseconds and up to a hundred bytes when an execution ends or comes to rest; after that its row
hardly changes. The table of active executions is small and is scanned as a whole, except in the order of creation: more
indexes on it made up half of PostgreSQL's work on an execution that ends within a minute.
"""

from __future__ import annotations

from collections.abc import Collection

from projections.executions.columns import FIELDS

LISTED_BY = ("service", "customer", "provider", "order")
"""Fields whose value selects a list that is mostly read in the order of creation."""
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
"""Fields by which lists are often sorted."""
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
"""Fields that most executions lack. The index has only the executions that have the field, in the order of creation."""
WITH_CREATION = ("status", *LISTED_BY)
"""Fields whose index has the executions of one value in the order of creation."""
UNLIKE = ("position", "metadata.updatedAt", "metadata.completedAt")
"""Fields of which few executions share a value, and which in each table either all executions have or none. Their
indexes leave out the time of creation: the few rows with equal values are sorted when they are read. All indexes leave
out the id for the same reason, because it would be the largest part of an entry."""
FILTERED_BY = tuple(
    path
    for path in FIELDS
    if path not in {"$id", "metadata.createdAt", *WITH_CREATION, *SORTED_BY, *SELDOM_SET}
)
"""Other fields, which have few values: a B-tree stores each value only once."""


def index_has(path: str, columns: Collection[str]) -> bool:
    """Whether each execution is in the index of a field of text or of true or false, with these other columns: the index
    is then read instead of the rows.
    """
    if path not in (*WITH_CREATION, *FILTERED_BY):
        return False
    dated = {FIELDS["metadata.createdAt"].column} if path in WITH_CREATION else set()
    return {*columns} <= {FIELDS[path].column, *dated}


def _index(table: str, path: str, definition: str, *, name: str = "") -> str:
    name = f"{table}_by_{name or FIELDS[path].column}"
    return f"CREATE INDEX IF NOT EXISTS {name} ON {table} {definition};"


def _rank_sql(path: str) -> str:
    field = FIELDS[path]
    rank = field.kind.order(field.column)
    return f"({rank})" if field.kind.words else rank


def _tie_sql(path: str) -> str:
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
        *(_index(table, path, f"({_rank_sql(path)}{_tie_sql(path)})") for path in SORTED_BY),
        _index(table, "", f"({_rank_sql('priority')} DESC, created_at)", name="urgency"),
        *(_index(table, path, f"({_rank_sql(path)})") for path in FILTERED_BY),
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
