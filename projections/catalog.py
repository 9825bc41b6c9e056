"""Services, workflows, orders, users, jobs, legal holds, grants and API keys, to be listed. One alone is read from
the log.
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
"""What each kind can be filtered by."""
EXPIRING = {"grant", "key"}
"""Kinds whose `status` is `expired` from a time on, which no event says."""
EXPIRED = """(document ->> 'expiresAt' COLLATE "C" <= %s) IS TRUE"""
LISTS = {"executions"}
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
    """One entry: its id, and its JSON with sealed fields as tokens, for `open_json`."""

    id: str
    document: bytes

    def at_time(self, now: datetime) -> CatalogEntry:
        """As it stands at a time."""
        return self._replace(document=orjson.dumps(at_time(orjson.loads(self.document), now)))


class CatalogPage(NamedTuple):
    """Some entries by id, as clients see them, as of a position of the log."""

    data: list[CatalogEntry]
    next_cursor: str | None
    position: int


class Catalog:
    """The view. Entries change seldom, so it keeps nothing between pages."""

    name: ClassVar[str] = "catalog"
    tables: ClassVar[tuple[str, ...]] = ("catalog",)
    gathers: ClassVar[float] = 0.05
    types: ClassVar[Sequence[str] | None] = tuple(event.type for event in EVENTS)
    compared: ClassVar[Mapping[str, str]] = {"catalog": "true"}

    def __init__(self, codec: Codec) -> None:
        self.schema = f"-- Holds states {codec.shape}.{SCHEMA}"
        self._codec = codec

    def forget(self) -> None:
        """There is nothing to forget."""

    async def apply(self, connection: AsyncConnection, page: Sequence[Recorded]) -> None:
        """Fold the page onto the entries it touches."""
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
        whole = document(versioned)
        members = {name: value for name, value in whole.items() if name in FIELDS[kind]}
        found, shown = orjson.dumps(members).decode(), to_sealed_json(whole).decode()
        version_position_time = versioned.version, versioned.position, versioned.at
        return (
            kind,
            identity,
            *version_position_time,
            *versioned.state.parties,
            found,
            shown,
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
        """A page of the entries of a kind whose members equal those of `only`.

        `scope` is a condition of `customer` and `provider` that they have to meet, whatever was asked; `ids` are
        the only ones that there are for who asks. What expires is shown, and found, as it stands `now`.

        Raises:
            Invalid: entries of this kind cannot be filtered by a member.
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
        """How many entries of a kind have members that equal those of `only`."""
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
        """How many grants of a customer, a provider, or who is both, are neither revoked nor over."""
        values = (format_time(now), customer, provider)
        [(found,)] = await (await connection.execute(OPEN_GRANTS, values)).fetchall()
        return int(found)


def _expiry(only: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """What a `status` that is asked for takes besides what is stored: a condition, and what is stored."""
    match only.get("status"):
        case "active":
            return f"NOT ({EXPIRED})", only
        case "expired":
            return EXPIRED, {**only, "status": "active"}
    return "true", only


def _members(only: Mapping[str, str]) -> dict[str, Any]:
    """What the document of an entry has that is asked for: of a list, one of its items."""
    return {name: [value] if name in LISTS else value for name, value in only.items()}
