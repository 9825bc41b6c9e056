"""Sessions of the database of a log."""

from __future__ import annotations

import pytest

from domain.errors import Overloaded
from domain.eventlog.sessions import session


def test_session_that_is_lost_is_an_unavailable_database(database: str) -> None:
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(Overloaded, match="unavailable or busy"), session(database, "public") as own:
        own.execute(end)
