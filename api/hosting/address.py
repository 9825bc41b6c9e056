"""Which log a request is for: by its host, or by the beginning of its path."""

from __future__ import annotations

import re
from typing import NamedTuple

from api.hosting.hosted_logs import HostedLogs
from api.settings import LOG_NAME
from domain.errors import NotFound

PATH = re.compile(rb"/logs/(%b)(?=/api/)" % LOG_NAME.pattern.encode())
"""Looked for in the path as it was sent: nothing that is encoded can be taken for a name."""
ELSEWHERE = "At this host there is one log alone."


class Address(NamedTuple):
    """The log that is meant, None for the one of the settings, and the part of the path that says so."""

    log: str | None
    prefix: bytes = b""


class Addresses:
    """Finds the log of a request; `own` is the name of the log of the settings."""

    def __init__(self, hosted: HostedLogs, own: str | None) -> None:
        self._hosted = hosted
        self._own = own

    def find(self, path: bytes, host: bytes) -> Address:
        """The log that a path and a host mean.

        Raises:
            NotFound: the host is that of one log, and the path names another.
        """
        of_host = self._hosted.host(host)
        found = PATH.match(path)
        if found is None:
            return Address(of_host)
        name = found[1].decode()
        if of_host not in {None, name}:
            raise NotFound(ELSEWHERE)
        return Address(None if name == self._own else name, found[0])
