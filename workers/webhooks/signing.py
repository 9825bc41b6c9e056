"""The headers that prove to a receiver whom a call is from: Standard Webhooks, and the platform's own.

See https://www.standardwebhooks.com, "Webhook signatures".
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from datetime import datetime
from hashlib import sha256


def signatures(secret: bytes, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a call with this body, made at a time.

    `webhook-signature` is over id, time and body; `x-webhook-signature`, in hexadecimal, over the body.
    """
    seconds = str(int(at.timestamp()))
    signed = b"%b.%b.%b" % (message_id.encode(), seconds.encode(), body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{b64encode(_mac(secret, signed)).decode()}",
        "x-webhook-signature": _mac(secret, body).hex(),
    }


def _mac(secret: bytes, content: bytes) -> bytes:
    return hmac.new(secret, content, sha256).digest()
