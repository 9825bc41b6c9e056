"""Network addresses that webhooks may reach."""

from __future__ import annotations

import pytest

from workers.outbound.addresses import SETTING, AddressRefused, check, networks

REFUSED = {
    "127.0.0.1": "loopback",
    "::1": "loopback",
    "0.0.0.0": "unspecified",  # noqa: S104 - the address is the test case
    "::": "unspecified",
    "10.1.2.3": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "fd00:ec2::254": "private",
    "169.254.169.254": "metadata service",
    "169.254.1.1": "link-local",
    "fe80::1%eth0": "link-local",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "metadata service",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b:1::1": "NAT64",
    "2002:7f00:1::": "tunnel",
    "2001:0:1::": "tunnel",
    "::7f00:1": "embedded IPv4",
    "::ffff:0:127.0.0.1": "embedded IPv4",
    "::ffff:10.0.0.1": "private",
    "198.18.0.1": "documentation or test",
    "4000::1": "reserved",
}


@pytest.mark.parametrize(("address", "rule"), REFUSED.items())
def test_refusal_names_the_rule_and_the_setting(address: str, rule: str) -> None:
    with pytest.raises(AddressRefused, match=f"\\({rule}\\): {SETTING} ") as refused:
        check("a.example", [address], ())
    assert str(refused.value).startswith("a.example is refused")
    assert address not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "172.32.0.1"]
)
def test_public_address_passes(address: str) -> None:
    check(address, [address], ())


def test_setting_allows_only_its_networks() -> None:
    allowed = networks("127.0.0.0/8, fd00::/8")
    check("a.example", ["127.0.0.1", "::ffff:127.0.0.1", "fd00::1"], allowed)
    with pytest.raises(AddressRefused):
        check("a.example", ["127.0.0.1", "10.0.0.1"], allowed)


def test_setting_without_networks_allows_none() -> None:
    assert networks("") == ()
