-- What every view needs besides its own tables. Applied whole, idempotent.

CREATE TABLE IF NOT EXISTS bookmarks (
    view       text   PRIMARY KEY,
    position   bigint NOT NULL,
    generation bigint NOT NULL DEFAULT 1,  -- one more after each rebuild: what is cached is void
    form       text   NOT NULL DEFAULT ''  -- of the rows: those of another program may be of another
);

-- Events that a view could not apply: it went on without them.
CREATE TABLE IF NOT EXISTS parked (
    view     text        NOT NULL,
    position bigint      NOT NULL,
    stream   text        NOT NULL,
    type     text        NOT NULL,
    error    text        NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (view, position)
);
