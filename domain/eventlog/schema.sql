-- The event log of one schema (one log is one schema). Applied whole, idempotent.

CREATE TABLE IF NOT EXISTS events (
    notification_id    bigint      NOT NULL,  -- the position: 1, 2, 3, ... without holes
    originator_version bigint      NOT NULL,  -- the version: place in its own stream, from 1
    at                 timestamptz NOT NULL,
    originator_id      text        NOT NULL,  -- the stream: execution/exec_1
    topic              text        NOT NULL,  -- the event's public name
    meta               text        NOT NULL,
    state              bytea       NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
);
CREATE UNIQUE INDEX IF NOT EXISTS events_position ON events (notification_id);

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
-- Of events one thing alone may be taken out: what `take_out_events` has found in a file of the archive.
CREATE OR REPLACE FUNCTION refuse_change_of_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (
            SELECT FROM event_archives WHERE taken_by = pg_current_xact_id_if_assigned()) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_events();
ALTER TABLE events ENABLE ALWAYS TRIGGER append_only;

-- Lock and counter of the log in one row: who holds it appends, and `position` never skips.
CREATE TABLE IF NOT EXISTS head (
    single   boolean     PRIMARY KEY DEFAULT true CHECK (single),
    position bigint      NOT NULL,
    at       timestamptz NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head VALUES (true, 0, 'epoch') ON CONFLICT DO NOTHING;
-- Which log this is: a new one after a restore, so that no consumer goes on at a position of the other.
ALTER TABLE head ADD COLUMN IF NOT EXISTS log_id text NOT NULL DEFAULT gen_random_uuid();
-- Its name among other logs, if it has one: given once, and never another.
ALTER TABLE head ADD COLUMN IF NOT EXISTS log_name text;

CREATE TABLE IF NOT EXISTS snapshots (
    originator_id      text        NOT NULL,
    originator_version bigint      NOT NULL,
    position           bigint      NOT NULL,
    at                 timestamptz NOT NULL,
    state              bytea       NOT NULL,
    shape              text        NOT NULL,  -- which form of states this is
    digest             bytea,                 -- what `snapshot_digest` said when it was kept
    PRIMARY KEY (originator_id, originator_version, shape)
);
ALTER TABLE snapshots ADD COLUMN IF NOT EXISTS digest bytea;

-- A snapshot whose digest is another by now was damaged: it is left alone, and made again. All in it is
-- immutable, so that PostgreSQL puts it in its place instead of calling it.
CREATE OR REPLACE FUNCTION snapshot_digest(
    stream text, version bigint, place bigint, shape text, state bytea
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(decode(
        md5(stream || '@' || version::text || '@' || place::text || '@' || shape), 'hex') || state)
$$;

CREATE TABLE IF NOT EXISTS data_keys (
    originator_id text  PRIMARY KEY,
    wrapped       bytea NOT NULL
);
-- Of a stream whose content was erased: its key is empty, and never comes again. `erased` is the position of
-- the event that says so, `swept` whether what was kept elsewhere of that content is gone, too.
ALTER TABLE data_keys ADD COLUMN IF NOT EXISTS erased bigint;
ALTER TABLE data_keys ADD COLUMN IF NOT EXISTS swept boolean;
CREATE INDEX IF NOT EXISTS data_keys_erased ON data_keys (erased) WHERE erased IS NOT NULL;
CREATE INDEX IF NOT EXISTS data_keys_unswept ON data_keys (originator_id) WHERE NOT swept;

-- When the worker of an execution last sent a heartbeat: no event, and only the last is kept. No index
-- but the key, so that an update stays in its page.
CREATE TABLE IF NOT EXISTS heartbeats (
    execution text COLLATE "C" PRIMARY KEY,
    at        timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The one master key that wraps all data keys: its id, and a constant that it wrapped.
CREATE TABLE IF NOT EXISTS master_key (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    id      text    NOT NULL,
    wrapped bytea   NOT NULL
);
-- The secret of the log, wrapped by the master key: the key that signs tree heads follows from it.
ALTER TABLE master_key ADD COLUMN IF NOT EXISTS secret bytea;
-- While the master key is being changed, the id of the one before: then no server opens the log.
ALTER TABLE master_key ADD COLUMN IF NOT EXISTS former text;

-- Refuses where the master key is another one than that by which new data keys were wrapped. The shared lock keeps it from
-- being changed until they are committed, as a change takes the same lock. A volatile function sees what was committed
-- after its statement began. A log without a master key, as in tests, refuses nothing.
CREATE OR REPLACE FUNCTION require_master_key(wanted text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('master key ' || current_schema()));
    IF EXISTS (SELECT FROM master_key WHERE id <> wanted OR former IS NOT NULL) THEN
        RAISE EXCEPTION 'the master key of this log was changed'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;

-- When each API key was last used, to a minute. No event: it would tell less than it takes.
CREATE TABLE IF NOT EXISTS key_uses (
    key text COLLATE "C" PRIMARY KEY,
    at  timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS idempotency_keys (
    key         text        PRIMARY KEY,
    fingerprint text        NOT NULL,
    at          timestamptz NOT NULL,
    outcome     text        NOT NULL
);
CREATE INDEX IF NOT EXISTS idempotency_keys_age ON idempotency_keys (at);

-- For programs that use the log through the library `eventsourcing`: how far each consumer is in the
-- log of each application, and the snapshots of that application's aggregates.
CREATE TABLE IF NOT EXISTS trackings (
    consumer         text   NOT NULL,
    application_name text   NOT NULL,
    notification_id  bigint NOT NULL,
    PRIMARY KEY (consumer, application_name)
);

CREATE TABLE IF NOT EXISTS application_snapshots (
    originator_id      text   NOT NULL,
    originator_version bigint NOT NULL,
    topic              text   NOT NULL,
    state              bytea  NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
);

-- What webhooks are owed and were sent: an event for a webhook, by its position. Whom was called when
-- follows from no event, so nothing can rebuild these.
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    webhook  text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    stream   text COLLATE "C" NOT NULL,
    version  bigint NOT NULL,
    state    text COLLATE "C" NOT NULL DEFAULT 'waiting', -- waiting, delivered, failed
    attempts integer NOT NULL DEFAULT 0,
    at       timestamptz,                -- of the last call, and what came of it
    status   integer,
    latency  integer,                    -- milliseconds
    answer   text,                       -- its first KiB
    error    text,
    PRIMARY KEY (webhook, position)
);
CREATE INDEX IF NOT EXISTS webhook_deliveries_waiting
    ON webhook_deliveries (webhook, stream, position) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS webhook_deliveries_settled
    ON webhook_deliveries (at) WHERE state <> 'waiting';
CREATE INDEX IF NOT EXISTS webhook_deliveries_answers
    ON webhook_deliveries (stream) WHERE answer <> '';
CREATE INDEX IF NOT EXISTS webhook_deliveries_failed
    ON webhook_deliveries (webhook, position) WHERE state = 'failed';

-- When the next event of a stream that waits for a webhook is due: one at a time, so they come in order.
CREATE TABLE IF NOT EXISTS webhook_lanes (
    webhook  text COLLATE "C" NOT NULL,
    stream   text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL,  -- scheme, host and port
    next_at  timestamptz NOT NULL,
    PRIMARY KEY (webhook, stream)
);
CREATE INDEX IF NOT EXISTS webhook_lanes_next ON webhook_lanes (endpoint, next_at);

-- How each webhook stands, and up to where the log was looked through for it, where that is not `webhook_head`.
CREATE TABLE IF NOT EXISTS webhook_progress (
    webhook       text COLLATE "C" PRIMARY KEY,
    position      bigint,
    failing_since timestamptz,
    announced     boolean NOT NULL DEFAULT false, -- whether the log says that it fails
    last_at       timestamptz,                    -- of the last call, and what came of it
    status        integer,
    latency       integer,
    answer        text,
    error         text,
    rewinds       integer NOT NULL DEFAULT 0,     -- how often it was rewound
    fault         text                            -- why nothing is entered for it now
);
ALTER TABLE webhook_progress ADD COLUMN IF NOT EXISTS rewinds integer NOT NULL DEFAULT 0;
ALTER TABLE webhook_progress ADD COLUMN IF NOT EXISTS fault text;
CREATE INDEX IF NOT EXISTS webhook_progress_behind ON webhook_progress (webhook)
    WHERE position IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhook_progress_failing ON webhook_progress (failing_since)
    WHERE failing_since IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhook_progress_faults ON webhook_progress (webhook) WHERE fault IS NOT NULL;

-- Up to where what webhooks are owed was entered there, and the lock of all who enter something. What is older
-- than this table is not delivered.
CREATE TABLE IF NOT EXISTS webhook_head (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint  NOT NULL
) WITH (fillfactor = 10);

-- Before, only webhooks of executions were called, what they were owed was a view, and a table had how far the
-- calls had come. What still waited goes on.
DO $$ BEGIN
    IF to_regclass('webhook_calls') IS NOT NULL AND to_regclass('deliveries') IS NOT NULL THEN
        CREATE TEMPORARY TABLE waited ON COMMIT DROP AS
            SELECT CASE WHEN d.webhook LIKE 'wh-%' THEN d.execution || '/' ELSE '' END || d.webhook AS webhook,
                d.position, 'execution/' || d.execution AS stream, d.version, c.endpoint,
                CASE WHEN row_number() OVER (PARTITION BY d.execution, d.webhook ORDER BY d.position) = 1
                    THEN c.attempts ELSE 0 END AS attempts, c.next_at
            FROM deliveries AS d JOIN webhook_calls AS c USING (execution, webhook)
            WHERE d.position > c.position AND c.next_at IS NOT NULL;
        INSERT INTO webhook_deliveries (webhook, position, stream, version, attempts)
            SELECT webhook, position, stream, version, attempts FROM waited ON CONFLICT DO NOTHING;
        INSERT INTO webhook_lanes (webhook, stream, endpoint, next_at)
            SELECT DISTINCT webhook, stream, endpoint, next_at FROM waited ON CONFLICT DO NOTHING;
        INSERT INTO webhook_progress (webhook, failing_since, last_at, status, latency, answer, error)
            SELECT CASE WHEN webhook LIKE 'wh-%' THEN execution || '/' ELSE '' END || webhook, failing_since,
                last_at, status, latency, answer, error FROM webhook_calls ON CONFLICT DO NOTHING;
        DROP TABLE deliveries;
    END IF;
END $$;
DROP TABLE IF EXISTS webhook_calls;
ALTER TABLE webhook_head DROP COLUMN IF EXISTS since;
INSERT INTO webhook_head SELECT true, position FROM head ON CONFLICT DO NOTHING;
