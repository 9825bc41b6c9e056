"""Receivers verify the calls of webhooks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook as Signer

from service_executions import webhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = (
    '{"specversion":"1.0","id":"7","type":"execution.failed","source":"/api/executions/run-1",'
    '"subject":"run-1","time":"2026-11-22T08:00:00.000Z","position":7,"version":3,"actor":"admin",'
    '"data":{"code":"SMTP"},"timestamp":"2026-11-22T08:00:00.000Z"}'
)


def headers(body: str = BODY, at: datetime | None = None) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": Signer(SECRET).sign("msg_1", at, body),
    }


def test_call_is_verified_and_parsed() -> None:
    event = webhooks.verify(headers(), BODY.encode(), SECRET)
    assert (event.type, event.subject, event.position) == ("execution.failed", "run-1", 7)
    assert event.data == {"code": "SMTP"}


def test_changed_call_is_refused() -> None:
    with pytest.raises(webhooks.NotVerified):
        webhooks.verify(headers(), BODY.replace("SMTP", "HTTP"), SECRET)


def test_old_call_is_refused() -> None:
    later = datetime.now(UTC).timestamp() + 301
    with pytest.raises(webhooks.NotVerified):
        webhooks.verify(headers(), BODY, SECRET, now=later)
    webhooks.verify(headers(), BODY, SECRET, now=later, tolerance=400)


def test_call_without_a_signature_is_refused() -> None:
    with pytest.raises(webhooks.NotVerified):
        webhooks.verify({"webhook-id": "1"}, BODY, SECRET)


def test_both_secrets_verify_during_a_rotation() -> None:
    signed = headers()
    signed["Webhook-Signature"] = f"v1,AAAA {signed['Webhook-Signature']}"
    webhooks.verify(signed, BODY, SECRET)
