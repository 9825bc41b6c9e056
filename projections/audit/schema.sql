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
