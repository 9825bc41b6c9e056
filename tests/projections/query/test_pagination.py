"""Paging shows every row once, in order, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from psycopg import AsyncConnection

from domain.errors import Invalid
from domain.eventlog.sessions import session_options
from domain.execution.events.progress import ProgressUpdated
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.executions.columns import FIELDS, field, sortable
from projections.executions.projection import Executions
from projections.executions.references import Listed
from projections.query import pagination
from projections.query.ast import EVERYTHING, Condition
from projections.query.parser import from_json
from tests.support.event_writer import Happening, Log, created, opened, some
from tests.support.filter_model import RANKED_VALUES, values
from tests.support.sample_executions import sample

pytestmark = pytest.mark.anyio

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BROKEN = ["", "x", "é", "====", "A" * 5_000, urlsafe_b64encode(b"[]").decode()]


class Reader:
    """The view, followed on demand, and its list."""

    def __init__(self, view: Executions, follower: Follower, connection: AsyncConnection) -> None:
        self.view = view
        self.follower = follower
        self.connection = connection

    async def catch_up(self) -> None:
        while await self.follower.catch_up(self.connection):
            pass

    async def pages(
        self, limit: int, sort: str = pagination.DEFAULT_SORT, condition: Condition = EVERYTHING
    ) -> AsyncIterator[list[Listed]]:
        cursor = None
        while True:
            page = await self.view.find(
                self.connection, NOW, condition, sort=sort, limit=limit, cursor=cursor
            )
            yield page.data
            cursor = page.next_cursor
            if cursor is None:
                return

    async def all(self, limit: int, **options: Any) -> list[Listed]:
        return [row async for page in self.pages(limit, **options) for row in page]


@asynccontextmanager
async def reading(conninfo: str) -> AsyncIterator[tuple[Log, Reader]]:
    options = session_options("executions")
    async with (
        opened(conninfo) as store,
        await AsyncConnection.connect(conninfo, autocommit=True, options=options) as connection,
    ):
        view = Executions(store.codec)
        yield (
            Log(store, with_occurred_at=True),
            Reader(view, Follower(view, LogPages(store, view.types)), connection),
        )


def names(rows: list[Listed]) -> list[str]:
    return [row.id for row in rows]


def sort_key(row: Listed, sort: str) -> list[tuple[bool, Any]]:
    """The sort key of a row: missing values last, words by their rank."""
    shown = orjson.loads(row.document)
    keys: list[tuple[bool, Any]] = []
    for word in sort.split(","):
        path = word.removeprefix("-")
        found = values(shown, path)
        value = (
            RANKED_VALUES[path].index(found[0])
            if found and path in RANKED_VALUES
            else (found or [0])[0]
        )
        keys.append((not found, Reversed(value) if word.startswith("-") else value))
    ties = (shown["metadata"]["createdAt"], row.id)
    return [*keys, *((False, Reversed(tie) if word.startswith("-") else tie) for tie in ties)]


class Reversed:
    """Compares in reverse order."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Reversed) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reversed) and bool(other.value == self.value)

    def __hash__(self) -> int:
        return hash(self.value)


SORTS = [
    *(sign + path for path in FIELDS if path != "result.success" for sign in ("", "-")),
    "status,-metadata.createdAt",
    "-priority,workflow,-assignee.name",
    "error.code,-timeout,metrics.cost,-progress,service",
    "-customer,-service",
    "customer,service",
]


async def test_every_sort_order_is_total_and_its_pages_are_slices_of_it(views: str) -> None:
    async with reading(views) as (log, reader):
        await log.write(sample())
        await reader.catch_up()
        for sort in SORTS:
            whole = await reader.all(500, sort=sort)
            expected = sorted(whole, key=lambda row, sort=sort: sort_key(row, sort))  # type: ignore[misc]  # the lambda's default
            assert names(whole) == names(expected), sort
            assert names(await reader.all(7, sort=sort)) == names(expected), sort


async def test_paging_under_writes_shows_every_row_exactly_once(views: str) -> None:
    async with reading(views) as (log, reader), reading(views) as (_, writer):
        await log.write(some(100))
        await reader.catch_up()
        done = asyncio.Event()

        async def write() -> None:
            number = 0
            while not done.is_set():
                touched = Happening(f"e-{number % 100}", ProgressUpdated(progress=number % 100))
                await log.write([created(f"new-{number}"), touched])
                await writer.catch_up()
                number += 1

        task = asyncio.create_task(write())
        for sort in ("-metadata.createdAt", "metadata.createdAt", "$id", "service,-$id"):
            seen = names(await reader.all(3, sort=sort))
            assert len(seen) == len(set(seen))
            assert {name for name in seen if name.startswith("e-")} == {
                f"e-{number}" for number in range(100)
            }
        done.set()
        await task


async def test_cursor_keeps_its_filter(views: str) -> None:
    async with reading(views) as (log, reader):
        await log.write(sample())
        await reader.catch_up()
        condition = from_json({"customer": ["c-1", "c-2"]}, field)
        whole = await reader.all(500, condition=condition)
        assert names(await reader.all(4, condition=condition)) == names(whole)
        assert {orjson.loads(row.document)["customer"] for row in whole} == {"c-1", "c-2"}


async def test_page_has_its_position_and_the_total(views: str) -> None:
    async with reading(views) as (log, reader):
        await log.write(some(5))
        await reader.catch_up()
        await log.write([created("not seen yet")])
        page = await reader.view.find(reader.connection, NOW, limit=5, count=True)
        assert (page.position, page.total, page.next_cursor) == (5, 5, None)
        page = await reader.view.find(reader.connection, NOW, limit=4)
        assert (page.total, page.next_cursor is None) == (None, False)


async def test_cursor_is_valid_only_for_its_sort_and_filter(views: str) -> None:
    async with reading(views) as (log, reader):
        await log.write(some(3))
        await reader.catch_up()

        async def next_page(**options: Any) -> None:
            await reader.view.find(reader.connection, NOW, limit=1, **options)

        first = await reader.view.find(reader.connection, NOW, limit=1)
        cursor = first.next_cursor
        await next_page(cursor=cursor)
        for changed in ({"sort": "$id"}, {"condition": from_json({"service": "s-1"}, field)}):
            with pytest.raises(Invalid):
                await next_page(cursor=cursor, **changed)
        for broken in BROKEN:
            with pytest.raises(Invalid):
                await next_page(cursor=broken)


AT = "2030-01-01T00:00:00.000Z"
FORGED: list[tuple[str, list[Any]]] = [
    ("service", ["s-1", AT]),
    ("service", ["s-1", AT, "e", "more"]),
    ("service", [None, AT, "e"]),
    ("service", ["nul\x00", AT, "e"]),
    ("service", [5, AT, "e"]),
    ("service", ["s-1", "yesterday", "e"]),
    ("service", ["s-1", AT, 5]),
    ("progress", ["5", AT, "e"]),
    ("progress", [True, AT, "e"]),
    ("status", ["running", AT, "e"]),
    ("metadata.createdAt", ["yesterday", "e"]),
    ("error.recoverable", ["true", AT, "e"]),
    ("service", [{"a": 1}, AT, "e"]),
]


@pytest.mark.parametrize(("sort", "forged"), FORGED)
def test_forged_cursor_is_refused(sort: str, forged: list[Any]) -> None:
    cursor = pagination.encode(sort, EVERYTHING, forged)
    with pytest.raises(Invalid) as refused:
        pagination.decode(cursor, sort, EVERYTHING, pagination.order(sort, sortable, FIELDS))
    assert refused.value.members["errors"][0]["path"] == "cursor"


def test_cursor_in_another_format_is_refused() -> None:
    cursor = urlsafe_b64encode(orjson.dumps({"sort": "$id"})).decode()
    with pytest.raises(Invalid):
        pagination.decode(cursor, "$id", EVERYTHING, pagination.order("$id", sortable, FIELDS))


SENSELESS = [
    "nothing",
    "-",
    "--status",
    "status,",
    "status,status",
    "status,-status",
    "tags",
    "metadata.region",
]


@pytest.mark.parametrize("sort", ["", ",".join(list(FIELDS)[:6]), *SENSELESS])
def test_invalid_sort_is_refused(sort: str) -> None:
    with pytest.raises(Invalid) as refused:
        pagination.order(sort, sortable, FIELDS)
    assert refused.value.members["errors"][0]["path"] == "sort"


@pytest.mark.parametrize(
    ("sort", "said"),
    [
        ("metadata.region", "`metadata.region`, a free attribute"),
        ("tags", "must be of $id, version, position, status,"),
        ("tags", "metadata.version, each with a `-` for the other direction, but has `tags`"),
        ("status,-status", "has `-status` twice"),
        (",".join(list(FIELDS)[:6]), "at most 5 fields, but has 6"),
    ],
)
def test_refusal_of_a_sort_names_the_mistake(sort: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        pagination.order(sort, sortable, FIELDS)
    assert said in refused.value.members["errors"][0]["message"]


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_limit_out_of_range_is_refused(views: str, limit: int) -> None:
    async with reading(views) as (_, reader):
        with pytest.raises(Invalid):
            await reader.view.find(reader.connection, NOW, limit=limit)


def test_page_of_optional_fields_continues_at_the_missing_ones() -> None:
    keys, bound = pagination.order("-customer,workflow", sortable, FIELDS), list[Any]()
    clauses = ["customer DESC", "workflow NULLS LAST", "created_at", "id"]
    assert [key.clause for key in keys] == clauses
    where = pagination.after(keys, ["c-1", None, NOW, "e"], bound)
    later = "(created_at > %s OR (created_at = %s AND (id > %s)))"
    assert where == f"(customer < %s OR (customer = %s AND ((workflow IS NULL AND {later}))))"
    assert bound == ["c-1", "c-1", NOW, NOW, "e"]


def test_ties_are_broken_in_the_last_direction_so_that_an_index_can_be_used() -> None:
    newest = pagination.order("-metadata.createdAt", sortable, FIELDS)
    assert [key.clause for key in newest] == ["created_at DESC", "id DESC"]
    bound: list[Any] = []
    assert pagination.after(newest, [NOW, "e"], bound) == "(created_at, id) < (%s, %s)"
    assert bound == [NOW, "e"]


def test_position_after_ties_is_found_in_an_index_without_ids() -> None:
    keys, bound = pagination.order("-metrics.retries", sortable, FIELDS), list[Any]()
    assert pagination.after(keys, [0, NOW, "e"], bound) == (
        "(retries, created_at) <= (%s, %s) AND (retries < %s OR created_at < %s OR id < %s)"
    )
    assert bound == [0, NOW, 0, NOW, "e"]


@pytest.mark.parametrize(
    ("sort", "ties"),
    [
        ("priority", ["created_at", "id"]),
        ("-priority,metadata.createdAt", ["id"]),
        ("metadata.createdAt,-status", ["id DESC"]),
        ("status,-metrics.cost", ["created_at DESC", "id DESC"]),
        ("-status,$id", []),
        ("-$id,priority", []),
    ],
)
def test_ties_are_in_the_order_of_creation_and_of_ids(sort: str, ties: list[str]) -> None:
    keys = pagination.order(sort, sortable, FIELDS)
    named = sort.count(",") + 1
    assert [key.clause for key in keys[named:]] == ties
