"""Reads a small document from a URL that others have chosen: vetted addresses, no redirects, no proxies.

The host is looked up once, every address that it has is vetted, and a vetted one is called by number: so no second
look-up can lead elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from workers.outbound.addresses import AddressRefused, Network, check
from workers.outbound.look_up import look_up

TIMEOUT = 5.0
"""Seconds for a call from beginning to end."""


class FetchFailed(Exception):
    """There is no document; the message says why."""


async def fetch(url: str, limit: int, allowed: Sequence[Network], setting: str) -> bytes:
    """The body of the answer, of at most `limit` bytes. `setting` names what allows networks.

    Raises:
        FetchFailed: it did not come, the address is refused, or the answer is another than 200.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _fetch(httpx.URL(url), limit, allowed, setting)
    except TimeoutError:
        raise FetchFailed(f"no answer within {TIMEOUT:g} s") from None
    except (AddressRefused, httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise FetchFailed(str(error) or type(error).__name__) from error


async def _fetch(url: httpx.URL, limit: int, allowed: Sequence[Network], setting: str) -> bytes:
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
