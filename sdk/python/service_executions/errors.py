"""What can go wrong, a class for each kind of problem that the service answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast


class ExecutionsError(Exception):
    """All errors of this package."""


class SetupError(ExecutionsError):
    """The client cannot be made as things are: no address, or a token that cannot be one."""


class NotLoaded(ExecutionsError):
    """The execution is a handle that has not been read: call `refresh()` first."""


class ConnectionFailed(ExecutionsError):
    """The service gave no answer. `maybe_recorded`: a command may have been carried out all the same."""

    def __init__(self, message: str, *, maybe_recorded: bool, is_passing: bool = True) -> None:
        super().__init__(message)
        self.maybe_recorded = maybe_recorded
        self.is_passing = is_passing
        """Whether the same may succeed a little later."""


class ApiError(ExecutionsError):
    """The service refused. `problem` is the whole problem document (RFC 9457)."""

    code: ClassVar[str] = ""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.retry_after: float | None = None
        """Seconds after which the service asks to be tried again."""
        self.attempts = 1
        """How often the request was sent."""
        super().__init__(self.detail or self.title or f"the service answers {status}")

    def _member(self, name: str) -> Any:
        return self.problem.get(name)


class Malformed(ApiError):
    """What was sent cannot be read."""

    code = "malformed"


class Unauthenticated(ApiError):
    """No token, or one that is not known."""

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
    """Nothing that was asked for can be made here."""

    code = "not-acceptable"


class TooSlow(ApiError):
    """The request did not come whole in time."""

    code = "too-slow"


class IllegalTransition(ApiError):
    """The status does not allow the command, or it was done already with other content."""

    code = "illegal-transition"

    @property
    def current_status(self) -> str | None:
        """The status that the execution has."""
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
        """Whose it is now, if anybody's."""
        return self._member("claimedBy")


class TooManyGrants(ApiError):
    """The party has as many open grants as it may have."""

    code = "too-many-grants"


class Erased(ApiError):
    """The content was erased: nothing may be added to it."""

    code = "erased"


class KeptByHold(ApiError):
    """A legal hold keeps it as it is."""

    code = "held"


class AlreadyExists(ApiError):
    """The id is taken."""

    code = "already-exists"


class OtherLog(ApiError):
    """The cursor is of another log: this one was restored from a backup, or is another service's."""

    code = "other-log"

    @property
    def log(self) -> str | None:
        """The id of the log that there is."""
        return cast("str | None", self._member("log"))


class Misdirected(ApiError):
    """The id is of another `log`, at `url` if the service knows that. Nothing follows there by itself: make a client."""

    code = "misdirected"

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(status, problem)
        self.log: str | None = self._member("log")
        self.url: str | None = self._member("url")


class StreamsOnly(Misdirected):
    """This is an edge, which sends streams alone: the server of the log, at `url`, answers this."""

    code = "streams-only"


class VersionMismatch(ApiError):
    """Something else was recorded since the version in `if_match`."""

    code = "version-mismatch"

    @property
    def current(self) -> int | None:
        """The present version."""
        return cast("int | None", self._member("version"))


class TooLarge(ApiError):
    """The body has too many bytes, or the execution holds as much as one can."""

    code = "too-large"


class UnsupportedMediaType(ApiError):
    """The body is not JSON."""

    code = "unsupported-media-type"


class Invalid(ApiError):
    """Members, parameters or headers are not what they must be."""

    code = "invalid"

    @property
    def errors(self) -> list[dict[str, str]]:
        """For each its `path` and a `message`."""
        return list(self._member("errors") or ())


class ReadOnly(Invalid):
    """Members were changed that only the service sets."""

    code = "read-only"


class UnknownReference(ApiError):
    """What is named does not exist."""

    code = "unknown-reference"

    @property
    def field(self) -> str | None:
        """Where it is named."""
        return cast("str | None", self._member("field"))


class IdempotencyKeyReused(ApiError):
    """The key came with another request within 24 hours."""

    code = "idempotency-key-reused"


class TooExpensive(ApiError):
    """The answer would take longer than one request may."""

    code = "too-expensive"

    @property
    def indexed_fields(self) -> list[str]:
        """The fields whose comparison makes the query fast."""
        return list(self._member("indexedFields") or ())


class RateLimited(ApiError):
    """More requests or connections than are allowed."""

    code = "rate-limited"


class HeadTooLarge(ApiError):
    """Path, query and headers are too long."""

    code = "head-too-large"


class Damaged(ApiError):
    """What is stored of this cannot be read."""

    code = "damaged"


class InternalError(ApiError):
    """Something failed in the service that should not."""

    code = "internal"


class Overloaded(ApiError):
    """The service has too much to do, or its database is away."""

    code = "overloaded"


class CellAway(ApiError):
    """One of several logs does not answer."""

    code = "cell-away"


class OutcomeUnknown(ApiError):
    """The command may have been recorded or not."""

    code = "outcome-unknown"


class NotYetVisible(ApiError):
    """The data has not reached the position that was asked for."""

    code = "not-yet-visible"
