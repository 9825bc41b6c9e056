"""A log of an earlier build, whose waiting deliveries were in a view, is migrated without losing any."""

from __future__ import annotations

import psycopg

from domain.eventlog.migrations import migrate_log
from domain.eventlog.sessions import session_options

SCHEMA = "executions"
BEFORE = """
DROP TABLE webhook_deliveries, webhook_lanes, webhook_progress, webhook_head;
CREATE TABLE webhook_calls (
    execution text COLLATE "C", webhook text COLLATE "C", endpoint text, position bigint,
    next_at timestamptz, attempts integer, given_up bigint, gone bigint, failing_since timestamptz,
    last_at timestamptz, status integer, latency integer, answer text, error text,
    PRIMARY KEY (execution, webhook));
CREATE TABLE deliveries (
    execution text COLLATE "C", webhook text COLLATE "C", position bigint, version bigint,
    PRIMARY KEY (execution, webhook, position));
CREATE TABLE webhook_head (
    single boolean PRIMARY KEY DEFAULT true, since bigint NOT NULL, position bigint NOT NULL);
INSERT INTO webhook_head VALUES (true, 2, 7);
INSERT INTO deliveries VALUES ('e', 'wh-1', 3, 1), ('e', 'wh-1', 5, 2), ('e', 'wh-1', 6, 3),
    ('f', 'wh-1', 4, 1);
INSERT INTO webhook_calls VALUES
    ('e', 'wh-1', 'https://a.example', 3, '2026-11-22T12:00:00Z', 2, 0, NULL,
        '2026-11-22T11:00:00Z', '2026-11-22T11:30:00Z', 500, 7, 'no', 'answered 500'),
    ('f', 'wh-1', 'https://b.example', 4, NULL, 0, 0, NULL, NULL, now(), 200, 7, 'ok', NULL);
COMMENT ON TABLE head IS 'of an earlier build';
"""
DELIVERIES = """SELECT webhook, position, stream, version, state, attempts FROM webhook_deliveries
    ORDER BY position"""


def test_waiting_deliveries_of_an_earlier_build_are_moved_to_their_lanes(database: str) -> None:
    options = session_options(SCHEMA)
    with psycopg.connect(database, options=options) as connection:
        connection.execute(BEFORE)
    migrate_log(database, SCHEMA)
    migrate_log(database, SCHEMA)
    with psycopg.connect(database, options=options) as connection:
        assert connection.execute(DELIVERIES).fetchall() == [
            ("e/wh-1", 5, "execution/e", 2, "waiting", 2),
            ("e/wh-1", 6, "execution/e", 3, "waiting", 0),
        ]
        lanes = "SELECT webhook, stream, endpoint FROM webhook_lanes"
        assert connection.execute(lanes).fetchall() == [
            ("e/wh-1", "execution/e", "https://a.example")
        ]
        failing = "SELECT webhook FROM webhook_progress WHERE failing_since IS NOT NULL"
        assert connection.execute(failing).fetchall() == [("e/wh-1",)]
        assert connection.execute("SELECT * FROM webhook_head").fetchall() == [(True, 7)]
        assert connection.execute("SELECT to_regclass('deliveries')").fetchall() == [(None,)]
