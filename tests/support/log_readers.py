"""The answers of every way to read the log, for tests in which they must not change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from domain.budget import Budget
from domain.errors import TooExpensive
from domain.eventlog.access.parties import parties_of
from domain.eventlog.connection.log_head import LastSeen, read_events_and_head
from domain.eventlog.library import log_recorder
from domain.eventlog.state_parts import read_following
from domain.eventlog.store import Store
from domain.integrity.erased import find_erased
from domain.integrity.histories import Histories
from domain.integrity.log import order_faults
from projections.audit.rounds.page_check import page_faults, read_begun
from projections.audit.tables import hashes_after
from projections.engine.pages import LogPages
from projections.history.time_travel import History

Answers = dict[str, Any]


class LogReaders:
    """Reads a log up to a position, and ignores what is after it."""

    def __init__(self, store: Store, connection: AsyncConnection, until: int) -> None:
        self.store = store
        self.connection = connection
        self.until = until

    async def answers(self) -> Answers:
        """The answers of every reader, by a name of the query."""
        rows = await self.store.read(0, self.until)
        streams = sorted({row.stream for row in rows})
        found: Answers = {"whole": rows}
        for part in (self._positions, self._spans, self._checks, self._library):
            found |= await part(streams)
        for stream in streams:
            versions = [row.version for row in rows if row.stream == stream]
            found |= await self._stream(stream, versions)
            found |= await self._moments(stream, [row.at for row in rows if row.stream == stream])
        return found

    async def _positions(self, _: list[str]) -> Answers:
        found: Answers = {}
        for after in range(self.until):
            limit = min(5, self.until - after)
            found[f"read {after}"] = await self.store.read(after, limit)
            seen = LastSeen()
            found[f"follow {after}"] = (
                await read_events_and_head(self.connection, seen, after, limit, 2**24)
            )[1]
            hashes = await hashes_after(self.connection, after, self.until, limit)
            found[f"hashes {after}"] = hashes
        return found

    async def _spans(self, _: list[str]) -> Answers:
        found: Answers = {}
        types = ["execution.created", "execution.completed"]
        for after in range(0, self.until, 3):
            for until in range(after + 1, self.until + 1, 4):
                span = self.connection, after, until
                name = f"{after} to {until}"
                found[f"span {name}"] = await self.store.span(*span)
                found[f"types {name}"] = await self.store.span(*span, types)
                found[f"share {name}"] = await self.store.span(*span, types, (2, 1))
                page = await LogPages(self.store, None).read(*span, until)
                found[f"page {name}"] = [event.row for event in page.events]
        return found

    async def _checks(self, streams: list[str]) -> Answers:
        found: Answers = {"erased": await find_erased(self.store, streams)}
        for after in range(0, self.until, 5):
            until = min(after + 7, self.until)
            found[f"order {after}"] = await order_faults(self.store, after, until, 2**40)
            tile = min(after + 7, self.until) if after else self.until
            found[f"tile {after}"] = await page_faults(self.connection, after, tile)
            found[f"begun {after}"] = await read_begun(self.connection, after, until)
        return found

    async def _library(self, streams: list[str]) -> Answers:
        recorder = log_recorder(self.connection.info.dsn + self._password, self.store.schema)
        found: Answers = {}
        try:
            for after in range(self.until):
                page = recorder.select_notifications(after + 1, 3, self.until)
                found[f"library {after}"] = list(page)
                named = recorder.select_notifications(
                    after, 2, self.until, ("execution.completed",), inclusive_of_start=False
                )
                found[f"library, named {after}"] = list(named)
            for stream in streams:
                found[f"library {stream}"] = list(recorder.select_events(stream, gt=1, limit=4))
                found[f"library {stream}, back"] = list(recorder.select_events(stream, desc=True))
            found["library, first"] = list(recorder.select_first_events(streams, 3))
        finally:
            recorder.datastore.close()
        histories = Histories(self.connection.info.dsn + self._password, self.store.schema)
        try:
            pages = [page async for page in histories.pages(streams, self.until)]
            found["histories"] = [row for page in pages for row in page]
        finally:
            histories.close()
        return found

    @property
    def _password(self) -> str:
        return f" password={self.connection.info.password}"

    async def _stream(self, stream: str, versions: list[int]) -> Answers:
        found: Answers = {f"history {stream}": await self.store.history(stream)}
        found[f"parties {stream}"] = await parties_of(self.store, stream)
        states = self.store.states
        for version in versions:
            name = f"{stream} at {version}"
            found[f"load {name}"] = await self.store.load(stream, version)
            found[f"look {name}"] = (await self.store.load_with_head(stream, version)).versioned
            found[f"state {name}"] = await states.states_at(self.connection, {stream: version})
            found[f"next {name}"] = await read_following(self.connection, [(stream, version)], 2)
            found[f"part {name}"] = await self.store.history(stream, version - 1, version)
        if stream.startswith("execution/"):
            found |= await self._history(stream, versions)
        stream_versions = [(stream, position) for position in range(self.until + 1)]
        found[f"versions {stream}"] = await states.versions_at(self.connection, stream_versions)
        budget = Budget(60, TooExpensive())
        along = await states.states_along(self.store.reader, stream, versions, budget)
        found[f"along {stream}"] = along
        return found

    async def _history(self, stream: str, versions: list[int]) -> Answers:
        history = History(self.store)
        found: Answers = {}
        for descending in (False, True):
            cursor, page = None, 0
            while page == 0 or cursor is not None:
                shown = await history.events(
                    stream, descending=descending, limit=3, cursor=cursor, with_states=True
                )
                found[f"page {page} of {stream}, {descending}"] = shown
                cursor, page = shown.next_cursor, page + 1
            some = await history.events(stream, types=["step.*"], descending=descending)
            found[f"steps of {stream}, {descending}"] = some
        found[f"diff {stream}"] = await history.diff(stream, 1, versions[-1])
        return found

    async def _moments(self, stream: str, times: list[Any]) -> Answers:
        found: Answers = {}
        for at in times:
            for moment in (at, at - timedelta(microseconds=1)):
                found[f"{stream} at {moment}"] = await self.store.load_all([stream], moment)
                found[f"look {stream} at {moment}"] = (
                    await self.store.load_with_head(stream, moment)
                ).versioned
                found[f"before {moment}"] = await self.store.position_before(moment)
        return found


def differences(before: Answers, after: Answers) -> list[str]:
    """The names of the answers that differ."""
    assert before.keys() == after.keys()
    return [name for name, answer in before.items() if answer != after[name]]
