"""The view of services, workflows, orders, users, jobs, legal holds, grants and API keys, for lists. A single entry is
read from the log instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

import orjson
from psycopg import AsyncConnection

from domain.access import grant, key
from domain.catalog import order, service, user, workflow
from domain.errors import Invalid
from domain.eventlog.codec import Codec, Snapshot, encode_state, to_sealed_json
from domain.jobs import job
from domain.json_forms import format_time
from domain.model import Recorded, Versioned, replay
from domain.retention import hold
from projections.query.ast import EVERYTHING, Condition
from projections.query.sql import sql
from projections.representations.catalog import at_time, document

SCHEMA = """
CREATE TABLE IF NOT EXISTS catalog (
    kind     text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    version  bigint      NOT NULL,
    position bigint      NOT NULL,
    at       timestamptz NOT NULL,
    customer text COLLATE "C",
    provider text COLLATE "C",
    document jsonb       NOT NULL,  -- what it can be found by
    shown    text        NOT NULL,  -- as clients see it, sealed fields as tokens
    state    bytea       NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX IF NOT EXISTS catalog_of_customer ON catalog (customer, kind, id)
    WHERE customer IS NOT NULL;
CREATE INDEX IF NOT EXISTS catalog_of_provider ON catalog (provider, kind, id)
    WHERE provider IS NOT NULL;
CREATE INDEX IF NOT EXISTS catalog_members ON catalog USING gin (document jsonb_path_ops)
    WITH (fastupdate = off);
"""
EVENTS = (
    *service.EVENTS,
    *workflow.EVENTS,
    *order.EVENTS,
    *user.EVENTS,
    *job.EVENTS,
    *hold.EVENTS,
    *grant.EVENTS,
    *key.EVENTS,
)
FIELDS = {
    "service": {"name", "provider", "workflow"},
    "workflow": {"name"},
    "order": {"service", "customer", "priority", "status", "execution"},
    "user": {"name", "kind"},
    "job": {"command", "status", "createdBy"},
    "hold": {"status", "executions", "order", "service", "customer"},
    "grant": {"auditor", "status", "executions", "order", "service", "expiresAt"},
    "key": {"status", "role", "party", "name", "expiresAt"},
}
"""The members by which entries of each kind can be filtered."""
EXPIRING = {"grant", "key"}
"""Kinds whose `status` becomes `expired` at a time, without an event."""
EXPIRED = """(document ->> 'expiresAt' COLLATE "C" <= %s) IS TRUE"""
LISTS = {"executions"}
"""Members that are lists: a filter on one selects the entries that have the value in their list."""
LOAD = """SELECT c.kind || '/' || c.id, c.version, c.position, c.at, c.state
    FROM unnest(%b::text[], %b::text[]) AS wanted (kind, id) JOIN catalog AS c USING (kind, id)"""
STORE = """INSERT INTO catalog SELECT kind, id, version, position, at, customer, provider,
        document::jsonb, shown, state
    FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::timestamptz[], %b::text[],
        %b::text[], %b::text[], %b::text[], %b::bytea[])
        AS page (kind, id, version, position, at, customer, provider, document, shown, state)
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, position = excluded.position,
        at = excluded.at, document = excluded.document, shown = excluded.shown,
        state = excluded.state"""
OPEN_GRANTS = f"""SELECT count(*) FROM catalog WHERE kind = 'grant' AND document @> '{{"status": "active"}}'
    AND NOT ({EXPIRED}) AND customer IS NOT DISTINCT FROM %s AND provider IS NOT DISTINCT FROM %s"""
COUNT = "SELECT count(*) FROM catalog WHERE kind = %s AND document @> %s::jsonb"
POSITION = "SELECT coalesce(max(position), 0) FROM bookmarks WHERE view = 'catalog'"


class CatalogEntry(NamedTuple):
    """The id of an entry, and its JSON with sealed fields as tokens, for `open_json`."""

    id: str
    document: bytes

    def at_time(self, now: datetime) -> CatalogEntry:
        """Return the entry with the status that it has at the time `now`."""
        return self._replace(document=orjson.dumps(at_time(orjson.loads(self.document), now)))


class CatalogPage(NamedTuple):
    """A page of entries in the order of their ids, as of a position of the log."""

    data: list[CatalogEntry]
    next_cursor: str | None
    position: int


class Catalog:
    """The view of the catalog. Entries change seldom, so no states are cached between pages."""

    name: ClassVar[str] = "catalog"
    tables: ClassVar[tuple[str, ...]] = ("catalog",)
    gathers: ClassVar[float] = 0.05
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in EVENTS)
    compared: ClassVar[Mapping[str, str]] = {"catalog": "true"}

    def __init__(self, codec: Codec) -> None:
        self.schema = f"-- Holds states {codec.shape}.{SCHEMA}"
        self._codec = codec

    def forget(self) -> None:
        """Do nothing: no states are cached."""

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Apply the page to the states of its entries, and write them."""
        tails: dict[str, list[Recorded]] = {}
        for event in page:
            tails.setdefault(event.stream, []).append(event)
        known = [stream for stream, tail in tails.items() if tail[0].version > 1]
        states = await self._load(connection, known)
        rows = []
        for stream, tail in tails.items():
            versioned = replay(states.get(stream), tail)
            assert versioned is not None
            rows.append(self._row(stream, versioned))
        columns = [list(column) for column in zip(*rows, strict=True)]
        await connection.execute(STORE, columns, prepare=True)

    async def _load(
        self, connection: AsyncConnection, streams: Sequence[str]
    ) -> dict[str, Versioned[Any]]:
        if not streams:
            return {}
        kinds, ids = zip(*(stream.split("/", 1) for stream in streams), strict=True)
        cursor = await connection.execute(
            LOAD, (list(kinds), list(ids)), prepare=False, binary=True
        )
        return {row[0]: self._codec.restore(Snapshot(*row)) for row in await cursor.fetchall()}

    def _row(self, stream: str, versioned: Versioned[Any]) -> tuple[Any, ...]:
        kind, _, identity = stream.partition("/")
        shown = document(versioned)
        members = {name: value for name, value in shown.items() if name in FIELDS[kind]}
        return (
            kind,
            identity,
            versioned.version,
            versioned.position,
            versioned.at,
            *versioned.state.parties,
            orjson.dumps(members).decode(),
            to_sealed_json(shown).decode(),
            encode_state(versioned.state),
        )

    async def list(
        self,
        connection: AsyncConnection,
        kind: str,
        only: Mapping[str, str],
        *,
        scope: Condition = EVERYTHING,
        ids: Collection[str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
        now: datetime | None = None,
    ) -> CatalogPage:
        """Return a page of the entries of a kind whose members equal those of `only`.

        `scope` is a condition on `customer` and `provider` that entries must meet to be visible to the caller; `ids`, if
        given, are the only entries visible to the caller. Grants and keys are filtered and shown by their status at `now`.

        Raises:
            Invalid: `only` has a member by which entries of this kind cannot be filtered.
        """
        for name in only.keys() - FIELDS[kind]:
            raise Invalid.field(name, f"must be one of {', '.join(sorted(FIELDS[kind]))}")
        position = (await (await connection.execute(POSITION)).fetchall())[0][0]
        expiry, only = _expiry(only) if now and kind in EXPIRING else ("true", only)
        members = orjson.dumps(_members(only)).decode()
        only_these = None if ids is None else [*ids]
        values: list[Any] = [kind, cursor or "", members, only_these, only_these]
        query = f"""SELECT id, shown FROM catalog WHERE kind = %s AND id > %s AND document @> %s::jsonb
            AND (%s::text[] IS NULL OR id = ANY(%s::text[])) AND {sql(scope, values)} AND {expiry}
            ORDER BY id LIMIT %s"""
        values += [format_time(now)] * expiry.count("%s") if now else []
        values.append(limit + 1)
        rows = await (await connection.execute(query, values, prepare=False)).fetchall()
        following = rows[limit - 1][0] if len(rows) > limit else None
        entries = [CatalogEntry(identity, shown.encode()) for identity, shown in rows[:limit]]
        if now and kind in EXPIRING:
            entries = [entry.at_time(now) for entry in entries]
        return CatalogPage(entries, following, position)

    async def count(self, connection: AsyncConnection, kind: str, only: Mapping[str, str]) -> int:
        """Return the number of entries of a kind whose members equal those of `only`."""
        members = orjson.dumps(_members(only)).decode()
        [(found,)] = await (await connection.execute(COUNT, (kind, members))).fetchall()
        return int(found)

    async def open_grants(
        self,
        connection: AsyncConnection,
        customer: str | None,
        provider: str | None,
        now: datetime,
    ) -> int:
        """Return the number of grants of a customer and a provider, None where a grant has none, that are in force."""
        values = (format_time(now), customer, provider)
        [(found,)] = await (await connection.execute(OPEN_GRANTS, values)).fetchall()
        return int(found)


def _expiry(only: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Translate the `status` in a filter: return an SQL condition on the expiry, and the filter on stored members."""
    match only.get("status"):
        case "active":
            return f"NOT ({EXPIRED})", only
        case "expired":
            return EXPIRED, {**only, "status": "active"}
    return "true", only


def _members(only: Mapping[str, str]) -> dict[str, Any]:
    """Return the filter as JSON that the document of an entry must contain."""
    return {name: [value] if name in LISTS else value for name, value in only.items()}
