"""Queries of the queue of webhooks: what waits, what is due, what came of calls."""

from __future__ import annotations

from domain.eventlog.connection.pg_arrays import placeholders

IN_A_ROW = 20
"""Events of a lane that are called before it is another's turn."""
SMALL = 4_096
"""Bytes of an event that is read with those of other lanes; a larger one is read when it is its turn."""

CALLED = "(s.disabled_at IS NULL OR s.disabled_at < w.position)"
"""Of a webhook `w` and its state `s`: it is not disabled."""

LOCK = "SELECT position FROM webhook_head FOR UPDATE"
SEEN = "SELECT coalesce((SELECT position FROM bookmarks WHERE view = 'deliveries'), 0)"
READ_HAS_MORE = f"""SELECT position < ({SEEN}) OR EXISTS (
    SELECT FROM webhook_progress WHERE position IS NOT NULL) FROM webhook_head"""
HAS_WEBHOOKS = "SELECT EXISTS (SELECT FROM webhooks)"
HAS_WEBHOOKS_SEEN = f"{HAS_WEBHOOKS}, ({SEEN})"
OWED = ("text", "bigint", "text", "bigint", "text")
ENTER = f"""WITH owed AS (SELECT * FROM unnest({placeholders(OWED)})
        AS o (webhook, position, stream, version, endpoint)),
    kept AS (INSERT INTO webhook_deliveries AS d (webhook, position, stream, version)
        SELECT DISTINCT webhook, position, stream, version FROM owed
        ON CONFLICT (webhook, position) DO UPDATE SET state = 'waiting', attempts = 0)
    INSERT INTO webhook_lanes (webhook, stream, endpoint, next_at)
    SELECT DISTINCT ON (webhook, stream) webhook, stream, endpoint, %b::timestamptz FROM owed
    ON CONFLICT (webhook, stream) DO UPDATE SET endpoint = excluded.endpoint"""

# An index scan for each endpoint, whatever waits there: so a dead one, however much waits for it, costs others
# nothing. Those of a lane that is being called are found, too.
ENDPOINTS = """WITH RECURSIVE known (endpoint) AS (
        (SELECT endpoint FROM webhook_lanes ORDER BY endpoint LIMIT 1)
        UNION ALL SELECT (SELECT l.endpoint FROM webhook_lanes AS l
            WHERE l.endpoint > known.endpoint ORDER BY l.endpoint LIMIT 1)
        FROM known WHERE known.endpoint IS NOT NULL)"""
DUE = f"""{ENDPOINTS}
    SELECT due.* FROM known CROSS JOIN LATERAL (
        SELECT webhook, stream, endpoint, next_at FROM webhook_lanes AS l
        WHERE l.endpoint = known.endpoint AND l.next_at <= %b ORDER BY l.next_at LIMIT %b) AS due
    WHERE NOT known.endpoint = ANY(%b::text[]) ORDER BY due.next_at LIMIT %b"""
HELD = ("text", "timestamptz")
NEXT = f"""{ENDPOINTS}
    SELECT min(greatest(held.until, (SELECT min(l.next_at) FROM webhook_lanes AS l
        WHERE l.endpoint = known.endpoint)))
    FROM known LEFT JOIN unnest({placeholders(HELD)}) AS held (endpoint, until) USING (endpoint)
    WHERE known.endpoint IS NOT NULL"""
LOAD = f"""SELECT wanted.webhook, wanted.stream, w.execution, w.stream, w.version,
        coalesce(s.generation, 0), s.overlap_until, coalesce(p.rewinds, 0), d.position, d.version, d.attempts, e.at, e.topic,
        e.meta, CASE WHEN octet_length(e.state) <= {SMALL} THEN e.state END
    FROM unnest(%b::text[], %b::text[]) AS wanted (webhook, stream)
    JOIN webhooks AS w ON w.webhook = wanted.webhook
    LEFT JOIN webhook_states AS s ON s.webhook = wanted.webhook
    LEFT JOIN webhook_progress AS p ON p.webhook = wanted.webhook
    CROSS JOIN LATERAL (SELECT position, version, attempts FROM webhook_deliveries
        WHERE webhook = wanted.webhook AND stream = wanted.stream AND state = 'waiting'
        ORDER BY position LIMIT {IN_A_ROW}) AS d
    JOIN events AS e ON e.originator_id = wanted.stream AND e.originator_version = d.version
    WHERE {CALLED}
    ORDER BY wanted.webhook, wanted.stream, d.position"""
LANES = ("text", "text")
GONE = f"""UPDATE webhook_deliveries AS d SET state = 'failed', at = coalesce(d.at, now()),
        error = 'not called: the webhook was disabled or removed'
    FROM unnest({placeholders(LANES)}) AS l (webhook, stream)
    WHERE d.webhook = l.webhook AND d.stream = l.stream AND d.state = 'waiting' AND NOT EXISTS (
        SELECT FROM webhooks AS w LEFT JOIN webhook_states AS s USING (webhook)
        WHERE w.webhook = l.webhook AND {CALLED})"""
REMOVE_EMPTY_LANES = f"""DELETE FROM webhook_lanes AS l USING unnest({placeholders(LANES)}) AS o (webhook, stream)
    WHERE l.webhook = o.webhook AND l.stream = o.stream AND NOT EXISTS (
        SELECT FROM webhook_deliveries AS d
        WHERE d.webhook = l.webhook AND d.stream = l.stream AND d.state = 'waiting')"""
POSTPONE = f"""UPDATE webhook_lanes AS l SET next_at = %b
    FROM unnest({placeholders(LANES)}) AS o (webhook, stream)
    WHERE l.webhook = o.webhook AND l.stream = o.stream"""

SETTLED = (
    *("text", "text", "bigint", "text", "timestamptz", "bigint", "bigint", "text", "text"),
    *("timestamptz", "bigint", "text", "bigint", "bigint"),
)
# What was sent before a rewind was not sent after it. A failure by former settings, or by a former secret, says nothing of the
# present ones. The answer to what was erased meanwhile may quote it: it is not kept.
SETTLE = f"""WITH o AS (SELECT o.*, CASE WHEN k.wrapped IS DISTINCT FROM ''::bytea THEN said END AS answer
        FROM unnest({placeholders(SETTLED)}) WITH ORDINALITY
            AS o (webhook, stream, position, state, at, status, latency, said, error, next_at, rewinds, set_by, set_at,
                generation, nth)
        LEFT JOIN data_keys AS k ON k.originator_id = o.stream
        LEFT JOIN webhook_progress AS r USING (webhook)
        LEFT JOIN webhooks AS w USING (webhook)
        LEFT JOIN webhook_states AS s USING (webhook)
        WHERE o.rewinds = coalesce(r.rewinds, 0) AND (o.error IS NULL
            OR (w.stream, w.version, coalesce(s.generation, 0)) = (o.set_by, o.set_at, o.generation))),
    kept AS (UPDATE webhook_deliveries AS d SET state = o.state, attempts = d.attempts + 1, at = o.at,
            status = o.status, latency = o.latency, answer = o.answer, error = o.error
        FROM o WHERE d.webhook = o.webhook AND d.position = o.position AND d.state = 'waiting'),
    next AS (UPDATE webhook_lanes AS l SET next_at = o.next_at FROM o
        WHERE l.webhook = o.webhook AND l.stream = o.stream AND o.next_at IS NOT NULL),
    last AS (SELECT DISTINCT ON (webhook) * FROM o ORDER BY webhook, nth DESC),
    standing AS (INSERT INTO webhook_progress AS p (webhook, failing_since, last_at, status, latency, answer, error)
        SELECT webhook, CASE WHEN error IS NOT NULL THEN at END, at, status, latency, answer, error FROM last
        ON CONFLICT (webhook) DO UPDATE SET last_at = excluded.last_at, status = excluded.status,
            latency = excluded.latency, answer = excluded.answer, error = excluded.error,
            failing_since = CASE WHEN excluded.error IS NOT NULL
                THEN coalesce(p.failing_since, excluded.failing_since) END
        RETURNING webhook, failing_since, announced)
    SELECT o.nth, standing.failing_since, standing.announced FROM o JOIN standing USING (webhook)"""
ANNOUNCE = """UPDATE webhook_progress SET announced = %b,
    failing_since = CASE WHEN %b THEN NULL ELSE failing_since END WHERE webhook = %b"""
FORGET = """WITH gone AS (DELETE FROM webhook_deliveries WHERE (webhook, position) IN (
        SELECT webhook, position FROM webhook_deliveries WHERE state <> 'waiting' AND at < %b
        ORDER BY at LIMIT %b) AND state <> 'waiting' RETURNING webhook, at),
    unsaid AS (UPDATE webhook_progress AS p SET answer = NULL FROM gone
        WHERE p.webhook = gone.webhook AND p.last_at = gone.at AND p.answer <> '')
    SELECT count(*) FROM gone"""
"""The last answer goes with its delivery: by that an erasure finds what may quote its content. The state is asked for twice, as a
redelivery may change it while the row is waited for."""
FAULT = """UPDATE webhook_progress SET fault = %b WHERE webhook = %b AND position IS NOT NULL
    AND fault IS DISTINCT FROM %b"""
SWEEP = """WITH page AS (SELECT webhook FROM webhook_progress WHERE webhook > %b
        ORDER BY webhook LIMIT %b),
    gone AS (DELETE FROM webhook_progress AS p USING page WHERE p.webhook = page.webhook
        AND NOT EXISTS (SELECT FROM webhooks AS w WHERE w.webhook = p.webhook))
    SELECT max(webhook) FROM page"""
"""A call that was under way when its webhook was removed may leave a row, too."""
