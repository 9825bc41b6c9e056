"""The tables of the executions, and the statements that read and write their rows.

Rows are narrow: they have the fields by which executions are filtered and sorted. The documents that lists show are in
a table beside them, by id. Active executions have a table of their own, because their rows change with each event. The
rows of ended executions, which are nearly all, hardly ever change; those of resting executions change when the execution
becomes active again.
"""

from __future__ import annotations

from domain.execution.state import FINAL
from domain.execution.types import Status
from projections.executions.columns import COLUMNS
from projections.executions.indexes import INDEXES
from projections.executions.totals import SCHEMA as TOTALS
from projections.query.field_types import REAL, TIME, WHOLE

NAMES = tuple(column.field.column for column in COLUMNS)
EIGHT_BYTES = (WHOLE, REAL, TIME)
"""Kinds whose values PostgreSQL aligns to eight bytes: next to each other they need no padding."""
DECLARED = ",\n    ".join(
    f"{c.field.column} {c.field.kind.column}{'' if c.field.nullable else ' NOT NULL'}"
    for c in sorted(COLUMNS, key=lambda column: column.field.kind not in EIGHT_BYTES)
)
ENDED = ", ".join(f"'{status}'" for status in Status if status in FINAL)
GOING_ON = ", ".join(f"'{status}'" for status in Status if status not in FINAL)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS executions (
    {DECLARED},
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    resting boolean          -- true where it goes on, but rests; else null
) PARTITION BY LIST (status);
CREATE TABLE IF NOT EXISTS executions_open PARTITION OF executions
    FOR VALUES IN ({GOING_ON}) PARTITION BY LIST (resting);
CREATE TABLE IF NOT EXISTS executions_active PARTITION OF executions_open
    FOR VALUES IN (NULL) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS executions_resting PARTITION OF executions_open FOR VALUES IN (true);
CREATE TABLE IF NOT EXISTS executions_ended PARTITION OF executions FOR VALUES IN ({ENDED});
CREATE UNIQUE INDEX IF NOT EXISTS executions_active_id ON executions_active (id);
CREATE UNIQUE INDEX IF NOT EXISTS executions_resting_id ON executions_resting (id);
CREATE UNIQUE INDEX IF NOT EXISTS executions_ended_id ON executions_ended (id);
{INDEXES}
CREATE TABLE IF NOT EXISTS execution_documents (
    id text COLLATE "C" PRIMARY KEY,
    document bytea NOT NULL, -- of one that has ended: what a list shows; only its stream knows more
    checksum bigint NOT NULL -- CRC-32 of the document
);
CREATE TABLE IF NOT EXISTS execution_states (
    id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    position bigint NOT NULL,
    at timestamptz NOT NULL,
    state bytea NOT NULL     -- of one that goes on: a state that its row is a few events ahead of
) WITH (fillfactor = 50);
{TOTALS}"""
TABLES = (
    "executions",
    "executions_open",
    "executions_active",
    "executions_resting",
    "executions_ended",
    "execution_documents",
    "execution_states",
    "execution_totals",
)
ROW = (*NAMES, "tags", "metadata")
ALL = (*ROW, "document", "checksum")
KINDS = [column.field.kind.column.partition(" COLLATE")[0] for column in COLUMNS]
BODY_KINDS = ("text", "text", "bytea", "bigint")
ARRAYS = ", ".join(f"%b::{kind}[]" for kind in (*KINDS, *BODY_KINDS))
INSERT = f"""INSERT INTO {{table}} ({", ".join(ROW)}) SELECT {", ".join(ROW)} FROM page
    WHERE document IS {{ended}} NULL ON CONFLICT (id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in ROW[1:])}"""
WRITE = f"""WITH page AS (SELECT {", ".join(NAMES)}, tags::text[], metadata::jsonb, document, checksum
        FROM unnest({ARRAYS}) AS page ({", ".join(ALL)})),
    going_on AS ({INSERT.format(table="executions_active", ended="")}),
    ended AS ({INSERT.format(table="executions_ended", ended="NOT")})
    INSERT INTO execution_documents
    SELECT id, document, checksum FROM page WHERE document IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET document = excluded.document, checksum = excluded.checksum"""
STATE_KINDS = ("text", "bigint", "bigint", "timestamptz", "bytea")
WRITE_STATES = """INSERT INTO execution_states SELECT * FROM unnest(
        %b::text[], %b::bigint[], %b::bigint[], %b::timestamptz[], %b::bytea[])
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, position = excluded.position,
        at = excluded.at, state = excluded.state"""
LEAVE = "DELETE FROM {table} WHERE id = ANY(%b::text[])"
WHEN_GOING_ON = ("executions_ended", "execution_documents")
"""The tables from which an ended execution is deleted when it continues, by a retry for example."""
FIND_INACTIVE = """SELECT id FROM executions_active WHERE position <= %b ORDER BY position LIMIT (
        SELECT greatest(least(count(*) - CASE WHEN pg_relation_size('executions_active') < %b
            THEN %b ELSE 0 END, %b), 0) FROM executions_active)"""
"""The active executions with the oldest last event. It reads the whole table, as no index has the positions. Values: the
position up to which the last event may be; the size in bytes from which on the table keeps no active executions back;
the number of executions that it keeps active below that size; the most executions to find."""
MOVE_TO_RESTING = """UPDATE executions_open SET resting = true
    WHERE resting IS NULL AND id = ANY(%b) AND position <= %b RETURNING id"""
"""Moves active executions to the resting ones, unless their last event is after a position."""
MOVE_ALL_TO_RESTING = f"""INSERT INTO executions_resting ({", ".join(ROW)}, resting)
    SELECT {", ".join(ROW)}, true FROM executions_active ORDER BY created_at;
    TRUNCATE executions_active"""
STORED = "id, version, document, checksum, state_version, state_position, state_at, state"
"""The columns of a `StoredRow`, but for the last heartbeat, which only lists read."""
BODIES = """document, checksum, s.version AS state_version, s.position AS state_position, s.at AS state_at,
    s.state
    FROM {rows} AS r LEFT JOIN execution_documents AS d ON d.id = r.id
    LEFT JOIN execution_states AS s ON s.id = r.id"""
OF_IDS = "(SELECT * FROM executions WHERE id = ANY(%b::text[]))"
LOAD = f"SELECT r.resting, r.id, r.version, {BODIES.format(rows=OF_IDS)}"
"""Whether each execution of an array of ids is resting, and its `STORED` columns."""
BOOKMARK = "SELECT coalesce(max(position), 0) AS position FROM bookmarks WHERE view = 'executions'"
"""The position of the view; 0 if the bookmark was lost, in which case the view begins again."""
WITH_POSITION = f"""SELECT known.position, page.* FROM ({BOOKMARK}) AS known
    LEFT JOIN ({{page}}) AS page ON true ORDER BY {{order}}"""
"""A page of rows, each after the position of the view. Without rows, a single row has the position."""
