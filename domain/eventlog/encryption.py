"""Data keys, one for each stream, which seal and open fields, and the master key, which wraps data keys."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import a2b_base64
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from os import urandom
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from domain.damage import REPORTS
from domain.errors import Damaged

NONCE_BYTES, KEY_BYTES = 12, 32
CONSTANT = b"executions check"
"""What a master key wraps as its check value."""
_cached_cipher = lru_cache(maxsize=512)(AESGCM)  # a cipher takes 2.7 KB of memory, and 4 µs to make


class WrongKey(Damaged):
    """The master key, or the data key, does not open this."""


class DataKey:
    """Seals with AES-256-GCM. A token is `<version>.<base64url of nonce and ciphertext>`.

    Stream and version are authenticated, so a token moved to another place does not open.
    """

    __slots__ = ("__weakref__", "_stream", "material")

    def __init__(self, key: bytes, stream: str) -> None:
        self.material = key
        self._stream = stream

    @property
    def destroyed(self) -> bool:
        """Whether the key was destroyed, so that it opens and seals nothing for any holder of this object."""
        return not self.material

    def destroy(self) -> None:
        """Delete the key material: from now on this object opens and seals nothing."""
        self.material = b""
        _cached_cipher.cache_clear()

    def seal(self, content: bytes, version: int) -> str:
        """Encrypt `content` for the event with this version; return the token."""
        nonce = urandom(NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(
            nonce, content, self._authenticated_data(str(version))
        )
        return f"{version}.{urlsafe_b64encode(sealed).decode()}"

    def open(self, token: str) -> bytes:
        """Decrypt a token.

        Raises:
            WrongKey: the token was made by another key, for another stream or version, or was changed.
        """
        version, _, text = token.partition(".")
        try:
            sealed = a2b_base64(text.replace("-", "+").replace("_", "/"))
            return self._cipher().decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._authenticated_data(version)
            )
        except (InvalidTag, ValueError) as error:
            raise WrongKey(
                f"a sealed field of {self._stream} cannot be decrypted: wrong key, wrong place, or changed"
            ) from error

    def open_or_report(self, token: str) -> bytes | None:
        """Decrypt a token; None, and a report of damage, where that fails."""
        try:
            return self.open(token)
        except WrongKey as error:
            version = token.partition(".")[0]
            number = int(version) if version.isdecimal() else 0
            REPORTS.report("an event cannot be opened", self._stream, number, error)
            return None

    def _cipher(self) -> AESGCM:
        if self.destroyed:
            raise WrongKey(f"the data key of {self._stream} was destroyed")
        return _cached_cipher(self.material)

    def _authenticated_data(self, version: str) -> bytes:
        return f"{self._stream}@{version}".encode()


def make_destroyed_key(stream: str) -> DataKey:
    """A data key that stands for the destroyed key of an erased stream."""
    key = DataKey(bytes(KEY_BYTES), stream)
    key.destroy()
    return key


def usable(key: DataKey | None) -> DataKey | None:
    """The key; None if it was destroyed or there is none."""
    return None if key is None or key.destroyed else key


class DamagedKey(DataKey):
    """Stands for a data key that cannot be unwrapped. It opens and seals nothing."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    @property
    def destroyed(self) -> bool:
        """False, as a damaged key was not destroyed by an erasure."""
        return False

    def seal(self, content: bytes, version: int) -> str:
        """Raises WrongKey."""
        raise self.error()

    def open(self, token: str) -> bytes:
        """Raises WrongKey."""
        raise self.error()

    def open_or_report(self, token: str) -> bytes | None:
        """None, without a report: `Vault.unwrap_or_report` has reported the key."""
        return None

    def error(self) -> WrongKey:
        """The error to raise where the key is needed."""
        return WrongKey(f"the data key of {self._stream} is damaged")


class KeyCheck(NamedTuple):
    """The check value of a master key: its id, and `CONSTANT` wrapped by it."""

    id: str
    wrapped: bytes


class Vault:
    """Makes, wraps and unwraps data keys by a master key of 32 bytes, which it never returns."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise WrongKey(f"a master key has {KEY_BYTES} bytes, this one has {len(master_key)}")
        self._master = master_key

    @property
    def id(self) -> str:
        """The id of the master key: the first 16 digits of a hash, from which the key cannot be found."""
        return sha256(b"executions master key\n" + self._master).hexdigest()[:16]

    @property
    def check(self) -> KeyCheck:
        """The check value of the master key, which a log stores to recognize the key."""
        return KeyCheck(self.id, aes_key_wrap(self._master, CONSTANT))

    def require(self, check: KeyCheck) -> None:
        """Compare a stored check value with that of this master key.

        Raises:
            WrongKey: the check value is of another master key.
        """
        if check != self.check:
            raise WrongKey(f"the log has the master key {check.id}, and this is {self.id}")

    @property
    def secret_of_earlier_logs(self) -> bytes:
        """The secret of a log that was made before logs stored a secret: HKDF-Extract (RFC 5869) of the master key. So keys
        that such a log derived from its master key stay the same.
        """
        return digest(bytes(KEY_BYTES), self._master, "sha256")

    def wrap_secret(self, secret: bytes) -> bytes:
        """Wrap the secret of a log (RFC 3394), so that it may be stored."""
        return aes_key_wrap(self._master, secret)

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """Unwrap the stored secret of a log.

        Raises:
            WrongKey: it is damaged, or was wrapped by another master key.
        """
        try:
            return aes_key_unwrap(self._master, bytes(wrapped))
        except (InvalidUnwrap, ValueError) as error:
            raise WrongKey(
                "the secret of the log is damaged, or was wrapped by another master key"
            ) from error

    def wrap(self, key: DataKey) -> bytes:
        """Wrap a data key (RFC 3394), so that it may be stored."""
        return aes_key_wrap(self._master, key.material)

    def make(self, stream: str) -> tuple[DataKey, bytes]:
        """Make a new data key for a stream; return it and its wrapped form (RFC 3394)."""
        key = urandom(KEY_BYTES)
        return DataKey(key, stream), aes_key_wrap(self._master, key)

    def unwrap(self, wrapped: bytes, stream: str) -> DataKey:
        """Unwrap the stored data key of a stream.

        Raises:
            WrongKey: it is damaged, or was wrapped by another master key.
        """
        try:
            return DataKey(aes_key_unwrap(self._master, wrapped), stream)
        except (InvalidUnwrap, ValueError) as error:
            raise WrongKey(
                f"the data key of {stream} is damaged, or was wrapped by another master key"
            ) from error

    def unwraps(self, wrapped: bytes, stream: str) -> bool:
        """Whether a wrapped data key can be unwrapped: it is not damaged, and this master key wrapped it."""
        try:
            self.unwrap(wrapped, stream)
        except WrongKey:
            return False
        return True

    def unwrap_or_report(self, wrapped: bytes, stream: str) -> DataKey:
        """Unwrap the stored data key of a stream; a `DamagedKey`, and a report of damage, where that fails."""
        try:
            return self.unwrap(wrapped, stream)
        except WrongKey as error:
            REPORTS.report("a data key cannot be unwrapped", stream, 0, error)
            return DamagedKey(stream)
