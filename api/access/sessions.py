"""Sessions of browsers: their cookies, and the one-time codes with which a terminal signs a browser in."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any, NamedTuple

import orjson

from api.access.identity import NAMED, OF_COOKIES, Authenticator, Caller
from api.access.keys import Load, is_checked, require_live, with_checksum
from api.access.rights import Right, Role
from api.access.scope import Identity
from api.problems.problems import Unauthenticated
from domain.access.session import Session, StartSession
from domain.errors import Forbidden
from domain.json_forms import format_time, parse_time
from domain.model import Versioned

CODE = "exc_"
CODE_LASTS = timedelta(seconds=60)
KEY, SESSION = "key/", "session/"
MOST_PARENTS = 8
"""Credentials that a session may depend on, one after the other; it ends with each of them."""


class SessionVerifier:
    """Authenticates the cookies of sessions, which are events of the log.

    A session that was started with a key, or by a code of another session, ends with it. `admin` returns the
    credential of the current administrator's token.
    """

    def __init__(self, load: Load, admin: Callable[[], str]) -> None:
        self._load = load
        self._admin = admin

    def takes(self, token: bytes) -> bool:
        """Whether a token has the form of a session's cookie, and its checksum is right."""
        return token.startswith(OF_COOKIES) and is_checked(token, OF_COOKIES)

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """The holder of a session. Raises Unauthenticated where the session is unknown or has ended."""
        versioned = await self._load(f"session/{session_id(fingerprint)}")
        if versioned is None or not hmac.compare_digest(versioned.state.digest, fingerprint):
            raise Unauthenticated("This session is not known.")
        session = _require_open(versioned)
        parents = await self._parents(session.credential)
        identity = _identity_of(session)
        return Caller(
            session.name,
            identity.scope,
            f"session/{session.id}",
            session.expires_at,
            session.subject or "",
            parents,
            identity,
        )

    async def _parents(self, credential: str) -> tuple[str, ...]:
        """The credential that a session was started with, the one that that was started with, and so on: all must be
        valid.
        """
        if credential.startswith(SESSION):
            parent = _require_open(await self._load(credential))
            return credential, *await self._parents(parent.credential)
        if credential.startswith(KEY):
            require_live(await self._load(credential))
        elif credential.startswith("admin-token") and credential != self._admin():
            raise Unauthenticated("The administrator's token has changed since this session began.")
        return (credential,)


def _require_open(versioned: Versioned[Any] | None) -> Session:
    if versioned is None:
        raise Unauthenticated("This session is not known.")
    session: Session = versioned.state
    if session.ended or session.expires_at <= datetime.now(UTC):
        raise Unauthenticated("This session has ended.")
    return session


class OneTimeCode(NamedTuple):
    """The caller that a one-time code signs in, whose credential ends at `ends`."""

    name: str
    identity: Identity
    credential: str
    ends: datetime | None


def session_id(fingerprint: str) -> str:
    """The id of the session whose cookie has a fingerprint."""
    return f"ses_{fingerprint[:NAMED]}"


def start(access: Authenticator, who: OneTimeCode, cookie: bytes, lasts: timedelta) -> StartSession:
    """The command that starts a session with a cookie, which lasts at most `lasts`, and no longer than its credential."""
    ends = datetime.now(UTC) + lasts
    identity = who.identity
    return StartSession(
        digest=access.fingerprint(cookie),
        name=who.name,
        roles=tuple(identity.roles),
        customer=identity.customer,
        provider=identity.provider,
        subject=identity.subject,
        rights=None if identity.rights is None else tuple(sorted(identity.rights)),
        credential=who.credential,
        expires_at=ends if who.ends is None else min(ends, who.ends),
    )


def of_caller(access: Authenticator, caller: Caller) -> OneTimeCode:
    """The holder of a session that a caller starts.

    Raises:
        Unauthenticated: the caller has no identity.
        Forbidden: the caller's session depends on `MOST_PARENTS` credentials already.
    """
    if caller.identity is None:
        raise Unauthenticated
    if len(caller.parents) >= MOST_PARENTS:
        raise Forbidden(
            "This session was started by a code of another one, that one by another, and so on: sign in with a key."
        )
    credential = caller.credential
    if credential == access.admin.credential:
        credential = access.admin_parent
    return OneTimeCode(caller.name, caller.identity, credential, caller.expires_at)


def new_code(access: Authenticator, who: OneTimeCode) -> tuple[str, datetime]:
    """Make a code that signs a browser in once, within `CODE_LASTS`. Return the code and the time of its end."""
    until = datetime.now(UTC) + CODE_LASTS
    identity = who.identity
    payload = orjson.dumps(
        {
            "nonce": token_hex(8),
            "until": format_time(until),
            "name": who.name,
            "credential": who.credential,
            "ends": who.ends and format_time(who.ends),
            "roles": list(identity.roles),
            "customer": identity.customer,
            "provider": identity.provider,
            "subject": identity.subject,
            "rights": None if identity.rights is None else sorted(identity.rights),
        }
    )
    text = urlsafe_b64encode(payload).rstrip(b"=").decode()
    return f"{CODE}{text}.{_signature(access, payload)}", until


def read_code(access: Authenticator, code: str) -> OneTimeCode:
    """The holder of a code. Raises Unauthenticated where the code is not valid, or has expired."""
    text, _, signature = code.removeprefix(CODE).rpartition(".")
    try:
        payload = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        payload = b""
    if not hmac.compare_digest(signature.encode(), _signature(access, payload).encode()):
        raise Unauthenticated("This code is not valid.")
    fields = orjson.loads(payload)
    if parse_time(fields["until"]) <= datetime.now(UTC):
        raise Unauthenticated("This code has expired: a new one is good for a minute.")
    ends = fields["ends"] and parse_time(fields["ends"])
    return OneTimeCode(fields["name"], _identity(fields), fields["credential"], ends)


def cookie_of_code(access: Authenticator, code: str) -> bytes:
    """The only cookie that a code leads to, so that the code can be used once. It is derived from the signature, as
    base64url allows several texts of one payload.
    """
    signature = code.rpartition(".")[2]
    return with_checksum(
        bytes.fromhex(access.fingerprint(f"cookie of {signature}".encode())), OF_COOKIES
    )


def _signature(access: Authenticator, payload: bytes) -> str:
    return access.fingerprint(b"code " + payload)


def _identity(fields: dict[str, Any]) -> Identity:
    rights = fields["rights"]
    return Identity(
        tuple(Role(role) for role in fields["roles"]),
        fields["customer"],
        fields["provider"],
        fields["subject"],
        None if rights is None else frozenset(Right).intersection(rights),
    )


def _identity_of(session: Session) -> Identity:
    return _identity(session.__dict__)
