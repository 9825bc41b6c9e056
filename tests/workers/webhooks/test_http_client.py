"""One call: whom it reaches, and what comes of every way in which a receiver may misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

import httpcore
import pytest

from tests.support import webhook_receiver as receivers
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from workers.webhooks import http_client
from workers.webhooks.addresses import networks
from workers.webhooks.http_client import CallFailed, HttpClient

pytestmark = pytest.mark.anyio
LOOPBACK = networks("127.0.0.0/8")
PUBLIC = "93.184.216.34"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as made:
        yield made


class Recorded(httpcore.AsyncNetworkBackend):
    """Refuses every connection, and keeps which were wanted."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the protocol of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append(host)
        raise httpcore.ConnectError("refused")


async def test_call_carries_headers_and_body_and_reads_the_answer(
    receiver: WebhookReceiver,
) -> None:
    url = receiver.url("/hook?a=b").replace("http://", "http://me:secret@")
    answer = await HttpClient(LOOPBACK).post(url, {"X-Key": "k"}, b"{}")
    assert (answer.status, answer.body) == (200, b"ok")
    [call] = receiver.calls
    assert call.path == "/hook?a=b"
    assert call.headers["x-key"] == "k"
    assert call.headers["authorization"] == "Basic bWU6c2VjcmV0"
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert call.body == b"{}"


async def test_redirect_is_an_answer_and_is_not_followed(receiver: WebhookReceiver) -> None:
    receiver.answers["/hook"] = REDIRECT
    assert (await HttpClient(LOOPBACK).post(receiver.url(), {}, b"{}")).status == 302
    assert [call.path for call in receiver.calls] == ["/hook"]


async def test_proxy_of_the_environment_is_not_used(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert (await HttpClient(LOOPBACK).post(receiver.url(), {}, b"{}")).status == 200


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (receivers.BROKEN, 500, b"broken"),
        (receivers.GONE, 410, b""),
        (receivers.ENDLESS, 200, b"x" * 1_024),
        (receivers.CUT_SHORT, 200, b"part"),
        (receivers.STALLED, 202, b"part"),
    ],
)
async def test_status_counts_however_the_rest_of_the_answer_goes(
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    status: int,
    body: bytes,
) -> None:
    monkeypatch.setattr(http_client, "ANSWER_WITHIN", 0.2)
    receiver.answers["/hook"] = answer
    response = await HttpClient(LOOPBACK).post(receiver.url(), {}, b"{}")
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (receivers.SILENT, "no answer within 0.2 s"),
        (receivers.CUT_IN_HEAD, "RemoteProtocolError"),
        (b"nonsense\r\n\r\n", "RemoteProtocolError"),
    ],
)
async def test_call_without_a_status_fails(
    receiver: WebhookReceiver, answer: bytes, message: str
) -> None:
    receiver.answers["/hook"] = answer
    with pytest.raises(CallFailed, match=message):
        await HttpClient(LOOPBACK, timeout=0.2).post(receiver.url(), {}, b"{}")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
    ],
)
async def test_loopback_is_refused_in_every_spelling(receiver: WebhookReceiver, url: str) -> None:
    with pytest.raises(CallFailed, match=r"is refused \(loopback\): EXECUTIONS_WEBHOOK_ALLOW"):
        await HttpClient(()).post(url.format(port=receiver.port), {}, b"{}")
    assert not receiver.calls


async def test_vetted_address_is_dialled_though_the_name_has_another_by_then() -> None:
    network, asked = Recorded(), list[str]()

    async def changing(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    client = HttpClient((), network, changing)
    with pytest.raises(CallFailed, match="ConnectError"):
        await client.post("https://rebind.example/", {}, b"{}")
    assert (asked, network.dialled) == (["rebind.example"], [PUBLIC])
    with pytest.raises(CallFailed, match="loopback"):
        await client.post("https://rebind.example/", {}, b"{}")
    assert network.dialled == [PUBLIC]


async def test_host_with_one_private_address_is_not_called_at_any() -> None:
    network = Recorded()

    async def mixed(host: str, port: int) -> Sequence[str]:
        return [PUBLIC, "10.0.0.1"]

    with pytest.raises(CallFailed, match="private"):
        await HttpClient((), network, mixed).post("https://mixed.example/", {}, b"{}")
    assert network.dialled == []


async def test_every_address_of_a_host_is_tried_until_one_answers() -> None:
    network = Recorded()

    async def several(host: str, port: int) -> Sequence[str]:
        return [PUBLIC, "8.8.8.8"]

    with pytest.raises(CallFailed, match="ConnectError"):
        await HttpClient((), network, several).post("https://two.example/", {}, b"{}")
    assert network.dialled == [PUBLIC, "8.8.8.8"]


@pytest.mark.parametrize("url", ["http://[::1", "http://a:b:c/", "https://nowhere.invalid/"])
async def test_url_that_leads_nowhere_fails(url: str) -> None:
    with pytest.raises(CallFailed):
        await HttpClient(()).post(url, {}, b"{}")
