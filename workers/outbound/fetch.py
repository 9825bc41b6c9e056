"""Fetches a small document from a URL that others have chosen, without redirects and proxies.

The host is looked up once, all its addresses are checked, and the call goes to one of these addresses, so that no second look-up
can return another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workers.outbound.addresses import AddressRefused, Network, check
from workers.outbound.look_up import look_up

if TYPE_CHECKING:
    import httpx

TIMEOUT = 5.0
"""Seconds that a whole call may take."""


class FetchFailed(Exception):
    """The document could not be fetched; the message says why."""


async def fetch(url: str, limit: int, allowed: Sequence[Network], setting: str) -> bytes:
    """Fetch a document of at most `limit` bytes. `setting` is the name of the setting that allows networks.

    Raises:
        FetchFailed: there was no answer, the address is refused, or the status is not 200.
    """
    import httpx  # it takes 5 MB

    try:
        async with asyncio.timeout(TIMEOUT):
            return await _fetch(httpx.URL(url), limit, allowed, setting)
    except TimeoutError:
        raise FetchFailed(f"no answer within {TIMEOUT:g} s") from None
    except (AddressRefused, httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise FetchFailed(str(error) or type(error).__name__) from error


async def _fetch(url: httpx.URL, limit: int, allowed: Sequence[Network], setting: str) -> bytes:
    import httpx

    addresses = await look_up(url.host, url.port or (443 if url.scheme == "https" else 80))
    check(url.host, addresses, allowed, setting)
    headers = {"Host": url.netloc.decode(), "Accept": "application/json"}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as client,
        client.stream(
            "GET",
            url.copy_with(host=addresses[0]),
            headers=headers,
            extensions={"sni_hostname": url.host},
        ) as response,
    ):
        if response.status_code != 200:
            raise FetchFailed(f"it answers {response.status_code}")
        body = b""
        async for part in response.aiter_bytes():
            body += part
            if len(body) > limit:
                raise FetchFailed(f"it answers more than {limit} bytes")
        return body
