"""JSON Web Tokens as an identity provider signs them, and invalid ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "a-secret-of-the-tests-with-32-characters"
ISSUER, AUDIENCE = "https://id.example", "executions"
ALGORITHMS = ("RS256", "ES256", "EdDSA")


def private_key(algorithm: str, number: int = 0) -> Any:
    """One of some private keys for an algorithm."""
    return _made(algorithm, number)


@cache
def _made(algorithm: str, _: int) -> Any:
    if algorithm == "RS256":
        return new_rsa(65_537, 2_048)
    return new_ec(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()


def pem(algorithm: str, number: int = 0) -> bytes:
    """The public key of this private key."""
    public = private_key(algorithm, number).public_key()
    return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def jwk(algorithm: str, kid: str, number: int = 0) -> dict[str, Any]:
    """The same as a JSON Web Key."""
    kind: Any = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
    public = private_key(algorithm, number).public_key()
    return {**kind.to_jwk(public, as_dict=True), "kid": kid, "alg": algorithm, "use": "sig"}


def claims(**changed: Any) -> dict[str, Any]:
    """Valid claims of a provider; those that are None are left out."""
    now = int(datetime.now(UTC).timestamp())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "roles": ["provider"],
        "provider": "acme",
        "iat": now,
        "exp": now + 300,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def token(
    algorithm: str = "HS256",
    key: Any = None,
    header: Mapping[str, Any] | None = None,
    **changed: Any,
) -> bytes:
    """A signed token."""
    if key is None:
        key = SECRET if algorithm == "HS256" else private_key(algorithm)
    return jwt.encode(claims(**changed), key, algorithm, dict(header or {})).encode()


def part(value: Any) -> bytes:
    """A part of a token: base64url, of JSON unless it is bytes."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def unsigned(header: Any, **changed: Any) -> bytes:
    """A token with this header, and no signature."""
    return b".".join((part(header), part(claims(**changed)), b""))
