"""The caller's identity, and sessions of browsers, which begin with a token or a one-time code."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp

from api.access import sessions
from api.access.identity import OF_COOKIES, Caller
from api.access.keys import new_key
from api.access.rights import Right
from api.access.sessions import OneTimeCode
from api.problems.problems import Unauthenticated
from api.routes.access.landing import PAGE
from api.routes.access.schemas import CODE, ME, SIGNED_OUT
from api.web import responses
from api.web.admission import AdmissionControl
from api.web.input.command_body import parse
from api.web.operation import Operation
from api.web.request import Request
from domain.access.session import EndSession
from domain.errors import AlreadyExists, Invalid
from domain.json_forms import format_time
from domain.model import Value
from domain.types import LongText
from domain.writer.command_bus import Bus
from domain.writer.message import Message

KIND = "session/"
NO_STORE = {"cache-control": "no-store"}


class Credentials(Value):
    """What lets a browser in: a token as of `Authorization: Bearer`, or a code of `executions open`."""

    token: LongText | None = None
    code: LongText | None = None


class SessionHandlers:
    """Handles the operations of sessions. A session lasts for `hours` at most, and no longer than its credential."""

    def __init__(self, bus: Bus, admission: AdmissionControl, hours: int) -> None:
        self._bus = bus
        self._admission = admission
        self._access = admission.access
        self._browsers = admission.browsers
        self._lasts = timedelta(hours=hours)

    async def me(self, request: Request) -> ASGIApp:
        """Answer the identity and the rights of the caller."""
        return responses.json(_me(request.caller), NO_STORE)

    async def start(self, request: Request) -> ASGIApp:
        """Start a session, and set its cookie."""
        self._browsers.require_no_foreign_page(request.headers)
        given = parse(Credentials, request.body)
        if (given.token is None) is (given.code is None):
            raise Invalid.field("", "must have `token` or `code`, and not both")
        who, cookie = await self._admission.attempt(request.scope, self._admit(given))
        command = sessions.start(self._access, who, cookie, self._lasts)
        identity = sessions.session_id(command.digest)
        try:
            await self._bus.send(
                Message(f"{KIND}{identity}", command, who.name, request.correlation)
            )
        except AlreadyExists:
            raise Unauthenticated("This code was used already: a new one is needed.") from None
        caller = await self._access.holder(cookie)
        seconds = int((command.expires_at - datetime.now(UTC)).total_seconds())
        headers = {"set-cookie": self._browsers.cookie(cookie.decode(), seconds, request.headers)}
        return responses.json(_me(caller), headers | NO_STORE, 201)

    async def end(self, request: Request) -> ASGIApp:
        """End the session of the cookie, and delete the cookie."""
        credential = request.caller.credential
        if credential.startswith(KIND):
            name = request.caller.name
            await self._bus.send(Message(credential, EndSession(), name, request.correlation))
            self._access.forget(credential.removeprefix(KIND))
        headers = {"set-cookie": self._browsers.cookie("", 0, request.headers)}
        return responses.json({"signedOut": credential.startswith(KIND)}, headers | NO_STORE)

    async def code(self, request: Request) -> ASGIApp:
        """Make a code that signs one browser in as the caller, within a minute."""
        who = sessions.of_caller(self._access, request.caller)
        code, until = sessions.new_code(self._access, who)
        return responses.json({"code": code, "expiresAt": format_time(until)}, NO_STORE, 201)

    async def page(self, request: Request) -> ASGIApp:
        """Answer the page of a one-time link."""
        return Response(PAGE.html, headers=PAGE.headers, media_type="text/html")

    async def _admit(self, given: Credentials) -> tuple[OneTimeCode, bytes]:
        """The holder of the new session, and its cookie."""
        if given.code is not None:
            who = sessions.read_code(self._access, given.code)
            return who, sessions.cookie_of_code(self._access, given.code)
        caller = await self._access.caller(b"Bearer " + (given.token or "").encode())
        return sessions.of_caller(self._access, caller), new_key(OF_COOKIES)


def _me(caller: Caller) -> dict[str, Any]:
    identity = caller.identity
    members = {
        "name": caller.name,
        "roles": None if identity is None else list(identity.roles),
        "customer": identity and identity.customer,
        "provider": identity and identity.provider,
        "subject": identity and identity.subject,
        "rights": sorted(caller.rights - {Right.OPEN}),
        "credential": caller.credential.partition("/")[0],
        "expiresAt": caller.expires_at and format_time(caller.expires_at),
    }
    return {name: value for name, value in members.items() if value is not None}


def routes(handlers: SessionHandlers) -> Iterable[Operation]:
    """The operations of the caller's identity, and of sessions."""
    yield Operation(
        "me",
        "GET",
        "/me",
        Right.SELF,
        "The identity and the rights of the caller",
        handlers.me,
        answer=ME,
    )
    yield Operation(
        "startSession",
        "POST",
        "/session",
        Right.OPEN,
        "Start a session of a browser: a cookie for a token or a one-time code",
        handlers.start,
        body=Credentials,
        answer=ME,
        status=201,
        problems=("unauthenticated", "forbidden", "rate-limited"),
    )
    yield Operation(
        "endSession",
        "DELETE",
        "/session",
        Right.SELF,
        "End the session of the cookie",
        handlers.end,
        answer=SIGNED_OUT,
    )
    yield from _links(handlers)


def _links(handlers: SessionHandlers) -> Iterable[Operation]:
    yield Operation(
        "createSessionCode",
        "POST",
        "/session/codes",
        Right.SELF,
        "A code that signs one browser in as the caller, within a minute",
        handlers.code,
        answer=CODE,
        status=201,
    )
    yield Operation(
        "openPage",
        "GET",
        "/open",
        Right.OPEN,
        "The page that a one-time link leads to",
        handlers.page,
        answer={"type": "string"},
        media_type="text/html",
    )
