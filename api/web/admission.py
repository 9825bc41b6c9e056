"""The admission control of HTTP and WebSocket: it authenticates and authorizes a request, or refuses it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Scope

from api.access.failed_attempts import FailedAttempts
from api.access.grants import Grants
from api.access.identity import ANONYMOUS, Authenticator, Caller
from api.access.open_requests import OpenRequests
from api.access.purpose import PurposeRequired, purpose
from api.access.request_limits import RequestLimits
from api.access.rights import Right
from api.access.scope import AUDITING
from api.access.visibility import Visibility
from api.cells.directory import Directory
from api.client.ids import ID
from api.problems import problems
from api.transport.protocols import LINE
from api.web.access.browsers import Browsers
from api.web.access.proxies import Proxies
from api.web.operation import Operation
from domain.errors import NotFound
from domain.eventlog.access.access_log import AccessLog

T = TypeVar("T")

OWNED = {
    "/executions/{id}": "execution",
    "/audit/bundle/{id}": "execution",
    "/orders/{id}": "order",
    "/jobs/{id}": "job",
}
"""Paths that belong, with all paths below, to one aggregate, and the kind of the aggregate."""


class AdmissionControl:
    """Admits requests: those of callers with the right, to what is in their scope."""

    def __init__(
        self,
        access: Authenticator,
        visibility: Visibility,
        grants: Grants,
        access_log: AccessLog,
        *,
        directory: Directory,
        open_requests: OpenRequests,
        browsers: Browsers,
        attempts: FailedAttempts,
        limits: RequestLimits,
        proxies: Proxies,
    ) -> None:
        self.access = access
        self.visibility = visibility
        self.grants = grants
        self.access_log = access_log
        self.directory = directory
        self.open_requests = open_requests
        self.browsers = browsers
        self.attempts = attempts
        self.limits = limits
        self.proxies = proxies

    async def admit(
        self, operation: Operation, scope: Scope, authorization: bytes | None
    ) -> Caller:
        """Authenticate and authorize a request, and return its caller.

        For a command only the parties of the execution are checked here; the writer checks the scope on the newest state.
        `authorization` is the value of the header, or of the subprotocol that carries a token.

        Raises:
            Unauthenticated: the operation needs a right and the request has no valid token.
            Forbidden: the caller has not the right.
            NotFound: there is no such resource in the scope of the caller.
            Misdirected: the path names something of another log.
            PurposeRequired: an auditor reads an execution without a purpose.
            TooManyRequests: the caller has sent more requests than allowed in a second.
        """
        scope["client"] = self.proxies.client(scope.get("client"), scope["state"]["headers"])
        is_open = operation.right is Right.OPEN
        caller = ANONYMOUS if is_open else await self._caller(scope, authorization)
        if caller is not ANONYMOUS:
            self.limits.require(caller.name)
        admit(caller, operation.right, scope, self.directory)
        if AUDITING in caller.scope.reaches:
            caller = await self.grants.widen(caller)
            if operation.shows_executions and purpose(scope["state"]["headers"]) is None:
                raise PurposeRequired
        if (kind := kind_of_path(operation.path)) is not None:
            access = caller, operation.right, f"{kind}/{scope['path_params']['id']}"
            if operation.prepare is None:
                await self.visibility.require(*access)
            else:
                await self.visibility.require_for_command(*access)
        return caller

    async def require_still(self, caller: Caller, scope: Scope) -> None:
        """Check that the caller of a long answer may still receive it.

        Raises:
            Unauthenticated: the credential of the caller, or a grant to it, has ended.
        """
        await self._caller(scope, scope["state"]["headers"].get(b"authorization"))
        if AUDITING in caller.scope.reaches and not await self.grants.still_reached(caller):
            raise problems.Unauthenticated("What you were granted has ended.")

    async def _caller(self, scope: Scope, authorization: bytes | None) -> Caller:
        headers = scope["state"]["headers"]
        cookie = self.browsers.session(headers) if authorization is None else None
        if cookie is not None:
            self.browsers.require_own_page(scope, headers)
            if (cached := self.access.verified_before(cookie)) is not None:
                return cached
            return await self.attempt(scope, self.access.holder(cookie))
        known = self.access.known_caller(authorization)
        if known is not None or authorization is None:
            return known or ANONYMOUS
        return await self.attempt(scope, self.access.caller(authorization))

    async def attempt(self, scope: Scope, finding: Coroutine[Any, Any, T]) -> T:
        """Await `finding`, an attempt to authenticate, unless too many attempts from the address have failed.

        Raises:
            Unauthenticated: the attempt has failed; the failure is counted.
            TooManyAttempts: too many attempts have failed.
        """
        client = scope.get("client")
        address = client[0] if client else ""
        try:
            async with self.attempts.one_of(address):
                return await finding
        finally:
            finding.close()


def kind_of_path(path: str) -> str | None:
    """The kind of the aggregate that a path belongs to; None where the path belongs to no aggregate."""
    return next((OWNED[root] for root in OWNED if f"{path}/".startswith(f"{root}/")), None)


def admit(caller: Caller, right: Right, scope: Scope, directory: Directory) -> None:
    """Check that a caller has a right, and that the ids in the path are valid and of this log.

    Raises:
        Unauthenticated: the operation needs a right and the caller is anonymous.
        Forbidden: the caller has not that right.
        NotFound: the path has an id that no resource can have.
        Misdirected: the path names a resource of another log.
    """
    if right is not Right.OPEN:
        if caller is ANONYMOUS:
            raise problems.Unauthenticated
        _show_token(scope)
        caller.require(right)
    path = scope["path_params"]
    ids = [path[name] for name in ("id", "webhook") if name in path]
    if not all(ID.fullmatch(part) for identity in ids for part in identity.split("/", 1)):
        raise NotFound(
            "There is nothing here: an id is 1 to 255 characters of A-Z a-z 0-9 . _ ~ : -"
        )
    for identity in ids:
        directory.require_own(identity)


def _show_token(scope: Scope) -> None:
    """Mark the connection as one that has shown a valid token."""
    if (line := scope.get("extensions", {}).get(LINE)) is not None:
        line.show_token()
