"""Finds the address of a client behind trusted proxies, by `X-Forwarded-For`."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from api.web.headers import Headers
from workers.outbound.addresses import Address, Network, plain

Client = tuple[str, int] | None


class Proxies:
    """Networks whose proxies are trusted to name the client in `X-Forwarded-For`."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = trusted

    def client(self, connected: Client, headers: Headers) -> Client:
        """The address of the client, and the port of the connection.

        The client is the last address in `X-Forwarded-For` that is not of a trusted proxy: a client can make up the
        addresses before it. Where a trusted proxy names no valid address, the proxy is the client.
        """
        if not self._trusted or connected is None or not self._trusts(_address(connected[0])):
            return connected
        named = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        for each in reversed(named):
            if (address := _address(text := each.strip())) is None:
                return connected
            if not self._trusts(address):
                return text, connected[1]
        return connected

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(plain(address) in network for network in self._trusted)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
