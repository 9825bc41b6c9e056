"""A time-stamp authority (RFC 3161) on this machine: its answers are signed by its own root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SEQUENCE, SET, INTEGER, OCTETS, OID, TIME = 0x30, 0x31, 0x02, 0x04, 0x06, 0x18
SHA256_OID, ECDSA_OID = "2.16.840.1.101.3.4.2.1", "1.2.840.10045.4.3.2"
SIGNED_DATA, STAMP_INFO = "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
CONTENT_TYPE, DIGEST, SIGNING_CERTIFICATE = (
    "1.2.840.113549.1.9.3",
    "1.2.840.113549.1.9.4",
    "1.2.840.113549.1.9.16.2.47",
)


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(number: int) -> bytes:
    return der(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    encoded = bytearray([40 * first + second])
    for number in rest:
        groups = [number & 127]
        while number := number >> 7:
            groups.append(number & 127 | 128)
        encoded += bytes(reversed(groups))
    return der(OID, bytes(encoded))


def algorithm(text: str) -> bytes:
    return der(SEQUENCE, oid(text))


def items(data: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of consecutive items."""
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 128:
            size = length & 127
            length, at = int.from_bytes(data[at : at + size]), at + size
        found.append((tag, data[at : at + length]))
        at += length
    return found


class StampingAuthority(NamedTuple):
    """Its root certificate, and its own with its key; `queries` has the requests."""

    root: x509.Certificate
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    queries: list[bytes]
    url: str = ""

    @property
    def pem(self) -> bytes:
        """Its root certificate."""
        return self.root.public_bytes(Encoding.PEM)

    def stamp(self, query: bytes, at: datetime) -> bytes:
        """The answer to a query."""
        self.queries.append(query)
        [(_, inner)] = items(query)
        _, (_, imprint), *rest = items(inner)
        nonce = next(content for tag, content in rest if tag == INTEGER)
        info = der(
            SEQUENCE,
            integer(1),
            oid("1.3.6.1.4.1.13762.3"),
            der(SEQUENCE, imprint),
            integer(len(self.queries)),
            der(TIME, f"{at:%Y%m%d%H%M%SZ}".encode()),
            der(INTEGER, nonce),
        )
        accepted = der(SEQUENCE, integer(0))
        content = der(0xA0, der(OCTETS, info))
        signed = der(
            SEQUENCE,
            integer(3),
            der(SET, algorithm(SHA256_OID)),
            der(SEQUENCE, oid(STAMP_INFO), content),
            der(0xA0, self.certificate.public_bytes(Encoding.DER)),
            der(SET, self._signer(info)),
        )
        return der(SEQUENCE, accepted, der(SEQUENCE, oid(SIGNED_DATA), der(0xA0, signed)))

    def _signer(self, info: bytes) -> bytes:
        certificate = self.certificate.public_bytes(Encoding.DER)
        hashed = der(SEQUENCE, der(OCTETS, sha256(certificate).digest()))
        attributes = sorted(
            der(SEQUENCE, oid(name), der(SET, value))
            for name, value in (
                (CONTENT_TYPE, oid(STAMP_INFO)),
                (DIGEST, der(OCTETS, sha256(info).digest())),
                (SIGNING_CERTIFICATE, der(SEQUENCE, der(SEQUENCE, hashed))),
            )
        )
        issuer = self.certificate.issuer.public_bytes()
        signature = self.key.sign(der(SET, *attributes), ec.ECDSA(SHA256()))
        return der(
            SEQUENCE,
            integer(1),
            der(SEQUENCE, issuer, integer(self.certificate.serial_number)),
            algorithm(SHA256_OID),
            der(0xA0, *attributes),
            algorithm(ECDSA_OID),
            der(OCTETS, signature),
        )


def new_authority() -> StampingAuthority:
    """An authority with new keys."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("Root", root_key, "Root", root_key)
    return StampingAuthority(root, _certificate("TSA", key, "Root", root_key), key, [])


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=700))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    )
    if name != issuer:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer_key, SHA256())


@contextmanager
def answering(authority: StampingAuthority, at: datetime) -> Iterator[StampingAuthority]:
    """It answers over HTTP while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            answer = authority.stamp(query, at)
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield authority._replace(url=f"http://127.0.0.1:{server.server_address[1]}/tsr")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
