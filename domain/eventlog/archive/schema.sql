-- Events of past positions that are in files of the archive. Applied whole, idempotent.

-- Each file has all events of a range of positions; the ranges follow on each other, from 1. What reads the log by
-- positions takes those up to the last one from the files. Stored events say the same of each file.
CREATE TABLE IF NOT EXISTS event_archives (
    first    bigint PRIMARY KEY,
    last     bigint NOT NULL UNIQUE,
    file     text   NOT NULL,      -- its path in the archive
    bytes    bigint NOT NULL,
    digest   text   NOT NULL,      -- SHA-256 of the file, in hexadecimal
    blocks   bytea  NOT NULL,      -- of each block its length and its SHA-256, in 4 and 32 bytes
    last_at  timestamptz NOT NULL, -- when its last event was recorded
    at       timestamptz NOT NULL, -- when its events left the table
    taken_by xid8                  -- the transaction that takes them out, while it does
);
-- Streams that rested in this range or before and stayed in the table, as a hold kept them: they leave with a later one.
ALTER TABLE event_archives ADD COLUMN IF NOT EXISTS kept text[] NOT NULL DEFAULT '{}';

-- Streams whose events up to a version have left the table: which positions they have. A stream that went on after that
-- has its later events in the table, and leaves it once more with another row.
CREATE TABLE IF NOT EXISTS event_archive_streams (
    originator_id text   NOT NULL, -- collated as in `events`: both are joined by it
    first_version bigint NOT NULL,
    last_version  bigint NOT NULL,
    positions     bytea  NOT NULL, -- of each version, as its distance from the one before, 7 bits a byte
    parties       text,            -- whose it is, as the first event says: no file is read to refuse somebody
    first_position bigint NOT NULL,
    PRIMARY KEY (originator_id, first_version)
);
CREATE INDEX IF NOT EXISTS event_archive_streams_begun ON event_archive_streams (first_position)
    WHERE first_version = 1;

-- Where each stream begins, whether its events have left the table or not.
CREATE OR REPLACE VIEW first_events AS
    SELECT originator_id, notification_id FROM events WHERE originator_version = 1
    UNION ALL SELECT originator_id, first_position FROM event_archive_streams WHERE first_version = 1;

-- Called by a statement that appends without having loaded the streams under the lock of the log, once it holds that lock.
-- What it has taken out is no row any more, by which the key of the table would refuse a version that there was. A
-- volatile function sees what was committed while its statement waited for the lock.
CREATE OR REPLACE FUNCTION refuse_archived(streams text[], versions bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF EXISTS (SELECT FROM event_archive_streams AS a WHERE a.originator_id = ANY(streams)
            AND a.last_version >= versions[array_position(streams, a.originator_id)]) THEN
        RAISE EXCEPTION 'a stream has an event of that version, which is archived' USING ERRCODE = 'unique_violation';
    END IF;
END $$;

-- Takes the events of executions out of the table that are in a file, if the log says of just this file that it has the range
-- that follows on those before. So the role that serves can take out nothing of which no event stays.
CREATE OR REPLACE FUNCTION take_out_events(
    range_first bigint, range_last bigint, file_name text, file_bytes bigint, file_digest text, file_blocks bytea,
    streams text[], first_versions bigint[], last_versions bigint[], places bytea[], owners text[],
    begins bigint[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    taken bigint;
BEGIN
    IF NOT has_table_privilege(session_user, 'events', 'INSERT') THEN
        RAISE EXCEPTION 'no events may be taken out by %', session_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF range_first <> (SELECT coalesce(max(last), 0) + 1 FROM event_archives)
            OR range_last >= (SELECT position FROM head) THEN
        RAISE EXCEPTION 'positions % to % do not follow on those that are archived', range_first, range_last
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM events WHERE originator_id = 'range/' || range_first AND topic = 'events.archived'
            AND convert_from(state, 'UTF8')::jsonb @> jsonb_build_object(
                'last', range_last, 'file', file_name, 'bytes', file_bytes, 'digest', file_digest)) THEN
        RAISE EXCEPTION 'the log does not say that events % to % were archived in %', range_first, range_last, file_name
            USING ERRCODE = 'restrict_violation';
    END IF;
    INSERT INTO event_archives VALUES (range_first, range_last, file_name, file_bytes, file_digest, file_blocks,
        (SELECT e.at FROM events AS e WHERE notification_id = range_last), clock_timestamp(), pg_current_xact_id());
    INSERT INTO event_archive_streams SELECT * FROM unnest(streams, first_versions, last_versions, places, owners, begins);
    DELETE FROM events AS e USING unnest(streams, first_versions, last_versions) AS s (stream, first, last)
        WHERE e.originator_id = s.stream AND e.originator_version >= s.first AND e.originator_version <= s.last
            AND e.originator_id LIKE 'execution/%' AND e.notification_id <= range_last;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken <> (SELECT coalesce(sum(s.last - s.first + 1), 0)
            FROM unnest(first_versions, last_versions) AS s (first, last)) THEN
        RAISE EXCEPTION 'the table does not have the events that are to be taken out' USING ERRCODE = 'restrict_violation';
    END IF;
    UPDATE event_archives SET kept = ARRAY(SELECT unnest(kept) EXCEPT SELECT unnest(streams)) WHERE kept && streams;
    UPDATE event_archives SET taken_by = NULL, kept = ARRAY(SELECT DISTINCT e.originator_id FROM events AS e
            WHERE e.notification_id >= range_first AND e.notification_id <= range_last AND e.originator_id LIKE 'execution/%'
                AND NOT EXISTS (SELECT FROM events AS l
                    WHERE l.originator_id = e.originator_id AND l.notification_id > range_last) ORDER BY 1)
        WHERE first = range_first;
    RETURN taken;
END $$;
