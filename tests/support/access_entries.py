"""Reads the access log of a test's database."""

from __future__ import annotations

from typing import Any

import orjson
import psycopg

from domain.eventlog.access.entry import Access
from domain.eventlog.sessions import session_options

ROWS = """SELECT actor, credential, operation, executions, address, purpose, correlation, detail
    FROM access_log ORDER BY id"""


def entries(conninfo: str, correlation: str = "") -> list[Access]:
    """All entries in order, or only those with a correlation."""
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        rows = connection.execute(ROWS).fetchall()
    found = [Access._make((*row[:3], tuple(row[3]), *row[4:])) for row in rows]
    return [each for each in found if each.correlation == correlation or not correlation]


def detail(access: Access) -> dict[str, Any]:
    """The details of an entry."""
    parsed: dict[str, Any] = orjson.loads(access.detail or "{}")
    return parsed
