"""The host of a webhook's URL is looked up and checked before the webhook is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from domain.errors import Invalid
from workers.outbound.addresses import networks
from workers.webhooks import vetting
from workers.webhooks.vetting import Vetting

pytestmark = pytest.mark.anyio


def vetting_with(*addresses: str) -> Vetting:
    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return addresses

    asked: list[tuple[str, int]] = []
    made = Vetting(networks("10.1.0.0/16"), resolve)
    made.asked = asked  # type: ignore[attr-defined]  # read by the test
    return made


@pytest.mark.parametrize(
    "addresses", [("8.8.8.8",), ("8.8.8.8", "2606:4700::1"), ("10.1.2.3",), ()]
)
async def test_host_is_accepted_if_all_its_addresses_are_allowed(
    addresses: tuple[str, ...],
) -> None:
    await vetting_with(*addresses).require([("url", "https://a.example/")])


@pytest.mark.parametrize(
    ("addresses", "rule"),
    [
        (("127.0.0.1",), "loopback"),
        (("8.8.8.8", "10.2.0.1"), "private"),
        (("fe80::1",), "link-local"),
        (("::ffff:169.254.169.254",), "metadata service"),
        (("64:ff9b::a00:1",), "NAT64"),
        (("100.64.0.1",), "carrier-grade NAT"),
    ],
)
async def test_host_with_one_forbidden_address_is_refused(
    addresses: tuple[str, ...], rule: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await vetting_with(*addresses).require([("webhooks.3.url", "https://a.example/")])
    [error] = refused.value.members["errors"]
    assert error["path"] == "webhooks.3.url"
    assert f"({rule}): EXECUTIONS_WEBHOOK_ALLOW" in error["message"]
    assert not any(address in error["message"] for address in addresses)


async def test_host_is_looked_up_once_by_its_port() -> None:
    vetted = vetting_with("8.8.8.8")
    urls = (
        "https://a.example/1",
        "https://a.example/2",
        "http://a.example:81/",
        "http://b.example/",
    )
    await vetted.require(("url", url) for url in urls)
    assert sorted(vetted.asked) == [  # type: ignore[attr-defined]  # see above
        ("a.example", 81),
        ("a.example", 443),
        ("b.example", 80),
    ]


async def test_host_that_is_not_resolved_in_time_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(_: str, __: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return ()

    async def fail(_: str, __: int) -> Sequence[str]:
        raise OSError("no such host")

    monkeypatch.setattr(vetting, "LOOKS_FOR", 0.01)
    for resolve in (hang, fail):
        await Vetting((), resolve).require([("url", "https://a.example/")])


async def test_hosts_with_hanging_look_ups_take_a_bounded_number_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vetting, "LOOKS_FOR", 0.01)
    begun: list[str] = []
    released = asyncio.Event()

    async def hang(host: str, _: int) -> Sequence[str]:
        begun.append(host)
        await released.wait()
        raise OSError

    made = Vetting((), hang)
    for _ in range(3):
        await made.require((f"{n}", f"https://{n}.example/") for n in range(vetting.MOST))
    assert len(begun) == vetting.MOST
    released.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await made.require([("url", "https://other.example/")])
    assert begun[-1] == "other.example"
