"""Archive files: Parquet, compressed by zstd, ordered by execution and time. Content stays sealed in them.

Columns are those of the table `log_lines`; times are in UTC, without a zone. DuckDB writes and reads
them, with nothing that it would have to download. It sorts in threads of its own what is written to it,
so the table is read meanwhile.
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
BUFFER = 256 * 1024
ROW_GROUP = 50_000
"""Lines that are skipped or read together: a page of one execution reads one such group."""

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
"""Level 3 takes a fifth more time, and saves 0.1 bytes of 140."""
CONTENT = """SELECT count(*), coalesce(sum(('0x' || md5(concat_ws('|', id,
        epoch_us(occurred_at), epoch_us("at"), execution, level, sealed, step))[:15])::BIGINT), 0) FROM read_parquet(?)"""
COUNTS = """SELECT execution, count(*), epoch_us(min(occurred_at)), epoch_us(max(occurred_at))
    FROM read_parquet(?) GROUP BY execution"""
LINES = """SELECT epoch_us(occurred_at), id, epoch_us("at"), level, step, sealed FROM read_parquet(?)
    WHERE execution = ? AND {where} ORDER BY occurred_at {direction}, id {direction} LIMIT ?"""


class Content(NamedTuple):
    """How many lines there are, and the sum of a digest of each: the same in the table and in a file
    that has the same lines.
    """

    lines: int
    sum: int


@contextmanager
def duckdb_in(work: Path, threads: int = 2) -> Iterator[DuckDBPyConnection]:
    """DuckDB, with its temporary files in a folder. To begin takes ten times as long as a small question."""
    import duckdb

    limits: dict[str, Any] = {
        "threads": threads,
        "memory_limit": "512MB",
        "temp_directory": str(work),
    }
    alone: dict[str, Any] = {
        "enable_external_file_cache": False,  # nothing is read twice
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(config={**limits, **alone}) as connection:
        connection.execute(
            "SET enable_progress_bar = false"
        )  # it would be printed beside our answers
        yield connection


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A stream for lines in CSV as PostgreSQL's COPY writes it: id, execution, microseconds of the time that
    it is of and of its recording, level, step, sealed. Where the block is over, they are in the file. Once
    the stream is closed, the rest of the block runs while they are sorted and written.

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
            written.result()  # says why
            raise
        finally:
            with suppress(BrokenPipeError):
                lines.close()
        written.result()


def _write(source: int, target: Path) -> None:
    """Write what comes out of a pipe, and close that."""
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
    """What is in a file.

    Raises:
        Damaged: it is no such file.
    """
    with duckdb_in(path.parent) as connection:
        [(lines, total)] = _rows(connection, file, CONTENT, [str(path)])
    return Content(lines, int(total))


def counts_in(file: str, path: Path) -> set[tuple[str, int, datetime, datetime]]:
    """Of each execution in a file: how many lines there are, and the earliest and latest time of one.

    Raises:
        Damaged: it is no such file.
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
    """The first lines of an execution, by time, that meet a condition with its values.

    Raises:
        Damaged: it is no such file.
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
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def _quote(path: Path) -> str:
    return str(path).replace("'", "''")
