"""Object stores with the protocols of S3, Google and Azure on this machine, which may misbehave on demand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, ClassVar
from wsgiref.types import StartResponse, WSGIApplication

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from werkzeug.serving import WSGIRequestHandler, make_server

KEY_ID, SECRET = "the-key-id", "the-secret-key"
BUCKET = "archive-bucket"
SIGNED = "20261001/us-east-1/s3"
"""Appended to the id of the key; only moto reads it."""
DATED = ("Last-Modified", "Thu, 01 Oct 2026 00:00:00 GMT")


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Log no requests."""


class ObjectStore:
    """Accepts requests signed with `KEY_ID`. `spoil` is a function that changes written bytes."""

    scheme: ClassVar[str]
    condition: ClassVar[tuple[str, str]]
    """The header of a write that may only create, and its value."""

    def __init__(self, app: WSGIApplication) -> None:
        self.url = f"{self.scheme}://{BUCKET}/logs"
        self.spoil: Callable[[bytes], bytes] | None = None
        self.writes: list[str] = []
        """The value of the header `condition` of each write."""
        self._refuses = False
        self.files: set[str] = set()
        """The names of all objects written."""
        self._app = app
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which a program finds it."""
        return self.settings(KEY_ID)

    def settings(self, key_id: str) -> dict[str, str]:
        """Environment variables with the id of this key."""
        raise NotImplementedError

    def signature(self, key_id: str) -> str:
        """The prefix of a signature by it in a request."""
        raise NotImplementedError

    def call(self, method: str, file: str = "", content: bytes = b"") -> bytes:
        """Change an object or the bucket directly, past the program; the body of the answer."""
        path = f"/logs/{file}" if file else ""
        signed = {"Authorization": f"{self.signature(KEY_ID)}{SIGNED}"}
        spoil, self.spoil = self.spoil, None
        answer = httpx.request(
            method, f"{self.endpoint}/{BUCKET}{path}", content=content, headers=signed
        )
        self.spoil = spoil
        answer.raise_for_status()
        return answer.content

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """An empty bucket, which is emptied after the block."""
        self.call("PUT")
        self.writes.clear()
        self.files.clear()
        try:
            yield
        finally:
            self.spoil = None
            for name in self.files:
                self.call("DELETE", name)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Every request is refused while the block runs."""
        self._refuses = True
        try:
            yield
        finally:
            self._refuses = False

    @contextmanager
    def serving(self) -> Iterator[None]:
        """It answers while the block runs."""
        thread = Thread(target=self._server.serve_forever, name="object store")
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if not environ.get("HTTP_AUTHORIZATION", "").startswith(self.signature(KEY_ID)):
            start("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        if self._refuses:
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        if environ["REQUEST_METHOD"] == "PUT" and "/logs/" in environ["PATH_INFO"]:
            self.writes.append(environ.get(in_environ(self.condition[0]), ""))
            self.files.add(environ["PATH_INFO"].partition("/logs/")[2])
            if self.spoil is not None:
                sent = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
                content = self.spoil(sent)
                environ["wsgi.input"] = io.BytesIO(content)
                environ["CONTENT_LENGTH"] = str(len(content))
        return self._app(environ, start)


class S3Store(ObjectStore):
    """That of moto, with checks of the keys."""

    scheme = "s3"
    condition = "If-None-Match", "*"

    def __init__(self) -> None:
        # Importing it takes a second, which only the processes that start one spend.
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        super().__init__(DomainDispatcherApplication(create_backend_app))

    def settings(self, key_id: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def signature(self, key_id: str) -> str:
        return f"AWS4-HMAC-SHA256 Credential={key_id}/"


class GoogleStore(ObjectStore):
    """The XML interface of Google's. Programs sign a token with the key of a service account."""

    scheme = "gs"
    condition = "x-goog-if-generation-match", "0"

    def __init__(self) -> None:
        super().__init__(Objects(self.condition, "412 Precondition Failed"))
        key = generate_private_key(public_exponent=65537, key_size=2048)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._private_key = text.decode()

    def settings(self, key_id: str) -> dict[str, str]:
        account = {
            "gcs_base_url": self.endpoint,
            "client_email": "archive@example.org",
            "private_key": self._private_key,
            "private_key_id": key_id,
        }
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}

    def signature(self, key_id: str) -> str:
        head = {"typ": "JWT", "alg": "RS256", "kid": key_id}
        text = json.dumps(head, separators=(",", ":")).encode()
        return f"Bearer {base64.urlsafe_b64encode(text).decode().rstrip('=')}."


class AzureStore(ObjectStore):
    """The block blobs of Azure."""

    scheme = "az"
    condition = "If-None-Match", "*"

    def __init__(self) -> None:
        super().__init__(Objects(self.condition, "409 Conflict"))

    def settings(self, key_id: str) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
            "AZURE_STORAGE_ACCOUNT_NAME": key_id,
            "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(SECRET.encode()).decode(),
        }

    def signature(self, key_id: str) -> str:
        return f"SharedKey {key_id}:"


class Objects:
    """Objects by their paths: they can be read, in full or in part, written in full, and deleted."""

    def __init__(self, condition: tuple[str, str], conflict: str) -> None:
        self._only_creates = in_environ(condition[0]), condition[1]
        self._conflict = conflict
        self._objects: dict[str, bytes] = {}

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        status, content = self._done(environ)
        headers = [("ETag", '"1"'), DATED]
        if status == "200 OK" and (asked := environ.get("HTTP_RANGE")):
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            size, content = len(content), content[first : last + 1]
            headers.append(("Content-Range", f"bytes {first}-{first + len(content) - 1}/{size}"))
            status = "206 Partial Content"
        headers.append(("Content-Length", str(len(content))))
        start(status, headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else content]

    def _done(self, environ: dict[str, Any]) -> tuple[str, bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        found = self._objects.get(path)
        if method == "PUT":
            name, value = self._only_creates
            if found is not None and environ.get(name) == value:
                return self._conflict, b""
            self._objects[path] = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            return "201 Created", b""
        if method == "DELETE":
            self._objects.pop(path, None)
            return "202 Accepted", b""
        return ("404 Not Found", b"") if found is None else ("200 OK", found)


def in_environ(header: str) -> str:
    """The name of a header in the environment of WSGI."""
    return f"HTTP_{header.upper().replace('-', '_')}"
