"""Measures the verification of tokens: at their first use, and later."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hmac import digest
from typing import Any

import jwt
import uvloop
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa

from api.access.identity import Authenticator
from api.access.tokens.signing_keys import FixedKeys, SigningKey, algorithm_of
from api.access.tokens.verifier import JwtVerifier, TokenRequirements
from bench.measurements import Measurement, Target
from bench.plan import Plan

ISSUER, AUDIENCE, LOOKS = "https://id.example", "executions", 100_000
SECRET = b"b" * 32
TARGET = Target("≤", 30)


def tokens(plan: Plan) -> list[Measurement]:
    """Measure the microseconds for a token of each kind of key, beside one HMAC of the token, which is the lower limit."""
    private: tuple[Any, ...] = (
        new_rsa(65_537, 2_048),
        new_ec(SECP256R1()),
        Ed25519PrivateKey.generate(),
    )
    keys = [SigningKey(algorithm_of(key.public_key()), key.public_key()) for key in private]
    measurements: list[Measurement] = []
    for key, signing in zip(private, keys, strict=True):
        measurements += _measurements(jwt.encode(_claims(), key, signing.algorithm), signing, plan)
    return measurements


def _measurements(token: str, key: SigningKey, plan: Plan) -> list[Measurement]:
    header, expected = f"Bearer {token}".encode(), TokenRequirements(ISSUER, AUDIENCE, 30)
    first = list[float]()
    for _ in range(plan.repetitions):
        access = Authenticator("the-admin-token", SECRET, [JwtVerifier([FixedKeys(key)], expected)])
        begun = time.perf_counter()
        uvloop.run(access.caller(header))
        first.append(1e6 * (time.perf_counter() - begun))
    least = [_each(lambda: digest(SECRET, header, "sha256"), plan) for _ in range(plan.repetitions)]
    known = [_each(lambda: access.known_caller(header), plan) for _ in range(plan.repetitions)]
    ratios = [one / other for one, other in zip(known, least, strict=True)]
    name = f"token by {key.algorithm}"
    return [
        Measurement(f"limit: one HMAC of a {name}", "µs", least, None, f"{len(token)} bytes"),
        Measurement(f"{name}, first use", "µs", first, None, "with an event loop of its own"),
        Measurement(f"{name}, after that", "µs", known, TARGET),
        Measurement("of the limit", "", ratios),
    ]


def _each(run: Callable[[], object], plan: Plan) -> float:
    amount = plan.count(LOOKS)
    begun = time.perf_counter()
    for _ in range(amount):
        run()
    return 1e6 * (time.perf_counter() - begun) / amount


def _claims() -> dict[str, object]:
    end = datetime.now(UTC) + timedelta(hours=1)
    who = {"sub": "alice", "roles": ["provider"], "provider": "acme"}
    return {"iss": ISSUER, "aud": AUDIENCE, "exp": end, **who}
