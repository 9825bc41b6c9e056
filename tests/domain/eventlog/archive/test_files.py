"""Local copies of archive files, and the messages about an archive that cannot be reached."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import pytest

from domain.errors import ArchiveAway
from domain.eventlog.archive.files import ArchiveFiles, first_line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It is full\n\nSee also https://example.com", "It is full"),
        (
            "Error performing PUT https://a.example/c/f?sv=1&sig=s3cret in 2ms - 403",
            "Error performing PUT https://a.example/c/f in 2ms - 403",
        ),
        ("", "OSError"),
    ],
)
def test_error_is_one_line_without_the_signature_of_its_url(said: str, shown: str) -> None:
    assert first_line(OSError(said)) == shown


def test_refusal_does_not_name_the_location_of_the_archive_but_its_reason_does(
    tmp_path: Path,
) -> None:
    files = ArchiveFiles((tmp_path / "gone").as_uri())
    with pytest.raises(ArchiveAway) as refused:
        files.read_parts("file", [(0, 1)])
    assert str(tmp_path) not in refused.value.detail
    assert refused.value.reason == f"there is no folder {tmp_path / 'gone'}"


def test_file_that_two_threads_fetch_at_once_is_complete_for_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, both = b"one half, the other half", Barrier(2, timeout=10)

    def download(_: ArchiveFiles, file: str, target: Path) -> None:
        with target.open("wb") as copy:
            copy.write(content[:9])
            both.wait()
            copy.write(content[9:])
        both.wait()

    monkeypatch.setattr(ArchiveFiles, "_download", download)
    files, digest = ArchiveFiles("s3://bucket"), sha256(content).hexdigest()
    with ThreadPoolExecutor(2) as threads:
        paths = list(threads.map(lambda _: files.fetch("file", digest, tmp_path), range(2)))
    assert paths == [tmp_path / f"{digest}.parquet"] * 2
    assert paths[0].read_bytes() == content
    assert list(tmp_path.iterdir()) == [paths[0]]
