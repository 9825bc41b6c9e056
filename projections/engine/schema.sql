-- The tables that all views share. The file is applied as a whole, and may be applied again.

CREATE TABLE IF NOT EXISTS bookmarks (
    view       text   PRIMARY KEY,
    position   bigint NOT NULL,
    generation bigint NOT NULL DEFAULT 1,  -- raised by each rebuild, so that followers drop cached states
    form       text   NOT NULL DEFAULT ''  -- `form_of` the rows: another version of the program may write another form
);

-- Events that a view could not apply and skipped.
CREATE TABLE IF NOT EXISTS parked (
    view     text        NOT NULL,
    position bigint      NOT NULL,
    stream   text        NOT NULL,
    type     text        NOT NULL,
    error    text        NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (view, position)
);
