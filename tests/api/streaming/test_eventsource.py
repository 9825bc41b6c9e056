"""EventSource of Chromium and of Node receives every event across a restart and a kill of the server.

Clients that are not installed are skipped; `scripts/clients` installs them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.api_client import ok
from tests.support.service_process import AUTHORIZED, TOKEN, Service
from tests.support.stream_consumers import client

CLIENTS = Path(__file__).parent / "clients"
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")
EACH = 20
TIMEOUT = 60.0

LISTEN = """
const source = new EventSource("/api/events?from=start")
source.addEventListener("user.created", (event) => tell(event.lastEventId))
"""

Listening = Callable[[Service], AbstractContextManager[Iterator[str]]]


@contextmanager
def program(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program during the block, and kill it after a time limit."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        watchdog = Timer(TIMEOUT, it.kill)
        watchdog.start()
        try:
            yield it
        finally:
            watchdog.cancel()
            it.kill()


@contextmanager
def of_node(service: Service) -> Iterator[Iterator[str]]:
    """The npm package: the EventSource of Node itself is experimental, and gives up when a connection is refused."""
    if not NODE or not (CLIENTS / "node_modules").exists():
        pytest.skip("the package `eventsource` of Node is not installed: scripts/clients")
    stream = f"{service.url}/api/events?from=start"
    with program(NODE, CLIENTS / "eventsource.mjs", stream, TOKEN) as running:
        assert running.stdout
        yield (line.strip() for line in running.stdout)


@contextmanager
def of_chromium(service: Service) -> Iterator[Iterator[str]]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed: scripts/clients")
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        options = ("--headless", "--no-sandbox", "--remote-debugging-port=0", "--no-first-run")
        browser = stack.enter_context(program(CHROMIUM, *options, f"--user-data-dir={folder}"))
        assert browser.stderr
        said = next(line for line in browser.stderr if line.startswith("DevTools listening on "))
        where = said.split()[-1]
        connection = stack.enter_context(connect(where, max_size=None, proxy=None))
        page = Page(connection)
        page.call("Network.setExtraHTTPHeaders", headers=AUTHORIZED)
        page.call("Runtime.addBinding", name="tell")
        page.call("Page.enable")
        page.call("Page.navigate", url=f"{service.url}/open")
        page.until("Page.loadEventFired")
        page.call("Runtime.evaluate", expression=LISTEN)
        yield page.received()


class Page:
    """A new page of Chromium, controlled by the DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.call("Network.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **self._session}
        self._connection.send(json.dumps(message))
        answer = next(message for message in self._messages() if message.get("id") == number)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def until(self, event: str) -> None:
        next(message for message in self._messages() if message.get("method") == event)

    def received(self) -> Iterator[str]:
        for message in self._messages():
            if message.get("method") == "Runtime.bindingCalled":
                yield message["params"]["payload"]

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            yield json.loads(self._connection.recv(timeout=TIMEOUT))


def write(service: Service) -> None:
    with client(service.url) as api:
        for _ in range(EACH):
            ok(api.post("/users", json={"name": "Ann", "kind": "person"}))


@pytest.mark.parametrize("listening", [of_node, of_chromium])
def test_eventsource_resumes_after_a_restart_and_a_kill(
    process: Service, listening: Listening
) -> None:
    with listening(process) as received:
        write(process)
        heard = list(islice(received, EACH))
        for end in (process.terminate, process.kill):
            end()
            process.start()
            write(process)
            heard += islice(received, EACH)
    assert heard == [str(position) for position in range(1, 3 * EACH + 1)]
