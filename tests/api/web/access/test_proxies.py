"""The address of a client behind proxies."""

from __future__ import annotations

import pytest

from api.web.access.proxies import Proxies
from workers.outbound.addresses import networks

TRUSTED = Proxies(networks("127.0.0.1/32, 10.1.0.0/16, fd00::/8"))


@pytest.mark.parametrize(
    ("connected", "forwarded", "client"),
    [
        ("127.0.0.1", b"203.0.113.7", "203.0.113.7"),
        ("::ffff:127.0.0.1", b"203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", b"2001:db8::7, 10.1.2.3", "2001:db8::7"),
        ("127.0.0.1", b"198.51.100.1, 203.0.113.7 , fd00::1,10.1.2.3", "203.0.113.7"),
        ("127.0.0.1", b"", "127.0.0.1"),
        ("127.0.0.1", b"10.1.2.3", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.7, not-an-address", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.7, \xff", "127.0.0.1"),
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),
        ("", b"198.51.100.1", ""),
    ],
)
def test_client_address_is_the_last_one_that_is_not_a_trusted_proxy(
    connected: str, forwarded: bytes, client: str
) -> None:
    assert TRUSTED.client((connected, 4711), {b"x-forwarded-for": forwarded}) == (client, 4711)


def test_client_address_without_trusted_proxies_is_that_of_the_connection() -> None:
    headers = {b"x-forwarded-for": b"198.51.100.1"}
    assert Proxies().client(("127.0.0.1", 1), headers) == ("127.0.0.1", 1)
    assert TRUSTED.client(None, headers) is None
