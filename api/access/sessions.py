"""Sessions of browsers: cookies, and the codes by which a terminal lets a browser in."""

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
"""Credentials that a session may hang on, each of which has to go on."""


class SessionVerifier:
    """Knows sessions by the log. One that began with a key, or by a code of another session, ends with it; `admin`
    is what stands for the administrator's token of today.
    """

    def __init__(self, load: Load, admin: Callable[[], str]) -> None:
        self._load = load
        self._admin = admin

    def takes(self, token: bytes) -> bool:
        """Whether it looks like the cookie of a session."""
        return token.startswith(OF_COOKIES) and is_checked(token, OF_COOKIES)

    async def caller(self, token: bytes, fingerprint: str) -> Caller:
        """Whose session it is. Raises Unauthenticated where there is none, or no more."""
        versioned = await self._load(f"session/{session_id(fingerprint)}")
        if versioned is None or not hmac.compare_digest(versioned.state.digest, fingerprint):
            raise Unauthenticated("This session is not known.")
        session = _require_going_on(versioned)
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
        """What a session began with, and what that began with: all of it must go on."""
        if credential.startswith(SESSION):
            parent = _require_going_on(await self._load(credential))
            return credential, *await self._parents(parent.credential)
        if credential.startswith(KEY):
            require_live(await self._load(credential))
        elif credential.startswith("admin-token") and credential != self._admin():
            raise Unauthenticated("The administrator's token has changed since this session began.")
        return (credential,)


def _require_going_on(versioned: Versioned[Any] | None) -> Session:
    if versioned is None:
        raise Unauthenticated("This session is not known.")
    session: Session = versioned.state
    if session.ended or session.expires_at <= datetime.now(UTC):
        raise Unauthenticated("This session has ended.")
    return session


class OneTimeCode(NamedTuple):
    """Who may come in by a code, once, and until when; with a credential that ends at `ends`."""

    name: str
    identity: Identity
    credential: str
    ends: datetime | None


def session_id(fingerprint: str) -> str:
    """The id of the session whose cookie has a fingerprint."""
    return f"ses_{fingerprint[:NAMED]}"


def start(access: Authenticator, who: OneTimeCode, cookie: bytes, lasts: timedelta) -> StartSession:
    """The command that lets a browser in which has this cookie, for as long as it lasts at most."""
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
    """Who a session of a caller is.

    Raises:
        Unauthenticated: it has no roles of its own.
        Forbidden: it is a session itself, that began with another, and so on, too many times.
    """
    if caller.identity is None:
        raise Unauthenticated
    if len(caller.parents) >= MOST_PARENTS:
        raise Forbidden(
            "A session that began with so many others, one after the other, lets none in."
        )
    credential = caller.credential
    if credential == access.admin.credential:
        credential = access.admin_parent
    return OneTimeCode(caller.name, caller.identity, credential, caller.expires_at)


def new_code(access: Authenticator, who: OneTimeCode) -> tuple[str, datetime]:
    """A code by which somebody may come in once within a minute, and when it ends."""
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
    """Who may come in by a code. Raises Unauthenticated where it is none, or too old."""
    text, _, signature = code.removeprefix(CODE).rpartition(".")
    try:
        payload = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        payload = b""
    if not hmac.compare_digest(signature.encode(), _signature(access, payload).encode()):
        raise Unauthenticated("This code is not valid.")
    said = orjson.loads(payload)
    if parse_time(said["until"]) <= datetime.now(UTC):
        raise Unauthenticated("This code has expired: a new one is good for a minute.")
    ends = said["ends"] and parse_time(said["ends"])
    return OneTimeCode(said["name"], _identity(said), said["credential"], ends)


def cookie_of_code(access: Authenticator, code: str) -> bytes:
    """The one cookie that a code leads to, so that it lets in once. It follows from the signature, as what is
    signed may be written in several ways.
    """
    signature = code.rpartition(".")[2]
    return with_checksum(
        bytes.fromhex(access.fingerprint(f"cookie of {signature}".encode())), OF_COOKIES
    )


def _signature(access: Authenticator, payload: bytes) -> str:
    return access.fingerprint(b"code " + payload)


def _identity(said: dict[str, Any]) -> Identity:
    rights = said["rights"]
    return Identity(
        tuple(Role(role) for role in said["roles"]),
        said["customer"],
        said["provider"],
        said["subject"],
        None if rights is None else frozenset(Right).intersection(rights),
    )


def _identity_of(session: Session) -> Identity:
    return _identity(session.__dict__)
