"""A cluster of three NATS servers that accept clients by TLS."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from api.fan_out.connection import connection_to, nats_servers
from tests.support.fan_out import STREAM, NatsServer
from tests.support.ports import free_port

SERVERS = 3
DAY = timedelta(days=1)
CONFIG = """server_name: "{name}"
listen: "127.0.0.1:{{port}}"
max_payload: {{payload}}
jetstream {{{{ store_dir: "{{store}}" }}}}
tls {{{{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key" }}}}
cluster {{{{
  name: "executions"
  listen: "127.0.0.1:{own}"
  routes: [{routes}]
}}}}
"""


class NatsCluster:
    """Its servers by name, with a certificate of an authority that only `environment` contains."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca.pem"
        self.environment = {"EXECUTIONS_NATS_CA": str(self.ca)}
        _certify(folder)
        ports = [free_port() for _ in range(SERVERS)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers: dict[str, NatsServer] = {}
        for number, own in enumerate(ports):
            name, place = f"n{number}", folder / f"n{number}"
            place.mkdir()
            config = CONFIG.format(name=name, folder=folder, own=own, routes=routes)
            self.servers[name] = NatsServer(place, config=config)
        self.port = self.servers["n0"].port

    def url_of(self, user: str) -> str:
        """The addresses of all servers."""
        urls = (server.url_of(user) for server in self.servers.values())
        return ",".join(url.replace("nats://", "tls://") for url in urls)

    def start(self) -> None:
        """Return once each accepts connections; they have no leader yet."""
        for server in self.servers.values():
            server.start()

    def kill(self) -> None:
        """Kill all servers."""
        for server in self.servers.values():
            server.kill()

    def leader(self) -> str:
        """The leader of the stream."""

        async def ask() -> str:
            async with connection_to(nats_servers(self.url_of(""), ca=self.ca), "test") as there:
                info = await there.client.jsm().stream_info(STREAM)
                assert info.cluster is not None
                return str(info.cluster.leader)

        return asyncio.run(ask())


def _certify(folder: Path) -> None:
    """Make an authority, and a certificate of it for this machine."""
    of_ca, of_server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nats")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = (
        _certificate(ca, ca, of_ca.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(of_ca, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    made = _certificate(server, ca, of_server.public_key()).add_extension(here, critical=False)
    (folder / "server.pem").write_bytes(
        made.sign(of_ca, hashes.SHA256()).public_bytes(Encoding.PEM)
    )
    key = of_server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.key").write_bytes(key)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
