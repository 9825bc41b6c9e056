"""Checks the addresses of URLs that others have chosen. A table has the ranges that only machines near the server should reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
SETTING = "EXECUTIONS_WEBHOOK_ALLOW"
"""The setting that allows networks for webhooks; other calls have settings of their own."""

RULES: dict[str, tuple[str, ...]] = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "metadata service": ("169.254.169.254/32", "100.100.100.200/32", "168.63.129.16/32"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "carrier-grade NAT": ("100.64.0.0/10",),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "NAT64": ("64:ff9b::/96", "64:ff9b:1::/48"),
    "tunnel": ("2002::/16", "2001::/32", "192.88.99.0/24"),
    "embedded IPv4": ("::/96", "::ffff:0:0:0/96"),
    "documentation or test": (
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"),
        *("2001:db8::/32", "2001:2::/48", "3fff::/20"),
    ),
    "reserved": ("192.0.0.0/24", "240.0.0.0/4", "100::/64", "2001:10::/28", "5f00::/16"),
}
"""The refused ranges by the names of their rules. An error names the first rule that matches."""
_RULES = [(name, ip_network(text)) for name, texts in RULES.items() for text in texts]
_GLOBAL_6 = IPv6Network("2000::/3")


class AddressRefused(Exception):
    """A host may not be called. The message names the host, the rule and the setting, but none of its addresses."""


def networks(text: str) -> tuple[Network, ...]:
    """Parse a setting: networks in CIDR notation, separated by commas.

    Raises:
        ValueError: a part is not a network.
    """
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def plain(address: Address) -> Address:
    """The IPv4 address of an IPv4-mapped IPv6 address; any other address unchanged."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def check(
    host: str, addresses: Iterable[str], allowed: Sequence[Network], setting: str = SETTING
) -> None:
    """Check that all addresses of a host may be called.

    An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is checked as its IPv4 address.

    Raises:
        AddressRefused: an address may not be called; the message names the `setting` that allows networks.
    """
    for address in addresses:
        if (rule := _rule_against(plain(ip_address(address)), allowed)) is not None:
            raise AddressRefused(f"{host} is refused ({rule}): {setting} may allow its network")


def _rule_against(address: Address, allowed: Sequence[Network]) -> str | None:
    if any(address in network for network in allowed):
        return None
    rule = next((name for name, network in _RULES if address in network), None)
    if rule is None and isinstance(address, IPv6Address) and address not in _GLOBAL_6:
        return "reserved"
    return rule
