"""The server parameters of the embedded PostgreSQL, where they differ from its defaults."""

from __future__ import annotations

MIB = 1024 * 1024
BUFFERS = range(256 * MIB, 4096 * MIB)
"""Bytes of the pages that PostgreSQL keeps in memory: the least and the most. It takes them as it reads pages."""
SHARE_OF_MEMORY = 8
"""One part in so many of the memory is for these pages. Indexes grow with the log, and each new row is at random places in
most of them: after ten million events 0.64 pages an event were read again with 256 MB, and 0.09 with 3 GB.
"""
MAINTENANCE = range(64 * MIB, 256 * MIB)
"""Bytes for the making of an index: the least and the most. With 256 MB it takes an eighth less time than with 64."""
PARAMETERS = {
    "max_connections": "100",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
}
"""`min_wal_size` keeps files of the write-ahead log for later use, also through quiet times: to make a new one of 16 MB
stops all commits for about 50 ms. Pages in that log are not compressed: after each checkpoint the compression of all pages
that are written again would hold up the views for seconds.
"""


def parameters(memory: int) -> dict[str, str]:
    """Return the parameters for a server that may use so many bytes of memory, with other programs beside it."""
    buffers = memory // SHARE_OF_MEMORY
    return {
        "shared_buffers": _megabytes(buffers, BUFFERS),
        "maintenance_work_mem": _megabytes(buffers // 8, MAINTENANCE),
        **PARAMETERS,
    }


def _megabytes(size: int, limits: range) -> str:
    return f"{min(max(size, limits.start), limits.stop) // MIB}MB"
