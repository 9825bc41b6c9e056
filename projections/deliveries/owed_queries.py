"""Queries of who looks through the log for what webhooks are owed: which webhooks there are, and what happened."""

from __future__ import annotations

from projections.deliveries.queue_queries import CALLED

MOST_WAITING = 20_000
"""Events that wait for a webhook before no more of the past is entered for it."""

MOVE = "UPDATE webhook_head SET position = %b"
WAKE = """UPDATE webhook_lanes AS l SET next_at = %b, endpoint = w.endpoint FROM webhooks AS w
    WHERE w.webhook = l.webhook AND w.position > %b AND w.position <= %b"""
"""A webhook that was changed is called again at once."""
FORGIVE = """UPDATE webhook_progress SET failing_since = NULL, announced = false
    WHERE webhook = ANY(%b::text[])"""

BEGIN_HOOKS = """INSERT INTO webhook_progress (webhook, position)
    SELECT webhook, CASE WHEN since < %b THEN since END FROM webhooks WHERE execution IS NULL
    ON CONFLICT (webhook) DO NOTHING"""
OF_LOG = f"""SELECT w.webhook, w.since, w.endpoint, w.events, w.filter, w.scope
    FROM webhooks AS w LEFT JOIN webhook_states AS s USING (webhook)
    WHERE w.execution IS NULL AND {CALLED}"""
EVENT_ROW = """SELECT notification_id, originator_version, at, originator_id, topic, meta,
        CASE WHEN topic = 'execution.failed' THEN state ELSE '' END
    FROM events"""
OF_TYPES = f"""{EVENT_ROW} WHERE notification_id > %b AND notification_id <= %b
        AND (topic = ANY(%b::text[]) OR topic LIKE 'webhook.%%')
    ORDER BY notification_id LIMIT %b"""
HOLD = """INSERT INTO webhook_progress AS p (webhook, position)
    SELECT webhook, greatest(since, %b) FROM webhooks WHERE webhook = ANY(%b::text[])
    ON CONFLICT (webhook) DO UPDATE SET position = coalesce(p.position, excluded.position)"""
"""These webhooks have positions of their own, from which on they are owed events."""
BEHIND = "SELECT webhook FROM webhook_progress WHERE position IS NOT NULL ORDER BY webhook"
PROGRESS = f"""SELECT p.position, h.position, w.webhook IS NOT NULL, w.execution, coalesce(w.stream, ''),
        coalesce(w.since, 0), coalesce(w.endpoint, ''), w.events, w.filter, w.scope
    FROM webhook_progress AS p CROSS JOIN webhook_head AS h
    LEFT JOIN (webhooks AS w LEFT JOIN webhook_states AS s USING (webhook))
        ON w.webhook = p.webhook AND {CALLED}
    WHERE p.webhook = %b AND p.position IS NOT NULL"""
"""A webhook that is behind, where the others are, and whether it is to be called; what it asks for, if so."""
CAUGHT_UP = "UPDATE webhook_progress SET position = %b, fault = NULL WHERE webhook = %b"
MANY_WAIT = f"""SELECT count(*) > {MOST_WAITING} FROM (SELECT FROM webhook_deliveries
    WHERE webhook = %b AND state = 'waiting' LIMIT {MOST_WAITING} + 1) AS found"""
OF_STREAM = f"""{EVENT_ROW} WHERE originator_id = %b AND notification_id > %b
        AND notification_id <= %b
    ORDER BY originator_version LIMIT %b"""
OF_EXECUTIONS = f"""SELECT w.webhook, w.since, w.endpoint, w.events, e.notification_id,
        e.originator_version, e.at, e.originator_id, e.topic, e.meta,
        CASE WHEN e.topic = 'execution.failed' THEN e.state ELSE '' END
    FROM events AS e JOIN webhooks AS w ON w.stream = e.originator_id
    LEFT JOIN webhook_states AS s USING (webhook)
    WHERE e.notification_id > %b AND e.notification_id <= %b AND w.execution IS NOT NULL
        AND {CALLED} AND NOT EXISTS (SELECT FROM webhook_progress AS p
            WHERE p.webhook = w.webhook AND p.position IS NOT NULL)
    ORDER BY e.notification_id"""
