"""One data key per stream, wrapped by a master key: seals and opens fields."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

NONCE_BYTES = 12
KEY_BYTES = 32


class WrongKey(Exception):
    """The master key, or the data key, does not fit what it should open."""


class DataKey:
    """Seals with AES-256-GCM. A token is `<version>.<base64url of nonce and ciphertext>`.

    Stream and version are authenticated, so a token moved to another place does not open.
    """

    __slots__ = ("_aead", "_stream")

    def __init__(self, key: bytes, stream: str) -> None:
        self._aead = AESGCM(key)
        self._stream = stream

    def seal(self, content: bytes, version: int) -> str:
        """The token of `content` in the event with this version."""
        nonce = urandom(NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, content, self._associated_data(str(version)))
        return f"{version}.{urlsafe_b64encode(sealed).decode()}"

    def open(self, token: str) -> bytes:
        """The content of a token.

        Raises:
            WrongKey: the token was made by another key, for another place, or was changed.
        """
        version, _, text = token.partition(".")
        try:
            sealed = urlsafe_b64decode(text)
            return self._aead.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._associated_data(version)
            )
        except (InvalidTag, ValueError) as error:
            raise WrongKey(
                f"a sealed field of {self._stream} cannot be decrypted: wrong key, wrong place, or changed"
            ) from error

    def _associated_data(self, version: str) -> bytes:
        return f"{self._stream}@{version}".encode()


class Vault:
    """Makes and unwraps data keys. The master key is 32 bytes and never leaves it."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise WrongKey(f"a master key has {KEY_BYTES} bytes, this one has {len(master_key)}")
        self._master = master_key

    def make(self, stream: str) -> tuple[DataKey, bytes]:
        """A new data key and its wrapped form (RFC 3394), which may be stored."""
        key = urandom(KEY_BYTES)
        return DataKey(key, stream), aes_key_wrap(self._master, key)

    def unwrap(self, wrapped: bytes, stream: str) -> DataKey:
        """The data key of a stored wrapped one.

        Raises:
            WrongKey: it was wrapped by another master key.
        """
        try:
            return DataKey(aes_key_unwrap(self._master, wrapped), stream)
        except InvalidUnwrap as error:
            raise WrongKey("the master key does not match the data keys of this log") from error
