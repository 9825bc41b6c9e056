"""An object store that speaks the protocol of S3 on this machine, and may misbehave as a test asks."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEY_ID, SECRET = "the-key-id", "the-secret-key"
BUCKET = "archive-bucket"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing of requests."""


class ObjectStore:
    """Lets in who signs with `KEY_ID`. `spoil` is what becomes of the bytes that are written."""

    def __init__(self) -> None:
        self.url = f"s3://{BUCKET}/logs"
        self.spoil: Callable[[bytes], bytes] | None = None
        self.writes: list[str] = []
        """What `If-None-Match` each write had."""
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program is given to find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def call(self, method: str, file: str = "", content: bytes = b"") -> bytes:
        """Do something to a file behind everybody's back, or to the bucket; the answer's body."""
        path = f"/logs/{file}" if file else ""
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20261001/us-east-1/s3"}
        spoil, self.spoil = self.spoil, None
        answer = httpx.request(
            method, f"{self.endpoint}/{BUCKET}{path}", content=content, headers=signed
        )
        self.spoil = spoil
        answer.raise_for_status()
        return answer.content

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

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if f"Credential={KEY_ID}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            start("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        if environ["REQUEST_METHOD"] == "PUT" and "/logs/" in environ["PATH_INFO"]:
            self.writes.append(environ.get("HTTP_IF_NONE_MATCH", ""))
            if self.spoil is not None:
                sent = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
                content = self.spoil(sent)
                environ["wsgi.input"] = io.BytesIO(content)
                environ["CONTENT_LENGTH"] = str(len(content))
        answered: Iterable[bytes] = self._app(environ, start)
        return answered
