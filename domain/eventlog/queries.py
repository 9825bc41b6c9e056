"""The SQL of the log: what reads and writes events, states and keys.

`COLUMNS` are those of `EventRow`, in order. A version is a place in one stream, a position a place in
the whole log, both from 1; a page ends before the event that makes it too large, and has one at least.
"""

from __future__ import annotations

from functools import cache

COLUMNS = "notification_id, originator_version, at, originator_id, topic, meta, state"
NEWEST = 2**62
"""Later than any version and any position."""

HEAD = "SELECT position, at FROM head"
BEGIN = f"BEGIN; {HEAD} FOR UPDATE"

EVENT_ARRAYS = ("bigint", "text", "text", "text", "bytea")
LINE_ARRAYS = ("text", "timestamptz", "timestamptz", "text", "text", "text")
HEARTBEAT_ARRAYS = ("text", "timestamptz")
ERASED_ARRAYS = ("text", "bigint")
BEGUN_ARRAYS = ("text", "bigint")
_WHERE_IT_WAS = """UPDATE head SET position = %b, at = %b WHERE position = %b
    RETURNING at, %b::bigint AS before"""
_WHEREVER_IT_IS = """UPDATE head SET position = position + %b, at = greatest(at, %b)
    RETURNING at, position - %b AS before"""
_UNLESS_LATER = """UPDATE head SET position = position + %b, at = %b WHERE at <= %b AND position >= %b
    RETURNING at, position - %b AS before"""
_ADVANCED = """advanced AS ({moved}), appended AS (INSERT INTO events ({columns})
        SELECT advanced.before + e.place, e.version, advanced.at, e.stream, e.type, e.meta, e.data
        FROM advanced, unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::bytea[])
            WITH ORDINALITY AS e (version, stream, type, meta, data, place))"""
_UNMOVED = "advanced AS (SELECT at, position AS before FROM head WHERE position = %b)"
# What an append must have moved, as a number that is 0 where it has not: a division by it undoes all of it.
# That each event was inserted is not counted: it costs a quarter more, and shows as a hole in the positions.
_MOVED = "(SELECT count(*) FROM advanced)"
_COUNTED = "(SELECT count(*) FROM numbered)"
_ERASED = """erased AS (INSERT INTO data_keys (originator_id, wrapped, erased, swept)
        SELECT e.stream, ''::bytea, advanced.before + e.place, false
        FROM advanced, unnest(%b::text[], %b::bigint[]) AS e (stream, place)
        ON CONFLICT (originator_id) DO UPDATE SET wrapped = excluded.wrapped, erased = excluded.erased,
            swept = false)"""
_KEYED = """keyed AS (INSERT INTO data_keys SELECT k.* FROM advanced, require_master_key(%b),
        unnest(%b::text[], %b::bytea[]) AS k)"""
_LINED = """numbered AS (UPDATE log_head SET id = id + %b FROM advanced RETURNING id - %b AS before),
    lined AS (INSERT INTO log_lines (execution, occurred_at, at, level, step, sealed, id)
        SELECT l.execution, l.occurred_at, l.at, l.level, l.step, l.sealed,
            numbered.before + l.place
        FROM numbered, unnest(%b::text[], %b::timestamptz[], %b::timestamptz[], %b::text[],
            %b::text[], %b::text[]) WITH ORDINALITY
            AS l (execution, occurred_at, at, level, step, sealed, place))"""

_HEARTBEATS = """heartbeats_kept AS (INSERT INTO heartbeats AS kept SELECT s.execution, s.at FROM advanced,
        unnest(%b::text[], %b::timestamptz[]) AS s (execution, at)
        ON CONFLICT (execution) DO UPDATE SET at = excluded.at WHERE kept.at < excluded.at)"""


@cache
def append_statement(
    *,
    events: bool,
    keys: bool,
    lines: bool,
    heartbeats: bool = False,
    erased: bool = False,
    locked: bool = True,
    begun: bool = False,
    notify: bool = True,
) -> str:
    """One statement for all that a batch writes: each more costs the writer as much as ten events.

    Its values are, in order: of `events` the new position, its time, the position before, twice, and
    arrays as `EVENT_ARRAYS`; without them the position before; of `keys` the id of the master key and two arrays; of `erased` arrays as
    `ERASED_ARRAYS`, streams and which of the events erased each, from 1; of `lines` how many, twice, and
    arrays as `LINE_ARRAYS`; of `heartbeats` arrays as `HEARTBEAT_ARRAYS`, in the order of the ids, as two processes
    may write them at once; of `events` the channel to `notify`, unless that is
    done apart; of what is `begun` arrays as `BEGUN_ARRAYS`. Where the head is not at the position
    before, it does nothing and returns no row; where its row is `locked`, that cannot be, and it fails: it
    divides by zero there, and where the ids of lines have not moved.
    """
    advanced = _ADVANCED.format(moved=_WHERE_IT_WAS, columns=COLUMNS) if events else _UNMOVED
    more = {
        "lines": lines,
        "heartbeats": heartbeats,
        "erased": erased,
        "locked": locked,
        "begun": begun,
    }
    return _statement(advanced, notify=notify and events, keys=keys, **more)


@cache
def append_guarded_statement(
    *, keys: bool, erased: bool = False, notify: bool = True, exact: bool = False
) -> str:
    """The same for events that go to wherever the head is; returns the position before them.

    Its values are: how many, their time, how many, arrays as `EVENT_ARRAYS`, of `keys` the id of the master key and two
    arrays, of `erased` arrays as `ERASED_ARRAYS`, and the channel to `notify`, unless that is done apart; and arrays as
    `BEGUN_ARRAYS`, with each stream and the version that it is to have. It fails where one of the streams has an event
    of the same version, and divides by zero where the head has not moved. Where the time is to be `exact`, it is there
    twice, and then a position: if the last event is later, or before that, nothing is done, and no row returned.
    """
    moved = _UNLESS_LATER if exact else _WHEREVER_IT_IS
    advanced = _ADVANCED.format(moved=moved, columns=COLUMNS)
    more = {"keys": keys, "erased": erased, "locked": not exact, "begun": True}
    return _statement(advanced, notify=notify, **more)


def _statement(
    advanced: str,
    *,
    notify: bool,
    keys: bool,
    lines: bool = False,
    heartbeats: bool = False,
    erased: bool = False,
    locked: bool = True,
    begun: bool = False,
) -> str:
    parts = [advanced]
    parts += [_KEYED] if keys else []
    parts += [_ERASED] if erased else []
    parts += [_LINED] if lines else []
    parts += [_HEARTBEATS] if heartbeats else []
    shown = ["before", "pg_notify(%b, '')"] if notify else ["before"]
    shown += [f"1 / {_MOVED}"] if locked else []
    shown += [f"1 / {_COUNTED}"] if lines else []
    shown += ["refuse_archived(%b::text[], %b::bigint[])"] if begun else []
    source = "(VALUES (1)) AS always LEFT JOIN advanced ON true" if locked else "advanced"
    return f"WITH {', '.join(parts)} SELECT {', '.join(shown)} FROM {source}"


# --- the whole log -----------------------------------------------------------

READ = f"""SELECT {COLUMNS} FROM (
        SELECT {COLUMNS}, sum(octet_length(state)) OVER (ORDER BY notification_id)
            - octet_length(state) AS before
        FROM events WHERE notification_id > %b
            AND %b >= (SELECT coalesce(max(last), 0) FROM event_archives)
        ORDER BY notification_id LIMIT %b) AS page
    WHERE before < %b ORDER BY notification_id"""
"""With the position twice: nothing where what follows on it is in files of the archive."""
SPAN = f"SELECT {COLUMNS} FROM events WHERE notification_id > %b AND notification_id <= %b"
IN_ORDER = " ORDER BY notification_id"
OF_TYPES = " AND topic = ANY(%b::text[])"
OF_SHARE = " AND mod(hashtext(originator_id) & 2147483647, %b) = %b"
TIME_OF = "SELECT at FROM events WHERE notification_id = %b"
TOO_MANY = """SELECT min(notification_id) FROM (
        SELECT notification_id, sum(octet_length(state)) OVER (ORDER BY notification_id) AS size
        FROM events WHERE notification_id > %b AND notification_id <= %b
            AND octet_length(state) > %b) AS large
    WHERE size > %b"""
"""The first event of a span with which its large events have too many bytes together."""

# --- single streams ----------------------------------------------------------

HISTORY = f"""SELECT {COLUMNS} FROM events WHERE originator_id = %b
    AND originator_version > %b AND originator_version <= %b ORDER BY originator_version LIMIT %b"""
PAGE = f"""SELECT found, {COLUMNS} FROM (
        SELECT {COLUMNS}, count(*) OVER () AS found,
            sum(octet_length(state)) OVER (ORDER BY originator_version {{direction}})
            - octet_length(state) AS before
        FROM (SELECT {COLUMNS} FROM events
            WHERE originator_id = %b AND originator_version > %b AND originator_version < %b
                AND (%b::text[] IS NULL OR topic LIKE ANY (%b::text[]))
            ORDER BY originator_version {{direction}} LIMIT %b) AS page) AS sized
    WHERE before < %b ORDER BY originator_version {{direction}}"""
"""With each event how many there are up to the limit, also those that are left out as too large."""
FORWARDS, BACKWARDS = PAGE.format(direction="ASC"), PAGE.format(direction="DESC")
FOLLOWING = f"""SELECT wanted.nth, {COLUMNS} FROM unnest(%b::text[], %b::bigint[])
    WITH ORDINALITY AS wanted (stream, after, nth) CROSS JOIN LATERAL (
        SELECT {COLUMNS}, sum(octet_length(state)) OVER (ORDER BY originator_version)
            - octet_length(state) AS before
        FROM events WHERE originator_id = wanted.stream AND originator_version > wanted.after
        ORDER BY originator_version LIMIT %b) AS e
    WHERE e.before < %b ORDER BY wanted.nth, e.originator_version"""
VERSIONS_AT = """SELECT wanted.stream, wanted.position, (
        SELECT coalesce(max(originator_version), 0) FROM events
        WHERE originator_id = wanted.stream AND notification_id <= wanted.position)
    FROM unnest(%b::text[], %b::bigint[]) AS wanted (stream, position)"""
WITH_TYPES = """SELECT DISTINCT originator_id FROM events
    WHERE notification_id > %b AND notification_id <= %b AND topic = ANY(%b::text[])"""

# --- states ------------------------------------------------------------------

WHOLE = """s.position = e.notification_id AND s.digest = snapshot_digest(
    s.originator_id, s.originator_version, s.position, s.shape, s.state)"""
"""A snapshot `s` is as it was kept, and of the event `e` that is in the log."""

# What a state is made of comes as rows with the columns of an event: the nearest snapshot (without a
# type), the events after it, and where it is `locked` the wrapped data key (version 0). One statement
# sees one moment, so no event comes without the key that was stored with it. The branches of the
# union must keep their conditions on `wanted`: then each is an index scan for each stream, whatever
# the planner believes about tables that were empty when it first saw them. Snapshots are put in order
# before any is looked at (`OFFSET 0` keeps the planner from doing otherwise): the digest of one that is not
# needed is not computed, however large they are.
_PARTS = f"""SELECT part.* FROM {{wanted}} AS wanted (stream, after, until, locked)
    LEFT JOIN LATERAL (
        SELECT e.notification_id AS position, s.originator_version, e.at, s.state
        FROM (SELECT * FROM snapshots WHERE wanted.after < 0 AND originator_id = wanted.stream
                AND originator_version <= wanted.until AND shape = %b
                ORDER BY originator_version DESC OFFSET 0) AS s
            CROSS JOIN LATERAL (SELECT notification_id, at FROM events
                WHERE originator_id = s.originator_id
                    AND originator_version = s.originator_version OFFSET 0) AS e
        WHERE {WHOLE} ORDER BY s.originator_version DESC LIMIT 1) AS snapshot ON true
    CROSS JOIN LATERAL (
        SELECT 0::bigint, 0::bigint, 'epoch'::timestamptz, originator_id, NULL, NULL, wrapped
        FROM data_keys WHERE wanted.locked AND originator_id = wanted.stream
        UNION ALL SELECT snapshot.position, snapshot.originator_version, snapshot.at,
            wanted.stream, NULL, NULL, snapshot.state WHERE snapshot.state IS NOT NULL
        UNION ALL (SELECT {COLUMNS} FROM events WHERE originator_id = wanted.stream
            AND originator_version > coalesce(snapshot.originator_version, wanted.after)
            AND originator_version <= wanted.until ORDER BY originator_version)) AS part"""
_AS_OF = """(SELECT w.stream, w.after, (
        SELECT coalesce(max(originator_version), 0) FROM events
        WHERE originator_id = w.stream AND {moment}), w.locked
    FROM unnest(%b::text[], %b::bigint[], %b::boolean[]) AS w (stream, after, locked) OFFSET 0)"""
LOAD = _PARTS.format(wanted="unnest(%b::text[], %b::bigint[], %b::bigint[], %b::boolean[])")
"""At versions: (streams, known versions or -1, versions to reach, whether the key is needed, shape)."""
LOAD_AT_POSITION = _PARTS.format(wanted=_AS_OF.format(moment="notification_id <= %b"))
LOAD_AT_TIME = _PARTS.format(wanted=_AS_OF.format(moment="at <= %b"))
"""As of a position or a time: (it, streams, -1 for each, whether the key is needed, shape)."""
WITH_HEAD = "SELECT position, -1::bigint, at, '', NULL, NULL, ''::bytea FROM head UNION ALL "
"""Before one of these: the head of the log in a row of its own, with the version -1."""

KEYS = "SELECT originator_id, wrapped FROM data_keys WHERE originator_id = ANY(%b::text[])"
SNAPSHOT_COLUMNS = ("text", "bigint", "bigint", "timestamptz", "bytea", "text")
STORE_SNAPSHOTS = """INSERT INTO snapshots AS s
    SELECT kept.*, snapshot_digest(kept.stream, kept.version, kept.position, kept.shape, kept.state)
    FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::timestamptz[], %b::bytea[], %b::text[])
        AS kept (stream, version, position, at, state, shape)
    ON CONFLICT (originator_id, originator_version, shape) DO UPDATE
    SET position = excluded.position, at = excluded.at, state = excluded.state,
        digest = excluded.digest
    WHERE s.position <> excluded.position OR s.digest IS DISTINCT FROM snapshot_digest(
        s.originator_id, s.originator_version, s.position, s.shape, s.state)"""
"""One that is kept already stays, unless it is damaged or of another past."""
