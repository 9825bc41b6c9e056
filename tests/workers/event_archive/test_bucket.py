"""Archive files of events in a bucket: written once, read as from a folder; an unreachable bucket affects only its files."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ArchiveAway, Damaged, NotFound
from domain.eventlog.archive import limited_archive, reader
from domain.eventlog.archive.files import ArchiveFiles
from domain.execution.commands import RecordUsage
from domain.integrity.event_files import check_event_files
from domain.model import Versioned
from domain.writer.message import Message
from tests.support.log_readers import LogReaders, differences
from tests.support.object_store import AzureStore, GoogleStore, ObjectStore, S3Store
from tests.support.past_events import EVENTS, LATER, PastEvents
from workers.event_archive.archiver import RangeReport

pytestmark = pytest.mark.anyio
FILE = "events/1-8.events"
USAGE = RecordUsage(tokens_used=7)


@pytest.fixture(scope="module", params=[S3Store, GoogleStore, AzureStore])
def any_store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    store: ObjectStore = request.param()
    with store.serving():
        yield store


@pytest.fixture(scope="module")
def s3_store() -> Iterator[ObjectStore]:
    store = S3Store()
    with store.serving():
        yield store


@contextmanager
def empty(store: ObjectStore, patch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    for name, value in store.environment.items():
        patch.setenv(name, value)
    with store.emptied():
        clear_caches()
        yield store


@pytest.fixture
def any_bucket(any_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket of each kind; its URL and credentials are in the environment."""
    with empty(any_store, monkeypatch) as bucket:
        yield bucket


@pytest.fixture
def bucket(s3_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket of S3."""
    with empty(s3_store, monkeypatch) as bucket:
        yield bucket


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastEvents]:
    """A log with two ended executions."""
    async with PastEvents.opened(database_with_views, tmp_path) as opened:
        await opened.run("e-0")
        await opened.run("e-1")
        yield opened


def clear_caches() -> None:
    """As in another process: no copies, and no known archive."""
    reader.BLOCK_CACHE.__init__()  # type: ignore[misc]  # it caches for the process
    reader._archive.cache_clear()


@contextmanager
def silence(bucket: ObjectStore) -> Iterator[None]:
    """While the block runs, the bucket accepts connections and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as nobody, pytest.MonkeyPatch.context() as patch:
        port = nobody.getsockname()[1]
        patch.setattr(bucket, "endpoint", f"http://127.0.0.1:{port}")
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        clear_caches()
        yield
    clear_caches()


async def archive_events(past: PastEvents, bucket: ObjectStore) -> list[RangeReport]:
    await past.grow()
    past.now += LATER
    retention = replace(past.retention, url=bucket.url, event_days=365)
    return await past.event_archiver(retention).archive()


async def faults(past: PastEvents, bucket: ObjectStore) -> list[str]:
    found = [each async for each in check_event_files(past.store, ArchiveFiles(bucket.url))]
    assert all(each.reached for each in found)
    return [f"{fault.place} {fault.what}" for each in found for fault in each.faults]


async def test_events_are_written_to_the_bucket_and_read_from_it(
    past: PastEvents, any_bucket: ObjectStore
) -> None:
    readers = LogReaders(past.store, past.connection, 2 * EVENTS)
    await past.grow()
    before = await readers.answers()
    reports = await archive_events(past, any_bucket)
    assert [report.outcome for report in reports] == ["archived"] * 2
    assert "execution/e-0" not in {row.stream for row in await past.rows()}
    assert any_bucket.writes == [any_bucket.condition[1]] * 2  # create the object or fail
    assert any_bucket.call("GET", FILE).startswith(b"executions events")
    clear_caches()
    assert differences(before, await readers.answers()) == []
    assert await faults(past, any_bucket) == []
    assert past.files() == []


async def test_object_of_another_log_is_not_overwritten(
    past: PastEvents, any_bucket: ObjectStore
) -> None:
    any_bucket.call("PUT", FILE, b"of another")
    [first, _] = await archive_events(past, any_bucket)
    assert first.file == FILE.replace(".events", "-2.events")
    assert any_bucket.call("GET", FILE) == b"of another"
    assert len(await past.store.history("execution/e-0")) == EVENTS


@pytest.mark.parametrize("spoil", [lambda content: content[:-9], lambda _: b"spoilt"])
async def test_events_stay_if_the_bucket_stores_other_bytes(
    past: PastEvents, bucket: ObjectStore, spoil: Any
) -> None:
    bucket.spoil = spoil
    [report] = await archive_events(past, bucket)
    assert report.outcome == "failed"
    assert await past.horizon() == 0
    assert len([row for row in await past.rows() if row.stream == "execution/e-0"]) == EVENTS


@pytest.mark.parametrize(
    ("method", "content", "reason"),
    [
        ("PUT", b"executions events, spoilt", "its bytes have another digest"),
        ("DELETE", b"", "it is not there"),
    ],
)
async def test_damaged_or_missing_object_is_named_and_affects_no_other_read(
    past: PastEvents, any_bucket: ObjectStore, method: str, content: bytes, reason: str
) -> None:
    await archive_events(past, any_bucket)
    any_bucket.call(method, FILE, content)
    clear_caches()
    with pytest.raises(Damaged) as refused:
        await past.store.history("execution/e-0")
    assert refused.value.members == {"file": FILE}
    assert len(await past.store.history("execution/e-1")) == EVENTS
    assert f"{FILE} {reason}" in await faults(past, any_bucket)


async def test_silent_bucket_refuses_only_reads_of_its_events(
    past: PastEvents, bucket: ObjectStore
) -> None:
    await archive_events(past, bucket)
    await past.pause("e-2")
    paused = len(await past.store.history("execution/e-2"))
    with silence(bucket):
        reads = [past.store.history(f"execution/e-{number % 2}") for number in range(12)]
        away = asyncio.gather(*reads, return_exceptions=True)
        assert len(await past.store.history("execution/e-2")) == paused
        assert {type(found) for found in await away} == {ArchiveAway}
        assert past.store.outages.current is None
        assert await past.store.load_all(["execution/e-2"])
        with pytest.raises(ArchiveAway):
            await past.store.load_all(["execution/e-2", "execution/e-0"])


async def test_bucket_that_was_away_is_probed_by_few_requests_and_read_again(
    past: PastEvents, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive_events(past, bucket)
    asked = list[str]()
    whole = ArchiveFiles.read_parts

    def count_call(files: ArchiveFiles, file: str, parts: Any) -> list[bytes]:
        asked.append(file)
        return whole(files, file, parts)

    monkeypatch.setattr(ArchiveFiles, "read_parts", count_call)
    with silence(bucket):
        for _ in range(3):
            with pytest.raises(ArchiveAway, match="cannot be reached"):
                await past.store.history("execution/e-0")
        assert asked == [FILE]
        monkeypatch.setattr(limited_archive, "RETRY_AFTER", 0.0)
        reader._archive(bucket.url)._retry_at = 0.0
        with pytest.raises(ArchiveAway):
            await past.store.history("execution/e-0")
        assert asked == [FILE] * 2
        known = reader._archive(bucket.url)
        known.files._readable = None
    known.files._readable = None
    monkeypatch.setattr(reader, "_archive", lambda _: known)
    assert len(await past.store.history("execution/e-0")) == EVENTS


def is_of_provider(versioned: Versioned[Any]) -> bool:
    """Whether the provider of this log owns the execution."""
    return bool(versioned.state.parties == ("c", "p"))


def only_others(versioned: Versioned[Any]) -> bool:
    return not is_of_provider(versioned)


async def test_only_commands_that_need_archived_events_are_refused_while_the_bucket_is_away(
    past: PastEvents, bucket: ObjectStore
) -> None:
    await archive_events(past, bucket)
    await past.pause("e-2")
    paused = len(await past.store.history("execution/e-2"))
    past.bus._cache.forget()  # as in another process, which has no cached state
    with silence(bucket):
        names = ("e-0", "e-2", "e-1")
        sent = [past.bus.submit(Message(f"execution/{n}", USAGE, "tester")) for n in names]
        first, other, second = await asyncio.gather(*sent, return_exceptions=True)
        past.bus._cache.forget()
        with pytest.raises(NotFound):
            await past.bus.send(Message("execution/e-1", USAGE, "a stranger", permits=only_others))
        with pytest.raises(ArchiveAway):
            await past.bus.send(Message("execution/e-1", USAGE, "tester", permits=is_of_provider))
    assert (type(first), type(second)) == (ArchiveAway, ArchiveAway)
    assert not isinstance(other, BaseException)
    assert other.versioned.version == paused + 1
    again = await past.bus.send(Message("execution/e-0", USAGE, "tester"))
    assert again.versioned.version == EVENTS + 1
