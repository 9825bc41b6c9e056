"""What lists find rows by."""

from __future__ import annotations

LISTED_BY = ("service", "customer", "provider", "order_id")
"""Lists of one of these are in the order of creation, mostly."""


def _index(table: str, name: str, rest: str) -> str:
    return f"CREATE INDEX IF NOT EXISTS {table}_{name} ON {table} {rest};"


def _of(table: str) -> list[str]:
    return [
        _index(table, "newest", "(created_at, id)"),
        *(_index(table, f"by_{name}", f"({name}, created_at, id)") for name in LISTED_BY),
        _index(table, "by_tag", "USING gin (tags) WITH (fastupdate = off)"),
        _index(
            table, "by_attribute", "USING gin (metadata jsonb_path_ops) WITH (fastupdate = off)"
        ),
    ]


# None by status, or by another field that changes on the way, for those that go on: an update of a
# field that is in an index has to write all indexes.
INDEXES = "\n".join(
    [
        *_of("executions_open"),
        *_of("executions_ended"),
        _index("executions_ended", "by_status", "(status, created_at, id)"),
    ]
)
