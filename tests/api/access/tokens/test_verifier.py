"""JSON Web Tokens: known attacks are refused, and a valid token gives its caller's rights."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import pytest

from api.access.identity import Authenticator, Caller
from api.access.rights import Role
from api.access.scope import AUDITING, WHOLE, Scope, reach_of_owner
from api.access.tokens.signing_keys import FixedKeys, of_pem, of_secret
from api.access.tokens.verifier import JwtVerifier, TokenRequirements
from api.problems.problems import Unauthenticated
from tests.support.tokens import (
    ALGORITHMS,
    AUDIENCE,
    ISSUER,
    SECRET,
    claims,
    part,
    pem,
    private_key,
    token,
    unsigned,
)

pytestmark = pytest.mark.anyio
NOW = int(time.time())
EXPECTED = TokenRequirements(ISSUER, AUDIENCE, leeway=5)


def access(*keys: Any) -> Authenticator:
    fixed = FixedKeys(*(keys or (of_secret(SECRET), *(of_pem(pem(each)) for each in ALGORITHMS))))
    return Authenticator("the-admin-token", b"pepper", [JwtVerifier([fixed], EXPECTED)])


async def caller(text: bytes, known: Authenticator | None = None) -> Caller:
    return await (known or access()).caller(b"Bearer " + text)


async def refusal(text: bytes, known: Authenticator | None = None) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await caller(text, known)
    return refused.value.detail


@pytest.mark.parametrize("algorithm", ["HS256", *ALGORITHMS])
async def test_token_of_each_algorithm_is_accepted(algorithm: str) -> None:
    found = await caller(token(algorithm))
    assert found.name == "provider:acme/alice"
    assert found.scope.reaches == (reach_of_owner(Role.PROVIDER, "acme"),)
    assert found.expires_at is not None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exp": NOW - 60}, "expired"),
        ({"exp": None}, "not valid"),
        ({"exp": "soon"}, "not valid"),
        ({"exp": [1]}, "not valid"),
        ({"nbf": NOW + 86_400}, "not valid yet"),
        ({"iat": NOW + 86_400}, "not valid yet"),
        ({"aud": "others"}, "aud"),
        ({"aud": None}, "not valid"),
        ({"aud": []}, "not valid"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": None}, "not valid"),
        ({"sub": None}, "not valid"),
        ({"sub": ""}, "sub"),
        ({"sub": "a\nadmin"}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sub": "\ud800"}, "sub"),
        ({"roles": None}, "roles"),
        ({"roles": []}, "roles"),
        ({"roles": ["root"]}, "roles"),
        ({"roles": {"admin": True}}, "roles"),
        ({"provider": None}, "provider"),
        ({"provider": ["acme"]}, "provider"),
        ({"provider": "acme/x"}, "provider"),
        ({"roles": ["provider", "customer"]}, "customer"),
    ],
)
async def test_token_with_wrong_claims_is_refused(changed: dict[str, Any], said: str) -> None:
    assert said in await refusal(token(**changed))


async def test_leeway_of_clocks_is_that_of_the_settings() -> None:
    now = int(time.time())
    verifier = JwtVerifier([FixedKeys(of_secret(SECRET))], TokenRequirements(ISSUER, AUDIENCE, 300))
    known = Authenticator("the-admin-token", b"pepper", [verifier])
    apart: tuple[dict[str, Any], ...] = ({"exp": now - 200}, {"nbf": now + 200})
    for changed in apart:
        await caller(token(**changed), known)
        await refusal(token(**changed))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
async def test_token_without_a_signature_is_refused(algorithm: str) -> None:
    await refusal(unsigned({"alg": algorithm, "typ": "JWT"}))
    head, body, signature = token().split(b".")
    await refusal(b".".join((part({"alg": algorithm, "typ": "JWT"}), body, signature)))
    await refusal(b".".join((head, body, b"")))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_public_key_is_not_accepted_as_a_secret_of_hs256(algorithm: str) -> None:
    head, body = part({"alg": "HS256", "typ": "JWT"}), part(claims(roles=["admin"]))
    public = pem(algorithm)
    for secret in (public, public.strip()):
        signature = hmac.digest(secret, head + b"." + body, hashlib.sha256)
        forged = b".".join((head, body, part(signature)))
        await refusal(forged, access(of_pem(public)))
        await refusal(forged)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "RS384", "RS512", "PS256", "ES384"])
async def test_token_of_another_algorithm_is_refused(algorithm: str) -> None:
    _, body, signature = token().split(b".")
    assert "RS256" in await refusal(b".".join((part({"alg": algorithm}), body, signature)))


@pytest.mark.parametrize("algorithm", [7, ["HS256"], {"HS256": 1}, None, True])
async def test_algorithm_that_is_not_a_string_is_refused(algorithm: Any) -> None:
    _, body, signature = token().split(b".")
    await refusal(b".".join((part({"alg": algorithm}), body, signature)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_token_signed_by_another_key_is_refused(algorithm: str) -> None:
    forged = token(algorithm, private_key(algorithm, 1), {"kid": "../../dev/null"})
    assert "no key" in await refusal(forged)


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c", "crit"])
async def test_token_with_a_key_in_its_header_is_refused(member: str) -> None:
    values = {"jwk": {"kty": "oct", "k": "QQ"}, "x5c": ["MIIB"], "crit": ["exp"]}
    url = "http://169.254.169.254/keys"
    said = await refusal(token(header={member: values.get(member, url)}))
    assert "no key" not in said


@pytest.mark.parametrize("kid", [7, ["a"], {"a": 1}, None])
async def test_key_id_that_is_not_a_string_is_refused(kid: Any) -> None:
    _, body, signature = token().split(b".")
    await refusal(b".".join((part({"alg": "HS256", "kid": kid}), body, signature)))


@pytest.mark.parametrize(
    "text",
    [
        b"ey..",
        b"eyJ.eyJ.eyJ",
        b"ey" + b"A" * 4_000 + b".e30.e30",
        part(b"[" * 3_000 + b"]" * 3_000) + b".e30.e30",
        b"ey\xff\xfe.\xff.\xff",
        part({"alg": "HS256"}) + b"." + part(b"[" * 2_000) + b".e30",
        part({"alg": "HS256"}) + b"." + part("text") + b"." + part(b"0" * 32),
        token() + b".e30.e30",
    ],
)
async def test_text_that_is_not_a_token_is_refused(text: bytes) -> None:
    await refusal(text)


async def test_huge_token_is_refused_before_it_is_parsed() -> None:
    read = False

    class Reading(JwtVerifier):
        def takes(self, token: bytes) -> bool:
            nonlocal read
            read = True
            return super().takes(token)

    verifier = Reading([FixedKeys(of_secret(SECRET))], EXPECTED)
    known = Authenticator("the-admin-token", b"pepper", [verifier])
    await refusal(token(more="x" * 8_192), known)
    assert not read


async def test_token_is_verified_once_and_cached_until_it_expires() -> None:
    times = 0

    class Counting(FixedKeys):
        async def find(self, algorithm: str, kid: str | None) -> Any:
            nonlocal times
            times += 1
            return await super().find(algorithm, kid)

    now = time.time()
    verifier = JwtVerifier([Counting(of_secret(SECRET))], EXPECTED)
    known = Authenticator("the-admin-token", b"pepper", [verifier], now=lambda: now)
    header = b"Bearer " + token(exp=int(now) + 600)
    assert known.known_caller(header) is None
    found = await known.caller(header)
    assert await known.caller(header) is found
    assert known.known_caller(header) is found
    assert times == 1
    now += 600
    assert known.known_caller(header) is found, "within the leeway"
    now += EXPECTED.leeway
    assert known.known_caller(header) is None


async def test_token_that_differs_in_one_character_is_verified_again() -> None:
    known = access()
    text = token()
    await caller(text, known)
    head, _, signature = text.split(b".")
    await refusal(b".".join((head, part(claims(roles=["admin"])), signature)), known)


@pytest.mark.parametrize(
    ("said", "name", "scope"),
    [
        ({"roles": "admin", "provider": None}, "admin:alice", WHOLE),
        (
            {"roles": ["auditor"], "provider": None},
            "auditor:alice",
            Scope((AUDITING,)),
        ),
        (
            {"roles": ["assignee", "customer"], "customer": "initech"},
            "customer:initech/alice",
            Scope(
                (
                    reach_of_owner(Role.CUSTOMER, "initech"),
                    reach_of_owner(Role.ASSIGNEE, "alice", customer="initech", provider="acme"),
                )
            ),
        ),
        (
            {"roles": ["assignee"], "provider": None},
            "assignee:alice",
            Scope((reach_of_owner(Role.ASSIGNEE, "alice"),)),
        ),
        (
            {"roles": ["assignee"], "provider": "acme"},
            "assignee:alice",
            Scope((reach_of_owner(Role.ASSIGNEE, "alice", provider="acme"),)),
        ),
    ],
)
async def test_roles_of_a_token_determine_its_scope(
    said: dict[str, Any], name: str, scope: Any
) -> None:
    found = await caller(token(**said))
    assert (found.name, found.scope, found.subject) == (name, scope, "alice")
    assert (AUDITING in found.scope.reaches) == ("auditor" in said["roles"])


async def test_token_may_expire_in_the_far_future() -> None:
    found = await caller(token(exp=10**15))
    assert found.expires_at is not None
    assert found.expires_at.year == 9999
