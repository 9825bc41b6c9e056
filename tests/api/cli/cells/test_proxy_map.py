"""The maps of `executions cells map` in nginx and HAProxy, with the configuration of docs/cells.md."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingUDPServer

import httpx
import pytest
from click.testing import CliRunner

from api.cli.main import main
from tests.support.databases import reachable_folder
from tests.support.paths import DOCS
from tests.support.ports import free_port

PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
PROGRAMS = {
    name: shutil.which(name) or shutil.which(name, path=PATH) for name in ("nginx", "haproxy")
}
NGINX = """daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{lines} }}"""
AROUND = {"nginx": NGINX, "haproxy": "{lines}"}
COMMAND = {"nginx": ("-c",), "haproxy": ("-db", "-f")}


@contextmanager
def server_named(name: str) -> Iterator[int]:
    """A server that answers with its name; its port."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def name_server() -> Iterator[int]:
    """A name server that resolves every host to this one; its port."""

    class Answers(BaseRequestHandler):
        def handle(self) -> None:
            asked, connection = self.request
            question = asked[12 : asked.index(b"\0", 12) + 5]
            found = question.endswith(b"\0\1\0\1")  # an IPv4 address
            head = asked[:2] + struct.pack(">5H", 0x8180, 1, found, 0, 0)
            answer = struct.pack(">3HIH4B", 0xC00C, 1, 1, 60, 4, 127, 0, 0, 1)
            connection.sendto(head + question + answer * found, self.client_address)

    with ThreadingUDPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def map_for(proxy: str, cells: str) -> str:
    arguments = ["cells", "map", "--for", proxy, "--tenant", "acme.example=south"]
    return CliRunner().invoke(main, arguments, env={"EXECUTIONS_CELLS": cells}).output


@contextmanager
def in_front(proxy: str) -> Iterator[str]:
    """A proxy in front of the logs `north` and `south`; its address."""
    with ExitStack() as stack:
        folder, port = stack.enter_context(reachable_folder()), free_port()
        north, south = (stack.enter_context(server_named(name)) for name in ("north", "south"))
        cells = f"north=http://127.0.0.1:{north},south=http://south.example:{south}"
        (folder / "cells.map").write_text(map_for(proxy, cells))
        lines = (DOCS / "cells.md").read_text().partition(f"\n```{proxy}\n")[2].partition("```")[0]
        for documented, ours in (
            (r"listen 80;", f"listen 127.0.0.1:{port};"),
            (r"bind :80", f"bind 127.0.0.1:{port}"),
            (r"/etc/\w+/cells.map", f"{folder}/cells.map"),
            (r"resolver [0-9.]+", f"resolver 127.0.0.1:{stack.enter_context(name_server())}"),
            (r"127.0.0.1:8000", f"127.0.0.1:{north}"),
            (r"127.0.0.1:8001", f"127.0.0.1:{south}"),
        ):
            lines = re.sub(documented, ours, lines)
        file = folder / "proxy.conf"
        file.write_text(AROUND[proxy].format(folder=folder, lines=lines))
        started = stack.enter_context(
            subprocess.Popen(
                [str(PROGRAMS[proxy]), *COMMAND[proxy], file], stdin=subprocess.DEVNULL
            )
        )
        stack.callback(started.terminate)
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 10
        while not answers(url):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield url


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url).is_success
    return False


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_proxy_sends_a_request_to_the_log_of_its_id_or_else_of_its_host(proxy: str) -> None:
    if PROGRAMS[proxy] is None:
        pytest.skip(f"{proxy} is not installed")
    with in_front(proxy) as url:
        for path, host, expected in (
            ("/api/executions/south~exec_1/steps", "any.example", "south"),
            ("/api/executions/north~exec_1", "acme.example", "north"),
            ("/api/executions/south%7eexec_1/steps", "any.example", "south"),
            ("/api/audit/bundle/south~exec_1", "any.example", "south"),
            ("/audit/bundle/south~exec_1", "any.example", "south"),
            ("/executions/south~exec_1/log", "any.example", "south"),
            ("/executions/own-id/steps/south~1", "any.example", "north"),
            ("/api/executions/south", "any.example", "north"),
            ("/api/executions/own-id", "acme.example", "south"),
            ("/api/executions", "acme.example", "south"),
            ("/api/executions/west~1", "any.example", "north"),
        ):
            found = httpx.get(url + path, headers={"Host": host}).text
            assert (path, host, found) == (path, host, expected)


def test_map_of_a_proxy_refuses_a_log_below_a_path() -> None:
    assert "give `north` a host of its own" in map_for(
        "nginx", "north=http://x.example/logs/north,south=http://y.example"
    )
