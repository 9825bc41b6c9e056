"""The name of a log among the logs of one service, stored in the log itself."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from domain.eventlog.sessions import session

NAME = "SELECT log_name FROM head"
GIVE = "UPDATE head SET log_name = %s WHERE log_name IS NULL"


class OtherName(Exception):
    """The log has another name than the expected one."""

    def __init__(self, name: str, wanted: str) -> None:
        super().__init__(f"this log is named `{name}`, not `{wanted}`; a name is for ever")


def settle_log_name(
    database: str | Connection[Any], schema: str, wanted: str | None = None
) -> str | None:
    """The name of the log in this schema, or None. A log without a name gets the `wanted` one, for ever.

    Raises:
        OtherName: the log has another name than `wanted`.
        Overloaded: the database cannot be reached.
    """
    with session(database, schema) as connection:
        [name] = connection.execute(NAME).fetchone() or [None]
        if wanted is not None and name is None:
            connection.execute(GIVE, (wanted,))
            [name] = connection.execute(NAME).fetchone() or [None]
    if wanted is not None and name != wanted:
        raise OtherName(str(name), wanted)
    return None if name is None else str(name)
