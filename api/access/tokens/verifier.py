"""Verifies JSON Web Tokens (RFC 7519, RFC 8725): the signature, the issuer, the audience and the times."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    PyJWTError,
)

from api.access.identity import NAMED, Caller
from api.access.keys import actor
from api.access.rights import Role
from api.access.scope import Identity
from api.access.tokens.signing_keys import SigningKey, SigningKeys
from api.problems.problems import Unauthenticated
from domain.types import ID

ALGORITHMS = frozenset({"HS256", "RS256", "ES256", "EdDSA"})
FOREIGN = frozenset({"jwk", "jku", "x5u", "x5c", "crit"})
"""Members of a header that carry a key, or demand extensions that are not supported."""
REQUIRED = ["sub", "exp", "iss", "aud"]
SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")
"""A subject that can be stored: one line, and no half of a surrogate pair, which UTF-8 cannot encode."""
PARTY = re.compile(ID)
END_OF_TIME = 253_402_300_799
"""The end of the year 9999, in seconds since the epoch: the latest end of a token."""
REASONS: tuple[tuple[type[PyJWTError], str], ...] = (
    (ExpiredSignatureError, "This token has expired."),
    (ImmatureSignatureError, "This token is not valid yet."),
    (InvalidAudienceError, "This token is not for this service (`aud`)."),
    (InvalidIssuerError, "This token is of another issuer (`iss`)."),
)


class TokenRequirements(NamedTuple):
    """The claims that a token must have: the issuer and the audience; `leeway` are seconds by which clocks may differ.

    Where a token has the claim `logs`, it must name `log`. With `named`, as other logs are served, too, a token must
    have the claim.
    """

    issuer: str
    audience: str
    leeway: int
    log: str | None = None
    named: bool = False


class JwtVerifier:
    """Authenticates JSON Web Tokens by the keys of several sources."""

    def __init__(self, keys: Sequence[SigningKeys], expected: TokenRequirements) -> None:
        self._keys = keys
        self._expected = expected

    def takes(self, token: bytes) -> bool:
        """Whether a token has the form of a signed token: three parts, the first of which is a JSON object."""
        return token.startswith(b"ey") and token.count(b".") == 2

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """The holder of a token.

        Raises:
            Unauthenticated: the token is not signed by a known key, is for another service, has expired, or has no
                subject.
            Overloaded: the keys are unavailable.
        """
        algorithm, kid = _header(token)
        for keys in self._keys:
            for key in await keys.find(algorithm, kid):
                claims = self._claims(token, key)
                if claims is not None:
                    _require_log(claims, self._expected)
                    return _caller_of(claims, fingerprint, self._expected.leeway)
        raise Unauthenticated("This token is signed by no key that is known here.")

    def _claims(self, token: bytes, key: SigningKey) -> dict[str, Any] | None:
        """The verified claims of a token; None where another key has signed it."""
        expected = self._expected
        try:
            return dict(
                jwt.decode(
                    token,
                    key.key,
                    algorithms=[key.algorithm],
                    audience=expected.audience,
                    issuer=expected.issuer,
                    leeway=expected.leeway,
                    options={"require": REQUIRED},
                )
            )
        except jwt.InvalidSignatureError:
            return None
        except PyJWTError as error:
            reasons = (text for kind, text in REASONS if isinstance(error, kind))
            raise Unauthenticated(next(reasons, "This token is not valid.")) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated("This token is not valid.") from None


def _header(token: bytes) -> tuple[str, str | None]:
    """The algorithm and the key id in the header of a token.

    Raises:
        Unauthenticated: the text is no token, names another algorithm, or carries a key.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthenticated("This token is not valid.") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Unauthenticated("This token is not signed by RS256, ES256, EdDSA or HS256.")
    if not FOREIGN.isdisjoint(header):
        raise Unauthenticated("This token brings along a key, or what it calls critical.")
    return algorithm, kid


def _require_log(claims: Mapping[str, Any], expected: TokenRequirements) -> None:
    """Raises Unauthenticated where a token is for other logs, or must name its logs and does not."""
    claimed = claims.get("logs")
    if not expected.named and (claimed is None or expected.log is None):
        return
    names = [claimed] if isinstance(claimed, str) else claimed
    if not isinstance(names, list) or expected.log is None or expected.log not in names:
        raise Unauthenticated("This token does not name this log in `logs`.")


def _caller_of(claims: Mapping[str, Any], fingerprint: str, leeway: int) -> Caller:
    subject = claims["sub"]
    if not (isinstance(subject, str) and SUBJECT.fullmatch(subject)):
        raise Unauthenticated("This token does not say in `sub` whose it is.")
    roles = _roles(claims.get("roles"))
    customer, provider = (_party(claims, role, roles) for role in (Role.CUSTOMER, Role.PROVIDER))
    parties = {Role.CUSTOMER: customer, Role.PROVIDER: provider}
    first = roles[0]
    expires = datetime.fromtimestamp(min(int(claims["exp"]) + leeway, END_OF_TIME), UTC)
    identity = Identity(tuple(roles), customer, provider, subject)
    return Caller(
        actor(first, parties.get(first), subject),
        identity.scope,
        f"jwt/{fingerprint[:NAMED]}",
        expires,
        subject,
        identity=identity,
    )


def _roles(claimed: object) -> list[Role]:
    """The known roles among those that a token claims, in the order of `Role`."""
    names = [claimed] if isinstance(claimed, str) else claimed
    found = [role for role in Role if isinstance(names, list) and role.value in names]
    if not found:
        raise Unauthenticated(f"This token names in `roles` none of {', '.join(Role)}.")
    return found


def _party(claims: Mapping[str, Any], role: Role, roles: Container[Role]) -> str | None:
    """The customer or the provider in the claims: required with the role of the same name, and optional for an
    assignee, whose reach it narrows. For other roles it is ignored.
    """
    party = claims.get(role.value)
    if role not in roles and (party is None or Role.ASSIGNEE not in roles):
        return None
    if not (isinstance(party, str) and PARTY.fullmatch(party)):
        raise Unauthenticated(f"This token does not say in `{role}` of which {role} it is.")
    return party
