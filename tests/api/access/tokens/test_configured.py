"""The settings of JSON Web Tokens, and errors in them, which are reported at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.access.identity import Authenticator
from api.access.tokens.configured import verifiers
from api.settings import SetupError, read
from domain.errors import Overloaded
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, pem, token

pytestmark = pytest.mark.anyio
FOR_US = {"EXECUTIONS_JWT_ISSUER": ISSUER, "EXECUTIONS_JWT_AUDIENCE": AUDIENCE}


def access(**variables: Any) -> Authenticator:
    return Authenticator("the-admin-token", b"pepper", verifiers(read(FOR_US | variables)))


async def test_secret_and_key_file_of_the_settings_are_used(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem("ES256"))
    known = access(EXECUTIONS_JWT_KEY=SECRET, EXECUTIONS_JWT_PUBLIC_KEY=str(file))
    for algorithm in ("HS256", "ES256"):
        assert (await known.caller(b"Bearer " + token(algorithm))).name == "provider:acme/alice"


def test_service_accepts_no_tokens_without_a_key() -> None:
    assert verifiers(read({})) == ()


@pytest.mark.parametrize("missing", FOR_US)
def test_key_without_issuer_or_audience_is_refused(missing: str) -> None:
    with pytest.raises(SetupError, match=missing):
        verifiers(read({"EXECUTIONS_JWT_KEY": SECRET, **FOR_US, missing: ""}))


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\nQQ==\n"])
def test_key_file_without_a_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SetupError, match="JWT_PUBLIC_KEY"):
        access(EXECUTIONS_JWT_PUBLIC_KEY=str(file))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEY", "short-secret"),
        ("JWKS_URL", "file:///etc/passwd"),
        ("JWKS_URL", "https://user:secret@id.example/keys"),
        ("LEEWAY", "301"),
        ("ALLOW", "everywhere"),
    ],
)
def test_invalid_setting_is_refused_without_showing_a_secret(name: str, value: str) -> None:
    with pytest.raises(SetupError, match=f"JWT_{name}") as refused:
        read({f"EXECUTIONS_JWT_{name}": value})
    assert name != "KEY" or value not in str(refused.value)


async def test_keys_at_a_private_address_are_not_read_unless_it_is_allowed() -> None:
    known = access(EXECUTIONS_JWT_JWKS_URL="http://127.0.0.1:9/keys")
    with pytest.raises(Overloaded):
        await known.caller(b"Bearer " + token("RS256"))
