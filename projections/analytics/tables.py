"""The tables of analytics, and the statements that read and write its facts.

The facts of executions that have not ended change, so their partition has no index on status and duration. The facts of
ended executions are written once, into all indexes. The same holds for the runs of steps. Facts and runs refer to their
execution by a number, the position of its first event, from which the log gives its id.
"""

from __future__ import annotations

from domain.eventlog.connection.pg_arrays import placeholders
from domain.execution.state import FINAL
from domain.execution.types import Status
from projections.analytics import step_tables
from projections.analytics.row import Fact
from projections.analytics.slices import SLICES

OPEN, ENDED = "analytics_facts_open", "analytics_facts_ended"

STATUSES = {
    OPEN: ", ".join(f"'{status}'" for status in Status if status not in FINAL),
    ENDED: ", ".join(f"'{status}'" for status in Status if status in FINAL),
}
DURATIONS = "\n".join(
    f"CREATE INDEX IF NOT EXISTS analytics_durations_by_{column}"
    f" ON {ENDED} ({column}, duration) WHERE duration IS NOT NULL;"
    for column in (*SLICES, "status")
)
# The open partition has no index on the creation alone: PostgreSQL would search the whole of it for a value that no open
# execution has.
SEEN = "\n".join(
    f"CREATE INDEX IF NOT EXISTS {part}_of_{column} ON {part} ({column}, created_at);"
    for part in (OPEN, ENDED)
    for column in (*SLICES[:-1], *(("status",) if part == ENDED else ()))
)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS analytics_facts (
    created     bigint      NOT NULL,       -- the position of the first event of the execution
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    duration    bigint,                     -- milliseconds; NULL until it has ended
    "order"     text COLLATE "C" NOT NULL,
    service     text COLLATE "C" NOT NULL,
    customer    text COLLATE "C" NOT NULL,
    provider    text COLLATE "C" NOT NULL,
    assignee    text COLLATE "C" NOT NULL,  -- '' for none, as in the two that follow
    assignee_type text COLLATE "C" NOT NULL,
    model       text COLLATE "C" NOT NULL,
    day         text COLLATE "C" NOT NULL,  -- of created_at, in UTC
    status      text COLLATE "C" NOT NULL,
    error_code  text COLLATE "C" NOT NULL,  -- '' unless failed
    success     boolean,
    cost        numeric     NOT NULL,
    tokens      numeric     NOT NULL,
    api_calls   numeric     NOT NULL
) PARTITION BY LIST (status);
CREATE TABLE IF NOT EXISTS {OPEN} PARTITION OF analytics_facts
    FOR VALUES IN ({STATUSES[OPEN]}) WITH (fillfactor = 70);
CREATE TABLE IF NOT EXISTS {ENDED} PARTITION OF analytics_facts
    FOR VALUES IN ({STATUSES[ENDED]});
CREATE UNIQUE INDEX IF NOT EXISTS {OPEN}_key ON {OPEN} (created);
CREATE UNIQUE INDEX IF NOT EXISTS {ENDED}_key ON {ENDED} (created);
CREATE INDEX IF NOT EXISTS {ENDED}_age ON {ENDED} (created_at);
CREATE INDEX IF NOT EXISTS {OPEN}_of_order ON {OPEN} ("order");
CREATE INDEX IF NOT EXISTS {ENDED}_of_order ON {ENDED} ("order");
{SEEN}
CREATE INDEX IF NOT EXISTS analytics_durations ON {ENDED} (duration) WHERE duration IS NOT NULL;
{DURATIONS}
CREATE TABLE IF NOT EXISTS analytics_totals (
    slice       text    COLLATE "C" NOT NULL,  -- one of SLICES; '': all
    value       text    COLLATE "C" NOT NULL,  -- which service, ...; '' for all
    status      text    COLLATE "C" NOT NULL,
    error_code  text    COLLATE "C" NOT NULL,
    executions  bigint  NOT NULL,
    judged      bigint  NOT NULL,  -- with a result that says whether it was a success
    succeeded   bigint  NOT NULL,
    ended       bigint  NOT NULL,  -- with a duration
    duration    numeric NOT NULL,
    cost        numeric NOT NULL,
    tokens      numeric NOT NULL,
    api_calls   numeric NOT NULL,
    PRIMARY KEY (slice, value, status, error_code)
) WITH (fillfactor = 80);
CREATE TABLE IF NOT EXISTS analytics_spread (
    slice  text     COLLATE "C" NOT NULL,  -- as above, or status
    value  text     COLLATE "C" NOT NULL,
    octave smallint NOT NULL,
    ended  bigint   NOT NULL,
    PRIMARY KEY (slice, value, octave)
) WITH (fillfactor = 80);
{step_tables.SCHEMA}"""
COMPARED = {
    OPEN: "true",
    ENDED: "true",
    **dict.fromkeys(step_tables.PARTS, "true"),
    "analytics_totals": "(executions, judged, succeeded, ended, duration, cost, tokens, api_calls)"
    " <> (0, 0, 0, 0, 0, 0, 0, 0)",
    "analytics_spread": "ended <> 0",
}
TABLES = ("analytics_facts", "analytics_steps", *COMPARED)
COLUMNS = ", ".join('"order"' if f == "order" else f for f in Fact._fields)
LOAD = f"""SELECT wanted.id, {", ".join(f"f.{name}" for name in COLUMNS.split(", "))}
    FROM unnest(%b::text[]) AS wanted (id)
    CROSS JOIN LATERAL (SELECT notification_id FROM first_events
        WHERE originator_id = 'execution/' || wanted.id OFFSET 0) AS e
    JOIN analytics_facts AS f ON f.created = e.notification_id"""
"""`OFFSET 0` makes PostgreSQL look up each execution by itself. In a plain join it would read the first event of every
stream in the log, for a page of a few events."""
FACT_ARRAYS = (
    "bigint",
    *("text",) * 10,
    "boolean",
    "timestamptz",
    "timestamptz",
    "bigint",
    *("numeric",) * 3,
)
STORE_IN = f"""INSERT INTO {{table}} ({COLUMNS}) SELECT * FROM page WHERE status IN ({{statuses}})
    ON CONFLICT (created) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in Fact._fields[5:])}"""
STORE = f"""WITH page AS (SELECT * FROM unnest({placeholders(FACT_ARRAYS)}) AS page ({COLUMNS})),
    going_on AS ({STORE_IN.format(table=OPEN, statuses=STATUSES[OPEN])})
    {STORE_IN.format(table=ENDED, statuses=STATUSES[ENDED])}"""
LEAVE = "DELETE FROM {table} WHERE created = ANY(%b::bigint[])"
AMOUNTS = ("executions", "judged", "succeeded", "ended", "duration", "cost", "tokens", "api_calls")
TOTAL_ARRAYS = (*("text",) * 4, *("bigint",) * 4, *("numeric",) * 4)
ADD = f"""INSERT INTO analytics_totals AS t SELECT * FROM unnest({placeholders(TOTAL_ARRAYS)})
    ON CONFLICT (slice, value, status, error_code) DO UPDATE SET
    {", ".join(f"{name} = t.{name} + excluded.{name}" for name in AMOUNTS)}"""
SPREAD_ARRAYS = ("text", "text", "bigint", "bigint")
SPREAD = f"""INSERT INTO analytics_spread AS t SELECT * FROM unnest({placeholders(SPREAD_ARRAYS)})
    ON CONFLICT (slice, value, octave) DO UPDATE SET ended = t.ended + excluded.ended"""


def part(fact: Fact) -> str:
    """Return the table in which a fact is stored."""
    return ENDED if fact.status in FINAL else OPEN
