"""The errors of the write side. The docstring of an error is the text that clients get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_SHOWN = 100
"""Characters of a value that an error shows at most, as errors may be logged."""
KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (tuple, "a list"),
    (dict, "an object"),
)


class DomainError(Exception):
    """The command was refused."""

    code: str
    replayed = False

    def __init__(self, detail: str | None = None, **members: Any) -> None:
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        self.members = members
        super().__init__(self.detail)

    @classmethod
    def again(cls, code: str, detail: str, members: dict[str, Any]) -> DomainError:
        """The refusal that is stored under the idempotency key of a request."""
        error = cls(detail, **members)
        error.code, error.replayed = code, True
        return error


class NotFound(DomainError):
    """There is nothing here under this identity."""

    code = "not-found"

    @classmethod
    def of(cls, stream: str) -> NotFound:
        """The error that a stream does not exist. Reads and commands raise it, also for a caller who may not see the stream."""
        return cls(f"There is no such {stream.partition('/')[0]}.")


class AlreadyExists(DomainError):
    """This id is taken; choose another, or leave it out and one is made."""

    code = "already-exists"


class IllegalTransition(DomainError):
    """The status does not allow this command."""

    code = "illegal-transition"


class LeaseLost(DomainError):
    """The worker that is named does not hold this execution; claim another."""

    code = "lease-lost"


class Erased(DomainError):
    """The content of this was erased: no more of it is kept, and no work goes on."""

    code = "erased"


class OnHold(DomainError):
    """A legal hold keeps this as it is; `holds` names each."""

    code = "held"


class Taken(DomainError):
    """The execution cannot be claimed: it is not queued, or not what was asked for; claim another."""

    code = "illegal-transition"


class VersionMismatch(DomainError):
    """The state has moved on since the version in If-Match; read it again, then decide."""

    code = "version-mismatch"


class Invalid(DomainError):
    """The request is well-formed but not valid; `errors` names each field."""

    code = "invalid"

    def __init__(self, detail: str | None = None, **members: Any) -> None:
        errors = members.get("errors")
        super().__init__(detail or (summary(errors) if errors else None), **members)

    @classmethod
    def field(cls, path: str, message: str) -> Invalid:
        """The error of one field."""
        return cls(errors=[{"path": path, "message": message}])


class ReadOnly(Invalid):
    """The request changes members that only the server sets; leave them out."""

    code = "read-only"


def summary(errors: Sequence[Mapping[str, str]]) -> str:
    """The first of some errors as a sentence, and the number of further ones."""
    path, message = errors[0]["path"], errors[0]["message"]
    sentence = f"`{path}` {message}" if path else f"The body {message}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    text = f"{sentence}{more}"
    return text if text.endswith("?") else f"{text}."


def kind_of(value: object) -> str:
    """The kind of a JSON value, as a noun phrase such as `a list`."""
    if value is None:
        return "null"
    return next((name for kind, name in KINDS if isinstance(value, kind)), "something else")


def describe(value: object) -> str:
    """A short value itself, in backticks; for longer ones their kind, as errors must not quote content."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value) if abs(value) < 10**LONGEST_SHOWN else "a number beyond that"
    if isinstance(value, str) and len(value) <= LONGEST_SHOWN and value.isprintable():
        return f"`{value}`" if value else "empty"
    return kind_of(value)


def but_is(value: object) -> str:
    """The end of the error of a field with a bad value: `, but is …`. Empty for a long text, which is not shown."""
    shown = describe(value)
    return "" if isinstance(value, str) and shown == kind_of(value) else f", but is {shown}"


def instead(value: object) -> str:
    """The end of the error of a field with a value of the wrong kind: `, but is …`."""
    shown = describe(value)
    return f", but is {'the text ' if shown.startswith('`') else ''}{shown}"


class UnknownReference(DomainError):
    """The request names something that does not exist."""

    code = "unknown-reference"


class IdempotencyKeyReused(DomainError):
    """This Idempotency-Key came with another request before; use a new key for a new request."""

    code = "idempotency-key-reused"


class Forbidden(DomainError):
    """The caller has no right to do this."""

    code = "forbidden"


class TooLarge(DomainError):
    """The body is larger than this route takes."""

    code = "too-large"


class Overloaded(DomainError):
    """The server cannot take this now; send it again after the seconds in Retry-After."""

    code = "overloaded"


class Overtaken(Overloaded):
    """What this was decided on is not so any more; send it again."""


class OutcomeUnknown(DomainError):
    """The database went away during the write: whether this was recorded is unknown. Read it first, or
    send it again with the same Idempotency-Key.
    """

    code = "outcome-unknown"


NO_MEMORY = (
    "The server has no memory left for this: whether it was recorded is unknown. Read it first, or send it "
    "again with the same Idempotency-Key."
)
"""The detail of an `OutcomeUnknown` after a `MemoryError`."""


class Unreadable(DomainError):
    """What is stored here cannot be read, or not now."""

    parties: tuple[str | None, str | None] = (None, None)
    """The customer and the provider of the stream, as far as they can be read."""
    maker: str | None = None
    """The actor that made the stream, if the stream has no parties."""

    def __init__(self, detail: str | None = None, *, reason: str = "", **members: Any) -> None:
        super().__init__(detail, **members)
        self.reason = reason
        """What is wrong, for the log of the server only; it quotes no content."""

    def __str__(self) -> str:
        return f"{self.detail} ({self.reason})" if self.reason else self.detail


class ArchiveAway(Overloaded, Unreadable):
    """The archive cannot be reached. That concerns what is in it alone."""


class Damaged(Unreadable):
    """What is stored here cannot be read. That is no fault of the request; it has been logged."""

    code = "damaged"


class DamagedFile(Damaged):
    """A file of the archive is missing, or is not what was written. That is no fault of the request; it has been logged."""

    def __init__(self, detail: str | None = None, *, file: str = "", **members: Any) -> None:
        super().__init__(detail, file=file, **members)
        self.file = file


class TooExpensive(DomainError):
    """This takes the database or the server too long; ask for less, or narrow it."""

    code = "too-expensive"

    @classmethod
    def field(cls, path: str, message: str) -> TooExpensive:
        """The error of a field that makes a request too expensive; the message says what would be cheaper."""
        return cls(errors=[{"path": path, "message": message}])
