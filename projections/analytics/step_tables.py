"""The tables of the runs of steps, and the statements that read and write them.

Open runs change, finished ones hardly ever do, so the two are in separate partitions. What all runs of an execution have
in common is in the fact of the execution.
"""

from __future__ import annotations

from domain.eventlog.connection.pg_arrays import placeholders
from domain.execution.state import OPEN as OPEN_STATUSES
from domain.execution.types import StepStatus
from projections.analytics.step_row import StepRun

OPEN, DONE = PARTS = "analytics_steps_open", "analytics_steps_done"
STATUSES = {
    OPEN: ", ".join(f"'{status}'" for status in StepStatus if status in OPEN_STATUSES),
    DONE: ", ".join(f"'{status}'" for status in StepStatus if status not in OPEN_STATUSES),
}
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS analytics_steps (
    created       bigint  NOT NULL,           -- the position of the first event of the execution
    created_at    timestamptz NOT NULL,       -- of the execution
    started_at    timestamptz,
    duration      bigint,                     -- milliseconds; NULL until it has ended
    run           integer NOT NULL,           -- 1, 2, … of this step; 0: in another execution
    own           boolean NOT NULL,
    cut_short     boolean NOT NULL,           -- skipped because the execution ended
    step          text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    assignee      text COLLATE "C" NOT NULL,  -- '' for none, as in the three that follow
    assignee_type text COLLATE "C" NOT NULL,
    model         text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL,
    status        text COLLATE "C" NOT NULL,
    error_code    text COLLATE "C" NOT NULL,  -- '' unless failed
    cost          numeric NOT NULL,
    tokens        numeric NOT NULL,
    api_calls     numeric NOT NULL
) PARTITION BY LIST (status);
CREATE TABLE IF NOT EXISTS {OPEN} PARTITION OF analytics_steps
    FOR VALUES IN ({STATUSES[OPEN]}) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS {DONE} PARTITION OF analytics_steps FOR VALUES IN ({STATUSES[DONE]});
CREATE UNIQUE INDEX IF NOT EXISTS {OPEN}_key ON {OPEN} (created, step, run);
CREATE UNIQUE INDEX IF NOT EXISTS {DONE}_key ON {DONE} (created, step, run);
CREATE INDEX IF NOT EXISTS analytics_steps_age ON {DONE} (created_at);
CREATE INDEX IF NOT EXISTS analytics_steps_of_people ON {OPEN} (created)
    WHERE (own AND assignee_type IN ('human', 'hybrid')) OR kind = 'human';
"""
NAMES = ", ".join(StepRun._fields)
KINDS = (
    *("bigint", "text", "bigint", "text", "timestamptz", "boolean"),
    *("text", "text", "text", "text", "text", "text", "boolean", "timestamptz", "bigint"),
    *("numeric", "numeric", "numeric"),
)
KEY_KINDS = ("bigint", "text", "bigint")
LOAD_NAMED = f"""SELECT known.* FROM unnest(%b::bigint[], %b::text[]) AS wanted (created, step)
    CROSS JOIN LATERAL (SELECT {NAMES} FROM analytics_steps AS s
        WHERE s.created = wanted.created AND s.step = wanted.step
        ORDER BY s.run DESC LIMIT 1) AS known"""
LOAD_OPEN = f"""SELECT {NAMES} FROM analytics_steps
    WHERE created = ANY(%b::bigint[]) AND (status IN ({STATUSES[OPEN]}) OR cut_short)"""
STORE_IN = f"""INSERT INTO {{table}} ({NAMES}) SELECT * FROM page WHERE status IN ({{statuses}})
    ON CONFLICT (created, step, run) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in StepRun._fields[5:])}, name = excluded.name"""
STORE = f"""WITH page AS (SELECT * FROM unnest({placeholders(KINDS)}) AS page ({NAMES})),
    open AS ({STORE_IN.format(table=OPEN, statuses=STATUSES[OPEN])})
    {STORE_IN.format(table=DONE, statuses=STATUSES[DONE])}"""
LEAVE = f"""DELETE FROM {{table}} AS s USING unnest({placeholders(KEY_KINDS)}) AS gone (created, step, run)
    WHERE (s.created, s.step, s.run) = (gone.created, gone.step, gone.run)"""


def part(run: StepRun) -> str:
    """Return the table in which a run is stored."""
    return OPEN if run.status in OPEN_STATUSES else DONE
