"""What a client remembers between requests, so that its reads follow on its writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Session:
    """The highest position of the log that the client has seen, and which log it is of."""

    log: str | None = None
    position: int = 0

    def note(self, headers: Mapping[str, str]) -> None:
        """Take what an answer says."""
        position = headers.get("log-position")
        if position is None or not position.isdecimal():
            return
        log = headers.get("log-id")
        if log != self.log:
            self.log, self.position = log, 0
        self.position = max(self.position, int(position))

    def query(self) -> dict[str, str]:
        """The parameters that let a read wait for what was seen."""
        if not self.position:
            return {}
        return {"minPosition": str(self.position), **({"log": self.log} if self.log else {})}

    def forget(self) -> None:
        """Begin again, as the log is another one."""
        self.log, self.position = None, 0
