"""Texts that are too long for an index are listed and found like any others."""

from __future__ import annotations

import string
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import orjson
import pytest
from psycopg import AsyncConnection

from domain.eventlog.sessions import session_options
from projections.engine.follower import Follower
from projections.engine.pages import LogPages
from projections.executions.columns import field, value_in
from projections.executions.projection import Executions
from projections.query.field_types import LONGEST_INDEXED, indexable
from projections.query.matcher import matches
from projections.query.parser import from_json
from tests.projections.query.test_filters import NOW
from tests.support.event_writer import Log, completed, created, opened, started

LONG = "".join(Random(1).choices(string.ascii_letters + string.digits, k=6_000))
"""No index can hold this: PostgreSQL cannot compress it to the 2 704 bytes that an entry may have."""
NAME = "".join(Random(2).choices("🦊🐻🐼🐨🐯🦁🐮🐷🐸🐵🐔🐧🐦🦆🦅🦉🦇🐺🐗🐴", k=1_000))
ONE = {"assignee": {"type": "human", "id": "jane", "name": NAME}, "metadata": {"environment": LONG}}
OTHER = {"metadata": {"environment": f"{LONG}!", "version": LONG}}


@pytest.fixture
async def view(views: str) -> AsyncIterator[tuple[Executions, AsyncConnection]]:
    """The view of two executions that have ended."""
    happened = [created("one", **ONE), created("other", **OTHER)]
    for name in ("one", "other"):
        happened += [*started(name), completed(name)]
    options = session_options("executions")
    async with (
        opened(views) as store,
        await AsyncConnection.connect(views, autocommit=True, options=options) as connection,
    ):
        await Log(store).write(happened)
        made = Executions(store.codec)
        follower = Follower(made, LogPages(store, made.types))
        await follower.catch_up(connection)
        assert follower.parked == 0
        yield made, connection


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"assignee.name": NAME}, {"one"}),
        ({"metadata.environment": LONG}, {"one"}),
        ({"metadata.environment": f"{LONG}!"}, {"other"}),
        ({"metadata.environment": LONG[:-1]}, set()),
        ({"metadata.version": {"$in": [LONG, "1.0"]}}, {"other"}),
        ({"metadata.environment": {"$prefix": LONG[:300]}}, {"one", "other"}),
    ],
)
async def test_long_text_is_found_by_equality_and_by_prefix(
    view: tuple[Executions, AsyncConnection], views: str, asked: dict[str, Any], expected: set[str]
) -> None:
    made, connection = view
    condition = from_json(asked, field)
    page = await made.find(connection, NOW, condition, limit=10)
    assert {row.id for row in page.data} == expected
    async with opened(views) as store:
        states = await store.load_all(["execution/one", "execution/other"])
    matched = {each.state.id for each in states.values() if matches(condition, value_in(each))}
    assert matched == expected


async def test_document_shows_the_whole_text(view: tuple[Executions, AsyncConnection]) -> None:
    made, connection = view
    page = await made.find(connection, NOW, limit=10)
    documents = {row.id: orjson.loads(row.document) for row in page.data}
    assert documents["one"]["metadata"]["environment"] == LONG
    assert documents["one"]["assignee"]["name"] == NAME


def test_short_text_is_stored_unchanged_and_a_long_one_is_cut_to_the_limit() -> None:
    assert indexable(LONG[:LONGEST_INDEXED]) == LONG[:LONGEST_INDEXED]
    assert len(indexable(LONG)) == len(indexable(NAME)) == LONGEST_INDEXED
    assert indexable(LONG) != indexable(f"{LONG}!")
