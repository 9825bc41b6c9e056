"""Ends the streams and long requests of a caller when its credential ends."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from time import time

from api.access.identity import Caller
from domain.lru import LruCache
from domain.supervisor import Background, Tasks

REMEMBERED = 10_000
"""Ended credentials that are cached, to end requests that were admitted just before, too."""
EXPIRED, REVOKED, ENDED = "expired", "revoked", "signed-out"
"""Reasons why a credential has ended."""

End = Callable[[str], None]


class OpenRequests(Background):
    """The running requests by the credentials of their callers. Every second, those with expired ones are ended."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._open: defaultdict[str, dict[object, End]] = defaultdict(dict)
        self._expiry: dict[str, datetime] = {}
        self._ended: LruCache[str, str] = LruCache(REMEMBERED)
        self._now = now

    def tasks(self) -> Tasks:
        return {"expiry": self._expire}

    @contextmanager
    def of(self, caller: Caller, end: End) -> Iterator[None]:
        """While the block lasts, call `end` with the reason when the caller's credential ends."""
        mark = object()
        credentials = [name for name in (caller.credential, *caller.parents) if name]
        for credential in credentials:
            self._open[credential][mark] = end
        if caller.expires_at is not None:
            self._expiry[caller.credential] = caller.expires_at
        reasons = (reason for name in credentials if (reason := self._ended.get(name)))
        if (reason := next(reasons, None)) is not None:
            asyncio.get_running_loop().call_soon(self._end, credentials[0], mark, reason)
        try:
            yield
        finally:
            for credential in credentials:
                self._open[credential].pop(mark, None)
                if not self._open[credential]:
                    del self._open[credential]
                    self._expiry.pop(credential, None)

    def _end(self, credential: str, mark: object, reason: str) -> None:
        if (end := self._open.get(credential, {}).get(mark)) is not None:
            end(reason)

    def end(self, credential: str, reason: str) -> None:
        """End the running requests of a credential that has ended."""
        self._ended.put(credential, reason)
        self._ended.trim()
        for end in list(self._open.get(credential, {}).values()):
            end(reason)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.expire()

    def expire(self) -> None:
        """End the running requests of credentials that have expired."""
        now = self._now()
        expired = [name for name, at in self._expiry.items() if at.timestamp() <= now]
        for credential in expired:
            del self._expiry[credential]
            self.end(credential, EXPIRED)
