"""One authorized request: its caller, headers, query and body."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope

from api.access.identity import Caller
from api.access.rights import COMMANDS, SHARED, Right
from domain.errors import Invalid, but_is
from domain.eventlog.idempotency import IdempotencyKey
from domain.model import Command
from domain.writer.message import Message


async def _record_nothing(_: Request) -> None:
    """Record nothing in the access log."""


LABEL = re.compile(r"[!-~]{1,128}")
ENTITY_TAG = re.compile(r'(?:W/)?"(\d{1,18})(?:-[a-z0-9-]*)?"')
"""An entity tag; the part after the version is of other shown data, such as log lines and related entries."""
STRAY = re.compile("[\udc80-\udcff]")
MOST_PARAMETERS = 1_000
BYTE_BY_BYTE = "surrogateescape"
"""The error handler that keeps bytes that are not UTF-8, so that the error can name their parameter."""
TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Request:
    """One request that was admitted: who asks for what, with which words."""

    def __init__(self, scope: Scope, caller: Caller, body: bytes = b"") -> None:
        self.method: str = scope.get("method", "GET")
        self.caller = caller
        self.body = body
        self.path: dict[str, str] = scope["path_params"]
        self.url: str = scope["path"]
        self._bare_url = self.url.removeprefix(scope.get("root_path", ""))
        self.headers: dict[bytes, bytes] = scope["state"]["headers"]
        self._query = scope["query_string"]
        self.scope = scope
        self.shown: list[str] = []
        """Ids of executions that the answer shows, besides that in the path; the handler adds them, for the access log."""
        self.record: Callable[[Request], Awaitable[None]] = _record_nothing
        """Records the executions in `shown` now, for a handler that adds more while it sends its answer."""

    @property
    def address(self) -> str:
        """The address of the client."""
        client = self.scope.get("client")
        return client[0] if client else ""

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """The query parameters in order; a repeated parameter is repeated."""
        try:
            found = parse_qsl(
                self._query.decode(errors=BYTE_BY_BYTE),
                keep_blank_values=True,
                errors=BYTE_BY_BYTE,
                max_num_fields=MOST_PARAMETERS,
            )
        except ValueError as error:
            raise Invalid.field(
                "query", f"must have at most {MOST_PARAMETERS} parameters"
            ) from error
        for name, value in found:
            if STRAY.search(name) or STRAY.search(value):
                shown = name.encode(errors=BYTE_BY_BYTE).decode(errors="replace")
                raise Invalid.field(shown, "must be UTF-8, percent-encoded, but has other bytes")
            if "\0" in name or "\0" in value:
                raise Invalid.field(name, "must have no character NUL (%00)")
        return found

    def header(self, name: str) -> str | None:
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def parameter(self, name: str) -> str | None:
        """A query parameter; refused where it is repeated."""
        found = [value for key, value in self.query if key == name] if self._query else []
        if len(found) > 1:
            raise Invalid.field(name, f"must be given once, but is given {len(found)} times")
        return found[0] if found else None

    def find_unused(self, names: Iterable[str]) -> list[str]:
        """Those of some query parameters that the request does not have, so that it could be narrowed by them."""
        return [name for name in names if self.parameter(name) is None]

    def non_empty(self, name: str) -> str | None:
        """A query parameter; refused where it is repeated or empty."""
        text = self.parameter(name)
        if text == "":
            raise Invalid.field(name, "must have a value, or be left out")
        return text

    def integer(self, name: str, at_least: int, at_most: int) -> int | None:
        """A query parameter that is an integer within bounds."""
        text = self.parameter(name)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,19}", text) or not at_least <= int(text) <= at_most:
            bounds = f"must be a whole number from {at_least} to {at_most}"
            raise Invalid.field(name, f"{bounds}{but_is(text)}")
        return int(text)

    def boolean(self, name: str) -> bool:
        """A query parameter that is true or false; false where it is absent."""
        text = self.parameter(name)
        if text not in {None, "true", "false"}:
            raise Invalid.field(name, f"must be true or false{but_is(text)}")
        return text == "true"

    def choice(self, name: str, *allowed: str) -> str | None:
        """A query parameter that is one of a few words."""
        text = self.parameter(name)
        if text is not None and text not in allowed:
            raise Invalid.field(name, f"must be {' or '.join(allowed)}{but_is(text)}")
        return text

    def only(self, *names: str) -> None:
        """Refuse all other query parameters, so that a misspelt filter is not ignored."""
        for name, _ in self.query if self._query else ():
            if name not in names:
                known = ", ".join(names) or "none"
                raise Invalid.field(name, f"is not a parameter of this operation; it has {known}")

    @property
    def if_match(self) -> tuple[int, ...] | None:
        """The versions in If-Match, one of which must be the current one; None without the header, or for `*`."""
        text = self.header("if-match")
        if text is None or text.strip() == "*":
            return None
        tags = [ENTITY_TAG.fullmatch(item.strip()) for item in text.split(",")]
        versions = tuple(int(tag[1]) for tag in tags if tag is not None)
        if len(versions) < len(tags):
            form = 'must be versions in quotes, like "7" or "7", "8"'
            raise Invalid.field("If-Match", f"{form}{but_is(text)}")
        return versions

    def message(
        self,
        stream: str,
        command: Command[Any],
        part: str = "",
        if_match: int | None = None,
    ) -> Message:
        """The message for the bus with a command. `part` distinguishes the commands of one request.

        Raises:
            Forbidden: the caller has not the right to the command.
        """
        headers, name = self.headers, command.wire_name
        right = COMMANDS[name]
        self.caller.require(right)
        versions: tuple[int, ...] | None = None if if_match is None else (if_match,)
        if b"if-match" in headers:
            versions = self.if_match
        return Message(
            stream,
            command,
            self.caller.name,
            self.correlation,
            self._label("x-causation-id") if b"x-causation-id" in headers else None,
            versions,
            Right.IMPORT in self.caller.rights,
            self.idempotency(part) if b"idempotency-key" in headers else None,
            self._label("x-worker") if b"x-worker" in headers else None,
            None if name in SHARED else self.caller.permits(right),
        )

    @cached_property
    def correlation(self) -> str:
        """The correlation id of all events of this request: from the headers, or a new one."""
        if b"x-correlation-id" in self.headers:
            return self._label("x-correlation-id")
        if (trace := self.header("traceparent")) and (parsed := TRACE_PARENT.fullmatch(trace)):
            return parsed[1]
        return token_hex(8)

    def idempotency(self, part: str = "") -> IdempotencyKey:
        """The idempotency key of this caller and request, from the header Idempotency-Key.

        The client's key and `part` have no space, so different triples make different texts.
        """
        key = f"{self._label('idempotency-key')} {part} {self.caller.name}"
        content = f"{self.method} {self._bare_url}\n".encode() + self.body
        return IdempotencyKey(key, hashlib.sha256(content).hexdigest())

    def _label(self, name: str) -> str:
        value = (self.header(name) or "").strip()
        if not LABEL.fullmatch(value):
            words = "must be 1 to 128 printable ASCII characters without spaces"
            raise Invalid.field(name.title(), words)
        return value
