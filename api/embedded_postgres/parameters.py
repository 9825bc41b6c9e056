"""The server parameters of the embedded PostgreSQL, where they differ from its defaults."""

from __future__ import annotations

PARAMETERS = {
    "shared_buffers": "256MB",
    "max_connections": "100",
    "wal_compression": "pglz",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
}
"""`min_wal_size` keeps files of the write-ahead log for later use, also through quiet times: to make a new one of 16 MB
stops all commits for about 50 ms.
"""
