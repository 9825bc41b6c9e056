-- The access log: reads of executions, each recorded before it was answered. No events, so beside them, and
-- nothing can rebuild them. Each day has a partition. Applied whole, idempotent.

CREATE TABLE IF NOT EXISTS access_log (
    id          bigint      NOT NULL,  -- 1, 2, 3, ... without holes, in the order of the commits
    at          timestamptz NOT NULL,
    actor       text COLLATE "C" NOT NULL,
    credential  text COLLATE "C" NOT NULL,
    operation   text COLLATE "C" NOT NULL,
    executions  text[] COLLATE "C" NOT NULL,  -- those that were shown
    address     text        NOT NULL,
    purpose     text        NOT NULL,
    correlation text        NOT NULL,
    detail      text        NOT NULL,  -- JSON: what was asked for; of a stream, its beginning and its end
    hash        bytea       NOT NULL   -- over the hash before it and this entry
) PARTITION BY RANGE (at);

-- Single reads are nearly all: for them a narrow index. Lists show many executions each.
CREATE INDEX IF NOT EXISTS access_log_id ON access_log (id);
CREATE INDEX IF NOT EXISTS access_log_single ON access_log ((executions[1]), id)
    WHERE cardinality(executions) = 1;
CREATE INDEX IF NOT EXISTS access_log_many ON access_log USING gin (executions)
    WHERE cardinality(executions) > 1;
CREATE INDEX IF NOT EXISTS access_log_actor ON access_log (actor, id);

-- Entries of days for which no partition was made in time: no read fails at midnight.
CREATE TABLE IF NOT EXISTS access_log_rest PARTITION OF access_log DEFAULT;

-- The last entry. Who adds some holds this row until the commit, so the chain of all processes is one.
CREATE TABLE IF NOT EXISTS access_head (
    single boolean     PRIMARY KEY DEFAULT true CHECK (single),
    id     bigint      NOT NULL,
    at     timestamptz NOT NULL,
    hash   bytea       NOT NULL
) WITH (fillfactor = 10);
INSERT INTO access_head VALUES (true, 0, 'epoch', '') ON CONFLICT DO NOTHING;

-- It is there for the partitions, too.
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON access_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The role that serves owns no table: it lets the owner make the partitions.
CREATE OR REPLACE FUNCTION make_access_day(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    partition text := 'access_log_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE access_log)', partition);
    EXECUTE format('ALTER TABLE access_log ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition,
        day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    RETURN true;
EXCEPTION  -- another partition has that day, or some of its entries
    WHEN invalid_object_definition OR check_violation THEN RETURN false;
END $$;

-- Takes a day out of the access log, if the log of events says of just these entries that they were retired, or there
-- are none. So the role that serves can take out nothing of which no event stays.
CREATE OR REPLACE FUNCTION retire_access_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    partition text := 'access_log_' || to_char(day, 'YYYYMMDD');
    begins timestamptz := day::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    entries bigint[];
BEGIN
    IF NOT has_table_privilege(session_user, 'access_log', 'INSERT') THEN
        RAISE EXCEPTION 'no day of the access log may be retired by %', session_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('SELECT ARRAY[min(id), max(id)] FROM access_log WHERE at >= %L AND at < %L', begins, ends)
        INTO entries;
    IF entries[1] IS NOT NULL AND NOT EXISTS (SELECT FROM events
            WHERE originator_id = 'retirement/access-log' AND topic = 'access.retired'
                AND convert_from(state, 'UTF8')::jsonb
                    @> jsonb_build_object('day', day, 'first', entries[1], 'last', entries[2])) THEN
        RAISE EXCEPTION 'the log of events does not say that % of the access log was retired', day
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF to_regclass(partition) IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', partition);
    ELSIF entries[1] IS NOT NULL THEN
        ALTER TABLE access_log_rest DISABLE TRIGGER append_only;
        DELETE FROM access_log_rest WHERE at >= begins AND at < ends;
        ALTER TABLE access_log_rest ENABLE TRIGGER append_only;
    END IF;
END $$;
