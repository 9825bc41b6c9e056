"""Lines are completely written to an archive file, or the reason for a failure is raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.eventlog.archive.files import ArchiveFailed
from projections.log_lines.archive import parquet

MANY = 20_000
"""More than a pipe and a buffer can hold."""


def rows(number: int) -> list[bytes]:
    return [b'%d,e-%d,1000000,2000000,info,,"a,""b"\n' % (n, n % 7) for n in range(number)]


def test_lines_are_in_the_file_after_the_block(tmp_path: Path) -> None:
    target = tmp_path / "it's.parquet"
    with parquet.new_file(target) as lines:
        lines.writelines(rows(MANY))
    assert parquet.content("file", target).lines == MANY
    with parquet.duckdb_in(tmp_path) as connection:
        [line] = parquet.lines_in(
            connection,
            "file",
            target,
            "e-3",
            condition="id = ?",
            values=[10],
            limit=2,
            descending=False,
        )
    assert (line.id, line.level, line.step, line.sealed) == (10, "info", None, 'a,"b')


def write(target: Path, content: list[bytes], failure: Exception | None = None) -> None:
    with parquet.new_file(target) as lines:
        lines.writelines(content)
        if failure is not None:
            raise failure


def test_file_that_cannot_be_written_raises_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ArchiveFailed, match=r"cannot be written to a file: .*away"):
        write(tmp_path / "away" / "lines.parquet", 100 * rows(MANY))


def test_invalid_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveFailed, match="cannot be written to a file"):
        write(tmp_path / "lines.parquet", [*rows(10), b"not a number,e-1\n"])


def test_failure_of_the_export_is_raised(tmp_path: Path) -> None:
    failure = LookupError("the table is gone")
    with pytest.raises(LookupError, match="the table is gone"):
        write(tmp_path / "lines.parquet", [*rows(10), b"11,e-1,10"], failure)


def test_duckdb_prints_no_progress(tmp_path: Path) -> None:
    with parquet.duckdb_in(tmp_path) as connection:
        query = "SELECT current_setting('enable_progress_bar')"
        assert connection.execute(query).fetchall() == [(False,)]
