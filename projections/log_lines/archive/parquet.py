"""Reads and writes archive files: Parquet, compressed by zstd, ordered by execution and time. Content stays sealed.

The columns are those of the table `log_lines`; times are in UTC, without a zone. DuckDB writes and reads the files,
without extensions that it would have to download. It sorts lines in threads of its own while the table is being read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from domain.errors import Damaged
from domain.eventlog.archive.files import ArchiveFailed, first_line
from projections.log_lines.model import OF_CLIENT, StoredLine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes that a line may have in CSV."""
BUFFER = 256 * 1024
"""Bytes that are written to the pipe at a time."""
ROW_GROUP = 50_000
"""Lines in a row group, which is read or skipped as a whole: a page of one execution reads one group."""

COPIED = """COPY (SELECT id, execution, make_timestamp(occurred) AS occurred_at,
        make_timestamp(recorded) AS "at", level, step, sealed
    FROM read_csv(?, auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
        nullstr = '', allow_quoted_nulls = false, max_line_size = {longest}, buffer_size = {longest},
        columns = {{
            'id': 'BIGINT', 'execution': 'VARCHAR', 'occurred': 'BIGINT', 'recorded': 'BIGINT',
            'level': 'VARCHAR', 'step': 'VARCHAR', 'sealed': 'VARCHAR'}})
    ORDER BY execution, occurred_at, id)
    TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 2, PARQUET_VERSION v2,
        ROW_GROUP_SIZE {group})"""
"""Level 2, because level 3 takes a fifth more time and saves only 0.1 of 140 bytes a line."""
CONTENT = """SELECT count(*), coalesce(sum(('0x' || md5(concat_ws('|', id,
        epoch_us(occurred_at), epoch_us("at"), execution, level, sealed, step))[:15])::BIGINT), 0) FROM read_parquet(?)"""
COUNTS = """SELECT execution, count(*), epoch_us(min(occurred_at)), epoch_us(max(occurred_at))
    FROM read_parquet(?) GROUP BY execution"""
LINES = """SELECT epoch_us(occurred_at), id, epoch_us("at"), level, step, sealed FROM read_parquet(?)
    WHERE execution = ? AND {where} ORDER BY occurred_at {direction}, id {direction} LIMIT ?"""


class Content(NamedTuple):
    """The number of lines, and the sum of the digests of the lines, which are equal for the same lines in the table and in a
    file.
    """

    lines: int
    sum: int


@contextmanager
def duckdb_in(work: Path, threads: int = 2) -> Iterator[DuckDBPyConnection]:
    """Yield a new DuckDB connection with its temporary files in a folder. Starting DuckDB takes ten times as long as a small
    query.
    """
    import duckdb

    limits: dict[str, Any] = {
        "threads": threads,
        "memory_limit": "512MB",
        "temp_directory": str(work),
    }
    isolation: dict[str, Any] = {
        "enable_external_file_cache": False,  # no file is read twice
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(config={**limits, **isolation}) as connection:
        # The progress bar would be printed among the output of commands.
        connection.execute("SET enable_progress_bar = false")
        yield connection


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose lines are in the new file when the block ends.

    The lines are CSV as PostgreSQL's COPY writes it: id, execution, the times of occurrence and of recording in
    microseconds, level, step, sealed. After the stream is closed, the rest of the block runs while DuckDB sorts and writes.

    Raises:
        ArchiveFailed: the file cannot be written.
    """
    source, sink = os.pipe()
    lines = os.fdopen(sink, "wb", BUFFER)
    with ThreadPoolExecutor(1, "parquet") as thread:
        written = thread.submit(_write, source, target)
        try:
            yield lines
            lines.close()
        except BrokenPipeError:
            written.result()  # raises the cause
            raise
        finally:
            with suppress(BrokenPipeError):
                lines.close()
        written.result()


def _write(source: int, target: Path) -> None:
    """Write the lines from a pipe to the file, and close the pipe."""
    import duckdb

    query = COPIED.format(longest=LONGEST_LINE, target=_quote(target), group=ROW_GROUP)
    try:
        with duckdb_in(target.parent) as connection:
            connection.execute(query, [f"/dev/fd/{source}"])
    except duckdb.Error as error:
        raise ArchiveFailed(f"lines cannot be written to a file: {first_line(error)}") from error
    finally:
        os.close(source)


def content(file: str, path: Path) -> Content:
    """Return the content of a file.

    Raises:
        Damaged: it is not a readable archive file.
    """
    with duckdb_in(path.parent) as connection:
        [(lines, total)] = _rows(connection, file, CONTENT, [str(path)])
    return Content(lines, int(total))


def counts_in(file: str, path: Path) -> set[tuple[str, int, datetime, datetime]]:
    """Return for each execution in a file its id, the number of its lines, and their earliest and latest time.

    Raises:
        Damaged: it is not a readable archive file.
    """
    with duckdb_in(path.parent, 1) as connection:
        rows = _rows(connection, file, COUNTS, [str(path)])
    return {(name, lines, _time(first), _time(last)) for name, lines, first, last in rows}


def lines_in(
    connection: DuckDBPyConnection,
    file: str,
    path: Path,
    execution: str,
    *,
    condition: str,
    values: Sequence[Any],
    limit: int,
    descending: bool,
) -> list[StoredLine]:
    """Return the first lines of an execution, in the order of time, that meet an SQL condition with its values.

    Raises:
        Damaged: it is not a readable archive file.
    """
    query = LINES.format(where=condition, direction="DESC" if descending else "ASC")
    rows = _rows(connection, file, query, [str(path), execution, *values, limit])
    return [
        StoredLine(_time(occurred), OF_CLIENT, number, _time(at), level, step, None, sealed)
        for occurred, number, at, level, step, sealed in rows
    ]


def _rows(
    connection: DuckDBPyConnection, file: str, query: str, values: Sequence[Any]
) -> list[tuple[Any, ...]]:
    import duckdb

    try:
        return connection.execute(query, list(values)).fetchall()
    except duckdb.Error as error:
        raise Damaged(
            f"The archive file `{file}` cannot be read.", reason=str(error), file=file
        ) from error


def _time(microseconds: int) -> datetime:
    seconds, microsecond = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microsecond)


def _quote(path: Path) -> str:
    return str(path).replace("'", "''")
