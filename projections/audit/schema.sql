-- Proofs that the log is what it was. Applied whole, idempotent. Nothing can rebuild the signed head.

-- Tiles of 256 hashes of 32 bytes; the last one of each level is shorter. Hashes do not compress.
CREATE TABLE IF NOT EXISTS audit_tiles (
    level  integer NOT NULL,
    index  bigint  NOT NULL,
    hashes bytea   NOT NULL,
    PRIMARY KEY (level, index)
);
ALTER TABLE audit_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- The tree head that was signed last: nothing yet while there is no origin.
CREATE TABLE IF NOT EXISTS audit_head (
    single     boolean     PRIMARY KEY DEFAULT true CHECK (single),
    size       bigint      NOT NULL,
    root       bytea       NOT NULL,
    origin     text        NOT NULL,
    public_key text        NOT NULL,
    note       text        NOT NULL,
    at         timestamptz NOT NULL,
    fault      text                   -- why the tree does not grow any more
);
INSERT INTO audit_head VALUES (true, 0, sha256(''), '', '', '', 'epoch') ON CONFLICT DO NOTHING;

-- How far the background auditor is in its round, and what it still finds.
CREATE TABLE IF NOT EXISTS audit_walk (
    single   boolean     PRIMARY KEY DEFAULT true CHECK (single),
    round    bigint      NOT NULL,
    position bigint      NOT NULL,
    until    bigint      NOT NULL,    -- where the signed tree ended when the round began
    origin   text        NOT NULL,
    began_at timestamptz NOT NULL,
    found    bigint      NOT NULL     -- faults of this round, also those that are not named
);
INSERT INTO audit_walk VALUES (true, 0, 0, 0, '', 'epoch', 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS audit_faults (
    id       text    PRIMARY KEY,
    part     text    NOT NULL,
    place    text    NOT NULL,
    what     text    NOT NULL,
    position bigint,
    member   text,
    round    bigint  NOT NULL,        -- the last one that has found it
    reported boolean NOT NULL DEFAULT false
);

-- What each witness has kept last.
CREATE TABLE IF NOT EXISTS audit_witnesses (
    id            text PRIMARY KEY,
    name          text   NOT NULL,
    origin        text   NOT NULL,
    size          bigint NOT NULL,
    kept_at       timestamptz,
    failing_since timestamptz
);
