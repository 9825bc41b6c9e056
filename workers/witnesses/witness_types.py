"""The types of witnesses that store signed heads: a file, a URL, and a time-stamp authority (RFC 3161)."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from projections.audit.tables import TreeHead
from workers.webhooks.http_client import CallFailed, HttpClient

STAMPS = "tsa+"
"""The prefix of the URL of a time-stamp authority."""
TEXT, QUERY = "text/plain; charset=utf-8", "application/timestamp-query"
NOT_INSTALLED = "needs the extra `timestamps`: pip install 'executions[timestamps]'"


class NotKept(Exception):
    """A witness has not stored a head; the message says why."""


class Witness(Protocol):
    """A witness. `id`: unique; `name`: without secrets, for logs; `every`: the least time between two heads."""

    id: str
    name: str
    every: ClassVar[timedelta]

    async def keep(self, head: TreeHead) -> None:
        """Store a head. Raises NotKept."""


def witnesses(text: str, client: HttpClient, folder: Path) -> list[Witness]:
    """The witnesses of a setting, which is a list of URLs, separated by commas. The answers of authorities are stored in `folder`."""
    return [_witness(url.strip(), client, folder) for url in text.split(",") if url.strip()]


def _witness(url: str, client: HttpClient, folder: Path) -> Witness:
    if url.startswith(STAMPS):
        return StampingAuthority(url, client, folder)
    return FileWitness(url) if url.startswith("file:") else UrlWitness(url, client)


def _id(url: str) -> str:
    return sha256(url.encode()).hexdigest()[:16]


def _name(url: str) -> str:
    """The URL without user, password and query, which may be secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class FileWitness:
    """A file to which heads are appended, such as one on another machine, or one that is append-only."""

    every: ClassVar[timedelta] = timedelta(minutes=1)

    def __init__(self, url: str) -> None:
        self.id, self.name = _id(url), _name(url)
        self._path = Path(unquote(urlsplit(url).path))

    async def keep(self, head: TreeHead) -> None:
        """Append a head, and wait until it is on the disk. Raises NotKept."""
        try:
            await asyncio.to_thread(self._append, head.note.encode())
        except OSError as error:
            raise NotKept(f"{self._path}: {error.strerror}") from None

    def _append(self, note: bytes) -> None:
        with self._path.open("ab") as file:
            before = os.fstat(file.fileno()).st_size
            try:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # a part of a note would spoil the next one
                    os.truncate(self._path, before)
                raise


class UrlWitness:
    """A URL that accepts heads by POST, as text."""

    every: ClassVar[timedelta] = timedelta(minutes=1)

    def __init__(self, url: str, client: HttpClient) -> None:
        self.id, self.name = _id(url), _name(url)
        self._url = url
        self._client = client

    async def keep(self, head: TreeHead) -> None:
        """Send a head; any status 2xx means that it is stored. Raises NotKept."""
        await _post(self._client, self._url, TEXT, head.note.encode())


class StampingAuthority:
    """A time-stamp authority, which signs the hash of a head and the time. Head and stamp are stored in a local folder."""

    every: ClassVar[timedelta] = timedelta(hours=1)

    def __init__(self, url: str, client: HttpClient, folder: Path) -> None:
        self.id, self.name = _id(url), _name(url)
        self._url = url.removeprefix(STAMPS)
        self._client = client
        self._folder = folder

    async def keep(self, head: TreeHead) -> None:
        """Get a time-stamp for a head, and store `head-<size>.txt` and `head-<size>.txt.tsr`. Raises NotKept."""
        if find_spec("rfc3161_client") is None:
            raise NotKept(NOT_INSTALLED)
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

        note = head.note.encode()
        query = TimestampRequestBuilder(note, HashAlgorithm.SHA256).build()
        answer = await _post(self._client, self._url, QUERY, query.as_bytes())
        _require_stamp(answer, note, query.nonce)
        try:
            await asyncio.to_thread(self._write, head, answer)
        except OSError as error:
            raise NotKept(f"{self._folder}: {error.strerror}") from None

    def _write(self, head: TreeHead, stamp: bytes) -> None:
        folder = self._folder / head.origin.rpartition("/")[2]
        folder.mkdir(parents=True, exist_ok=True)
        name = f"head-{head.size:015}.txt"
        for file, content in ((name, head.note.encode()), (f"{name}.tsr", stamp)):
            part = folder / f".{file}.part"
            part.write_bytes(content)
            part.replace(folder / file)


def _require_stamp(answer: bytes, note: bytes, nonce: int | None) -> None:
    """Check that an answer is a time-stamp of this note; `audit verify` checks its signature. Raises NotKept."""
    from rfc3161_client import decode_timestamp_response

    try:
        response = decode_timestamp_response(answer)
        if response.status != 0:
            raise NotKept(f"the authority refuses, status {response.status}")
        info = response.tst_info
        digest, found = info.message_imprint.message, info.nonce
    except ValueError as error:
        raise NotKept(f"the authority answers no time-stamp: {error}") from None
    if digest != sha256(note).digest() or found != nonce:
        raise NotKept("the authority has stamped something else")


async def _post(client: HttpClient, url: str, kind: str, body: bytes) -> bytes:
    try:
        response = await client.post(url, {"Content-Type": kind}, body)
    except CallFailed as error:
        raise NotKept(str(error)) from None
    if not 200 <= response.status < 300:
        raise NotKept(f"answers {response.status}")
    return response.body
