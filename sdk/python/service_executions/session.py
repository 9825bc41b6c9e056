"""The session of a client: the position that it has seen, so that its reads include its writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Session:
    """The highest position that the client has seen, and the id of the log."""

    log: str | None = None
    position: int = 0

    def note(self, headers: Mapping[str, str]) -> None:
        """Note the position in the headers of an answer."""
        position = headers.get("log-position")
        if position is None or not position.isdecimal():
            return
        log = headers.get("log-id")
        if log != self.log:
            self.log, self.position = log, 0
        self.position = max(self.position, int(position))

    def query(self) -> dict[str, str]:
        """Return the query parameters that let a read wait for the position."""
        if not self.position:
            return {}
        return {"minPosition": str(self.position), **({"log": self.log} if self.log else {})}

    def forget(self) -> None:
        """Forget the position, because the log was replaced by another one."""
        self.log, self.position = None, 0
