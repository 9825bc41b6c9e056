"""The errors of this package: a class for each problem code of the service, and those of the client itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast


class ExecutionsError(Exception):
    """The base of all errors of this package."""


class SetupError(ExecutionsError):
    """The client cannot be made: the address or the token is invalid."""


class NotLoaded(ExecutionsError):
    """The document of the execution was not read yet: call `refresh()` first."""


class ConnectionFailed(ExecutionsError):
    """The service gave no answer. `maybe_recorded`: a command may have been recorded nevertheless."""

    def __init__(self, message: str, *, maybe_recorded: bool, is_passing: bool = True) -> None:
        super().__init__(message)
        self.maybe_recorded = maybe_recorded
        self.is_passing = is_passing
        """Whether the same request may succeed later."""


class ApiError(ExecutionsError):
    """The service refused a request. `problem` is the problem document (RFC 9457)."""

    code: ClassVar[str] = ""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.retry_after: float | None = None
        """Seconds after which the service asks for the request to be repeated."""
        self.attempts = 1
        """How often the request was sent."""
        super().__init__(self.detail or self.title or f"the service answers {status}")

    def _member(self, name: str) -> Any:
        return self.problem.get(name)


class Malformed(ApiError):
    """The request is malformed."""

    code = "malformed"


class Unauthenticated(ApiError):
    """The request has no token, or an unknown one."""

    code = "unauthenticated"


class Forbidden(ApiError):
    """The token does not have the right."""

    code = "forbidden"


class PurposeRequired(ApiError):
    """This reader has to state a purpose: `Client(purpose=…)`."""

    code = "purpose-required"


class NotFound(ApiError):
    """There is nothing under this path or id."""

    code = "not-found"


class MethodNotAllowed(ApiError):
    """The path does not take this method."""

    code = "method-not-allowed"


class NotAcceptable(ApiError):
    """The service cannot answer in any of the accepted media types."""

    code = "not-acceptable"


class TooSlow(ApiError):
    """The request was not complete in time."""

    code = "too-slow"


class IllegalTransition(ApiError):
    """The status does not allow the command, or the command was already done with other content."""

    code = "illegal-transition"

    @property
    def current_status(self) -> str | None:
        """The present status of the execution."""
        return cast("str | None", self._member("currentStatus"))

    @property
    def allowed_commands(self) -> list[str]:
        """The commands that this status allows."""
        return list(self._member("allowedCommands") or ())


class LeaseLost(ApiError):
    """The worker does not hold the execution any more."""

    code = "lease-lost"

    @property
    def claimed_by(self) -> Any:
        """The claim that the execution has now, if any."""
        return self._member("claimedBy")


class TooManyGrants(ApiError):
    """The party has the largest allowed number of open grants."""

    code = "too-many-grants"


class Erased(ApiError):
    """The content was erased: nothing may be added to it."""

    code = "erased"


class KeptByHold(ApiError):
    """A legal hold forbids the change."""

    code = "held"


class AlreadyExists(ApiError):
    """The id is taken."""

    code = "already-exists"


class OtherLog(ApiError):
    """The cursor belongs to another log: the log was restored from a backup, or the cursor is from another service."""

    code = "other-log"

    @property
    def log(self) -> str | None:
        """The id of the present log."""
        return cast("str | None", self._member("log"))


class Misdirected(ApiError):
    """The id belongs to another `log`, at `url` if the service knows it. Make a client for that address."""

    code = "misdirected"

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(status, problem)
        self.log: str | None = self._member("log")
        self.url: str | None = self._member("url")


class StreamsOnly(Misdirected):
    """This server is an edge, which only sends streams. The server of the log, at `url`, answers other requests."""

    code = "streams-only"


class VersionMismatch(ApiError):
    """The execution has changed since the version in `if_match`."""

    code = "version-mismatch"

    @property
    def current(self) -> int | None:
        """The present version."""
        return cast("int | None", self._member("version"))


class TooLarge(ApiError):
    """The body is too large, or the execution would become too large."""

    code = "too-large"


class UnsupportedMediaType(ApiError):
    """The body is not JSON."""

    code = "unsupported-media-type"


class Invalid(ApiError):
    """Members, parameters or headers are invalid."""

    code = "invalid"

    @property
    def errors(self) -> list[dict[str, str]]:
        """The faults, each with a `path` and a `message`."""
        return list(self._member("errors") or ())


class ReadOnly(Invalid):
    """The request changes members that only the service sets."""

    code = "read-only"


class UnknownReference(ApiError):
    """The request names something that does not exist."""

    code = "unknown-reference"

    @property
    def field(self) -> str | None:
        """The member that names it."""
        return cast("str | None", self._member("field"))


class IdempotencyKeyReused(ApiError):
    """The idempotency key was used for another request within the last 24 hours."""

    code = "idempotency-key-reused"


class TooExpensive(ApiError):
    """The answer would take too much time."""

    code = "too-expensive"

    @property
    def indexed_fields(self) -> list[str]:
        """The fields by which the query can be narrowed to become fast."""
        return list(self._member("indexedFields") or ())


class RateLimited(ApiError):
    """The caller sends more requests, or has more connections, than allowed."""

    code = "rate-limited"


class HeadTooLarge(ApiError):
    """Path, query and headers are too long."""

    code = "head-too-large"


class Damaged(ApiError):
    """The stored data cannot be read."""

    code = "damaged"


class InternalError(ApiError):
    """The service failed unexpectedly."""

    code = "internal"


class Overloaded(ApiError):
    """The service is overloaded, or its database is unavailable."""

    code = "overloaded"


class CellAway(ApiError):
    """One of several logs is unavailable."""

    code = "cell-away"


class OutcomeUnknown(ApiError):
    """It is unknown whether the command was recorded."""

    code = "outcome-unknown"


class NotYetVisible(ApiError):
    """The data did not reach the requested position in time."""

    code = "not-yet-visible"
