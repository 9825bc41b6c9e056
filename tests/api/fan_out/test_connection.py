"""Connections to NATS: the choice of the server, and TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.errors import Error as NatsError

from api.fan_out.connection import connection_to, nats_servers
from tests.support.databases import reachable_folder
from tests.support.fan_out import nats_program
from tests.support.nats_cluster import NatsCluster

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster() -> Iterator[NatsCluster]:
    """A cluster of NATS, one server of which runs."""
    nats_program()
    with reachable_folder() as folder:
        made = NatsCluster(folder)
        server = made.servers["n0"]
        server.start()
        yield made
        server.kill()


async def test_refused_connection_raises_connection_refused(
    cluster: NatsCluster,
) -> None:
    url = cluster.servers["n1"].url
    with pytest.raises(ConnectionRefusedError):
        async with connection_to(nats_servers(url), "test"):
            pass


async def test_running_server_is_found_among_stopped_ones(cluster: NatsCluster) -> None:
    for _ in range(3):
        servers = nats_servers(cluster.url_of(""), ca=cluster.ca)
        async with connection_to(servers, "test") as connection:
            assert connection.client.connected_url is not None
            assert connection.client.connected_url.port == cluster.servers["n0"].port


async def test_certificate_of_an_unknown_authority_is_refused(
    cluster: NatsCluster, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        async with connection_to(nats_servers(cluster.url_of("").partition(",")[0]), "test"):
            pass
    with pytest.raises(Exception, match="there is no file"):
        nats_servers(cluster.url_of(""), ca=tmp_path / "none.pem")


@pytest.mark.parametrize("by_ca", [False, True])
async def test_password_is_not_sent_to_a_server_without_tls(
    cluster: NatsCluster, by_ca: bool
) -> None:
    came = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","max_payload":1048576}\r\n')
        while part := await reader.read(1024):
            came.extend(part)
            writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"{'nats' if by_ca else 'tls'}://relay:secret@127.0.0.1:{port}"
    async with server:
        with pytest.raises(NatsError, match="no TLS"):
            async with connection_to(nats_servers(url, ca=cluster.ca if by_ca else None), "test"):
                pass
    assert came == b""
