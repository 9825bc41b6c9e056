"""The keys that tokens are signed by. Each key has one algorithm, which is derived from the key, never from a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

SHORTEST_RSA = 2_048
"""Bits of an RSA key: a shorter one can be factored."""


class UnfitKey(ValueError):
    """A key cannot verify tokens; the message says why."""


class SigningKey(NamedTuple):
    """A key, its algorithm, and its id if it has one."""

    algorithm: str
    key: Any
    kid: str | None = None


class SigningKeys(Protocol):
    """A source of keys."""

    async def find(self, algorithm: str, kid: str | None) -> Sequence[SigningKey]:
        """The keys that may have signed a token with this header. Raises Overloaded where they are unavailable."""
        ...


class FixedKeys:
    """Keys from the settings, which have no ids."""

    def __init__(self, *keys: SigningKey) -> None:
        self._keys = keys

    async def find(self, algorithm: str, kid: str | None) -> Sequence[SigningKey]:
        """The keys of the algorithm."""
        return [key for key in self._keys if key.algorithm == algorithm]


def of_secret(secret: str) -> SigningKey:
    """Make a key of a shared secret (HS256)."""
    return SigningKey("HS256", secret.encode())


def of_pem(text: bytes) -> SigningKey:
    """Make a key of a public key in PEM: RSA of at least 2048 bits (RS256), P-256 (ES256) or Ed25519 (EdDSA).

    Raises:
        UnfitKey: the text has no such key.
    """
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnfitKey("it has no public key in PEM") from error
    return SigningKey(algorithm_of(key), key)


def of_jwk(document: dict[str, Any]) -> SigningKey | None:
    """Make a key of a JSON Web Key; None where the key is not for verifying tokens."""
    if document.get("use", "sig") != "sig" or document.get("kty") == "oct":
        return None
    try:
        key = PyJWK.from_dict({name: document[name] for name in document if name != "alg"}).key
        algorithm = algorithm_of(key)
    except (PyJWTError, UnfitKey, ValueError, TypeError):
        return None
    if document.get("alg", algorithm) != algorithm:
        return None
    kid = document.get("kid")
    return SigningKey(algorithm, key, kid if isinstance(kid, str) else None)


def algorithm_of(key: object) -> str:
    """The algorithm of a public key. Raises UnfitKey where no algorithm for such a key is accepted."""
    match key:
        case RSAPublicKey() if key.key_size >= SHORTEST_RSA:
            return "RS256"
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return "ES256"
        case Ed25519PublicKey():
            return "EdDSA"
        case _:
            raise UnfitKey(
                f"it is no public key of RSA with {SHORTEST_RSA} bits, of P-256 or of Ed25519"
            )
