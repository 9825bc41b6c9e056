"""The secret that signs the calls of one webhook."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.eventlog.encryption import DamagedKey, DataKey, WrongKey

PREFIX = "whsec_"
SECRET_BYTES = 32


def signing_secret(key: DataKey, webhook: str, generation: int = 0) -> bytes:
    """The secret of a webhook that was rotated so often. It follows from the data key of its execution, or
    of its own (HKDF, RFC 5869), tells nothing of it, and is gone with it. So it is stored nowhere.

    Raises:
        WrongKey: the data key is damaged, or was destroyed.
    """
    if isinstance(key, DamagedKey):
        raise key.error()
    if key.destroyed:
        raise WrongKey("the secret of a webhook is gone, as its data key was destroyed")
    purpose = f"webhook {webhook} {generation}" if generation else f"webhook {webhook}"
    return HKDF(SHA256(), SECRET_BYTES, salt=None, info=purpose.encode()).derive(key.material)


def signing_generations(
    generation: int, overlap_until: datetime | None, at: datetime
) -> tuple[int, ...]:
    """The secrets that sign at a time, as how often each was rotated: the present one, and the one before
    while the two overlap.
    """
    both = generation > 0 and overlap_until is not None and at < overlap_until
    return (generation, generation - 1) if both else (generation,)


def format_secret(secret: bytes) -> str:
    """A secret as receivers write it down, in the form of Standard Webhooks."""
    return PREFIX + b64encode(secret).decode()
