"""Looks at the URL of a webhook before it is kept: whether it leads where webhooks may call.

The answer holds for this moment alone, so every call looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from domain.errors import Invalid
from domain.sealing import MASKED
from workers.outbound.addresses import AddressRefused, Network, check
from workers.outbound.look_up import Resolve, look_up

LOOKS_FOR = 2.0
"""Seconds for a look-up. A host that is not found by then is kept: each call looks again."""
MOST = 64
"""Look-ups at once, those included that go on unawaited, as none can be broken off. Of more, hosts are kept."""


class Vetting:
    """Refuses URLs whose host has an address that webhooks may not reach."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve = look_up) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._under_way: set[asyncio.Task[Sequence[str]]] = set()

    async def require(self, urls: Iterable[tuple[str, str]]) -> None:
        """Let pairs of a field and its URL pass.

        Raises:
            Invalid: a URL leads to an address that is refused; names field, rule and setting.
        """
        hosts: dict[tuple[str, int], str] = {}
        for field, url in urls:
            parts = urlsplit(url)
            if parts.hostname and MASKED not in parts.hostname:
                port = parts.port or (443 if parts.scheme == "https" else 80)
                hosts.setdefault((parts.hostname, port), field)
        looks = (self._check(*host, field) for host, field in hosts.items())
        await asyncio.gather(*looks)

    async def _check(self, host: str, port: int, field: str) -> None:
        try:
            check(host, await self._addresses(host, port), self._allowed)
        except AddressRefused as error:
            raise Invalid.field(
                field, f"must lead to an address that may be called, but {error}"
            ) from None

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        if len(self._under_way) >= MOST:
            return ()
        task = asyncio.create_task(_resolve(self._resolve, host, port), name=f"look up {host}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait([task], timeout=LOOKS_FOR)
        return task.result() if done else ()


async def _resolve(resolve: Resolve, host: str, port: int) -> Sequence[str]:
    try:
        return await resolve(host, port)
    except (OSError, UnicodeError):
        return ()
