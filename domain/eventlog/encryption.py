"""One data key per stream, wrapped by a master key: seals and opens fields."""

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
_made_ready = lru_cache(maxsize=512)(AESGCM)  # one that is ready takes 2.7 KB; to make it so, 4 µs


class WrongKey(Damaged):
    """The master key, or the data key, does not fit what it should open."""


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
        """Whether it opens nothing any more, for everything that holds it."""
        return not self.material

    def destroy(self) -> None:
        """Open and seal nothing any more."""
        self.material = b""
        _made_ready.cache_clear()

    def seal(self, content: bytes, version: int) -> str:
        """The token of `content` in the event with this version."""
        nonce = urandom(NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(
            nonce, content, self._authenticated_data(str(version))
        )
        return f"{version}.{urlsafe_b64encode(sealed).decode()}"

    def open(self, token: str) -> bytes:
        """The content of a token.

        Raises:
            WrongKey: the token was made by another key, for another place, or was changed.
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
        """The content of a token, None where it cannot be opened: one stops nobody."""
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
        return _made_ready(self.material)

    def _authenticated_data(self, version: str) -> bytes:
        return f"{self._stream}@{version}".encode()


def make_destroyed_key(stream: str) -> DataKey:
    """Stands for the key of a stream whose content was erased."""
    key = DataKey(bytes(KEY_BYTES), stream)
    key.destroy()
    return key


def usable(key: DataKey | None) -> DataKey | None:
    """The key, None where it was destroyed."""
    return None if key is None or key.destroyed else key


class DamagedKey(DataKey):
    """Stands for a data key that cannot be unwrapped: it opens and seals nothing."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    @property
    def destroyed(self) -> bool:
        """False: it was never meant to go."""
        return False

    def seal(self, content: bytes, version: int) -> str:
        """Raises WrongKey."""
        raise self.error()

    def open(self, token: str) -> bytes:
        """Raises WrongKey."""
        raise self.error()

    def open_or_report(self, token: str) -> bytes | None:
        """None; the key itself was reported."""
        return None

    def error(self) -> WrongKey:
        """What to raise where the key is needed."""
        return WrongKey(f"the data key of {self._stream} is damaged")


class KeyCheck(NamedTuple):
    """The id of a master key, and a constant that it wrapped."""

    id: str
    wrapped: bytes


class Vault:
    """Makes and unwraps data keys. The master key is 32 bytes and never leaves it."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise WrongKey(f"a master key has {KEY_BYTES} bytes, this one has {len(master_key)}")
        self._master = master_key

    @property
    def id(self) -> str:
        """A name for the master key, which tells nothing of it."""
        return sha256(b"executions master key\n" + self._master).hexdigest()[:16]

    @property
    def check(self) -> KeyCheck:
        """What is kept of the master key, to know it again."""
        return KeyCheck(self.id, aes_key_wrap(self._master, CONSTANT))

    def require(self, check: KeyCheck) -> None:
        """Raises WrongKey where a check is of another master key."""
        if check != self.check:
            raise WrongKey(f"the log has the master key {check.id}, and this is {self.id}")

    @property
    def secret_of_earlier_logs(self) -> bytes:
        """The secret of a log that began before it was stored: HKDF-Extract of the master key, which tells
        nothing of that. What follows from it is what followed from the master key before.
        """
        return digest(bytes(KEY_BYTES), self._master, "sha256")

    def wrap_secret(self, secret: bytes) -> bytes:
        """The secret of a log as it may be stored."""
        return aes_key_wrap(self._master, secret)

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """The secret of a stored wrapped one.

        Raises:
            WrongKey: it was wrapped by another master key.
        """
        try:
            return aes_key_unwrap(self._master, bytes(wrapped))
        except (InvalidUnwrap, ValueError) as error:
            raise WrongKey(
                "the secret of the log is damaged, or was wrapped by another master key"
            ) from error

    def wrap(self, key: DataKey) -> bytes:
        """A data key as it may be stored (RFC 3394)."""
        return aes_key_wrap(self._master, key.material)

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
        except (InvalidUnwrap, ValueError) as error:
            raise WrongKey(
                f"the data key of {stream} is damaged, or was wrapped by another master key"
            ) from error

    def unwraps(self, wrapped: bytes, stream: str) -> bool:
        """Whether it is the master key of a wrapped data key, which is not damaged."""
        try:
            self.unwrap(wrapped, stream)
        except WrongKey:
            return False
        return True

    def unwrap_or_report(self, wrapped: bytes, stream: str) -> DataKey:
        """The same; a `DamagedKey` where it cannot be unwrapped: one stops nobody."""
        try:
            return self.unwrap(wrapped, stream)
        except WrongKey as error:
            REPORTS.report("a data key cannot be unwrapped", stream, 0, error)
            return DamagedKey(stream)
