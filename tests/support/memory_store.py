"""A store in memory that implements the protocol of `Store`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, NamedTuple
from zlib import crc32

import psycopg
from psycopg import AsyncConnection

from domain.errors import Damaged, Unreadable
from domain.eventlog.append import (
    HeadMoved,
    OptimisticTransaction,
    StreamMoved,
    Transaction,
    WrongGuess,
)
from domain.eventlog.codec import Codec, EventRow, LineRow, Snapshot
from domain.eventlog.connection.heartbeats import NO_HEARTBEATS, Heartbeats
from domain.eventlog.connection.log_head import LastSeen
from domain.eventlog.connection.notifier import Notifier
from domain.eventlog.encryption import DataKey
from domain.eventlog.idempotency import REPLY_RETENTION, IdempotencyKey, Reply
from domain.eventlog.keyring import Keyring
from domain.eventlog.keys.key_changes import KeyChanges
from domain.eventlog.queries import NEWEST, READ_BYTES
from domain.eventlog.states import LoadedState, PositionOrTime, StateLoader
from domain.eventlog.store import Store
from domain.model import Versioned, replay
from domain.outages import Outages

EPOCH = datetime.fromtimestamp(0, UTC)


class StoredReply(NamedTuple):
    reply: Reply
    at: datetime


class MemoryLog:
    """The committed rows, shared by stores that stand for several processes."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.session = 1
        self.at = EPOCH
        self.events: list[EventRow] = []
        self.snapshots: list[Snapshot] = []
        self.replies: dict[str, StoredReply] = {}
        self.keys: dict[str, bytes] = {}
        self.lines: list[LineRow] = []
        self.heartbeats: dict[str, datetime] = {}

    def of(self, stream: str) -> Iterator[EventRow]:
        """The events of one stream, in order."""
        return (event for event in self.events if event.stream == stream)


class MemoryStateLoader(StateLoader):
    def __init__(self, log: MemoryLog, codec: Codec, keyring: Keyring) -> None:
        super().__init__(codec, keyring)
        self.log = log

    async def load(
        self,
        connection: AsyncConnection,
        known: Mapping[str, Versioned[Any] | None],
        *,
        until: int = NEWEST,
        use_absent: bool = False,
        damaged: dict[str, Unreadable] | None = None,
    ) -> dict[str, Versioned[Any]]:
        keys = await self.learn(connection, known, use_absent=use_absent)
        if erased := {s for s in known if any(self._erases(event) for event in self.log.of(s))}:
            self.keyring.destroy(erased)
            known = {**known, **dict.fromkeys(erased)}
        loaded = {}
        for stream, versioned in known.items():
            try:
                loaded[stream] = self._at(stream, versioned, until, keys.get(stream))
            except Damaged as error:
                if damaged is None:
                    raise
                damaged[stream] = error
        return {stream: versioned for stream, versioned in loaded.items() if versioned is not None}

    def _erases(self, event: EventRow) -> bool:
        return event.type in self.codec.erasing

    async def read(
        self, connection: AsyncConnection, stream: str, until: int | datetime = NEWEST
    ) -> LoadedState:
        if isinstance(until, datetime):
            versioned = (await self.as_of(connection, [stream], until)).get(stream)
        else:
            versioned = (await self.load(connection, {stream: None}, until=until)).get(stream)
        erased = self.keyring.is_destroyed(stream)
        return LoadedState(versioned, len(self.log.events), self.log.at, erased)

    async def as_of(
        self, connection: AsyncConnection, streams: Iterable[str], moment: PositionOrTime
    ) -> dict[str, Versioned[Any]]:
        loaded: dict[str, Versioned[Any]] = {}
        for stream in streams:
            then = [e for e in self.log.of(stream) if _position_or_time(e, moment) <= moment]  # type: ignore[operator]  # both are of one kind
            if then:
                until = then[-1].version
                loaded |= await self.load(connection, {stream: None}, until=until)
        return loaded

    async def learn(
        self, connection: AsyncConnection, streams: Iterable[str], *, use_absent: bool = False
    ) -> dict[str, DataKey]:
        keys, unknown = self.keyring.known_keys(streams, use_absent=use_absent)
        rows = [(stream, self.log.keys[stream]) for stream in unknown if stream in self.log.keys]
        return keys | self.keyring.learn(rows, absent=unknown if use_absent else ())

    def _at(
        self, stream: str, versioned: Versioned[Any] | None, until: int, key: DataKey | None
    ) -> Versioned[Any] | None:
        if versioned is None:
            for row in self.log.snapshots:
                if row.stream == stream and row.version <= until:
                    versioned = self.codec.restore(row, key)
        after = versioned.version if versioned else 0
        fresh = [e for e in self.log.of(stream) if after < e.version <= until]
        return replay(versioned, [self.codec.decode(row, key) for row in fresh])


def _position_or_time(event: EventRow, moment: PositionOrTime) -> PositionOrTime:
    return event.at if isinstance(moment, datetime) else event.position


class MemoryStore(Store):
    def __init__(self, log: MemoryLog, codec: Codec, keyring: Keyring) -> None:
        self.states = MemoryStateLoader(log, codec, keyring)
        self.outages, self.seen = Outages(), LastSeen()
        self.log, self.log_name = log, None

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self.log.lock:
            try:
                yield MemoryTransaction(self)
            finally:
                self.keyring.discard_unsaved()

    @asynccontextmanager
    async def attempt(
        self, session: int, position: int, at: datetime
    ) -> AsyncIterator[OptimisticTransaction]:
        if session != self.log.session:
            raise HeadMoved
        try:
            yield MemoryAttempt(self, position, at)
        finally:
            self.keyring.discard_unsaved()

    async def append(
        self,
        events: Sequence[EventRow],
        at: datetime,
        unless: Mapping[str, int] | None = None,
        *,
        session: int | None = None,
    ) -> int:
        assert unless is None
        async with self.log.lock:
            transaction = MemoryTransaction(self)
            before = transaction.position
            if session != self.log.session or transaction.at > at:
                raise HeadMoved
            moved = before + 1 - events[0].position
            if moved < 0:
                raise HeadMoved
            rows = [row._replace(position=row.position + moved) for row in events]
            try:
                await transaction.append(rows, [], at)
            except psycopg.errors.UniqueViolation:
                raise StreamMoved from None
            finally:
                self.keyring.discard_unsaved()
            return before

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncConnection]:
        await asyncio.sleep(0)
        yield NotImplemented

    async def head(self) -> tuple[int, datetime]:
        return len(self.log.events), self.log.at

    async def read(self, after: int, limit: int) -> list[EventRow]:
        page = self.log.events[after : after + limit]
        before = accumulate((len(row.data) for row in page), initial=0)
        return [row for row, size in zip(page, before, strict=False) if size < READ_BYTES]

    async def span(
        self,
        connection: AsyncConnection,
        after: int,
        until: int,
        types: Sequence[str] | None = None,
        share: tuple[int, int] | None = None,
    ) -> list[EventRow]:
        shares, number = share or (1, 0)
        return [
            event
            for event in self.log.events[after:until]
            if types is None or event.type in types
            if crc32(event.stream.encode()) % shares == number
        ]

    async def history(
        self, stream: str, after: int = 0, until: int = NEWEST, limit: int = NEWEST
    ) -> list[EventRow]:
        return [e for e in self.log.of(stream) if after < e.version <= until][:limit]

    async def position_before(self, at: datetime) -> int:
        return max((e.position for e in self.log.events if e.at < at), default=0)

    async def claim(
        self, once: IdempotencyKey, outcome: dict[str, Any], at: datetime
    ) -> Reply | None:
        kept = self.log.replies.get(once.key)
        if kept is not None and kept.at > at - REPLY_RETENTION:
            return kept.reply
        self.log.replies[once.key] = StoredReply(Reply(*once, str(outcome)), at)
        return None

    async def store_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        self.log.snapshots += snapshots

    async def forget_replies(self, until: datetime) -> None:
        replies = self.log.replies
        self.log.replies = {key: kept for key, kept in replies.items() if kept.at > until}


class MemoryTransaction(Transaction):
    def __init__(self, store: MemoryStore) -> None:
        self._log = store.log
        head = (self._log.session, len(self._log.events), self._log.at)
        super().__init__(NotImplemented, store.states, *head, notifier=Notifier("", "memory"))

    async def replies(self, keys: Sequence[str], since: datetime) -> dict[str, Reply]:
        found = {key: self._log.replies[key] for key in keys if key in self._log.replies}
        return {key: kept.reply for key, kept in found.items() if kept.at > since}

    async def latest(self, asked: Mapping[str, int]) -> dict[str, int]:
        events = self._log.events
        last = {event.type: event.position for event in events if event.type in asked}
        return {type_: position for type_, position in last.items() if position > asked[type_]}

    async def append(
        self,
        events: Sequence[EventRow],
        replies: Sequence[Reply],
        at: datetime,
        lines: Sequence[LineRow] = (),
        heartbeats: Heartbeats = NO_HEARTBEATS,
    ) -> None:
        log, keys = self._log, KeyChanges.of(events, self._states)
        if await self.replies([reply.key for reply in replies], at - REPLY_RETENTION):
            raise HeadMoved
        taken = {(event.stream, event.version) for event in log.events}
        for event in events:
            if (event.stream, event.version) in taken:
                raise psycopg.errors.UniqueViolation("this version is taken")
            taken.add((event.stream, event.version))
        log.events += events
        log.lines += lines
        log.heartbeats |= heartbeats
        log.at = at if events else log.at
        log.keys |= {**keys.made, **dict.fromkeys(keys.erased, b"")}
        log.replies |= {reply.key: StoredReply(reply, at) for reply in replies}
        keys.note_written(self._states.keyring)
        await asyncio.sleep(0)


class MemoryAttempt(MemoryTransaction, OptimisticTransaction):
    def __init__(self, store: MemoryStore, position: int, at: datetime) -> None:
        super().__init__(store)
        self.position, self.at = position, at

    async def append(
        self,
        events: Sequence[EventRow],
        replies: Sequence[Reply],
        at: datetime,
        lines: Sequence[LineRow] = (),
        heartbeats: Heartbeats = NO_HEARTBEATS,
    ) -> None:
        async with self._log.lock:
            await self.confirm()
            try:
                await super().append(events, replies, at, lines, heartbeats)
            except psycopg.errors.UniqueViolation:
                raise WrongGuess from None

    async def confirm(self) -> None:
        if len(self._log.events) != self.position:
            raise HeadMoved
