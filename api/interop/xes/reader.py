"""Reads IEEE 1849 (XES) event logs as a stream, plain or gzip.

Memory holds one trace at a time, of a bounded size, and a digest of each trace's name. A document type declaration is
refused, and with it every entity that could expand or reach outside the file.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import BinaryIO
from xml.parsers import expat

from api.interop.xes.file_kinds import START, WEB_PAGE, instead_of_xml
from api.interop.xes.values import TYPES, Value, parse_value

Attributes = dict[str, Value]

NAME, TIME = "concept:name", "time:timestamp"
TRANSITION, RESOURCE = "lifecycle:transition", "org:resource"

CHUNK = 1 << 16
LONGEST_TAG = 8 << 20
"""Bytes without a single complete tag after which a file is refused, so that memory stays bounded."""
MOST_EVENTS, LARGEST_TRACE = 100_000, 64 << 20
"""Events of a trace, and bytes, unpacked, with which it is refused while it is read: an execution takes far fewer."""
DEEPEST = 100
LONGEST_QUOTE = 80

OUTSIDE, LOG, TRACE, EVENT = range(4)
# Standard elements that have no values of traces: globals declare defaults for tools that write logs; lists and
# containers have no scalar value.
WITHOUT_VALUE = frozenset({"extension", "global", "classifier", "list", "container", "values"})


class XesError(Exception):
    """The file is not a readable XES log."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class XesEvent:
    """One event: its activity, its time (UTC), and all attributes, including these two."""

    line: int
    activity: str
    at: datetime
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class XesTrace:
    line: int
    name: str
    attributes: Attributes
    events: list[XesEvent]


class XesLog:
    """The log in an open binary file. Iterating yields the traces in order.

    `name` and `nan_values`, the number of attributes that are NaN and were left out, are final after the iteration; in
    a log in the order of the standard, `name` is known before the first trace. Raises `XesError` where the file is
    truncated or not valid.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._open
        self._parser.EndElementHandler = self._close
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._fed = 0
        self._depth = 0
        self._level = OUTSIDE
        self._log: Attributes = {}
        self._trace: Attributes = {}
        self._event: Attributes = {}
        self._current = self._log
        self._trace_line = self._event_line = 0
        self._trace_start = 0
        self._events: list[XesEvent] = []
        self._ready: list[XesTrace] = []
        self._seen: set[bytes] = set()
        self.nan_values = 0

    @property
    def name(self) -> str | None:
        return self._text(self._log, NAME)

    def __iter__(self) -> Iterator[XesTrace]:
        for chunk in self._chunks():
            yield from self._read(chunk)
        yield from self._read(b"", last=True)  # a parser may put off a part of the last chunk

    def _read(self, chunk: bytes, *, last: bool = False) -> Iterator[XesTrace]:
        self._feed(chunk, last=last)
        yield from self._ready
        self._ready.clear()

    def _chunks(self) -> Iterator[bytes]:
        magic = self._file.read(2)
        self._file.seek(0)
        stream = gzip.GzipFile(fileobj=self._file) if magic == b"\x1f\x8b" else self._file
        try:
            chunk = stream.read(CHUNK)
            if kind := instead_of_xml(chunk[:START]):
                raise self._error(f"not an XES log: it is {kind}")
            while chunk:
                yield chunk
                chunk = stream.read(CHUNK)
        except EOFError:
            raise self._error("the gzip file is truncated") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._error(f"the gzip file is damaged: {error}") from None

    def _feed(self, chunk: bytes, *, last: bool) -> None:
        parser = self._parser
        self._fed += len(chunk)
        try:
            parser.Parse(chunk, last)
        except expat.ExpatError as error:
            raise XesError(
                error.lineno, f"malformed XML: {expat.ErrorString(error.code)}"
            ) from None
        except (LookupError, ValueError) as error:  # raised by the decoders of Python
            raise self._error(f"unreadable encoding: {error}") from None
        if self._fed - parser.CurrentByteIndex > LONGEST_TAG:
            raise self._error(f"a single tag or text is longer than {LONGEST_TAG} bytes")
        if self._level >= TRACE:
            self._check_size()

    def _check_size(self) -> None:
        if len(self._events) > MOST_EVENTS:
            raise self._error(
                f"with this event {self._this_trace} has more than {MOST_EVENTS} events"
            )
        if self._parser.CurrentByteIndex - self._trace_start > LARGEST_TRACE:
            raise self._error(f"{self._this_trace} is longer than {LARGEST_TRACE} bytes")

    @property
    def _this_trace(self) -> str:
        name = self._text(self._trace, NAME)
        return f'the trace "{quote(name)}"' if name else f"the trace of line {self._trace_line}"

    def _error(self, reason: str, line: int | None = None) -> XesError:
        return XesError(self._parser.CurrentLineNumber if line is None else line, reason)

    def _doctype(self, root: str, *_: object) -> None:
        if root.lower() == "html":
            raise self._error(f"not an XES log: it is {WEB_PAGE}")
        raise self._error("a document type declaration (DOCTYPE) is not allowed")

    def _open(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > self._level + 1:  # inside of a value, a global or an extension
            if self._depth > DEEPEST:
                raise self._error(f"elements are nested deeper than {DEEPEST}")
            return
        kind = tag if tag in TYPES else tag.rpartition(":")[2]
        if kind in TYPES and self._level:
            self._set(kind, attributes)
        else:
            self._enter(kind)

    def _set(self, kind: str, attributes: dict[str, str]) -> None:
        key, text = attributes.get("key"), attributes.get("value")
        if key is None or text is None:
            raise self._error(f"<{kind}> without {'key' if key is None else 'value'}")
        if key in self._current:
            raise self._error(f'the attribute "{quote(key)}" is there twice')
        try:
            value = parse_value(kind, text)
        except (ValueError, OverflowError):
            raise self._error(f'"{quote(key)}": not a valid {kind}: "{quote(text)}"') from None
        if value is None:
            self.nan_values += 1
        else:
            self._current[key] = value

    def _enter(self, kind: str) -> None:
        level, line = self._level, self._parser.CurrentLineNumber
        if level == OUTSIDE and kind != "log":
            is_page = kind.lower() == "html"
            raise self._error(
                f"not an XES log: {f'it is {WEB_PAGE}' if is_page else f'the root element is <{quote(kind)}>'}"
            )
        if level == OUTSIDE:
            self._level = LOG
        elif level == LOG and kind == "trace":
            self._level, self._trace_line = TRACE, line
            self._trace_start = self._parser.CurrentByteIndex
            self._current = self._trace = {}
            self._events = []
        elif level == TRACE and kind == "event":
            self._level, self._event_line = EVENT, line
            self._current = self._event = {}
        elif kind not in WITHOUT_VALUE:
            raise self._error(f"<{quote(kind)}> is out of place")

    def _close(self, _: str) -> None:
        if self._depth == self._level:
            if self._level == EVENT:
                self._close_event()
            elif self._level == TRACE:
                self._close_trace()
            self._level -= 1
        self._depth -= 1

    def _close_event(self) -> None:
        event, line = self._event, self._event_line
        activity, at = self._text(event, NAME), event.get(TIME)
        if not activity:
            raise self._error(f"an event without {NAME}", line)
        if at is None:
            raise self._error(f"an event without {TIME}", line)
        if not isinstance(at, datetime):
            raise self._error(f"{TIME} is not a <date>", line)
        self._events.append(XesEvent(line, activity, at, event))
        self._current = self._trace
        self._check_size()

    def _close_trace(self) -> None:
        line = self._trace_line
        name = self._text(self._trace, NAME)
        if not name:
            raise self._error(f"a trace without {NAME}", line)
        digest = sha256(name.encode()).digest()
        if digest in self._seen:
            raise self._error(f'a second trace named "{quote(name)}"', line)
        self._seen.add(digest)
        self._ready.append(XesTrace(line, name, self._trace, self._events))
        self._current = self._log

    @staticmethod
    def _text(attributes: Attributes, key: str) -> str | None:
        """The value of an attribute as text, as some exporters write names as numbers."""
        value = attributes.get(key)
        return value if value is None or isinstance(value, str) else str(value)


def quote(text: str) -> str:
    """A text of the file, as much of it as a message has room for."""
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
