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
"""Credentials that have ended: whose request was let in just before, ends, too."""
EXPIRED, REVOKED, ENDED = "expired", "revoked", "signed-out"
"""Why a credential is not good any more."""

End = Callable[[str], None]


class OpenRequests(Background):
    """Requests that are under way, by the credentials of their callers. Looks every second which have expired."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._open: defaultdict[str, dict[object, End]] = defaultdict(dict)
        self._expiry: dict[str, datetime] = {}
        self._ended: LruCache[str, str] = LruCache(REMEMBERED)
        self._now = now

    def tasks(self) -> Tasks:
        return {"expiry": self._expire}

    @contextmanager
    def of(self, caller: Caller, end: End) -> Iterator[None]:
        """While the block lasts, `end` is called with the reason when the caller's credential ends."""
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
        """A credential is not good any more."""
        self._ended.put(credential, reason)
        self._ended.trim()
        for end in list(self._open.get(credential, {}).values()):
            end(reason)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.expire()

    def expire(self) -> None:
        """End what is under way with credentials whose time is over."""
        now = self._now()
        over = [name for name, at in self._expiry.items() if at.timestamp() <= now]
        for credential in over:
            del self._expiry[credential]
            self.end(credential, EXPIRED)
