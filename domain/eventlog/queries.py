"""The SQL that reads and writes events, states and data keys.

`COLUMNS` are those of `EventRow`, in order. A version numbers the events of a stream, a position those of the whole log,
both from 1. A page ends before the event that would make it too large, but has at least one.
"""

from __future__ import annotations

from functools import cache

COLUMNS = "notification_id, originator_version, at, originator_id, topic, meta, state"
NEWEST = 2**62
"""Greater than any version and any position."""
READ_BYTES = 16 * 1024 * 1024
"""Bytes of a page of the log at most, except that it has at least one event."""

HEAD = "SELECT position, at FROM head"
BEGIN = f"BEGIN; {HEAD} FOR UPDATE"

EVENT_ARRAYS = ("bigint", "text", "text", "text", "bytea")
LINE_ARRAYS = ("text", "timestamptz", "timestamptz", "text", "text", "text")
HEARTBEAT_ARRAYS = ("text", "timestamptz")
ERASED_ARRAYS = ("text", "bigint")
BEGUN_ARRAYS = ("text", "bigint")
_MOVE_EXPECTED_HEAD = """UPDATE head SET position = %b, at = %b WHERE position = %b
    RETURNING at, %b::bigint AS before"""
_MOVE_ANY_HEAD = """UPDATE head SET position = position + %b, at = greatest(at, %b)
    RETURNING at, position - %b AS before"""
_MOVE_EARLIER_HEAD = """UPDATE head SET position = position + %b, at = %b WHERE at <= %b AND position >= %b
    RETURNING at, position - %b AS before"""
_ADVANCED = """advanced AS ({moved}), appended AS (INSERT INTO events ({columns})
        SELECT advanced.before + e.place, e.version, advanced.at, e.stream, e.type, e.meta, e.data
        FROM advanced, unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::bytea[])
            WITH ORDINALITY AS e (version, stream, type, meta, data, place))"""
_UNMOVED = "advanced AS (SELECT at, position AS before FROM head WHERE position = %b)"
# How many heads a statement has moved. It divides by that number: where that is 0, it fails, and nothing is written.
# The inserted events are not counted: that would cost a quarter more, and a missing one shows as a hole in the positions.
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
    """The one statement that writes a batch: each further statement would cost the writer as much as ten events.

    Its values are, in order:

    - with `events`: the new position, its time, the position before, twice, and arrays as `EVENT_ARRAYS`; without: the
      position before;
    - with `keys`: the id of the master key, streams, and their wrapped keys;
    - with `erased`: arrays as `ERASED_ARRAYS`: streams, and the index, from 1, of the event that erases each;
    - with `lines`: their number, twice, and arrays as `LINE_ARRAYS`;
    - with `heartbeats`: arrays as `HEARTBEAT_ARRAYS`, in the order of the ids, as two processes may write them at once;
    - with `events` and `notify`: the channel;
    - with `begun`: arrays as `BEGUN_ARRAYS`.

    Where the head is not at the position before, the statement writes nothing and returns no row. Under the lock, with
    `locked`, that is an error: it divides by zero, as it does where the ids of log lines have not moved.
    """
    advanced = _ADVANCED.format(moved=_MOVE_EXPECTED_HEAD, columns=COLUMNS) if events else _UNMOVED
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
    """The statement that appends events at the present head of the log, and returns the position before them.

    Its values are, in order: the number of events; their time; with `exact` the time again and a position; the number of
    events; arrays as `EVENT_ARRAYS`; with `keys` the id of the master key, streams and their wrapped keys; with `erased`
    arrays as `ERASED_ARRAYS`; with `notify` the channel; arrays as `BEGUN_ARRAYS`: streams, and the first new version of
    each.

    It fails where one of the streams has an event of the same version, and divides by zero where the head has not moved.
    With `exact` it writes nothing and returns no row where the last event is later than the time, or the head is below the
    position.
    """
    moved = _MOVE_EARLIER_HEAD if exact else _MOVE_ANY_HEAD
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
"""The values have the position twice. No rows where events after the position are in files of the archive."""
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
"""The first event of a span at which the sum of the bytes of its large events exceeds a limit."""

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
"""Each row has the number of events up to the limit, including those that are left out as the page is too large."""
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

SNAPSHOT_UNDAMAGED = """s.position = e.notification_id AND s.digest = snapshot_digest(
    s.originator_id, s.originator_version, s.position, s.shape, s.state)"""
"""The condition that a snapshot `s` is undamaged, and of the event `e` in the log."""

# The parts of a state come as rows with the columns of an event: the nearest snapshot (without a type), the events after
# it, and, where `locked`, the wrapped data key (version 0). One statement reads one moment, so no event comes without the
# key that was stored with it. The branches of the union must keep their conditions on `wanted`, so that each is an index
# scan for each stream, even where the planner has statistics of empty tables. Snapshots are sorted before their digests
# are computed (`OFFSET 0` forces that order of the planner), so that only digests that are needed are computed.
_PARTS = f"""SELECT part.* FROM {{wanted}} AS wanted (stream, after, until, locked)
    LEFT JOIN LATERAL (
        SELECT e.notification_id AS position, s.originator_version, e.at, s.state
        FROM (SELECT * FROM snapshots WHERE wanted.after < 0 AND originator_id = wanted.stream
                AND originator_version <= wanted.until AND shape = %b
                ORDER BY originator_version DESC OFFSET 0) AS s
            CROSS JOIN LATERAL (SELECT notification_id, at FROM events
                WHERE originator_id = s.originator_id
                    AND originator_version = s.originator_version OFFSET 0) AS e
        WHERE {SNAPSHOT_UNDAMAGED} ORDER BY s.originator_version DESC LIMIT 1) AS snapshot ON true
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
"""At versions. Values: streams, cached versions or -1, versions to reach, whether each key is needed, shape."""
LOAD_AT_POSITION = _PARTS.format(wanted=_AS_OF.format(moment="notification_id <= %b"))
LOAD_AT_TIME = _PARTS.format(wanted=_AS_OF.format(moment="at <= %b"))
"""As of a position or a time. Values: the position or time, streams, -1 for each, whether each key is needed, shape."""
WITH_HEAD = "SELECT position, -1::bigint, at, '', NULL, NULL, ''::bytea FROM head UNION ALL "
"""Prepended to one of these: the head of the log in a row of its own, with the version -1."""

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
"""A snapshot that is stored already is replaced only if it is damaged, or of another past of the log."""
