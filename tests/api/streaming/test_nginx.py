"""Streams behind nginx, with the configuration of docs/streams.md: each frame is passed on at once."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

import httpx
import pytest

from tests.support.api_client import Executions, ok
from tests.support.databases import reachable_folder
from tests.support.delivery_proof import Consumer, Read, prove, write_usage
from tests.support.paths import DOCS
from tests.support.ports import free_port
from tests.support.running_server import Serving, serving
from tests.support.stream_consumers import (
    NO_END,
    by_socket,
    by_sse,
    client,
    head,
    read_until_closed,
    socket,
    until_caught_up,
)

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
DOCUMENT = DOCS / "streams.md"
AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {nginx_configuration}
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: scripts/clients")


class Front(NamedTuple):
    """The address at which nginx listens."""

    url: str


def nginx_configuration(front: int, behind: int) -> str:
    """The configuration in the document, with the ports of this test."""
    lines = DOCUMENT.read_text().partition("```nginx\n")[2].partition("```")[0]
    for ours, theirs in (
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{behind};"),
        ("listen 80;", f"listen 127.0.0.1:{front};"),
    ):
        assert lines.count(ours) == 1
        lines = lines.replace(ours, theirs)
    return lines


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz").is_success
    return False


@pytest.fixture
def in_front(request: pytest.FixtureRequest) -> Iterator[Callable[[Serving], Front]]:
    """Start nginx in front of a server; stop it after the test."""
    with ExitStack() as stack:
        folder = stack.enter_context(reachable_folder())

        def start(server: Serving) -> Front:
            port = free_port()
            file = folder / "nginx.conf"
            file.write_text(
                AROUND.format(
                    folder=folder, nginx_configuration=nginx_configuration(port, server.port)
                )
            )
            command = [str(NGINX), "-e", f"{folder}/error.log", "-c", str(file)]
            nginx = stack.enter_context(subprocess.Popen(command, stdin=subprocess.DEVNULL))
            stack.callback(nginx.terminate)
            front = Front(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + 10
            while not answers(front.url):
                assert time.monotonic() < deadline, (folder / "error.log").read_text()
                time.sleep(0.05)
            return front

        yield start


@pytest.fixture
def front(in_front: Callable[[Serving], Front], server: Serving) -> Front:
    return in_front(server)


@pytest.mark.parametrize("read", [by_sse, by_socket])
def test_nginx_passes_each_frame_on_at_once(
    front: Front, api: httpx.Client, executions: Executions, read: Read
) -> None:
    execution = executions.running()
    frames = read(front, "/events", head(api), NO_END)
    assert next(frames)["type"] == "caught-up"
    for progress in range(10, 60, 10):
        committed = executions.tell(execution, "progress", progress=progress)["position"]
        began = time.monotonic()
        assert next(frames)["position"] == committed
        assert time.monotonic() - began < 1
        time.sleep(0.1)


@pytest.mark.parametrize("read", [by_sse, by_socket])
def test_random_disconnects_behind_nginx_lose_and_repeat_no_event(
    front: Front, server: Serving, api: httpx.Client, executions: Executions, read: Read
) -> None:
    begin = head(api)
    consumers = [Consumer([front, server], read, begin, begin + 400, seed=1, most=40)]
    with write_usage([server], [executions.running()], 5):
        prove(consumers, server, begin)
    assert consumers[0].visits > 5


def test_browser_behind_nginx_reconnects_with_its_last_event_id(
    front: Front, executions: Executions
) -> None:
    executions.running()
    positions = [frame["position"] for frame in by_sse(front, "/events", 3, 3)]
    assert positions == [4, 5, 6]


def test_closing_frame_is_passed_on_by_nginx(
    database: str, in_front: Callable[[Serving], Front]
) -> None:
    with serving(database) as server:
        front = in_front(server)
        with client(front.url) as api:
            ok(api.post("/users", json={"name": "Ann", "kind": "person"}))
        with socket(front, "/events", **{"from": "start"}) as connected:
            received, read = read_until_closed(connected), by_sse(front, "/events", 0, NO_END)
            for frames in (received, read):
                assert [frame["position"] for frame in until_caught_up(frames)] == [1]
            server.ask_to_stop()
            for frames in (received, read):
                assert [(frame["type"], frame["position"]) for frame in frames] == [("closing", 1)]
            assert (connected.close_code, connected.close_reason) == (1012, "position 1")
