"""One HTTP call of a webhook: allowed addresses, and every way in which a receiver may misbehave."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support import webhook_receiver as receivers
from tests.support.hub import until
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from workers.outbound.addresses import Network, networks
from workers.webhooks import http_client, http_connection
from workers.webhooks.http_client import CallFailed, ConnectionOrigin, HttpClient
from workers.webhooks.http_connection import HttpConnection

pytestmark = pytest.mark.anyio
LOOPBACK = networks("127.0.0.0/8")
PUBLIC = "93.184.216.34"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as made:
        yield made


class Recorded:
    """Refuses every connection, and stores the requested ones."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    async def __call__(self, address: str, origin: ConnectionOrigin) -> HttpConnection:
        self.dialled.append(address)
        raise ConnectionRefusedError("refused")


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


async def test_redirect_is_not_followed(receiver: WebhookReceiver) -> None:
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
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + receivers.OK, 200, b"ok"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\0", 101, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 No\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil its end", 200, b"until its end"),
    ],
)
async def test_status_counts_whatever_the_rest_of_the_answer_is(
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    status: int,
    body: bytes,
) -> None:
    monkeypatch.setattr(http_connection, "ANSWER_WITHIN", 0.2)
    receiver.answers["/hook"] = answer
    response = await HttpClient(LOOPBACK).post(receiver.url(), {}, b"{}")
    assert (response.status, response.body) == (status, body)


async def test_status_in_time_counts_although_the_rest_of_the_answer_is_late(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers["/hook"] = receivers.STALLED
    monkeypatch.setattr(http_connection, "ANSWER_WITHIN", 1.5)
    response = await HttpClient(LOOPBACK, timeout=1.0).post(receiver.url(), {}, b"{}")
    assert (response.status, response.body) == (202, b"part")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (receivers.SILENT, "no answer within 0.2 s"),
        (receivers.CUT_IN_HEAD, "closed before an answer came"),
        (b"nonsense\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000, "too large"),
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
async def test_loopback_is_refused_in_every_notation(receiver: WebhookReceiver, url: str) -> None:
    with pytest.raises(CallFailed, match=r"is refused \(loopback\): EXECUTIONS_WEBHOOK_ALLOW"):
        await HttpClient(()).post(url.format(port=receiver.port), {}, b"{}")
    assert not receiver.calls


async def test_vetted_address_is_dialled_although_the_name_resolves_to_another_by_then() -> None:
    network, asked = Recorded(), list[str]()

    async def change_address(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    client = HttpClient((), network, change_address)
    with pytest.raises(CallFailed, match="no connection to"):
        await client.post("https://rebind.example/", {}, b"{}")
    assert (asked, network.dialled) == (["rebind.example"], [PUBLIC])
    with pytest.raises(CallFailed, match="loopback"):
        await client.post("https://rebind.example/", {}, b"{}")
    assert network.dialled == [PUBLIC]


async def test_host_with_one_private_address_is_not_called() -> None:
    network = Recorded()

    async def resolve_to_both(host: str, port: int) -> Sequence[str]:
        return [PUBLIC, "10.0.0.1"]

    with pytest.raises(CallFailed, match="private"):
        await HttpClient((), network, resolve_to_both).post("https://mixed.example/", {}, b"{}")
    assert network.dialled == []


async def test_every_address_of_a_host_is_tried_until_one_answers() -> None:
    network = Recorded()

    async def resolve_to_several(host: str, port: int) -> Sequence[str]:
        return [PUBLIC, "8.8.8.8"]

    with pytest.raises(CallFailed, match="no connection to"):
        await HttpClient((), network, resolve_to_several).post("https://two.example/", {}, b"{}")
    assert network.dialled == [PUBLIC, "8.8.8.8"]


@pytest.mark.parametrize("allowed", [(), networks("0.0.0.0/0")])
async def test_failure_names_the_host_and_the_reason_and_no_address(
    allowed: Sequence[Network],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    async def resolve_to_private(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    with pytest.raises(CallFailed) as failed:
        await HttpClient(allowed, resolve=resolve_to_private).post(
            f"http://a.example:{port}/", {}, b"{}"
        )
    reason = "no connection to a.example: Connection refused" if allowed else "a.example is refused"
    assert reason in str(failed.value)
    assert "127.0.0.1" not in str(failed.value)


@pytest.mark.parametrize("url", ["http://[::1", "http://a:b:c/", "https://nowhere.invalid/"])
async def test_invalid_url_fails(url: str) -> None:
    with pytest.raises(CallFailed):
        await HttpClient(()).post(url, {}, b"{}")


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port at which `serve` handles each connection; all have ended after the block."""
    connections: list[asyncio.Task[Any]] = []

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(cast("asyncio.Task[Any]", asyncio.current_task()))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(tracked, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*connections)


@pytest.mark.parametrize("stays", [True, False])
async def test_connection_is_reused_and_opened_again_after_its_end(
    stays: bool,
) -> None:
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        while stays or connections[-1] == 0:
            await reader.readuntil(b"\r\n\r\n{}")
            connections[-1] += 1
            writer.write(receivers.OK)

    async with listening(serve) as port:
        client = HttpClient(LOOPBACK)
        for _ in range(3):
            assert (await client.post(f"http://127.0.0.1:{port}/", {}, b"{}")).status == 200
        assert connections == ([3] if stays else [1, 1, 1])
        await client.aclose()


async def test_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "IDLE_SECONDS", 0.05)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(receivers.OK)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        ended.set()

    async with listening(serve) as port:
        await HttpClient(LOOPBACK).post(f"http://127.0.0.1:{port}/", {}, b"{}")
        async with asyncio.timeout(30):
            await ended.wait()


async def test_url_of_a_finished_call_stays_in_memory_for_seconds_only(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "IDLE_SECONDS", 0.05)
    client = HttpClient(LOOPBACK)
    await client.post(receiver.url("/hook?token=secret"), {}, b"{}")
    await until(lambda: not len(client._targets))
    await client.aclose()


async def test_message_about_an_invalid_url_quotes_nothing_of_it() -> None:
    with pytest.raises(CallFailed) as failed:
        await HttpClient(()).post("http://me:secret/word@a.example/", {}, b"{}")
    assert "secret" not in str(failed.value)


async def test_header_with_a_line_break_is_not_sent(receiver: WebhookReceiver) -> None:
    with pytest.raises(CallFailed, match="line break"):
        await HttpClient(LOOPBACK).post(receiver.url(), {"X-Key": "k\r\nX-Other: o"}, b"{}")
    assert receiver.calls == []


@pytest.mark.parametrize(("host", "known"), [("hook.example", True), ("other.example", False)])
async def test_certificate_must_match_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, known: bool
) -> None:
    certificate, key = self_signed(tmp_path, "hook.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(receivers.OK)

    async def resolve(name: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with listening(serve, tls) as port:
        client = HttpClient(LOOPBACK, resolve=resolve)
        url = f"https://{host}:{port}/"
        if known:
            assert (await client.post(url, {}, b"{}")).body == b"ok"
        else:
            with pytest.raises(CallFailed, match=r"no connection to.*ertificate"):
                await client.post(url, {}, b"{}")
        await client.aclose()


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a self-signed certificate for a host, and of its key."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(key, SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    form = PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    return certificate, private
