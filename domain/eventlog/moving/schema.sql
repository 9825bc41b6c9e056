-- Where a log is, while it moves to another database and after that. Applied whole, idempotent.

-- One row in both databases of a log that moves, or has moved; none where a log was made and has stayed.
CREATE TABLE IF NOT EXISTS log_move (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    id           text    NOT NULL,  -- which move: the same in both databases
    step         text    NOT NULL,  -- the last step that is done
    target       text    NOT NULL,  -- host, port and database, without a user or a password
    fenced_until timestamptz,       -- before then nothing is written here
    moved        boolean NOT NULL DEFAULT false,  -- whether the log is at the target now
    follow       boolean NOT NULL DEFAULT true    -- whether servers go there by themselves
);

-- The fence. Each transaction that writes holds the lock, shared, until it ends; who closes the fence waits until nobody
-- holds it. So none that had passed the check is still open then, and each that comes later sees the fence: the look is a
-- statement of its own, which in `read committed` sees what is committed by then. A transaction that sees an older moment
-- fails at the lock of the row, where that was changed since. The error is one of those that programs take for an outage,
-- also earlier ones: no view parks an event for it.
CREATE OR REPLACE FUNCTION refuse_while_fenced() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('fence ' || TG_TABLE_SCHEMA));
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM FROM log_move FOR SHARE;
    END IF;
    IF EXISTS (SELECT FROM log_move WHERE clock_timestamp() < fenced_until) THEN
        RAISE EXCEPTION 'the log is being moved to another database' USING ERRCODE = 'object_in_use';
    END IF;
    RETURN NULL;
END $$;
