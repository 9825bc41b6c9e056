"""Finds the log that a request is for, by its host or by the beginning of its path."""

from __future__ import annotations

import re
from typing import NamedTuple

from api.hosting.hosted_logs import HostedLogs
from api.settings import LOG_NAME
from domain.errors import NotFound

PATH = re.compile(rb"/logs/(%b)(?=/api/)" % LOG_NAME.pattern.encode())
"""The prefix of a log in the path as it was sent, so that encoded characters are never part of a name."""
ELSEWHERE = "At this host there is one log alone."


class Address(NamedTuple):
    """The log of a request, None for that of the settings, and the prefix of the path that names it."""

    log: str | None
    prefix: bytes = b""


class Addresses:
    """Finds the log of a request; `own` is the name of the log of the settings."""

    def __init__(self, hosted: HostedLogs, own: str | None) -> None:
        self._hosted = hosted
        self._own = own

    def find(self, path: bytes, host: bytes) -> Address:
        """The log of a path and a host.

        Raises:
            NotFound: the host belongs to one log, and the path names another.
        """
        of_host = self._hosted.host(host)
        found = PATH.match(path)
        if found is None:
            return Address(of_host)
        name = found[1].decode()
        if of_host not in {None, name}:
            raise NotFound(ELSEWHERE)
        return Address(None if name == self._own else name, found[0])
