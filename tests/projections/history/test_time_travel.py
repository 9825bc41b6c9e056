"""The past of a stream: its states, its events, and the differences between versions with their causes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from domain.errors import Invalid, NotFound, TooExpensive
from domain.execution.events.progress import ProgressUpdated
from domain.execution.events.steps import StepCompleted, StepStarted
from projections.history import time_travel
from projections.history.json_patch import Change
from projections.history.time_travel import EventPage, History, existing
from projections.representations.execution import document
from tests.support.event_writer import (
    NOON,
    SECOND,
    Happening,
    Log,
    completed,
    created,
    opened,
    started,
)
from tests.support.json_patches import apply_patch, same

pytestmark = pytest.mark.anyio
STREAM = "execution/e-1"


@asynccontextmanager
async def write_finished(conninfo: str) -> AsyncIterator[History]:
    """The events of one execution from creation to end: 12 versions, a second apart."""
    happenings = [
        created("e-1"),
        *started("e-1"),
        *(Happening("e-1", ProgressUpdated(progress=n)) for n in (10, 20, 30)),
        Happening("e-1", StepStarted(step="a_b", input={"secret": "s3cret"})),
        Happening("e-1", StepCompleted(step="a_b", output="s3cret")),
        Happening("e-1", StepStarted(step="c")),
        Happening("e-1", StepCompleted(step="c")),
        Happening("e-1", ProgressUpdated(progress=90)),
        completed("e-1"),
    ]
    async with opened(conninfo) as store:
        log = Log(store)
        for happening in happenings:
            await log.write([happening])
        yield History(store)


def versions(page: EventPage) -> list[int]:
    return [orjson.loads(event)["version"] for event in page.envelopes]


def types(page: EventPage) -> set[str]:
    return {orjson.loads(event)["type"] for event in page.envelopes}


async def test_every_version_equals_the_folded_events(database: str) -> None:
    async with write_finished(database) as history:
        progress = [
            (await history.at_version(STREAM, version)).state.progress for version in range(1, 13)
        ]
    assert progress == [0, 0, 0, 10, 20, 30, 30, 30, 30, 30, 90, 100]


async def test_state_at_a_time_has_the_events_recorded_by_then(database: str) -> None:
    async with write_finished(database) as history:
        for version in (1, 5, 12):
            at = NOON + version * SECOND
            for time in (at, at + SECOND / 2):
                assert existing(await history.read(STREAM, time), time).version == version
        with pytest.raises(NotFound):
            existing(await history.read(STREAM, NOON), NOON)


@pytest.mark.parametrize("version", [0, -1, 13, 2**62, 2**80])
async def test_unknown_version_is_not_found(database: str, version: int) -> None:
    async with write_finished(database) as history:
        with pytest.raises(NotFound):
            await history.at_version(STREAM, version)
        with pytest.raises((NotFound, Invalid)):
            await history.diff(STREAM, 1, version)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 5, 12, 500])
async def test_pages_show_every_event_once(database: str, limit: int, *, descending: bool) -> None:
    seen: list[int] = []
    async with write_finished(database) as history:
        cursor = None
        while True:
            page = await history.events(STREAM, descending=descending, limit=limit, cursor=cursor)
            seen += versions(page)
            cursor = page.next_cursor
            if cursor is None:
                break
    assert seen == sorted(range(1, 13), reverse=descending)


@pytest.mark.parametrize(
    ("globs", "found"),
    [
        (["execution.progress"], {"execution.progress"}),
        (["execution.step.*"], {"execution.step.started", "execution.step.completed"}),
        (["*.completed"], {"execution.step.completed", "execution.completed"}),
        (["execution.created", "x"], {"execution.created"}),
        (["step.c*", "created"], {"execution.step.completed", "execution.created"}),
        (["execution_progress"], set()),
        (["execution.st%"], set()),
        (["\\"], set()),
    ],
)
async def test_types_are_selected_by_name_or_by_glob(
    database: str, globs: Sequence[str], found: set[str]
) -> None:
    async with write_finished(database) as history:
        assert types(await history.events(STREAM, types=globs, limit=100)) == found


async def test_events_of_an_unknown_stream_are_not_found(database: str) -> None:
    async with write_finished(database) as history:
        with pytest.raises(NotFound):
            await history.events("execution/e-2")


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 30, "²"])
async def test_cursor_of_another_query_is_refused(database: str, cursor: str) -> None:
    async with write_finished(database) as history:
        with pytest.raises(Invalid):
            await history.events(STREAM, cursor=cursor)


async def test_diff_leads_from_one_version_to_the_other(database: str) -> None:
    async with write_finished(database) as history:
        patch = await history.diff(STREAM, 3, 12)
        before = shown(await history.at_version(STREAM, 3))
        after = shown(await history.at_version(STREAM, 12))
    assert same(apply_patch(before, [as_change(operation) for operation in patch]), after)


async def test_diff_operations_name_event_actor_and_time(database: str) -> None:
    async with write_finished(database) as history:
        patch = await history.diff(STREAM, 3, 8)
    (progress,) = (operation for operation in patch if operation["path"] == "/progress")
    assert progress == {
        "op": "replace",
        "path": "/progress",
        "value": 30,
        "event": {"type": "execution.progress", "version": 6, "position": 6},
        "actor": "tester",
        "time": "2026-11-22T12:00:06.000Z",
    }
    step = {
        operation["path"]: (operation["event"]["version"], operation["value"])
        for operation in patch
        if operation["path"].startswith("/steps")
    }
    assert step["/steps/0"][0] == 7
    assert step["/steps/0/output"] == (8, "s3cret")


@pytest.mark.parametrize("with_states", [False, True])
async def test_page_of_events_ends_at_its_byte_limit(
    database: str, monkeypatch: pytest.MonkeyPatch, *, with_states: bool
) -> None:
    async with write_finished(database) as history:
        whole = await history.events(STREAM, limit=12, with_states=with_states)
        assert versions(whole) == list(range(1, 13))
        monkeypatch.setattr(time_travel, "MOST_BYTES", len(b"".join(whole.envelopes)) // 4)
        found: list[bytes] = []
        cursor, pages = None, 0
        while pages == 0 or cursor is not None:
            page = await history.events(STREAM, limit=12, with_states=with_states, cursor=cursor)
            found += page.envelopes
            cursor, pages = page.next_cursor, pages + 1
        assert found == whole.envelopes
        assert 1 < pages < 9


async def test_diff_of_a_version_with_itself_is_empty(database: str) -> None:
    async with write_finished(database) as history:
        assert await history.diff(STREAM, 5, 5) == []


async def test_backward_diff_is_refused(database: str) -> None:
    async with write_finished(database) as history:
        with pytest.raises(Invalid):
            await history.diff(STREAM, 9, 3)


async def test_diff_over_its_time_is_refused_and_a_shorter_range_is_suggested(
    database: str,
) -> None:
    async with write_finished(database) as history:
        with pytest.raises(TooExpensive) as refused:
            await history.diff(STREAM, 3, 12, seconds=0)
    ((error),) = refused.value.members["errors"]
    assert error["path"] == "to"
    assert "shorter range" in error["message"]


async def test_refusal_of_a_version_beyond_the_newest_names_the_newest(database: str) -> None:
    async with write_finished(database) as history:
        with pytest.raises(NotFound) as refused:
            await history.at_version(STREAM, 13)
    assert refused.value.members == {"version": 13, "newest": 12}


async def test_diff_after_an_erasure_shows_no_sealed_content(database: str) -> None:
    async with write_finished(database):
        pass
    async with opened(database) as store:
        async with store.reader() as connection:
            await connection.execute("DELETE FROM data_keys")
        patch = await History(store).diff(STREAM, 3, 12)
    assert "sealed" not in str(patch)
    assert {operation["value"] for operation in patch if operation["path"] == "/result"} == {None}


def shown(versioned: Any) -> dict[str, Any]:
    return document(versioned, versioned.at)


def as_change(operation: dict[str, Any]) -> Change:
    return Change(operation["op"], operation["path"], (), operation.get("value"))
