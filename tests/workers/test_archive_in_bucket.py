"""Archive files of log lines in a bucket are read back, and missing or damaged ones are named."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Damaged, Overloaded
from domain.eventlog.archive import files
from domain.eventlog.archive.files import ArchiveFiles
from projections.log_lines.archive.reader import ArchivedLines
from projections.log_lines.archive.verify import check_archive
from projections.log_lines.reader import LogLinePages
from tests.support.object_store import SECRET, AzureStore, GoogleStore, ObjectStore, S3Store
from tests.support.past_lines import DAY, PastLines
from workers.archiver import DayReport

pytestmark = pytest.mark.anyio
FILE = "log-lines/2026-10-01/1-3.parquet"


@pytest.fixture(scope="module", params=[S3Store, GoogleStore, AzureStore])
def object_store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    store: ObjectStore = request.param()
    with store.serving():
        yield store


@pytest.fixture
def bucket(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket; its URL and credentials are in the environment."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    with object_store.emptied():
        yield object_store


@pytest.fixture
async def past(database_with_views: str, tmp_path: Path) -> AsyncIterator[PastLines]:
    async with PastLines.opened(database_with_views, tmp_path) as opened:
        await opened.make_days(1)
        await opened.begin("e-1")
        await opened.say("e-1", "first", "second", "third")
        await opened.follow()
        opened.now += 40 * DAY
        yield opened


async def archive_lines(past: PastLines, bucket: ObjectStore) -> DayReport:
    retention = replace(past.retention, url=bucket.url)
    [report] = await past.archiver(retention).archive()
    return report


async def read(past: PastLines, bucket: ObjectStore) -> list[str]:
    pages = LogLinePages(past.store, ArchivedLines(bucket.url, past.folder / "cache"))
    page = await pages.read("e-1", archived=True)
    return [line["message"] for line in page.data]


async def faults(past: PastLines, bucket: ObjectStore) -> list[str]:
    found = [each async for each in check_archive(past.store, ArchiveFiles(bucket.url))]
    assert all(each.reached for each in found)
    return [fault.what for each in found for fault in each.faults]


async def rows_left(past: PastLines) -> int:
    [(lines,)] = await past.query("SELECT count(*) FROM log_lines")
    return int(lines)


async def test_lines_are_written_to_the_bucket_and_read_from_it(
    past: PastLines, bucket: ObjectStore
) -> None:
    report = await archive_lines(past, bucket)
    assert (report.outcome, report.files) == ("archived", [FILE])
    assert await rows_left(past) == 0
    assert bucket.writes == [bucket.condition[1]]  # create the object or fail
    assert bucket.call("GET", FILE)[:4] == b"PAR1"
    assert await read(past, bucket) == ["first", "second", "third"]
    assert await faults(past, bucket) == []


async def test_object_of_another_log_is_not_overwritten(
    past: PastLines, bucket: ObjectStore
) -> None:
    bucket.call("PUT", FILE, b"of another")
    report = await archive_lines(past, bucket)
    assert report.files == [FILE.replace(".parquet", "-2.parquet")]
    assert bucket.call("GET", FILE) == b"of another"
    assert await read(past, bucket) == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("method", "content", "reason"),
    [
        ("PUT", b"PAR1 spoilt", "its bytes have another digest"),
        ("DELETE", b"", "it is not there"),
    ],
)
async def test_damaged_or_missing_object_is_named(
    past: PastLines, bucket: ObjectStore, method: str, content: bytes, reason: str
) -> None:
    await archive_lines(past, bucket)
    bucket.call(method, FILE, content)
    with pytest.raises(Damaged) as refused:
        await read(past, bucket)
    assert refused.value.members == {"file": FILE}
    assert await faults(past, bucket) == [reason]


@pytest.mark.parametrize("spoil", [lambda content: content[:-9], lambda _: b"PAR1 spoilt"])
async def test_lines_stay_if_the_bucket_stores_other_bytes(
    past: PastLines, bucket: ObjectStore, spoil: Any
) -> None:
    bucket.spoil = spoil
    report = await archive_lines(past, bucket)
    assert (report.outcome, await rows_left(past)) == ("failed", 3)
    assert report.reason == f"{FILE} does not have what the table has"


async def test_lines_stay_if_the_credentials_are_wrong(
    past: PastLines, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.settings("another").items():
        monkeypatch.setenv(name, value)
    report = await archive_lines(past, bucket)
    assert (report.outcome, await rows_left(past)) == ("failed", 3)
    assert "403" in report.reason
    assert SECRET not in report.reason


async def test_bucket_that_does_not_answer_is_reported_as_unreachable(
    past: PastLines, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive_lines(past, bucket)
    hasty = {**files.CLIENT, "read_timeout": "50ms"}
    silent = {"client_options": hasty, "retry_config": files.RETRIES}
    monkeypatch.setattr(files, "READING", silent)
    with socket.create_server(("127.0.0.1", 0)) as nobody, monkeypatch.context() as patched:
        port = nobody.getsockname()[1]
        patched.setattr(bucket, "endpoint", f"http://127.0.0.1:{port}")
        for name, value in bucket.environment.items():
            patched.setenv(name, value)
        with pytest.raises(Overloaded, match="cannot be reached"):
            await read(past, bucket)
