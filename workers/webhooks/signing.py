"""The headers that prove to a receiver whom a call is from: Standard Webhooks, and the platform's own.

See https://www.standardwebhooks.com, "Webhook signatures".
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256


def signatures(
    secrets: Sequence[bytes], message_id: str, at: datetime, body: bytes
) -> dict[str, str]:
    """The headers of a call with this body, made at a time.

    `webhook-signature` is over id, time and body, one for each secret; `x-webhook-signature`, in hexadecimal,
    over the body, by the first secret, and `x-webhook-signature-previous` by the second, if there is one.
    """
    seconds = str(int(at.timestamp()))
    signed = b"%b.%b.%b" % (message_id.encode(), seconds.encode(), body)
    each = (f"v1,{b64encode(_mac(secret, signed)).decode()}" for secret in secrets)
    names = ("x-webhook-signature", "x-webhook-signature-previous")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(each),
        **{name: _mac(secret, body).hex() for name, secret in zip(names, secrets, strict=False)},
    }


def _mac(secret: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, content, sha256)
