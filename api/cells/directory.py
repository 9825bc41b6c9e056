"""The directory of logs: their names and URLs, and the ids that begin with the name of a log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from api.clock import new_id
from api.settings import LOG_NAME
from domain.errors import DomainError

MARK = "~"
"""The separator between the name of a log and the rest of an id."""
MADE = re.compile(rf"({LOG_NAME.pattern}){MARK}[a-z]+_[0-9A-HJKMNP-TV-Z]{{26}}")
"""The form of an id that a named log has made."""


class Misdirected(DomainError):
    """This id is of another log."""

    code = "misdirected"


def ids_of(name: str | None) -> Callable[[str], str]:
    """The function that makes ids of a kind for a log. They sort by the time at which they were made, and begin with the
    name of the log, if it has one.
    """
    return new_id if name is None else lambda kind: f"{name}{MARK}{new_id(kind)}"


class Directory:
    """The name of this log, if it has one, and the URLs of all logs by name."""

    def __init__(self, own: str | None = None, urls: Mapping[str, str] | None = None) -> None:
        self.own = own
        self.new_id = ids_of(own)
        self.urls = dict(urls or {})

    def require_own(self, identity: str) -> str:
        """Check that an id may be of this log, and return it. A log without a name accepts every id.

        Raises:
            Misdirected: the id begins with the name of another log, which is in the directory or has made the id.
        """
        if self.own is None or MARK not in identity:
            return identity
        name = identity.partition(MARK)[0]
        if name == self.own or not (name in self.urls or MADE.fullmatch(identity)):
            return identity
        detail = f"This id is of the log `{name}`, and this one is `{self.own}`."
        if name not in self.urls:
            raise Misdirected(
                f"{detail} EXECUTIONS_CELLS of this server does not say where that log is.",
                log=name,
            )
        url = self.urls[name]
        raise Misdirected(f"{detail} Send the request to {url}.", log=name, url=url)
