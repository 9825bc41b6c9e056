"""An archive that was away is read again once a request succeeds."""

from __future__ import annotations

import pytest

from domain.errors import ArchiveAway, Damaged
from domain.eventlog.archive import limited_archive
from domain.eventlog.archive.limited_archive import LimitedArchive


def test_archive_that_lacks_a_file_is_no_longer_away(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = LimitedArchive("s3://bucket")
    monkeypatch.setattr(limited_archive, "RETRY_AFTER", 0.0)
    with pytest.raises(ArchiveAway), archive.read_slot():
        raise ArchiveAway
    with pytest.raises(Damaged), archive.read_slot():
        raise Damaged
    monkeypatch.setattr(limited_archive, "RETRY_AFTER", 60.0)
    with archive.read_slot(), archive.read_slot():
        pass  # a second request is refused while the first one probes the archive
