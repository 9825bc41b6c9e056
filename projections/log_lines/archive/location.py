"""The location of the archive of a log. It is stored in the log, because a server with another setting could not read the
files.
"""

from __future__ import annotations

import asyncio

from psycopg import AsyncConnection

from domain.errors import Overloaded
from domain.eventlog.archive.files import ArchiveFailed, ArchiveFiles
from domain.eventlog.sessions import session_options

LOCATION = "SELECT url FROM log_archive_place"
NEWEST = """(SELECT file FROM log_archives ORDER BY at DESC, file DESC LIMIT 1)
    UNION ALL (SELECT file FROM event_archives ORDER BY last DESC LIMIT 1)"""
STORE_LOCATION = """INSERT INTO log_archive_place (url) VALUES (%s)
    ON CONFLICT (single) DO UPDATE SET url = excluded.url"""
CURE = "EXECUTIONS_ARCHIVE_URL must be the server's"


async def read_location(connection: AsyncConnection) -> str | None:
    """Return the URL of the archive of this log; None if none is stored yet."""
    row = await (await connection.execute(LOCATION)).fetchone()
    return None if row is None else str(row[0])


async def settle_location(
    connection: AsyncConnection, files: ArchiveFiles, *, moves: bool, dry_run: bool
) -> None:
    """Store the URL of `files` as that of the archive, if none is stored yet, or with `moves` instead of another one. The
    newest archive file must be there.

    Raises:
        ArchiveFailed: another URL is stored, the newest file is missing at the new one, or that cannot be reached.
    """
    known = await read_location(connection)
    if known == files.location:
        return
    if known is not None and not moves:
        raise ArchiveFailed(f"the archive of this log is {known}, not {files.location}: {CURE}")
    for (newest,) in await (await connection.execute(NEWEST)).fetchall():
        if not await asyncio.to_thread(_has, files, newest):
            raise ArchiveFailed(
                f"{files.location} does not have {newest}, which is in the archive of this log"
                f"{f', {known}' if known else ''}: {CURE}, or the files must be copied there first"
            )
    if not dry_run:
        await connection.execute(STORE_LOCATION, (files.location,))


async def move_location(conninfo: str, schema: str, files: ArchiveFiles) -> bool:
    """Store the URL of `files` as that of the archive, if another one is stored; return whether it was.

    Raises:
        ArchiveFailed: the newest file is missing at the new URL, or that cannot be reached.
    """
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=session_options(schema)
    ) as connection:
        if await read_location(connection) in (None, files.location):
            return False
        await settle_location(connection, files, moves=True, dry_run=False)
        return True


def _has(files: ArchiveFiles, file: str) -> bool:
    try:
        return files.has(file)
    except Overloaded as error:
        raise ArchiveFailed(str(error)) from error
