"""The published library of Standard Webhooks verifies the signatures of calls."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from domain.eventlog.encryption import Vault, WrongKey
from projections.deliveries.secrets import format_secret, signing_secret
from workers.webhooks.signing import signatures

GUIDE = Path(__file__).parents[3] / "docs" / "api.md"
KEY, WRAPPED = Vault(b"k" * 32).make("execution/e")
SECRET = signing_secret(KEY, "wh-1")
BODY = b'{"id":"1","data":{"text":"\xc3\xbc"}}'


def test_published_library_verifies_the_signature() -> None:
    headers = signatures([SECRET], "msg_7_wh-1", datetime.now(UTC), BODY)
    assert Webhook(format_secret(SECRET)).verify(BODY, headers)["id"] == "1"


@pytest.mark.parametrize("changed", ["body", "id", "time", "secret"])
def test_published_library_refuses_changed_calls(changed: str) -> None:
    now, secret, body = datetime.now(UTC), SECRET, BODY
    headers = signatures([SECRET], "msg_7_wh-1", now, BODY)
    match changed:
        case "body":
            body = BODY.replace(b"1", b"2")
        case "id":
            headers["webhook-id"] = "msg_8_wh-1"
        case "time":
            headers["webhook-timestamp"] = str(int((now + timedelta(seconds=1)).timestamp()))
        case _:
            secret = signing_secret(KEY, "wh-2")
    with pytest.raises(WebhookVerificationError):
        Webhook(format_secret(secret)).verify(body, headers)


def test_published_library_verifies_both_secrets_during_a_rotation() -> None:
    new = signing_secret(KEY, "wh-1", 1)
    headers = signatures([new, SECRET], "msg_7_wh-1", datetime.now(UTC), BODY)
    for secret in (new, SECRET):
        assert Webhook(format_secret(secret)).verify(BODY, headers)["id"] == "1"
    previous = hmac.new(SECRET, BODY, "sha256").hexdigest()
    assert headers["x-webhook-signature-previous"] == previous
    with pytest.raises(WebhookVerificationError):
        Webhook(format_secret(signing_secret(KEY, "wh-1", 2))).verify(BODY, headers)


def test_program_of_the_guide_verifies_calls_and_refuses_others() -> None:
    section = GUIDE.read_text().partition("\n## Webhooks\n")[2].partition("\n## ")[0]
    [program] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    found: dict[str, Any] = {}
    exec(dedent(program), found)  # noqa: S102 - our own example
    is_verified = found["is_verified"]
    now, new = datetime.now(UTC), signing_secret(KEY, "wh-1", 1)
    headers = signatures([new, SECRET], "msg_7_wh-1", now, BODY)
    for secret in (new, SECRET):
        assert is_verified(format_secret(secret), headers, BODY)
    assert not is_verified(format_secret(signing_secret(KEY, "wh-2")), headers, BODY)
    assert not is_verified(format_secret(SECRET), headers, BODY + b" ")
    assert not is_verified(format_secret(SECRET), headers | {"webhook-id": "msg_8_wh-1"}, BODY)
    old = signatures([SECRET], "msg_7_wh-1", now - timedelta(minutes=6), BODY)
    assert not is_verified(format_secret(SECRET), old, BODY)


def test_destroyed_key_has_no_secret() -> None:
    key, _ = Vault(b"k" * 32).make("execution/e")
    key.destroy()
    with pytest.raises(WrongKey):
        signing_secret(key, "wh-1")


def test_own_header_is_the_hmac_of_the_body_in_hexadecimal() -> None:
    headers = signatures([SECRET], "m", datetime.now(UTC), BODY)
    assert headers["x-webhook-signature"] == hmac.new(SECRET, BODY, "sha256").hexdigest()


def test_secret_is_derived_from_the_key_and_differs_between_webhooks() -> None:
    read = Vault(b"k" * 32).unwrap(WRAPPED, "execution/e")
    assert signing_secret(read, "wh-1") == SECRET
    assert signing_secret(read, "wh-2") != SECRET
    other, _ = Vault(b"k" * 32).make("execution/e")
    assert signing_secret(other, "wh-1") != SECRET
