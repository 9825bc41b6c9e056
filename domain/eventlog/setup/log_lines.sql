-- The log lines of workers, and what is known of those that were archived. Applied whole, idempotent.

-- What workers log of executions: no events, so beside them. Nothing can rebuild these. A line belongs to
-- the day on which it was recorded, in UTC, and each day has a partition. The indexes are made for each
-- partition by itself, so that the table of a log from before there were days could become one.
CREATE TABLE IF NOT EXISTS log_lines (
    execution   text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    id          bigint NOT NULL,  -- 1, 2, 3, ... without holes, in the order of the commits
    at          timestamptz NOT NULL,
    level       text COLLATE "C" NOT NULL,
    step        text COLLATE "C",
    sealed      text NOT NULL     -- message and context, one token
) PARTITION BY RANGE (at);

-- Lines of days for which no partition was made in time: nobody fails at midnight.
CREATE TABLE IF NOT EXISTS log_lines_rest PARTITION OF log_lines (
    PRIMARY KEY (execution, occurred_at, id), UNIQUE (id)
) DEFAULT;

-- The last id of a log line. A writer that appends lines holds this row until the commit.
CREATE TABLE IF NOT EXISTS log_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id     bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO log_head SELECT true, coalesce(max(id), 0) FROM log_lines ON CONFLICT DO NOTHING;

-- Archive files whose lines are no more in `log_lines`. Stored events say the same of each.
CREATE TABLE IF NOT EXISTS log_archives (
    file      text COLLATE "C" PRIMARY KEY,  -- its path in the archive
    day       date   NOT NULL,
    first_id  bigint NOT NULL,
    last_id   bigint NOT NULL,
    lines     bigint NOT NULL,
    bytes     bigint NOT NULL,
    digest    text   NOT NULL,               -- SHA-256 of the file, in hexadecimal
    at        timestamptz NOT NULL           -- when its lines left the table
);

-- Where these files are: the URL of the archive, from when it is first used.
CREATE TABLE IF NOT EXISTS log_archive_place (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    url    text NOT NULL
);

-- How many lines of each execution an archive file has, and of which times.
CREATE TABLE IF NOT EXISTS log_archive_lines (
    execution text COLLATE "C" NOT NULL,
    file      text COLLATE "C" NOT NULL,
    lines     bigint NOT NULL,
    earliest  timestamptz NOT NULL,
    latest    timestamptz NOT NULL,
    PRIMARY KEY (execution, file)
);

-- The role that serves owns no table, and lets the owner make and drop the partitions.
CREATE OR REPLACE FUNCTION make_log_day(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    partition text := 'log_lines_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE log_lines_rest INCLUDING INDEXES)', partition);
    EXECUTE format('ALTER TABLE log_lines ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition,
        day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    RETURN true;
EXCEPTION  -- another partition has that day, or some of its lines
    WHEN invalid_object_definition OR check_violation THEN RETURN false;
END $$;

CREATE OR REPLACE FUNCTION drop_log_partition(partition text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT has_table_privilege(session_user, 'log_lines', 'DELETE') THEN
        RAISE EXCEPTION 'log lines may not be dropped by %', session_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF partition = 'log_lines_rest' OR NOT EXISTS (SELECT FROM pg_inherits
            WHERE inhparent = 'log_lines'::regclass AND inhrelid = to_regclass(partition)) THEN
        RAISE EXCEPTION '% is no partition of a day', partition USING ERRCODE = 'undefined_table';
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
END $$;
