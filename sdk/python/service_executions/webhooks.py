"""Verifies the calls of webhooks, for their receivers."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Mapping

from service_executions.errors import ExecutionsError
from service_executions.frames import Event

TOLERANCE = 300.0
"""Seconds by which the time of a call may differ from the receiver's clock."""


class NotVerified(ExecutionsError):
    """The call is not from the service, is too old, or was changed on the way."""


def verify(
    headers: Mapping[str, str],
    body: bytes | str,
    secret: str,
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> Event:
    """Return the event of a call that was signed with the webhook's secret (Standard Webhooks).

    `body` must be the received bytes, unchanged. While a secret is rotated, both the old and the new one verify.

    Raises:
        NotVerified: the signature is missing, wrong, or older than `tolerance` seconds.
        ValueError: the secret is not of the form `whsec_…`.
    """
    given = {name.lower(): value for name, value in headers.items()}
    content = body.encode() if isinstance(body, str) else body
    try:
        identity, at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
        age = abs((time.time() if now is None else now) - int(at))
    except (KeyError, ValueError):
        raise NotVerified("the call has no signature of Standard Webhooks") from None
    if age > tolerance:
        raise NotVerified("the call is too old, or from the future")
    mac = hmac.digest(_key(secret), f"{identity}.{at}.".encode() + content, "sha256")
    wanted = b"v1," + base64.b64encode(mac)
    if not any(hmac.compare_digest(wanted, each.encode()) for each in signatures):
        raise NotVerified("the signature is another one")
    return Event.model_validate_json(content)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("the secret is not one of a webhook: `whsec_` and base64") from None
