"""Verifies JSON Web Tokens (RFC 7519, RFC 8725): the signature, the maker, the audience and the times."""

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
"""Members of a header that would bring a key along, or ask for what we do not know."""
REQUIRED = ["sub", "exp", "iss", "aud"]
SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")
"""Text that can be written: with half of a surrogate pair nothing that names its holder could be recorded."""
PARTY = re.compile(ID)
END_OF_TIME = 253_402_300_799
"""Seconds: a token that ends later ends with the year 9999."""
REASONS: tuple[tuple[type[PyJWTError], str], ...] = (
    (ExpiredSignatureError, "This token has expired."),
    (ImmatureSignatureError, "This token is not valid yet."),
    (InvalidAudienceError, "This token is not for this service (`aud`)."),
    (InvalidIssuerError, "This token is of another issuer (`iss`)."),
)


class TokenRequirements(NamedTuple):
    """What a token has to say: who made it, for whom, and by how many seconds clocks may differ. Where it names `logs`
    this `log` must be one of them; where that is `named`, as others are served beside it, it must name some.
    """

    issuer: str
    audience: str
    leeway: int
    log: str | None = None
    named: bool = False


class JwtVerifier:
    """Knows callers by tokens that were signed by one of some keys."""

    def __init__(self, keys: Sequence[SigningKeys], expected: TokenRequirements) -> None:
        self._keys = keys
        self._expected = expected

    def takes(self, token: bytes) -> bool:
        """Whether it has the form of a signed token: three parts, of which the first is a JSON object."""
        return token.startswith(b"ey") and token.count(b".") == 2

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """Whose token it is.

        Raises:
            Unauthenticated: it is not signed by one of the keys, not for us, too old, or says not who.
            Overloaded: the keys are not at hand.
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
        """What a token says; None where another key has signed it."""
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
            said = (text for kind, text in REASONS if isinstance(error, kind))
            raise Unauthenticated(next(said, "This token is not valid.")) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated("This token is not valid.") from None


def _header(token: bytes) -> tuple[str, str | None]:
    """Algorithm and id of the key that a token names.

    Raises:
        Unauthenticated: it is no token, names another algorithm, or brings a key along.
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
    """Raises Unauthenticated where a token is for other logs, or has to say for which ones and does not."""
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
    """The roles that a token claims and that there are, the one with most rights first."""
    names = [claimed] if isinstance(claimed, str) else claimed
    found = [role for role in Role if isinstance(names, list) and role.value in names]
    if not found:
        raise Unauthenticated(f"This token names in `roles` none of {', '.join(Role)}.")
    return found


def _party(claims: Mapping[str, Any], role: Role, roles: Container[Role]) -> str | None:
    """The customer or the provider that a token names: with the role of that name it must, and where it is there
    it narrows what an assignee reaches. For other roles it says nothing.
    """
    party = claims.get(role.value)
    if role not in roles and (party is None or Role.ASSIGNEE not in roles):
        return None
    if not (isinstance(party, str) and PARTY.fullmatch(party)):
        raise Unauthenticated(f"This token does not say in `{role}` of which {role} it is.")
    return party
