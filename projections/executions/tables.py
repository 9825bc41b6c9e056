"""The table of the executions, and the statements that read and write its rows."""

from __future__ import annotations

from projections.executions.columns import COLUMNS

NAMES = tuple(column.field.column for column in COLUMNS)
DECLARED = ",\n    ".join(
    f"{c.field.column} {c.field.kind.column}{'' if c.field.nullable else ' NOT NULL'}"
    for c in COLUMNS
)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS executions (
    {DECLARED},
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    state bytea,     -- of one that goes on: what the next event is applied to
    document bytea,  -- of one that has ended: what a list shows; only its stream knows more
    PRIMARY KEY (id),
    CHECK ((state IS NULL) <> (document IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS executions_newest ON executions (created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_status ON executions (status, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_service ON executions (service, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_customer ON executions (customer, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_provider ON executions (provider, created_at, id);
CREATE INDEX IF NOT EXISTS executions_by_order ON executions (order_id);
CREATE INDEX IF NOT EXISTS executions_by_tag ON executions USING gin (tags)
    WITH (fastupdate = off);
CREATE INDEX IF NOT EXISTS executions_by_attribute ON executions
    USING gin (metadata jsonb_path_ops) WITH (fastupdate = off);
"""
ALL = (*NAMES, "tags", "metadata", "state", "document")
KINDS = [column.field.kind.column.partition(" COLLATE")[0] for column in COLUMNS]
BODY_KINDS = ("text", "text", "bytea", "bytea")
ARRAYS = ", ".join(f"%b::{kind}[]" for kind in (*KINDS, *BODY_KINDS))
WRITE = f"""INSERT INTO executions ({", ".join(ALL)})
    SELECT {", ".join(NAMES)}, tags::text[], metadata::jsonb, state, document
    FROM unnest({ARRAYS}) AS page ({", ".join(ALL)})
    ON CONFLICT (id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in ALL[1:])}"""
BODY = "id, version, position, updated_at, state, document"
LOAD = f"SELECT {BODY} FROM executions WHERE id = ANY(%b::text[])"
BOOKMARK = "SELECT coalesce(max(position), 0) AS position FROM bookmarks WHERE view = 'executions'"
"""How far the rows go; 0 where that was lost, and the view begins again."""
